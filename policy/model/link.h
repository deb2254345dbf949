/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a modelled link carries at a time: a bandwidth, changes at given times, two kinds of noise,
 * and other transfers that take their part of it.
 *
 * Draws depend on the seed and the time only, so two policies meet the same link. Pure;
 * thread-safe.
 */
#ifndef MIGPOLICY_LINK_H
#define MIGPOLICY_LINK_H

#include <stdbool.h>
#include <stdint.h>

enum { MODEL_CHANGES_MAX = 16 };

/* From `at_s` on the link carries `factor` of its nominal bandwidth. */
struct model_change {
    double at_s;
    double factor;
};

struct model_link {
    double bps;   /* nominal, bytes per second */
    double noise; /* relative standard deviation of a factor drawn every half second; 0: steady */
    unsigned changes;
    struct model_change change[MODEL_CHANGES_MAX]; /* by time */
    double scatter;       /* standard deviation of the logarithm of a factor drawn every 100 ms */
    double shared_s;      /* once in so many seconds another transfer takes its part; 0: never */
    double shared_for_s;  /* how long, half of it to half as much again; at most shared_s / 1.5 */
    double shared_factor; /* what is left meanwhile */
};

/* -1..1, the same for the same seed, stream and index. */
double link_draw(uint64_t seed, uint64_t stream, uint64_t index);

/* Is something under way at `time_s` that comes once in each `every_s`, at a time of its own, and
   takes half of `for_s` to half as much again? `ret_next_s`, when that changes, is only lowered. */
bool link_occurs(double every_s, double for_s, uint64_t seed, uint64_t stream, double time_s,
                 double *ret_next_s);

/* Bytes per second from `time_s` until `ret_next_s` (INFINITY: for good). */
double link_bps(const struct model_link *l, uint64_t seed, double time_s, double *ret_next_s);

#endif
