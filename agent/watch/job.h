/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a watcher does: take a sample, let the controller decide, do what was decided, tell what
 * came of it. Only the migration's own thread has to do with a struct job; struct watcher is what
 * it shares with others.
 */
#ifndef MIGPOLICY_JOB_H
#define MIGPOLICY_JOB_H

#include "agent/record/trace.h"
#include "agent/watch/act.h"

enum job_state {
    JOB_OPENING,  /* the connection to the hypervisor */
    JOB_WATCHING, /* takes samples */
    JOB_PAUSED,   /* for the switchover */
    JOB_ENDED,    /* the migration has; how, is to be told */
};

/* What a watcher's thread knows beside struct watcher. */
struct job {
    struct watcher *w;
    struct act act;
    enum job_state state;
    int error;         /* JOB_ENDED: why there is nothing left to watch */
    int64_t until_ns;  /* JOB_ENDED: when not to wait for the result any longer */
    int64_t paused_ns; /* JOB_PAUSED: since when */
    int64_t moved_ns;  /* JOB_PAUSED: when bytes were last seen to move; 0: not asked yet */
    int64_t looked_ns; /* JOB_PAUSED: when it was last seen whether they do */
    uint64_t moved_bytes;
    int64_t elapsed_ns; /* of the migration, at the last look */
    struct controller controller;
    struct prior prior;      /* what was known of the guest at the start */
    struct policy_kept kept; /* before what holds for this migration only is laid over it */
    struct policy policy;
    bool told_sending; /* JOB_PAUSED: that this is no switchover yet */
    bool told_stalled; /* JOB_PAUSED: that this takes too long */
    bool paused;       /* by an administrator */
    bool knows_metadata;
    struct trace *trace;
    enum reason latched[ACTIONS]; /* not in the trace yet */
    bool post_copy_failed;        /* recorded */
    char proposed[160];           /* last proposal, so as not to repeat it */
};

/* Starts the watcher's thread, which does the job until it sets `ended`. Returns 0 or -errno. */
int job_start(struct watcher *w);

#endif
