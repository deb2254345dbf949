/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The quantities an administrator writes and reads: durations, sizes, rates and shares.
 * Every quantity is one int64_t in the smallest unit we keep, and is never negative.
 *
 * A number without a unit is refused rather than guessed: "2" could be seconds or milliseconds, and
 * a downtime wrong by a thousand is an outage. All functions are pure and thread-safe.
 */
#ifndef MIGPOLICY_UNITS_H
#define MIGPOLICY_UNITS_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)
#define MIB_BYTES INT64_C(1048576)
#define PPM_ONE   INT64_C(1000000)

enum unit {
    UNIT_DURATION, /* nanoseconds: 500ms, 2s, 1m30s, 2h, 3d */
    UNIT_SIZE,     /* bytes: 64KiB, 512MiB, 4GB */
    UNIT_RATE,     /* bytes per second: 100MiB/s, 1Gbit/s */
    UNIT_SHARE,    /* parts per million: 20%, 12.5% */
};

/* Long enough for every text units_format() makes. */
#define UNITS_TEXT_MAX 32

/*
 * Reads all of `text` as a quantity. Decimal fractions are allowed (1.5s) and rounded to the
 * smallest unit. Returns 0, -EINVAL (not such a quantity) or -ERANGE (negative or too large).
 */
int units_parse(enum unit unit, const char *text, int64_t *ret_value);

/*
 * What a correct quantity of this unit looks like, to finish an error line with; where `text` has a
 * unit that others use, the one that is meant. Static.
 */
const char *units_expected(enum unit unit, const char *text);

/*
 * Writes `value` the way units_parse() reads it. Sizes and rates are exact up to 2^53, shares to
 * ten digits; durations are cut to a millisecond from 1 s on, rounded to six digits below. Returns
 * buf.
 */
const char *units_format(enum unit unit, int64_t value, char buf[UNITS_TEXT_MAX]);

#endif
