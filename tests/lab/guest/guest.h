/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What boot.S and guest.c share. */
#ifndef GUEST_H
#define GUEST_H

#define CPUS_MAX   8
#define STACK_SIZE 4096
#define TRAMPOLINE 0x8000 /* below 1 MiB, page-aligned: where a start-up IPI can point to */
#define APIC_BASE  0xfee00000
#define APIC_EOI   0xb0

#endif
