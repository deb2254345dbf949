/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A dirty-page curve as somebody measured it, in JSON:
 *
 *     {"guest_bytes": 4294967296,
 *      "points": [{"seconds": 0.125, "dirty_bytes": 71000000}, ...]}
 *
 * `guest_bytes` is all of the guest's memory, 1 MiB to 1 PiB. A point says how many unique bytes
 * the guest has dirtied so long after a clean bitmap; there are 1 to 1000 of them, with rising
 * times of up to a day, and bytes that do not fall. Anything else is an error.
 */
#ifndef MIGPOLICY_SIMULATE_CURVE_H
#define MIGPOLICY_SIMULATE_CURVE_H

#include <stddef.h>

#include "common/error.h"
#include "policy/model/model.h"

struct simulate_curve {
    double guest_bytes;
    unsigned n;
    struct model_point *point;
};

/*
 * Returns 0, with *ret to be given to simulate_curve_clear(); or -EINVAL or -E2BIG with *ret
 * untouched and *ret_err set, its line too. Thread-safe.
 */
int simulate_curve_parse(const char *text, size_t len, struct simulate_curve *ret,
                         struct error *ret_err);

void simulate_curve_clear(struct simulate_curve *curve);

#endif
