/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watcher.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/log.h"
#include "agent/phase.h"
#include "policy/cleanup.h"
#include "policy/units.h"

/* The downtime limit is read again this often, to notice other writers. */
#define LIMIT_CHECK_NS (5 * NS_PER_S)
/* So is whether our quotas are still in place. */
#define DRIFT_CHECK_NS NS_PER_S
/* While the guest is paused nothing is asked; after this long, whether it is still there. */
#define PAUSED_LOOK_NS (2 * NS_PER_S)
/* The completed statistics come with an event of their own, about when the domain stops. */
#define RESULT_WAIT_NS NS_PER_S

/* What one watcher's thread knows beside struct watcher. */
struct job {
    struct watcher *w;
    struct hv_watch *hv;
    struct controller controller;
    struct policy policy;
    bool paused;  /* by an administrator */
    double share; /* quota of ours in force; 1: none */
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

/* ---- what other threads may do ---- */

void watcher_hold(struct watcher *w)
{
    atomic_fetch_add(&w->refs, 1);
}

void watcher_release(struct watcher *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    if (w->throttle)
        w->env->throttle->free(w->throttle);
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
    w->mark.lift = true;
    pthread_mutex_unlock(&w->lock);
    wakeup_end(&w->wake);
}

void watcher_mark(struct watcher *w, const struct hv_event *event)
{
    pthread_mutex_lock(&w->lock);
    switch (event->kind) {
    case HV_SYNC:
        w->mark.sync_ns = event->now_ns;
        break;
    case HV_SWITCHOVER:
        w->mark.switchover = w->mark.lift = true;
        break;
    case HV_POST_COPY:
        w->mark.post_copy = w->mark.lift = true;
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

int watcher_unthrottle(struct watcher *w, uid_t uid)
{
    if (!atomic_load(&w->was_migration))
        return -ESRCH;
    if (!watcher_is_throttled(w))
        return -EALREADY;
    pthread_mutex_lock(&w->lock);
    w->mark.release = true;
    w->mark.released_by = uid;
    pthread_mutex_unlock(&w->lock);
    wakeup_signal(&w->wake);
    return 0;
}

bool watcher_wants_lift(struct watcher *w, int64_t now_ns)
{
    bool lift;

    pthread_mutex_lock(&w->lock);
    lift = w->mark.lift && w->throttle;
    pthread_mutex_unlock(&w->lock);
    return lift || (atomic_load(&w->throttled) &&
                    now_ns - atomic_load(&w->heard_ns) > WATCHER_STALE_S * NS_PER_S);
}

/* ---- events: the record of what was decided ---- */

static void record(struct watcher *w, enum action_kind action, enum event_result result,
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

int watcher_answer(struct watcher *w, unsigned id, bool yes, uid_t uid)
{
    struct proposal p;
    char who[32];
    char source[64];
    char detail[256];
    int r;

    snprintf(who, sizeof(who), "uid %u", uid);
    snprintf(source, sizeof(source), yes ? "%s, when asked" : "denied by %s", who);
    pthread_mutex_lock(&w->lock);
    r = approvals_answer(&w->approvals, id, yes, source, &p);
    w->view.proposal = approvals_pending(&w->approvals);
    pthread_mutex_unlock(&w->lock);
    if (r < 0)
        return r;
    snprintf(detail, sizeof(detail), "%s%s%s", yes ? "" : source, yes ? "" : ": ", p.text);
    record(w, p.action.kind, yes ? EVENT_APPROVED : EVENT_DENIED,
           yes ? p.action.reason : REASON_DENIED, yes ? who : "", detail);
    wakeup_signal(&w->wake);
    return 0;
}

static void withdraw_question(struct watcher *w)
{
    pthread_mutex_lock(&w->lock);
    approvals_withdraw(&w->approvals);
    w->view.proposal = approvals_pending(&w->approvals);
    pthread_mutex_unlock(&w->lock);
}

/* Gives the guest its CPU back; the same code for every occasion and from every thread. */
static void lift_for(struct watcher *w, enum reason reason, bool final, const char *by)
{
    struct throttle_result result = {0};
    bool was = atomic_exchange(&w->throttled, false);
    struct throttle *throttle;
    char detail[160];
    int r;

    pthread_mutex_lock(&w->lock);
    throttle = w->throttle;
    pthread_mutex_unlock(&w->lock);
    if (!throttle)
        return;
    r = w->env->throttle->restore(throttle, final, &result);
    if (result.drifted > 0)
        metrics_count(w->env->metrics, METRIC_THROTTLE_DRIFT, METRICS_SINGLE, result.drifted);
    if (r < 0) {
        atomic_store(&w->throttled, was);
        metrics_count(w->env->metrics, METRIC_THROTTLE_RESTORE_FAILURES, METRICS_SINGLE, 1);
        snprintf(detail, sizeof(detail), "vCPU quotas could not be restored: %s", strerror(-r));
        record(w, ACTION_RELEASE, EVENT_FAILED, reason, by, detail);
        return;
    }
    if (!was)
        return;
    host_give_slot(w->env->host, &w->host);
    pthread_mutex_lock(&w->lock);
    w->view.sample.cpu_share = 1;
    pthread_mutex_unlock(&w->lock);
    metrics_count(w->env->metrics, METRIC_THROTTLE_RESTORES, METRICS_SINGLE, 1);
    snprintf(detail, sizeof(detail),
             "%zu vCPU quotas restored, %zu gone, %zu left to another writer", result.restored,
             result.gone, result.drifted);
    record(w, ACTION_RELEASE, EVENT_APPLIED, reason, by, detail);
}

/* When nobody in particular wants it. */
static void lift(struct watcher *w, enum reason reason, bool final)
{
    lift_for(w, reason, final, "");
}

void watcher_lift(struct watcher *w)
{
    enum reason reason = REASON_AGENT_STOP;
    bool final;

    pthread_mutex_lock(&w->lock);
    final = w->mark.lift;
    if (w->mark.switchover)
        reason = REASON_SWITCHOVER;
    else if (w->mark.post_copy)
        reason = REASON_POST_COPY;
    else if (!final)
        reason = REASON_STALE;
    w->mark.lift = false;
    pthread_mutex_unlock(&w->lock);
    lift(w, reason, final);
}

/* ---- calls to the hypervisor, counted ---- */

static int counted(struct job *j, enum metrics_call call, int64_t started_ns, int r)
{
    metrics_observe(j->w->env->metrics, METRIC_LIBVIRT_CALL_DURATION, METRICS_AT(call),
                    (double)(monotonic_ns() - started_ns) / 1e9);
    if (r < 0)
        metrics_count(j->w->env->metrics, METRIC_LIBVIRT_CALL_FAILURES, METRICS_AT(call), 1);
    return r;
}

static int read_job(struct job *j, struct hv_job *ret)
{
    int64_t started = monotonic_ns();

    return counted(j, METRICS_CALL_JOB_STATS, started, hv_watch_job(j->hv, ret));
}

/* ---- taking a sample ---- */

static bool marked(struct watcher *w, const bool *mark)
{
    bool is;

    pthread_mutex_lock(&w->lock);
    is = *mark;
    pthread_mutex_unlock(&w->lock);
    return is;
}

static void latch(struct job *j, enum action_kind action, enum reason reason)
{
    controller_latch(&j->controller, action, reason);
    j->latched[action] = reason;
}

static void open_throttle(struct job *j)
{
    struct throttle *throttle = NULL;
    const char *why;
    int r = j->w->env->throttle->open(&j->w->env->place, &j->w->domain, &throttle);

    if (r == 0) {
        pthread_mutex_lock(&j->w->lock);
        j->w->throttle = throttle;
        pthread_mutex_unlock(&j->w->lock);
        return;
    }
    latch(j, ACTION_THROTTLE, REASON_NO_CGROUP);
    if (r == -EOPNOTSUPP)
        why = "no cgroup cpu controller, or its vCPUs are not in cgroups of their own";
    else if (r == -EACCES || r == -EPERM || r == -EROFS)
        why = "no permission on its vCPU cgroups";
    else
        why = strerror(-r);
    log_warning("%s: cannot be throttled: %s", j->w->domain.name, why);
}

static void read_cpu_time(struct job *j, struct sample *s)
{
    size_t n = j->w->throttle ? j->w->env->throttle->vcpu_count(j->w->throttle) : 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t ns;

        if (j->w->env->throttle->usage_ns(j->w->throttle, i, &ns) < 0)
            return;
        s->vcpu_time_ns[i % SAMPLE_VCPUS_MAX] += (int64_t)ns;
    }
    s->vcpus = n < SAMPLE_VCPUS_MAX ? (unsigned)n : SAMPLE_VCPUS_MAX;
}

static void read_limit(struct job *j, int64_t now)
{
    int64_t before_ns = j->downtime_limit_ns;

    if (j->limit_read_ns != 0 && now - j->limit_read_ns < LIMIT_CHECK_NS)
        return;
    if (hv_watch_get_downtime(j->hv, &j->downtime_limit_ns) == 0) {
        if (j->limit_known && j->downtime_limit_ns != before_ns)
            log_info("%s: somebody else changed the downtime limit from %" PRId64 " ms to %" PRId64
                     " ms",
                     j->w->domain.name, before_ns / NS_PER_MS, j->downtime_limit_ns / NS_PER_MS);
        j->limit_read_ns = now;
        j->limit_known = true;
    }
    /* Not every hypervisor has one. */
    (void)hv_watch_get_speed(j->hv, &j->speed_limit_bps);
    /* Unknown is fine: not every domain has disks. */
    (void)hv_watch_flush(j->hv, &j->flush_ns);
}

static void take_sample(struct job *j, const struct hv_job *hv, int64_t sync_ns, struct sample *s)
{
    if (!atomic_load(&j->w->throttled))
        j->share = 1; /* the keeper may have lifted it */
    *s = (struct sample){
        .now_ns = monotonic_ns(),
        .sync_ns = sync_ns,
        .at_sync = sync_ns != 0,
        .elapsed_ns = hv->elapsed_ns,
        .iteration = hv->iteration,
        .total_bytes = hv->memory_total_bytes,
        .processed_bytes = hv->memory_processed_bytes,
        .remaining_bytes = hv->memory_remaining_bytes,
        .disk_total_bytes = hv->disk_total_bytes,
        .disk_remaining_bytes = hv->disk_remaining_bytes,
        .downtime_limit_ns = j->downtime_limit_ns,
        .speed_limit_bps = j->speed_limit_bps,
        .compression_cache_bytes = hv->compression_cache_bytes,
        .flush_ns = j->flush_ns,
        .expected_downtime_ns = hv->expected_downtime_ns,
        .auto_converge_percent = hv->auto_converge_percent,
        .post_copy = hv->post_copy || marked(j->w, &j->w->mark.post_copy),
        .cpu_share = j->share,
    };
    read_cpu_time(j, s);
}

static void check_drift(struct job *j, int64_t now)
{
    size_t drifted = 0;

    if (j->share >= 1 || now - j->drift_checked_ns < DRIFT_CHECK_NS)
        return;
    j->drift_checked_ns = now;
    if (j->w->env->throttle->check(j->w->throttle, &drifted) == 0 && drifted > 0) {
        log_warning("%s: somebody else changed %zu of its vCPU quotas; not fighting over them",
                    j->w->domain.name, drifted);
        latch(j, ACTION_THROTTLE, REASON_OTHER_WRITER);
    }
}

/* ---- doing what was decided ---- */

static int apply_downtime(struct job *j, const struct action *a, char *detail, size_t size)
{
    int64_t before = j->downtime_limit_ns;
    int64_t started = monotonic_ns();
    int r = counted(j, METRICS_CALL_SET_DOWNTIME, started,
                    hv_watch_set_downtime(j->hv, a->downtime_ns));

    if (r == 0) {
        j->downtime_limit_ns = a->downtime_ns;
        j->limit_read_ns = 0; /* read it back at the next sample */
        snprintf(detail, size, "downtime limit %" PRId64 " ms -> %" PRId64 " ms",
                 before / NS_PER_MS, a->downtime_ns / NS_PER_MS);
    } else {
        snprintf(detail, size, "downtime limit not set: %s", hypervisor_error());
    }
    return r;
}

static int apply_bandwidth(struct job *j, const struct action *a, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r =
        counted(j, METRICS_CALL_SET_SPEED, started, hv_watch_set_speed(j->hv, a->speed_limit_bps));
    char text[UNITS_TEXT_MAX];

    if (r < 0) {
        latch(j, ACTION_BANDWIDTH, REASON_ACTION_FAILED);
        snprintf(detail, size, "speed limit not set: %s", hypervisor_error());
        return r;
    }
    if (j->speed_found_bps < 0)
        j->speed_found_bps = j->speed_limit_bps;
    j->speed_limit_bps = a->speed_limit_bps;
    j->limit_read_ns = 0;
    snprintf(detail, size, "speed limit %s",
             a->speed_limit_bps > 0 ? units_format(UNIT_RATE, a->speed_limit_bps, text) : "lifted");
    return 0;
}

static int apply_cache(struct job *j, const struct action *a, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = counted(j, METRICS_CALL_SET_COMPRESSION_CACHE, started,
                    hv_watch_set_compression_cache(j->hv, a->cache_bytes));

    if (r < 0) {
        latch(j, ACTION_COMPRESSION_CACHE, REASON_ACTION_FAILED);
        snprintf(detail, size, "compression cache not grown: %s", hypervisor_error());
        return r;
    }
    snprintf(detail, size, "compression cache %" PRId64 " MiB", a->cache_bytes / MIB_BYTES);
    return 0;
}

static int apply_post_copy(struct job *j, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = counted(j, METRICS_CALL_POST_COPY, started, hv_watch_post_copy(j->hv));

    if (r < 0) {
        latch(j, ACTION_POST_COPY,
              r == -EINVAL ? REASON_POST_COPY_UNAVAILABLE : REASON_ACTION_FAILED);
        snprintf(detail, size, "no switch to post-copy: %s", hypervisor_error());
        return r;
    }
    snprintf(detail, size, "switch to post-copy requested");
    return 0;
}

/* The quota is of no use to a guest that stands still, and in the way when it runs on. */
static int apply_suspend(struct job *j, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = counted(j, METRICS_CALL_SUSPEND, started, hv_watch_suspend(j->hv));

    if (r < 0) {
        latch(j, ACTION_SUSPEND, REASON_ACTION_FAILED);
        snprintf(detail, size, "guest not paused: %s", hypervisor_error());
        return r;
    }
    lift(j->w, REASON_SUSPENDED, false);
    j->share = 1;
    snprintf(detail, size, "guest paused until the rest of its memory is sent");
    return 0;
}

static int apply_throttle(struct job *j, const struct action *a, int64_t decided_ns, char *detail,
                          size_t size)
{
    int r = j->w->env->throttle->set(j->w->throttle, a->share, a->period_us);

    if (r == 0) {
        j->share = a->share;
        j->drift_checked_ns = decided_ns;
        atomic_store(&j->w->throttled, true);
        snprintf(detail, size, "each vCPU left %.0f%% of what it could use, written in %.1f ms",
                 a->share * 100, (double)(monotonic_ns() - decided_ns) / 1e6);
        return 0;
    }
    if (!atomic_load(&j->w->throttled))
        host_give_slot(j->w->env->host, &j->w->host);
    latch(j, ACTION_THROTTLE, r == -EBUSY ? REASON_OTHER_WRITER : REASON_ACTION_FAILED);
    snprintf(detail, size, "vCPU quota not set: %s", strerror(-r));
    return r;
}

static int apply_cancel(struct job *j, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r;

    lift(j->w, REASON_ENDED, false);
    r = counted(j, METRICS_CALL_ABORT, started, hv_watch_cancel(j->hv));
    j->cancelling |= r == 0;
    snprintf(detail, size, "%s", r == 0 ? "cancel requested" : hypervisor_error());
    return r;
}

/* What the controller takes for a change of the policy may be a pause. */
static void release(struct job *j, enum reason reason)
{
    char by[POLICY_SOURCE_MAX] = "";

    if (reason == REASON_RELEASED) {
        pthread_mutex_lock(&j->w->lock);
        snprintf(by, sizeof(by), "uid %u", j->w->mark.released_by);
        pthread_mutex_unlock(&j->w->lock);
    } else if (reason == REASON_POLICY_CHANGED && j->paused) {
        reason = REASON_PAUSED;
        if (!paused_is(j->w->env->paused, NULL, by))
            paused_is(j->w->env->paused, j->w->domain.uuid, by);
    }
    lift_for(j->w, reason, false, by);
    j->share = 1;
}

static int apply(struct job *j, const struct action *a, int64_t decided_ns)
{
    char detail[160] = "";
    int r = 0;

    /* Another guest may have got the last slot of the host meanwhile: the next look will know. */
    if (a->kind == ACTION_THROTTLE && !host_take_slot(j->w->env->host, &j->w->host))
        return -EAGAIN;
    switch (a->kind) {
    case ACTION_BANDWIDTH:
        r = apply_bandwidth(j, a, detail, sizeof(detail));
        break;
    case ACTION_COMPRESSION_CACHE:
        r = apply_cache(j, a, detail, sizeof(detail));
        break;
    case ACTION_POST_COPY:
        r = apply_post_copy(j, detail, sizeof(detail));
        break;
    case ACTION_SUSPEND:
        r = apply_suspend(j, detail, sizeof(detail));
        break;
    case ACTION_DOWNTIME:
        r = apply_downtime(j, a, detail, sizeof(detail));
        break;
    case ACTION_THROTTLE:
        r = apply_throttle(j, a, decided_ns, detail, sizeof(detail));
        break;
    case ACTION_CANCEL:
        r = apply_cancel(j, detail, sizeof(detail));
        break;
    default:
        release(j, a->reason);
        return 0;
    }
    record(j->w, a->kind, r == 0 ? EVENT_APPLIED : EVENT_FAILED, a->reason,
           j->policy.source[action_allowed_by(a->kind)], detail);
    return r;
}

/* What one action would have done, in words. */
static enum action_kind action_of(enum alternative_kind kind, const struct alternative *a)
{
    static const enum action_kind actions[ALTERNATIVES] = {
        [ALT_BANDWIDTH] = ACTION_BANDWIDTH,
        [ALT_COMPRESSION_CACHE] = ACTION_COMPRESSION_CACHE,
        [ALT_POST_COPY] = ACTION_POST_COPY,
        [ALT_SUSPEND] = ACTION_SUSPEND,
    };

    if (kind == ALT_WAIT || kind == ALT_DOWNTIME || kind == ALT_THROTTLE || kind == ALT_BOTH)
        return a->share < 1 ? ACTION_THROTTLE : ACTION_DOWNTIME;
    return actions[kind];
}

/* Observe mode, or nothing approved: say once what would be done. */
static void propose(struct job *j, const struct decision *d)
{
    char text[sizeof(j->proposed)] = "";
    enum alternative_kind kind = ALT_BANDWIDTH;
    enum action_kind action = ACTION_CANCEL;

    if (j->proposed[0])
        return;
    if (d->n_actions > 0 && !d->apply && d->action[0].kind == ACTION_CANCEL) {
        snprintf(text, sizeof(text), "%s", action_name(action));
    } else if (d->n_actions > 0 && !d->apply) {
        kind = d->chosen;
    } else if (d->reason == REASON_NOT_APPROVED) {
        while (kind < ALTERNATIVES &&
               !(d->alternative[kind].works && d->alternative[kind].forecast.ends))
            kind++;
    } else {
        return;
    }
    if (!text[0] && kind < ALTERNATIVES) {
        action = action_of(kind, &d->alternative[kind]);
        migration_describe(kind, &d->alternative[kind], text, sizeof(text));
    }
    if (!text[0])
        return;
    snprintf(j->proposed, sizeof(j->proposed), "%s", text);
    record(j->w, action, EVENT_PROPOSED, d->reason, "", text);
}

/*
 * To wait for a slot of the host is not hopeless, so nothing is cancelled for it before the
 * deadline; unless something harsher comes after the cancel, which that would give way to.
 */
static void await_slot(struct job *j)
{
    struct policy *p = &j->policy;
    const struct sample *last = &j->controller.estimator.last;
    int64_t deadline_ns =
        policy_deadline_ns(&p->values, last->total_bytes + last->disk_total_bytes);

    if (p->values.v[POLICY_ALLOW_CANCEL] == ALLOW_NO ||
        policy_rung_at(p->values.v[POLICY_ORDER], RUNGS - 1) != RUNG_CANCEL ||
        (deadline_ns != POLICY_NONE && last->elapsed_ns >= deadline_ns))
        return;
    p->values.v[POLICY_ALLOW_CANCEL] = ALLOW_NO;
    memcpy(p->source[POLICY_ALLOW_CANCEL], p->source[POLICY_ALLOW_THROTTLE], POLICY_SOURCE_MAX);
}

/* What this migration needs of the host's bandwidth. */
static void tell_need(struct job *j, const struct decision *d)
{
    const struct alternative *faster = &d->alternative[ALT_BANDWIDTH];
    double needs = j->controller.estimator.now.transfer_bps;

    if (j->speed_found_bps >= 0)
        needs = fmax(needs, (double)j->speed_limit_bps);
    if (d->alternatives_known && !d->alternative[ALT_WAIT].works && faster->works &&
        (faster->approved || faster->ask))
        needs = fmax(needs, (double)faster->speed_limit_bps);
    host_need(j->w->env->host, &j->w->host, needs);
}

/* The policy of the moment, with what was answered about this migration. */
static void resolve_policy(struct job *j, int64_t elapsed_ns)
{
    struct watcher *w = j->w;
    struct proposal p;
    bool expired;

    policies_resolve(w->env->policies, w->domain.name, w->domain.uuid, &j->policy);
    pthread_mutex_lock(&w->lock);
    if (elapsed_ns < w->view.sample.elapsed_ns)
        w->approvals = (struct approvals){0}; /* another migration */
    expired = approvals_expire(&w->approvals, monotonic_ns(), &p);
    approvals_overlay(&w->approvals, &j->policy);
    pthread_mutex_unlock(&w->lock);
    if (atomic_load(&w->throttled))
        host_take_slot(w->env->host, &w->host);
    if (host_overlay(w->env->host, &w->host, &j->policy))
        await_slot(j);
    j->paused = paused_overlay(w->env->paused, w->domain.uuid, &j->policy);
    if (expired)
        record(w, p.action.kind, EVENT_DENIED, REASON_ASK_TIMEOUT, "", p.text);
}

/* What the policy wants to be asked about is a question until it is answered, see approval.h. */
static void ask(struct job *j, const struct decision *d, int64_t now)
{
    struct watcher *w = j->w;
    struct proposal p;
    bool is_new;

    pthread_mutex_lock(&w->lock);
    is_new = approvals_ask(&w->approvals, &j->policy.values, d, &w->view.evidence, now);
    p = w->view.proposal = approvals_pending(&w->approvals);
    pthread_mutex_unlock(&w->lock);
    if (is_new)
        record(w, p.action.kind, EVENT_PROPOSED, p.action.reason, "", p.text);
}

/* ---- the trace ---- */

/* What the controller was told before this sample: policy, latches. */
static void trace_before(struct job *j, const struct sample *s)
{
    const struct watchers_env *env = j->w->env;

    if (!j->trace)
        j->trace = trace_start(env->traces, &j->w->domain, s->now_ns - s->elapsed_ns, env->poll_ns,
                               &j->policy);
    trace_policy(j->trace, &j->policy);
    for (unsigned i = 0; i < ACTIONS; i++) {
        if (j->latched[i] != REASON_NONE)
            trace_latch(j->trace, (enum action_kind)i, j->latched[i]);
        j->latched[i] = REASON_NONE;
    }
}

static void trace_decision(struct job *j, const struct sample *s, const struct decision *d,
                           const enum trace_result result[])
{
    struct trace_step step = {
        .sample = *s,
        .verdict = d->verdict,
        .reason = d->reason,
        .apply = d->apply,
        .n_actions = d->n_actions,
    };

    for (unsigned i = 0; i < d->n_actions; i++) {
        step.action[i] = d->action[i];
        step.result[i] = result[i];
    }
    trace_step(j->trace, &step);
}

static void end_trace(struct job *j, const char *outcome)
{
    struct trace_end end;

    pthread_mutex_lock(&j->w->lock);
    end = (struct trace_end){
        .duration_s = j->w->view.duration_s,
        .downtime_s = j->w->view.downtime_s,
        .work_lost_s = j->w->view.work_lost_s,
    };
    pthread_mutex_unlock(&j->w->lock);
    snprintf(end.outcome, sizeof(end.outcome), "%s", outcome);
    trace_end(STEAL(j->trace), &end);
}

/* ---- one look ---- */

static void publish(struct job *j, const struct sample *s, const struct decision *d)
{
    struct watcher *w = j->w;
    enum verdict before;

    pthread_mutex_lock(&w->lock);
    before = w->view.decision.verdict;
    w->view.enforce = d->apply;
    snprintf(w->view.paused, sizeof(w->view.paused), "%s",
             j->paused ? j->policy.source[POLICY_MODE] : "");
    w->view.sample = *s;
    w->view.sample.cpu_share = j->share;
    w->view.sample.downtime_limit_ns = j->downtime_limit_ns;
    w->view.estimate = j->controller.estimator.now;
    w->view.decision = *d;
    w->view.throttled_s = j->controller.throttled_s;
    w->view.work_lost_s = j->controller.work_lost_s;
    phase_export(w->env->metrics, &w->view);
    pthread_mutex_unlock(&w->lock);
    if (d->verdict != before)
        log_info("%s: %s: %s (pass %" PRIu64 ", %.0f MiB remaining, dirty %.0f MiB/s, transfer "
                 "%.0f MiB/s)",
                 w->domain.name, verdict_name(d->verdict), reason_text(d->reason), s->iteration,
                 (double)s->remaining_bytes / 1048576,
                 j->controller.estimator.now.dirty_bps / 1048576,
                 j->controller.estimator.now.transfer_bps / 1048576);
}

static int64_t take_sync(struct watcher *w)
{
    int64_t sync_ns;

    pthread_mutex_lock(&w->lock);
    sync_ns = w->mark.sync_ns;
    w->mark.sync_ns = 0;
    pthread_mutex_unlock(&w->lock);
    return sync_ns;
}

static void take_release(struct job *j)
{
    bool wanted;

    pthread_mutex_lock(&j->w->lock);
    wanted = j->w->mark.release;
    j->w->mark.release = false;
    pthread_mutex_unlock(&j->w->lock);
    if (wanted)
        latch(j, ACTION_THROTTLE, REASON_RELEASED);
}

/* Nothing can be decided then but by an administrator, who has to know. */
static void note_post_copy_failure(struct job *j, struct decision *d)
{
    bool failed = marked(j->w, &j->w->mark.post_copy_failed);

    if (failed)
        d->reason = REASON_POST_COPY_FAILED;
    if (failed && !j->post_copy_failed)
        record(j->w, ACTION_POST_COPY, EVENT_FAILED, REASON_POST_COPY_FAILED, "",
               "recover it with: virsh migrate --postcopy --postcopy-resume");
    j->post_copy_failed = failed;
}

/* The speed limit outlives the migration, unlike the downtime limit, which libvirt puts back. */
static void restore_speed(struct job *j)
{
    if (j->speed_found_bps >= 0 && hv_watch_set_speed(j->hv, j->speed_found_bps) < 0)
        log_warning("%s: its migration speed limit could not be restored: %s", j->w->domain.name,
                    hypervisor_error());
}

static void set_start(struct watcher *w, int64_t elapsed_ns)
{
    struct timespec now;
    int64_t ns;

    clock_gettime(CLOCK_REALTIME, &now);
    ns = now.tv_sec * NS_PER_S + now.tv_nsec - elapsed_ns;
    pthread_mutex_lock(&w->lock);
    w->view.started = (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
    pthread_mutex_unlock(&w->lock);
}

/*
 * Nothing changes the metadata of a migrating domain, so once will do. It is read here, and not
 * left to the monitor, because nothing may be done before it is known what it forbids.
 */
static int learn_metadata(struct job *j)
{
    char *xml AUTO_FREE = NULL;
    int r = hv_watch_metadata(j->hv, &xml);

    if (r == -ENOTCONN || r == -ENOENT)
        return r;
    policies_learn_metadata(j->w->env->policies, j->w->domain.uuid, r, xml);
    j->knows_metadata = true;
    return 0;
}

/* Returns 0, -ESRCH when the job is over, or the hypervisor's error. */
static int look(struct job *j)
{
    struct hv_job hv;
    struct sample s;
    struct decision d;
    enum trace_result result[TRACE_ACTIONS_MAX] = {TRACE_NOT_APPLIED};
    int64_t sync_ns = take_sync(j->w);
    int64_t decided;
    int r = read_job(j, &hv);

    if (r < 0)
        return r;
    atomic_store(&j->w->heard_ns, monotonic_ns());
    if (!hv.active || !hv.outgoing)
        return -ESRCH;
    /* The switchover began while we asked: what was read is stale, and nothing is to be decided. */
    if (marked(j->w, &j->w->mark.switchover))
        return 0;
    if (!j->knows_metadata && (r = learn_metadata(j)) < 0)
        return r;
    if (!atomic_exchange(&j->w->was_migration, true)) {
        metrics_count(j->w->env->metrics, METRIC_MIGRATIONS_STARTED, METRICS_SINGLE, 1);
        log_info("%s: outgoing migration detected, %" PRId64 " ms after its start",
                 j->w->domain.name, hv.elapsed_ns / NS_PER_MS);
        set_start(j->w, hv.elapsed_ns);
        open_throttle(j);
    }
    read_limit(j, monotonic_ns());
    take_sample(j, &hv, sync_ns, &s);
    check_drift(j, s.now_ns);
    take_release(j);
    resolve_policy(j, s.elapsed_ns);
    trace_before(j, &s);
    controller_step(&j->controller, &j->policy.values, &s, &d);
    decided = monotonic_ns();
    pthread_mutex_lock(&j->w->lock);
    j->w->view.sample.elapsed_ns = s.elapsed_ns; /* events are told by it */
    j->w->view.evidence = migration_evidence(&s, &j->controller.estimator.now, &d);
    pthread_mutex_unlock(&j->w->lock);
    for (unsigned i = 0; i < d.n_actions; i++) {
        if (decision_applies(&d, i))
            result[i] = apply(j, &d.action[i], decided) == 0 ? TRACE_APPLIED : TRACE_FAILED;
    }
    trace_decision(j, &s, &d, result);
    propose(j, &d);
    ask(j, &d, s.now_ns);
    tell_need(j, &d);
    note_post_copy_failure(j, &d);
    publish(j, &s, &d);
    return 0;
}

/* ---- the end ---- */

static void finish(struct job *j, enum outcome outcome)
{
    static const enum metrics_failure failure[] = {
        [OUTCOME_CANCELLED] = METRICS_FAILURE_CANCELLED,
        [OUTCOME_FAILED] = METRICS_FAILURE_FAILED,
        [OUTCOME_LOST] = METRICS_FAILURE_LOST,
    };
    struct watcher *w = j->w;
    struct metrics *m = w->env->metrics;
    struct migration ended;

    withdraw_question(w);
    lift(w, outcome == OUTCOME_LOST ? REASON_LIBVIRT_LOST : REASON_ENDED, true);
    if (!w->was_migration)
        return;
    pthread_mutex_lock(&w->lock);
    w->view.active = false;
    w->view.outcome = outcome;
    w->view.ended_ns = monotonic_ns();
    w->view.decision.verdict = VERDICT_DONE;
    w->view.decision.reason = outcome == OUTCOME_LOST ? REASON_LIBVIRT_LOST : REASON_ENDED;
    w->view.decision.course = (struct forecast){.downtime_s = NAN};
    w->view.sample.cpu_share = 1;
    w->view.duration_s = (double)w->view.sample.elapsed_ns / 1e9;
    if (outcome == OUTCOME_COMPLETED && w->mark.completed) {
        if (w->mark.result.elapsed_ms >= 0)
            w->view.duration_s = (double)w->mark.result.elapsed_ms / 1e3;
        if (w->mark.result.downtime_ms >= 0)
            w->view.downtime_s = (double)w->mark.result.downtime_ms / 1e3;
        w->view.work_lost_s += fmax(w->view.downtime_s, 0);
    }
    if (outcome == OUTCOME_COMPLETED) {
        metrics_count(m, METRIC_MIGRATIONS_COMPLETED, METRICS_SINGLE, 1);
        metrics_observe(m, METRIC_MIGRATION_DURATION, METRICS_SINGLE, w->view.duration_s);
        metrics_observe(m, METRIC_MIGRATION_DOWNTIME, METRICS_SINGLE, w->view.downtime_s);
        metrics_observe(m, METRIC_MIGRATION_WORK_LOST, METRICS_SINGLE, w->view.work_lost_s);
    } else {
        metrics_count(m, METRIC_MIGRATIONS_FAILED, METRICS_AT(failure[outcome]), 1);
    }
    phase_export_last(m, &w->view);
    ended = w->view;
    pthread_mutex_unlock(&w->lock);
    record_migration(w->env->record, &ended, trace_file(j->trace));
    end_trace(j, outcome_name(outcome));
}

static void wait_for_result(struct watcher *w)
{
    int64_t until = monotonic_ns() + RESULT_WAIT_NS;

    while (!marked(w, &w->mark.completed) && monotonic_ns() < until) {
        if (wakeup_wait(&w->wake, until) < 0)
            return;
    }
}

/* A switchover that does not end is a guest that nobody can reach. */
static void watch_switchover(struct job *j, int64_t paused_ns, bool *told)
{
    const int64_t *p = j->policy.values.v;
    struct action cancel = {.kind = ACTION_CANCEL, .reason = REASON_STALLED};

    if (*told || monotonic_ns() - paused_ns < p[POLICY_STALL_TIMEOUT])
        return;
    *told = true;
    pthread_mutex_lock(&j->w->lock);
    j->w->view.decision.verdict = VERDICT_STALLED;
    j->w->view.decision.reason = REASON_STALLED;
    phase_export(j->w->env->metrics, &j->w->view);
    pthread_mutex_unlock(&j->w->lock);
    log_warning("%s: the switchover has not ended within stall_timeout", j->w->domain.name);
    resolve_policy(j, INT64_MAX); /* it may have been paused meanwhile */
    if (p[POLICY_MODE] == MODE_ENFORCE &&
        action_allowance(&j->policy.values, ACTION_CANCEL) == ALLOW_YES)
        apply(j, &cancel, monotonic_ns());
}

/*
 * The guest is paused for the switchover. Every question now would lengthen the downtime, so events
 * tell how it ends; only a guest paused for long is asked for its state, which takes no job.
 * Returns true when the migration is over.
 */
static bool wait_paused(struct job *j)
{
    struct watcher *w = j->w;
    int64_t paused_ns = monotonic_ns();
    bool told = false;
    bool active = true;
    bool running = false;

    withdraw_question(w);
    pthread_mutex_lock(&w->lock);
    w->view.decision.verdict = VERDICT_SWITCHOVER;
    w->view.decision.reason = REASON_SWITCHOVER;
    phase_export(w->env->metrics, &w->view);
    pthread_mutex_unlock(&w->lock);
    log_info("%s: switchover", w->domain.name);

    while (wakeup_wait(&w->wake, monotonic_ns() + PAUSED_LOOK_NS) == 0) {
        atomic_store(&w->heard_ns, monotonic_ns());
        if (marked(w, &w->mark.stopped) || marked(w, &w->mark.completed))
            return true;
        if (marked(w, &w->mark.resumed) || marked(w, &w->mark.post_copy))
            break;
        watch_switchover(j, paused_ns, &told);
        if (hv_watch_state(j->hv, &active, &running) < 0 || !active || running)
            break;
    }
    pthread_mutex_lock(&w->lock);
    w->mark.switchover = w->mark.resumed = false;
    pthread_mutex_unlock(&w->lock);
    return !active;
}

static enum outcome outcome_of(struct job *j, int error)
{
    struct watcher *w = j->w;

    if (marked(w, &w->mark.migrated) || marked(w, &w->mark.completed))
        return OUTCOME_COMPLETED;
    if (error == -ENOTCONN)
        return OUTCOME_LOST;
    return j->cancelling ? OUTCOME_CANCELLED : OUTCOME_FAILED;
}

static void watch(struct job *j)
{
    struct watcher *w = j->w;
    enum outcome outcome;
    int r;

    do {
        if (marked(w, &w->mark.stopped)) {
            r = -ESRCH;
            break;
        }
        if (marked(w, &w->mark.switchover) && wait_paused(j)) {
            r = -ESRCH;
            break;
        }
        r = look(j);
        if (r == -ESRCH || r == -ENOTCONN || r == -ENOENT)
            break;
    } while (wakeup_wait(&w->wake, monotonic_ns() + w->env->poll_ns) == 0);

    if (r != -ESRCH && r != -ENOTCONN && r != -ENOENT) {
        /* We stop; the migration goes on without us. */
        lift(w, REASON_AGENT_STOP, true);
        restore_speed(j);
        end_trace(j, "agent-stop");
        return;
    }
    if (r != -ENOTCONN)
        wait_for_result(w);
    outcome = outcome_of(j, r);
    finish(j, outcome);
    if (outcome == OUTCOME_CANCELLED || outcome == OUTCOME_FAILED)
        restore_speed(j);
}

static void *watcher_main(void *arg)
{
    struct watcher *w = arg;
    struct job j = {
        .w = w, .share = 1, .downtime_limit_ns = 300 * NS_PER_MS, .speed_found_bps = -1};
    int64_t started = monotonic_ns();
    int r;

    controller_init(&j.controller);
    host_join(w->env->host, &w->host);
    r = counted(&j, METRICS_CALL_OPEN, started, hv_watch_open(w->env->uri, w->domain.uuid, &j.hv));
    if (r == 0)
        watch(&j);
    else if (r != -ENOENT)
        log_warning("%s: cannot watch its migration: %s", w->domain.name, hypervisor_error());
    hv_watch_close(j.hv);
    host_leave(w->env->host, &w->host);
    atomic_store(&w->ended, true);
    return NULL;
}

int watcher_new(const struct watchers_env *env, const struct hv_domain *domain, int64_t sync_ns,
                struct watcher **ret)
{
    struct watcher *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
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
    r = pthread_create(&w->thread, NULL, watcher_main, w);
    if (r != 0) {
        watcher_release(w);
        return -r;
    }
    pthread_setname_np(w->thread, "watcher");
    *ret = w;
    return 0;
}
