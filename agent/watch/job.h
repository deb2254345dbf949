/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a watcher does: take a sample, let the controller decide, do what was decided, tell what
 * came of it. It is a task of the crew, so one thread at a time has to do with a struct job; struct
 * watcher is what it shares with others.
 */
#ifndef MIGPOLICY_JOB_H
#define MIGPOLICY_JOB_H

#include "agent/record/trace.h"
#include "agent/watch/watcher.h"

enum job_state {
    JOB_OPENING,  /* the connection to the hypervisor */
    JOB_WATCHING, /* takes samples */
    JOB_PAUSED,   /* for the switchover */
    JOB_ENDED,    /* the migration has; how, is to be told */
};

/* What a watcher's steps know beside struct watcher. */
struct job {
    struct watcher *w;
    struct hv_watch *hv;
    enum job_state state;
    int error;         /* JOB_ENDED: why there is nothing left to watch */
    int64_t until_ns;  /* JOB_ENDED: when not to wait for the result any longer */
    int64_t paused_ns; /* JOB_PAUSED: since when */
    struct controller controller;
    struct policy_kept kept; /* before what holds for this migration only is laid over it */
    struct policy policy;
    bool told_stalled; /* JOB_PAUSED: that this takes too long */
    bool paused;       /* by an administrator */
    double share;      /* quota of ours in force; 1: none */
    int64_t downtime_limit_ns;
    bool limit_known;
    int64_t limit_read_ns;
    int64_t speed_limit_bps;
    int64_t speed_found_bps; /* before we changed it; -1: we have not */
    int64_t flush_ns;
    int64_t drift_checked_ns;
    bool cancelling;
    bool knows_metadata;
    struct trace *trace;
    enum reason latched[ACTIONS]; /* not in the trace yet */
    bool post_copy_failed;        /* recorded */
    char proposed[160];           /* last proposal, so as not to repeat it */
};

/* Has the crew do the job, until it sets the watcher's `ended`. Returns 0 or -errno. */
int job_start(struct watcher *w, struct crew *crew);

/* Passes on the result of a call to the hypervisor, and counts it. */
int job_counted(struct job *j, enum metrics_call call, int64_t started_ns, int r);

/* controller_latch(), on record. */
void job_latch(struct job *j, enum action_kind action, enum reason reason);

/*
 * Does what was decided at decided_ns, and records how it went. Returns 0, -EAGAIN when it has to
 * wait for other migrations, or the error that is on record.
 */
int job_apply(struct job *j, const struct action *a, int64_t decided_ns);

#endif
