/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that is not one: a process with threads that are called as QEMU's, each in a cgroup of
 * its own, as libvirt makes them, on whichever version of cgroups the cpu controller is. One in a
 * process. Its program is that which calls guest_place(), started as "qemu-campaign -uuid UUID".
 */
#ifndef MIGPOLICY_TESTS_GUEST_H
#define MIGPOLICY_TESTS_GUEST_H

#include "cgroup-throttle/cpuquota.h"

#include <stdbool.h>
#include <sys/types.h>

enum { GUEST_VCPUS = 2 };

/* What such a program does; returns its exit status. */
int guest_be(void);

/* Starts it, and sets its quotas. false: no cgroups may be made here. */
bool guest_place(const char *uuid);

/* Kills it, and removes its groups. Harmless without one. */
void guest_remove(void);

pid_t guest_pid(void);
const struct cpu_mount *guest_mount(void);

/* Is each quota as it was when it was placed? And makes it so. */
bool guest_is_as_found(void);
void guest_put_as_found(void);

/* Says why, and exits with a failure. */
__attribute__((format(printf, 1, 2), noreturn)) void give_up(const char *format, ...);

#endif
