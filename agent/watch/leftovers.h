/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journals that nobody has open: what a dead agent left, or what could not be restored when its
 * migration ended. As long as there is one it is tried again, each at intervals of its own that
 * grow from a second to LEFTOVER_RETRY_MAX_S; one that fails holds up no other.
 */
#ifndef MIGPOLICY_LEFTOVERS_H
#define MIGPOLICY_LEFTOVERS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/record/record.h"
#include "cgroup-throttle/throttle.h"
#include "metrics/metrics.h"

#define LEFTOVER_RETRY_MAX_S 30

struct leftovers;

/* What is passed is borrowed and must outlive it. Tries nothing yet. Returns 0 or -ENOMEM. */
int leftovers_new(const struct throttle_roots *roots, struct record *record,
                  struct metrics *metrics, struct leftovers **ret);

/* When no thread uses it any more. Accepts NULL. Restores nothing. */
void leftovers_free(struct leftovers *l);

/*
 * Tries those that are due at now_ns, of monotonic_ns(); all with INT64_MAX. A success is recorded
 * and logged, a failure when it is the first or differs from the one before. Returns the number of
 * journals that are left, those that are open included; the number before when they cannot be
 * listed. Thread-safe.
 */
size_t leftovers_try(struct leftovers *l, int64_t now_ns);

/* Record, log and count what a restore from a journal came to; record and metrics may be NULL. */
void leftovers_report(struct record *record, struct metrics *metrics, const char *uuid,
                      const char *name, int error, const struct throttle_result *result);

#endif
