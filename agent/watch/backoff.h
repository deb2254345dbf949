/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Something that failed and is tried again until it works: told when it first fails and when it
 * fails otherwise, counted each time, at intervals that grow from a second to BACKOFF_MAX_S. All
 * zeroes: it has not failed. No locks of its own.
 */
#ifndef MIGPOLICY_BACKOFF_H
#define MIGPOLICY_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/units.h"

#define BACKOFF_MAX_S 30

struct backoff {
    int error; /* of the last try */
    unsigned failures;
    int64_t wait_s;
    int64_t due_ns; /* of monotonic_ns() */
};

/* It has failed with that error. Returns whether that is news. */
static inline bool backoff_failed(struct backoff *r, int error, int64_t now_ns)
{
    bool news = error != r->error;

    r->error = error;
    r->failures++;
    r->wait_s = r->wait_s == 0 ? 1 : r->wait_s * 2;
    if (r->wait_s > BACKOFF_MAX_S)
        r->wait_s = BACKOFF_MAX_S;
    r->due_ns = now_ns + r->wait_s * NS_PER_S;
    return news;
}

#endif
