/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sim/clock.h"

#include <time.h>

#include "common/clock.h"
#include "common/units.h"

static double speed = 1;
static int64_t origin_ns; /* where the kernel's clock and ours agreed; speed != 1 */

int64_t monotonic_ns(void)
{
    struct timespec ts;
    int64_t now;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = ts.tv_sec * NS_PER_S + ts.tv_nsec;
    return speed == 1 ? now : origin_ns + (int64_t)((double)(now - origin_ns) * speed);
}

int64_t monotonic_to_kernel_ns(int64_t ns)
{
    return speed == 1 ? ns : origin_ns + (int64_t)((double)(ns - origin_ns) / speed);
}

void sim_clock_start(double factor)
{
    origin_ns = monotonic_ns();
    speed = factor;
}
