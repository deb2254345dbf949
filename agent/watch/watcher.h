/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One watched migration: what its job (job.h) shares with the list of watchers, the keeper and
 * those who ask. See the theory of operation in watchers.h.
 *
 * Locking: w->lock guards what events mark and what others read; it is held for copies only, never
 * across a call to the hypervisor or the kernel. Taken after the lock of the list, never before.
 */
#ifndef MIGPOLICY_WATCHER_H
#define MIGPOLICY_WATCHER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/watch/approval.h"
#include "agent/watch/backoff.h"
#include "agent/watch/env.h"
#include "common/wakeup.h"

struct watcher {
    struct watcher *next; /* guarded by the list's lock */
    const struct watchers_env *env;
    struct hv_domain domain;
    pthread_t thread;
    struct wakeup wake; /* of the thread */
    atomic_int refs;
    atomic_bool was_migration; /* it was one at least once */
    atomic_bool ended;         /* its thread is about to end */
    atomic_llong heard_ns;     /* last fresh statistics */
    atomic_bool throttled;     /* a quota of ours is in force */

    pthread_mutex_t lock; /* guards the rest */
    struct throttle *throttle;
    struct backoff owed; /* a restore that failed: the keeper tries it again */
    enum reason owed_reason;
    struct {
        int64_t sync_ns; /* newest sync not yet looked at; 0: none */
        bool switchover;
        bool post_copy;
        bool post_copy_failed;
        bool resumed;
        bool stopped;
        bool migrated;
        bool completed;
        struct hv_result result;
        bool stop;    /* leave the migration to itself */
        bool restore; /* the keeper has to restore the quota now */
        bool release; /* an administrator wants it released for good */
        uid_t released_by;
    } mark;
    struct migration view;
    struct approvals approvals;
    struct host_member host; /* guarded by the host's own lock */
};

/*
 * Nobody watches until job_start(). sync_ns: the sync that gave the migration away, or 0. The
 * caller has the first reference.
 */
struct watcher *watcher_new(const struct watchers_env *env, const struct hv_domain *domain,
                            int64_t sync_ns);

void watcher_ref(struct watcher *w);
void watcher_unref(struct watcher *w);
void watcher_stop(struct watcher *w);
bool watcher_has_ended(struct watcher *w);
void watcher_mark(struct watcher *w, const struct hv_event *event);

/* Has the domain, which is still here, synced since the last look? After the end of a migration
   that is the next one. */
bool watcher_is_succeeded(struct watcher *w);

/* The newest sync not yet looked at, which it is now; 0: none. */
int64_t watcher_take_sync(struct watcher *w);

/* What holds for this migration only, over the VM's policy. */
void watcher_overlay(struct watcher *w, struct policy *policy);

void watcher_view(struct watcher *w, struct migration *ret);

/* Is that what it asks? And the answer, as watchers_answer(). */
bool watcher_asks(struct watcher *w, unsigned id);
int watcher_answer(struct watcher *w, unsigned id, bool yes, int64_t ceiling_ns, const char *who);

/* As watchers_release(). */
int watcher_release(struct watcher *w, uid_t uid);

bool watcher_is_throttled(struct watcher *w);
bool watcher_wants_restore(struct watcher *w, int64_t now_ns);

/* Restores the quota as marked, from the keeper's thread. */
void watcher_restore_marked(struct watcher *w);

/* A quota has been set: nothing is owed before it is. */
void watcher_set_throttled(struct watcher *w);

/*
 * Gives the guest its CPU back, and records it, as wanted `by` somebody or "". The same code for
 * every occasion and from every thread. After a final one there will be no throttle any more. When
 * it fails the keeper tries again, at growing intervals; before that is due, only a final one is
 * tried.
 */
void watcher_restore(struct watcher *w, enum reason reason, bool final, const char *by);

/* The record of what was decided, by whom allowed ("" if nobody had to), and how it went. */
void watcher_record(struct watcher *w, enum action_kind action, enum event_result result,
                    enum reason reason, const char *approved_by, const char *detail);

/* Passes on the result of a call to the hypervisor, and counts it. */
int watcher_counted(struct watcher *w, enum metrics_call call, int64_t started_ns, int r);

void watcher_withdraw_question(struct watcher *w);

/* Reads one of w->mark. */
bool watcher_marked(struct watcher *w, const bool *mark);

#endif
