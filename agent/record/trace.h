/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recording migrations: one file of JSON lines each (policy/json/trace_json.h), bounded in every
 * way.
 *
 * Theory of operation
 *
 * Who records only formats a line and appends it to a buffer in memory. One thread for all writes
 * the buffers out every two seconds, opening and closing the file each time, and keeps the
 * directory within its bounds by removing the oldest traces. So neither a slow disk nor one that
 * hangs delays a decision: the buffer fills, and samples are missing from the trace. There is no
 * fsync: a trace is evidence for people, nothing depends on it.
 *
 * An error of the disk is logged once, and when it is over; nothing else changes. Meanwhile what is
 * to be written waits in the buffers, as far as it fits. What does not is missing at the end of its
 * trace, which says so, and one that ends meanwhile is not completed.
 */
#ifndef MIGPOLICY_TRACE_H
#define MIGPOLICY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/virt/hypervisor.h"
#include "policy/json/trace_json.h"

struct trace_limits {
    unsigned file_samples;
    size_t file_bytes; /* and a little more for the last line */
    unsigned files;
    size_t bytes; /* of all files */
};

extern const struct trace_limits trace_limits_default;

struct traces;
struct trace;

/*
 * Starts the recording into a directory, which is made if it is missing (0700). Returns 0 or
 * -errno: not a directory, not writable.
 */
int traces_new(const char *dir, const struct trace_limits *limits, struct traces **ret);

/*
 * Writes what is left and ends the thread, waiting a few seconds at most for the disk. Returns
 * false if it hangs: the traces must then not be freed. Accepts NULL.
 */
bool traces_stop(struct traces *ts);

/* After traces_stop(), when nobody records any more. Accepts NULL. */
void traces_free(struct traces *ts);

/*
 * Starts the record of one migration; start_ns is the monotonic clock at its start. NULL if there
 * is no recording (also for ts NULL), which the functions below take well. Ended by trace_end().
 * They touch no disk. One thread per trace.
 */
struct trace *trace_start(struct traces *ts, const struct hv_domain *domain, int64_t start_ns,
                          int64_t poll_ns, const struct policy *policy);

/* The name of its file; NULL for none. */
const char *trace_file(const struct trace *t);

/* What is known of the guest before the first sample. */
void trace_prior(struct trace *t, const struct prior *prior);

/* Records the policy if its values are others than those recorded last. */
void trace_policy(struct trace *t, const struct policy *policy);

/* Takes times of the monotonic clock and makes them relative. */
void trace_step(struct trace *t, const struct trace_step *step);

void trace_latch(struct trace *t, enum action_kind action, enum reason reason);

/* The last line. `t` is not to be used any more. */
void trace_end(struct trace *t, const struct trace_end *end);

#endif
