/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/clock.h"

#include <time.h>

#include "common/units.h"

int64_t monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t monotonic_to_kernel_ns(int64_t ns)
{
    return ns;
}
