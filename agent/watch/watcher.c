/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/watcher.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/alloc.h"
#include "common/units.h"

/* ---- what other threads may do ---- */

void watcher_ref(struct watcher *w)
{
    atomic_fetch_add(&w->refs, 1);
}

void watcher_unref(struct watcher *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    if (w->throttle)
        throttle_free(w->throttle);
    wakeup_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

bool watcher_has_ended(struct watcher *w)
{
    return atomic_load(&w->ended);
}

bool watcher_is_throttled(struct watcher *w)
{
    return atomic_load(&w->throttled);
}

void watcher_stop(struct watcher *w)
{
    pthread_mutex_lock(&w->lock);
    w->mark.stop = w->mark.restore = true;
    pthread_mutex_unlock(&w->lock);
    wakeup_signal(&w->wake);
}

void watcher_mark(struct watcher *w, const struct hv_event *event)
{
    pthread_mutex_lock(&w->lock);
    switch (event->kind) {
    case HV_SYNC:
        w->mark.sync_ns = event->now_ns;
        break;
    case HV_SWITCHOVER:
        w->mark.switchover = w->mark.restore = true;
        break;
    case HV_POST_COPY:
        w->mark.post_copy = w->mark.restore = true;
        w->mark.post_copy_failed = false;
        break;
    case HV_POST_COPY_FAILED:
        w->mark.post_copy_failed = true;
        break;
    case HV_RESUMED:
        w->mark.resumed = true;
        break;
    case HV_STOPPED:
        w->mark.stopped = true;
        w->mark.migrated = event->migrated;
        break;
    case HV_COMPLETED:
        w->mark.completed = true;
        w->mark.result = event->result;
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&w->lock);
    wakeup_signal(&w->wake);
}

bool watcher_is_succeeded(struct watcher *w)
{
    bool is;

    pthread_mutex_lock(&w->lock);
    is = w->mark.sync_ns != 0 && !w->mark.stopped;
    pthread_mutex_unlock(&w->lock);
    return is;
}

int64_t watcher_take_sync(struct watcher *w)
{
    int64_t sync_ns;

    pthread_mutex_lock(&w->lock);
    sync_ns = w->mark.sync_ns;
    w->mark.sync_ns = 0;
    pthread_mutex_unlock(&w->lock);
    return sync_ns;
}

void watcher_overlay(struct watcher *w, struct policy *policy)
{
    pthread_mutex_lock(&w->lock);
    approvals_overlay(&w->approvals, policy);
    pthread_mutex_unlock(&w->lock);
    host_overlay(w->env->host, &w->host, policy);
}

void watcher_view(struct watcher *w, struct migration *ret)
{
    pthread_mutex_lock(&w->lock);
    *ret = w->view;
    pthread_mutex_unlock(&w->lock);
}

int watcher_release(struct watcher *w, uid_t uid)
{
    if (!atomic_load(&w->was_migration))
        return -ESRCH;
    if (!watcher_is_throttled(w))
        return -EALREADY;
    pthread_mutex_lock(&w->lock);
    w->mark.release = true;
    w->owed.due_ns = 0;
    w->mark.released_by = uid;
    pthread_mutex_unlock(&w->lock);
    wakeup_signal(&w->wake);
    return 0;
}

bool watcher_wants_restore(struct watcher *w, int64_t now_ns)
{
    bool restore;
    bool wants;

    pthread_mutex_lock(&w->lock);
    restore = w->mark.restore && w->throttle;
    if (w->owed.failures > 0)
        wants = w->owed.due_ns <= now_ns;
    else
        wants = now_ns - atomic_load(&w->heard_ns) > WATCHER_STALE_S * NS_PER_S;
    pthread_mutex_unlock(&w->lock);
    return restore || (wants && atomic_load(&w->throttled));
}

bool watcher_marked(struct watcher *w, const bool *mark)
{
    bool is;

    pthread_mutex_lock(&w->lock);
    is = *mark;
    pthread_mutex_unlock(&w->lock);
    return is;
}

int watcher_counted(struct watcher *w, enum metrics_call call, int64_t started_ns, int r)
{
    metrics_observe(w->env->metrics, METRIC_LIBVIRT_CALL_DURATION, METRICS_AT(call),
                    (double)(monotonic_ns() - started_ns) / 1e9);
    if (r < 0)
        metrics_count(w->env->metrics, METRIC_LIBVIRT_CALL_FAILURES, METRICS_AT(call), 1);
    return r;
}

/* ---- events: the record of what was decided ---- */

void watcher_record(struct watcher *w, enum action_kind action, enum event_result result,
                    enum reason reason, const char *approved_by, const char *detail)
{
    static const enum metrics_action_result metric[] = {
        [EVENT_APPLIED] = METRICS_ACTION_APPLIED,   [EVENT_FAILED] = METRICS_ACTION_FAILED,
        [EVENT_PROPOSED] = METRICS_ACTION_PROPOSED, [EVENT_APPROVED] = METRICS_ACTION_APPROVED,
        [EVENT_DENIED] = METRICS_ACTION_DENIED,
    };
    struct migration_event event = {.action = action, .result = result, .reason = reason};

    snprintf(event.detail, sizeof(event.detail), "%s", detail);
    snprintf(event.approved_by, sizeof(event.approved_by), "%s", approved_by);
    pthread_mutex_lock(&w->lock);
    clock_gettime(CLOCK_REALTIME, &event.wall); /* under the lock: events are in order of time */
    event.evidence = w->view.evidence;
    event.elapsed_s = (double)w->view.sample.elapsed_ns / 1e9;
    migration_add_event(&w->view, &event);
    pthread_mutex_unlock(&w->lock);

    metrics_count(w->env->metrics, METRIC_ACTIONS,
                  METRICS_AT((unsigned)action, metric[result], (unsigned)reason), 1);
    record_event(w->env->record, &w->domain, &event);
}

/* ---- questions to an administrator ---- */

bool watcher_asks(struct watcher *w, unsigned id)
{
    bool asks;

    pthread_mutex_lock(&w->lock);
    asks = w->view.proposal.id == id;
    pthread_mutex_unlock(&w->lock);
    return asks;
}

int watcher_answer(struct watcher *w, unsigned id, bool yes, int64_t ceiling_ns, const char *who)
{
    struct proposal p;
    char source[96];
    char detail[288];
    int r;

    snprintf(source, sizeof(source), yes ? "%s, when asked" : "denied by %s", who);
    pthread_mutex_lock(&w->lock);
    r = approvals_answer(&w->approvals, id, yes, ceiling_ns, source, &p);
    w->view.proposal = approvals_pending(&w->approvals);
    pthread_mutex_unlock(&w->lock);
    if (r < 0)
        return r;
    snprintf(detail, sizeof(detail), "%s%s%s", yes ? "" : source, yes ? "" : ": ", p.text);
    watcher_record(w, p.action.kind, yes ? EVENT_APPROVED : EVENT_DENIED,
                   yes ? p.action.reason : REASON_DENIED, yes ? who : "", detail);
    wakeup_signal(&w->wake);
    return 0;
}

void watcher_withdraw_question(struct watcher *w)
{
    pthread_mutex_lock(&w->lock);
    approvals_withdraw(&w->approvals);
    w->view.proposal = approvals_pending(&w->approvals);
    pthread_mutex_unlock(&w->lock);
}

void watcher_set_throttled(struct watcher *w)
{
    pthread_mutex_lock(&w->lock);
    w->owed = (struct backoff){0};
    pthread_mutex_unlock(&w->lock);
    atomic_store(&w->throttled, true);
}

/* A failure is told when it is the first, or another one; it is counted each time. */
static void owe(struct watcher *w, int error, enum reason reason, const char *by)
{
    char detail[160];
    bool news;

    pthread_mutex_lock(&w->lock);
    news = backoff_failed(&w->owed, error, monotonic_ns());
    w->owed_reason = reason;
    pthread_mutex_unlock(&w->lock);
    atomic_store(&w->throttled, true);
    metrics_count(w->env->metrics, METRIC_THROTTLE_RESTORE_FAILURES, METRICS_SINGLE, 1);
    if (!news)
        return;
    snprintf(detail, sizeof(detail), "vCPU quotas could not be restored: %s",
             throttle_error(error));
    watcher_record(w, ACTION_RELEASE, EVENT_FAILED, reason, by, detail);
}

/* Gives the guest its CPU back; the same code for every occasion and from every thread. */
void watcher_restore(struct watcher *w, enum reason reason, bool final, const char *by)
{
    struct throttle_result result = {0};
    struct throttle *throttle;
    struct backoff owed;
    char detail[160];
    bool was;
    int r;

    pthread_mutex_lock(&w->lock);
    throttle = w->throttle;
    owed = w->owed;
    pthread_mutex_unlock(&w->lock);
    if (!throttle || (!final && owed.failures > 0 && owed.due_ns > monotonic_ns()))
        return;
    was = atomic_exchange(&w->throttled, false);
    r = throttle_restore(throttle, final, &result);
    if (result.drifted > 0)
        metrics_count(w->env->metrics, METRIC_THROTTLE_DRIFT, METRICS_SINGLE, result.drifted);
    if (r < 0) {
        owe(w, r, reason, by);
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->owed = (struct backoff){0};
    if (was)
        w->view.sample.cpu_share = 1;
    pthread_mutex_unlock(&w->lock);
    if (!was)
        return;
    host_give_slot(w->env->host, &w->host);
    metrics_count(w->env->metrics, METRIC_THROTTLE_RESTORES, METRICS_SINGLE, 1);
    leftovers_describe(&result, owed.failures, detail, sizeof(detail));
    watcher_record(w, ACTION_RELEASE, EVENT_APPLIED, reason, by, detail);
}

void watcher_restore_marked(struct watcher *w)
{
    enum reason reason = REASON_AGENT_STOP;
    bool final;

    pthread_mutex_lock(&w->lock);
    final = w->mark.restore;
    if (w->mark.switchover)
        reason = REASON_SWITCHOVER;
    else if (w->mark.post_copy)
        reason = REASON_POST_COPY;
    else if (!final)
        reason = w->owed.failures > 0 ? w->owed_reason : REASON_STALE;
    w->mark.restore = false;
    pthread_mutex_unlock(&w->lock);
    watcher_restore(w, reason, final, "");
}

struct watcher *watcher_new(const struct watchers_env *env, const struct hv_domain *domain,
                            int64_t sync_ns)
{
    struct watcher *w = alloc_need(calloc(1, sizeof(*w)));

    w->env = env;
    w->domain = *domain;
    w->refs = 1;
    w->mark.sync_ns = sync_ns;
    w->view = (struct migration){
        .domain = *domain,
        .active = true,
        .duration_s = NAN,
        .downtime_s = NAN,
        .sample.cpu_share = 1,
        .estimate.speed = 1,
        .decision = {.course.downtime_s = NAN, .earliest_s = INFINITY, .latest_s = INFINITY},
    };
    atomic_store(&w->heard_ns, monotonic_ns());
    pthread_mutex_init(&w->lock, NULL);
    wakeup_init(&w->wake);
    return w;
}
