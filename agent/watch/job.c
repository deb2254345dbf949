/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/job.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record/phase.h"
#include "agent/watch/sampling.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/units.h"
#include "common/wakeup.h"

/* While the guest is paused nothing is asked; after this long, whether it is still there. */
#define PAUSED_LOOK_NS (2 * NS_PER_S)
/* A pause that lasts so many times the downtime limit, and a second, is no switchover. */
#define SWITCHOVER_LIMITS 3
/* Looks begin at multiples of this part of the time between them. */
#define LOOKS_GRID 10
/* The completed statistics come with an event of their own, about when the domain stops. */
#define RESULT_WAIT_NS NS_PER_S

static int read_job(struct job *j, struct hv_job *ret)
{
    int64_t started = monotonic_ns();

    return watcher_counted(j->w, METRICS_CALL_JOB_STATS, started, hv_watch_job(j->act.hv, ret));
}

/* ---- taking a sample ---- */

/* controller_latch(), on record, where there is a reason. */
static void latch_if(struct job *j, enum action_kind action, enum reason reason)
{
    if (reason == REASON_NONE)
        return;
    controller_latch(&j->controller, action, reason);
    j->latched[action] = reason;
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
    enum reason reason = d->reason;
    const char *ask = "";

    if (j->proposed[0])
        return;
    if (d->n_actions > 0 && !d->apply && d->action[0].kind == ACTION_CANCEL) {
        snprintf(text, sizeof(text), "%s", action_name(action));
    } else if (d->n_actions > 0 && !d->apply) {
        kind = d->chosen;
    } else if (d->n_proposed > 0 && !d->apply) {
        kind = d->asked;
        reason = d->proposed[0].reason;
        ask = "would ask: ";
        if (kind == ALTERNATIVES)
            snprintf(text, sizeof(text), "%s", action_name(action));
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
    snprintf(j->proposed, sizeof(j->proposed), "%s%s", ask, text);
    watcher_record(j->w, action, EVENT_PROPOSED, reason, "", j->proposed);
}

/*
 * To wait for a slot of the host is not hopeless, so nothing is cancelled for it before the
 * deadline; unless something harsher comes after the cancel, which that would give way to.
 */
static void await_slot(struct job *j)
{
    struct policy *p = &j->policy;

    if (p->values.v[POLICY_ALLOW_CANCEL] == ALLOW_NO ||
        policy_rung_at(p->values.v[POLICY_ORDER], RUNGS - 1) != RUNG_CANCEL ||
        j->controller.last.late)
        return;
    p->values.v[POLICY_ALLOW_CANCEL] = ALLOW_NO;
    memcpy(p->source[POLICY_ALLOW_CANCEL], p->source[POLICY_ALLOW_THROTTLE], POLICY_SOURCE_MAX);
}

/* What this migration needs of the host's bandwidth. */
static void tell_need(struct job *j, const struct decision *d)
{
    const struct alternative *faster = &d->alternative[ALT_BANDWIDTH];
    double needs = j->controller.estimator.now.transfer_bps;

    if (j->act.speed_found_bps >= 0)
        needs = fmax(needs, (double)j->act.speed_limit_bps);
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

    policies_refresh(w->env->policies, w->domain.name, w->domain.uuid, &j->kept);
    j->policy = j->kept.policy;
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
        watcher_record(w, p.action.kind, EVENT_DENIED, REASON_ASK_TIMEOUT, "", p.text);
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
        watcher_record(w, p.action.kind, EVENT_PROPOSED, p.action.reason, "", p.text);
}

/* ---- the trace ---- */

/* What the controller was told before this sample: policy, latches. */
static void trace_before(struct job *j, const struct sample *s)
{
    const struct watchers_env *env = j->w->env;

    if (!j->trace &&
        (j->trace = trace_start(env->traces, &j->w->domain, s->now_ns - s->elapsed_ns, env->poll_ns,
                                &j->policy)) &&
        j->prior.points > 0)
        trace_prior(j->trace, &j->prior);
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
    sample_copy(&w->view.sample, s);
    w->view.sample.cpu_share = j->act.share;
    w->view.sample.downtime_limit_ns = j->act.downtime_limit_ns;
    estimate_copy(&w->view.estimate, &j->controller.estimator.now);
    w->view.decision = *d;
    w->view.throttled_s = j->controller.seen.throttled_s;
    w->view.work_lost_s = j->controller.tried.work_lost_s;
    phase_export(w->env->metrics, &w->view);
    recent_look(w->env->recent, &w->view, &j->policy);
    pthread_mutex_unlock(&w->lock);
    if (d->verdict != before)
        log_info("%s: %s: %s (pass %" PRIu64 ", %.0f MiB remaining, dirty %.0f MiB/s, transfer "
                 "%.0f MiB/s)",
                 w->domain.name, verdict_name(d->verdict), reason_text(d->reason), s->iteration,
                 (double)s->remaining_bytes / 1048576,
                 j->controller.estimator.now.dirty_bps / 1048576,
                 j->controller.estimator.now.transfer_bps / 1048576);
}

static void take_release(struct job *j)
{
    bool wanted;

    pthread_mutex_lock(&j->w->lock);
    wanted = j->w->mark.release;
    j->w->mark.release = false;
    pthread_mutex_unlock(&j->w->lock);
    if (wanted)
        latch_if(j, ACTION_THROTTLE, REASON_RELEASED);
}

/* Nothing can be decided then but by an administrator, who has to know. */
static void note_post_copy_failure(struct job *j, struct decision *d)
{
    bool failed = watcher_marked(j->w, &j->w->mark.post_copy_failed);

    if (failed)
        d->reason = REASON_POST_COPY_FAILED;
    if (failed && !j->post_copy_failed)
        watcher_record(j->w, ACTION_POST_COPY, EVENT_FAILED, REASON_POST_COPY_FAILED, "",
                       "recover it with: virsh migrate --postcopy --postcopy-resume");
    j->post_copy_failed = failed;
}

/* The speed limit outlives the migration, unlike the downtime limit, which libvirt puts back. */
static void restore_speed(struct job *j)
{
    if (j->act.speed_found_bps < 0)
        return;
    if (hv_watch_set_speed(j->act.hv, j->act.speed_found_bps) == 0)
        host_keep_speed(j->w->env->host, j->w->domain.uuid, -1);
    else
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

static int apply(struct job *j, const struct action *a, int64_t decided_ns)
{
    enum reason why_latched;
    int r = act_apply(&j->act, a, &j->policy, j->paused, decided_ns, &why_latched);

    latch_if(j, a->kind, why_latched);
    if (r == 0)
        controller_done(&j->controller, a->kind);
    else if (r != -EAGAIN && why_latched == REASON_NONE)
        controller_failed(&j->controller, a->kind, j->controller.estimator.last.now_ns);
    return r;
}

/* The migration has ended and another one has begun, unseen, when time went back. */
static bool is_another(struct job *j, const struct hv_job *hv)
{
    struct watcher *w = j->w;
    bool another;

    pthread_mutex_lock(&w->lock);
    another = hv->elapsed_ns < j->elapsed_ns && !w->mark.post_copy;
    if (another && w->mark.sync_ns == 0)
        w->mark.sync_ns = monotonic_ns() - hv->elapsed_ns;
    pthread_mutex_unlock(&w->lock);
    j->elapsed_ns = hv->elapsed_ns;
    return another;
}

static enum trace_result result_of(int r)
{
    return r == 0 ? TRACE_APPLIED : r == -EAGAIN ? TRACE_NOT_APPLIED : TRACE_FAILED;
}

/* Returns 0, -ESRCH when the job is over, or the hypervisor's error. */
static int look(struct job *j)
{
    struct hv_job hv;
    struct sample s;
    struct decision d;
    enum trace_result result[TRACE_ACTIONS_MAX] = {TRACE_NOT_APPLIED};
    int64_t sync_ns = watcher_take_sync(j->w);
    int64_t decided;
    int r = read_job(j, &hv);

    if (r < 0)
        return r;
    atomic_store(&j->w->heard_ns, monotonic_ns());
    if (!hv.active || !hv.outgoing || is_another(j, &hv))
        return -ESRCH;
    /* The switchover began while we asked: what was read is stale, and nothing is to be decided. */
    if (watcher_marked(j->w, &j->w->mark.switchover))
        return 0;
    if (!j->knows_metadata && (r = sampling_learn(&j->act)) < 0)
        return r;
    j->knows_metadata = true;
    if (!atomic_exchange(&j->w->was_migration, true)) {
        metrics_count(j->w->env->metrics, METRIC_MIGRATIONS_STARTED, METRICS_SINGLE, 1);
        log_info("%s: outgoing migration detected, %" PRId64 " ms after its start",
                 j->w->domain.name, hv.elapsed_ns / NS_PER_MS);
        set_start(j->w, hv.elapsed_ns);
        if (learned_find(j->w->env->learned, j->w->domain.uuid, time(NULL), &j->prior))
            controller_set_prior(&j->controller, &j->prior);
        latch_if(j, ACTION_THROTTLE, sampling_open_throttle(&j->act));
    }
    sampling_take(&j->act, &hv, sync_ns, &s);
    latch_if(j, ACTION_THROTTLE, sampling_check_drift(&j->act, s.now_ns));
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
            result[i] = result_of(apply(j, &d.action[i], decided));
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

    watcher_withdraw_question(w);
    watcher_restore(w, outcome == OUTCOME_LOST ? REASON_LIBVIRT_LOST : REASON_ENDED, true, "");
    if (!w->was_migration)
        return;
    pthread_mutex_lock(&w->lock);
    w->view.active = false;
    w->view.outcome = outcome;
    w->view.ended_ns = monotonic_ns();
    w->view.end_number = migration_next_number();
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
    controller_learned(&j->controller, &w->view.learned);
    learned_take(w->env->learned, w->domain.uuid, time(NULL), &w->view.learned);
    ended = w->view;
    pthread_mutex_unlock(&w->lock);
    record_migration(w->env->record, &ended, trace_file(j->trace));
    recent_end(w->env->recent, &ended);
    end_trace(j, outcome_name(outcome));
}

/* ---- the steps; each returns when the next is due ---- */

static const int64_t AT_ONCE = 0;
static const int64_t NEVER = INT64_MAX; /* there is none, and no job any more */

static int64_t end_watching(struct job *j, int error)
{
    j->state = JOB_ENDED;
    j->error = error;
    j->until_ns = error == -ENOTCONN ? 0 : monotonic_ns() + RESULT_WAIT_NS;
    return AT_ONCE;
}

/* When a pause has outlasted what a switchover takes. */
static int64_t first_look_ns(const struct job *j)
{
    return j->paused_ns + SWITCHOVER_LIMITS * j->act.downtime_limit_ns + NS_PER_S;
}

/*
 * libvirt reports every stop of the guest during a migration as a switchover, a pause that somebody
 * asked for included, and then memory is still sent for as long as it takes. So when it takes
 * longer than a switchover does, it is asked for after all how much was sent.
 */
static void look_at_pause(struct job *j)
{
    struct watcher *w = j->w;
    int64_t now = monotonic_ns();
    struct hv_job hv;

    if (now < first_look_ns(j) || read_job(j, &hv) < 0 || !hv.active)
        return;
    j->looked_ns = now;
    if (j->moved_ns != 0 && hv.memory_processed_bytes == j->moved_bytes)
        return;
    j->told_stalled = false;
    if (j->moved_ns != 0) {
        pthread_mutex_lock(&w->lock);
        w->view.sample.elapsed_ns = hv.elapsed_ns;
        w->view.sample.processed_bytes = hv.memory_processed_bytes;
        w->view.sample.remaining_bytes = hv.memory_remaining_bytes;
        w->view.decision.verdict = VERDICT_SWITCHOVER;
        w->view.decision.reason = REASON_SUSPENDED;
        phase_export(w->env->metrics, &w->view);
        pthread_mutex_unlock(&w->lock);
        if (!j->told_sending)
            log_info("%s: %s", w->domain.name, reason_text(REASON_SUSPENDED));
        j->told_sending = true;
    }
    j->moved_ns = now;
    j->moved_bytes = hv.memory_processed_bytes;
}

/*
 * A switchover that does not end is a guest that nobody can reach. Only a look that found it
 * standing still tells so: while libvirt puts the guest away there is none.
 */
static void watch_switchover(struct job *j)
{
    const int64_t *p = j->policy.values.v;
    struct action cancel = {.kind = ACTION_CANCEL, .reason = REASON_STALLED};

    if (j->told_stalled || j->moved_ns == 0 || j->looked_ns - j->moved_ns < p[POLICY_STALL_TIMEOUT])
        return;
    j->told_stalled = true;
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

static int64_t begin_pause(struct job *j)
{
    struct watcher *w = j->w;

    j->state = JOB_PAUSED;
    j->paused_ns = monotonic_ns();
    watcher_take_sync(w);
    j->moved_ns = j->looked_ns = 0;
    j->told_sending = j->told_stalled = false;
    watcher_withdraw_question(w);
    pthread_mutex_lock(&w->lock);
    w->view.decision.verdict = VERDICT_SWITCHOVER;
    w->view.decision.reason = REASON_SWITCHOVER;
    phase_export(w->env->metrics, &w->view);
    pthread_mutex_unlock(&w->lock);
    log_info("%s: switchover", w->domain.name);
    return j->paused_ns + PAUSED_LOOK_NS;
}

/*
 * The guest is paused for the switchover. Every question now would lengthen the downtime, so events
 * tell how it ends; only a guest paused for long is asked for its state, which takes no job.
 */
static int64_t sit_out_pause(struct job *j)
{
    struct watcher *w = j->w;
    bool active = true;
    bool running = false;

    atomic_store(&w->heard_ns, monotonic_ns());
    if (watcher_marked(w, &w->mark.stopped) || watcher_marked(w, &w->mark.completed))
        return end_watching(j, -ESRCH);
    if (!watcher_marked(w, &w->mark.resumed) && !watcher_marked(w, &w->mark.post_copy)) {
        look_at_pause(j);
        watch_switchover(j);
        if (hv_watch_state(j->act.hv, &active, &running) == 0 && active && !running)
            return monotonic_ns() + PAUSED_LOOK_NS;
    }
    pthread_mutex_lock(&w->lock);
    w->mark.switchover = w->mark.resumed = false;
    pthread_mutex_unlock(&w->lock);
    if (!active)
        return end_watching(j, -ESRCH);
    j->state = JOB_WATCHING;
    return AT_ONCE;
}

/* Looks are at the same few moments, so that the machine wakes up once for many. */
static int64_t next_look_ns(int64_t poll_ns)
{
    int64_t until_ns = monotonic_ns() + poll_ns;

    return until_ns - until_ns % (poll_ns / LOOKS_GRID);
}

static int64_t watch(struct job *j)
{
    struct watcher *w = j->w;
    int r;

    if (watcher_marked(w, &w->mark.stopped))
        return end_watching(j, -ESRCH);
    if (watcher_marked(w, &w->mark.switchover))
        return begin_pause(j);
    r = look(j);
    if (r == -ESRCH || r == -ENOTCONN || r == -ENOENT)
        return end_watching(j, r);
    return next_look_ns(w->env->poll_ns);
}

static int64_t finish_job(struct job *j)
{
    struct watcher *w = j->w;

    hv_watch_close(j->act.hv);
    host_leave(w->env->host, &w->host);
    free(j);
    atomic_store(&w->ended, true);
    return NEVER;
}

/* We stop; the migration goes on without us. */
static int64_t leave_migration(struct job *j)
{
    watcher_restore(j->w, REASON_AGENT_STOP, true, "");
    restore_speed(j);
    end_trace(j, "agent-stop");
    return finish_job(j);
}

static enum outcome outcome_of(struct job *j)
{
    struct watcher *w = j->w;

    if (watcher_marked(w, &w->mark.migrated) || watcher_marked(w, &w->mark.completed))
        return OUTCOME_COMPLETED;
    if (j->error == -ENOTCONN)
        return OUTCOME_LOST;
    return j->act.cancelling ? OUTCOME_CANCELLED : OUTCOME_FAILED;
}

static int64_t await_result(struct job *j, bool stopping)
{
    enum outcome outcome;

    if (!watcher_marked(j->w, &j->w->mark.completed) && monotonic_ns() < j->until_ns && !stopping &&
        !watcher_is_succeeded(j->w))
        return j->until_ns;
    outcome = outcome_of(j);
    finish(j, outcome);
    if (outcome == OUTCOME_COMPLETED || outcome == OUTCOME_LOST)
        watcher_take_sync(j->w);
    if (outcome == OUTCOME_CANCELLED || outcome == OUTCOME_FAILED)
        restore_speed(j);
    else if (outcome == OUTCOME_COMPLETED)
        host_keep_speed(j->w->env->host, j->w->domain.uuid, -1);
    return finish_job(j);
}

static int64_t open_watch(struct job *j)
{
    struct watcher *w = j->w;
    int64_t started = monotonic_ns();
    int r = watcher_counted(j->w, METRICS_CALL_OPEN, started,
                            hv_watch_open(w->env->uri, w->domain.uuid, &j->act.hv));

    if (r < 0) {
        if (r != -ENOENT)
            log_warning("%s: cannot watch its migration: %s", w->domain.name, hypervisor_error());
        return finish_job(j);
    }
    j->state = JOB_WATCHING;
    return AT_ONCE;
}

static int64_t step(struct job *j)
{
    bool stopping = watcher_marked(j->w, &j->w->mark.stop);

    if (j->state == JOB_ENDED)
        return await_result(j, stopping);
    if (stopping)
        return leave_migration(j);
    if (j->state == JOB_OPENING)
        return open_watch(j);
    return j->state == JOB_PAUSED ? sit_out_pause(j) : watch(j);
}

static void *job_main(void *opaque)
{
    struct job *j = opaque;
    struct wakeup *wake = &j->w->wake;
    int64_t until_ns;

    while ((until_ns = step(j)) != NEVER)
        wakeup_wait(wake, until_ns);
    return NULL;
}

int job_start(struct watcher *w)
{
    struct job *j = alloc_need(malloc(sizeof(*j)));
    int r;

    *j = (struct job){.w = w,
                      .act = {.w = w,
                              .share = 1,
                              .downtime_limit_ns = 300 * NS_PER_MS,
                              .speed_found_bps = host_kept_speed(w->env->host, w->domain.uuid)}};
    controller_init(&j->controller);
    host_join(w->env->host, &w->host);
    r = -pthread_create(&w->thread, NULL, job_main, j);
    if (r < 0) {
        host_leave(w->env->host, &w->host);
        free(j);
        return r;
    }
    pthread_setname_np(w->thread, "watcher");
    return 0;
}
