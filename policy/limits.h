/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Numbers of QEMU's and libvirt's that nobody here may choose.
 */
#ifndef MIGPOLICY_LIMITS_H
#define MIGPOLICY_LIMITS_H

#include "common/units.h"

/* QEMU sends for up to 50 ms between two looks at what is pending (migration/ram.c). */
#define BURST_S 0.05
/* And it measures the link over 100 ms. */
#define QEMU_WINDOW_S 0.1
/* libvirt's own bounds on the downtime limit. */
#define DOWNTIME_LIMIT_MAX_S 2000.0
#define DOWNTIME_LIMIT_MIN_S 0.001
/* It counts in milliseconds: limits that differ by less are the same. */
#define DOWNTIME_SAME_NS NS_PER_MS

#endif
