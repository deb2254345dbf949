/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entry of the first processor (32-bit, from the multiboot loader) and of the others (16-bit, at
 * TRAMPOLINE, where the first one copies the code between ap_start and ap_end).
 */

#include "guest.h"

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002 /* multiboot magic */
    .long 2          /* flags: give memory information */
    .long -(0x1badb002 + 2)

    .text
    .code32
    .globl start
start:
    cli
    cld
    movl $(stacks + STACK_SIZE), %esp
    lgdt gdt_pointer
    ljmp $8, $1f
1:  movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    pushl %ebx /* multiboot information */
    call guest_main

    .code16
    .globl ap_start, ap_end
ap_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl TRAMPOLINE + (ap_gdt_pointer - ap_start)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $ap_protected
ap_gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
ap_end:

    .code32
ap_protected:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    /* Processors come up at the same time: each draws a number, and with it a stack. */
    movl $1, %eax
    lock xaddl %eax, cpus_started
    movl %eax, %ebx
    incl %ebx
    imull $STACK_SIZE, %ebx
    leal stacks(%ebx), %esp
    pushl %eax
    call ap_main

    /* The timer only has to end a HLT. */
    .globl timer_interrupt
timer_interrupt:
    movl $0, APIC_BASE + APIC_EOI
    iret

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff /* flat code */
    .quad 0x00cf92000000ffff /* flat data */
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
