/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The clock of a simulated host, in place of common/clock.c: it can run faster than the kernel's.
 */
#ifndef MIGPOLICY_SIM_CLOCK_H
#define MIGPOLICY_SIM_CLOCK_H

/*
 * Lets the clock run `factor` times as fast from now on, and all waits with it. To be called before
 * other threads are started.
 */
void sim_clock_start(double factor);

#endif
