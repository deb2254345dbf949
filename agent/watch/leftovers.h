/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journals that nobody has open: what a dead agent left, or what could not be restored when its
 * migration ended. As long as there is one it is tried again, each at intervals of its own
 * (backoff.h); one that fails holds up no other, and neither those who ask what is left.
 */
#ifndef MIGPOLICY_LEFTOVERS_H
#define MIGPOLICY_LEFTOVERS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/record/record.h"
#include "agent/watch/backoff.h"
#include "cgroup-throttle/throttle.h"
#include "metrics/metrics.h"

struct leftovers;

/* One that could not be restored so far. */
struct leftover {
    char name[HV_NAME_MAX]; /* "": its journal cannot be read */
    char uuid[256];         /* what the journal is called, which should be one */
    int64_t found_ns; /* of monotonic_ns(): since when it is known to be left, by its journal */
    struct backoff backoff;
};

/* What is passed is borrowed and must outlive it. Tries nothing yet. */
struct leftovers *leftovers_new(const struct throttle_roots *roots, struct record *record,
                                struct metrics *metrics);

/* When no thread uses it any more. Accepts NULL. Restores nothing. */
void leftovers_free(struct leftovers *l);

/*
 * Tries those that are due at now_ns, of monotonic_ns(); all with INT64_MAX. A success is recorded
 * and logged, a failure when it is the first or differs from the one before. Returns the number of
 * journals that are left, those that are open included; the number before when they cannot be
 * listed. Thread-safe.
 */
size_t leftovers_try(struct leftovers *l, int64_t now_ns);

/* leftovers_try() of all, at the start, before there are watchers. Returns how many domains were
 * restored, and *ret_left those that were not; one too, when they cannot be listed. */
size_t leftovers_restore_first(struct leftovers *l, size_t *ret_left);

/*
 * Tries that of one domain at once, due or not; recorded as ever. ret_result is set on failure too.
 * Returns as throttle_restore_journal(): 0, -ENOENT when there is none, -EBUSY when it is open.
 * Waits for a round of leftovers_try() that is under way. Thread-safe.
 */
int leftovers_release(struct leftovers *l, const char *uuid, int64_t now_ns,
                      struct throttle_result *ret_result);

/* Copies of those that could not be restored; free *ret with free(). Waits for no restore.
 * Thread-safe. */
void leftovers_list(struct leftovers *l, struct leftover **ret, size_t *ret_count);

/* Record, log and count what a restore from a journal came to; record and metrics may be NULL. */
void leftovers_report(struct record *record, struct metrics *metrics, const char *uuid,
                      const char *name, int error, const struct throttle_result *result);

/* What a restore did, in words. */
void leftovers_describe(const struct throttle_result *result, unsigned failures, char *text,
                        size_t size);

#endif
