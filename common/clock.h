/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monotonic clock that the whole program goes by. clock.c has the kernel's; a program that
 * defines both functions itself (agent/sim/clock.c) is linked with its own. Thread-safe.
 */
#ifndef MIGPOLICY_CLOCK_H
#define MIGPOLICY_CLOCK_H

#include <stdint.h>

int64_t monotonic_ns(void);

/* The same moment on the kernel's CLOCK_MONOTONIC, for waiting. */
int64_t monotonic_to_kernel_ns(int64_t ns);

#endif
