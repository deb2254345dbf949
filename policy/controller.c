/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/controller.h"

#include <math.h>
#include <string.h>

#include "common/units.h"
#include "policy/ladder.h"
#include "policy/limits.h"
#include "policy/tuning.h"

void controller_init(struct controller *c)
{
    memset(c, 0, sizeof(*c));
    estimator_init(&c->estimator);
    c->tried.downtime_margin = DOWNTIME_MARGIN;
}

void controller_set_prior(struct controller *c, const struct prior *prior)
{
    estimator_set_prior(&c->estimator, prior);
}

void controller_learned(const struct controller *c, struct prior *ret)
{
    estimator_learned(&c->estimator, ret);
    ret->plateau =
        c->was_sure && (c->seen.was_steady || evidence_is_steady(&c->seen, &c->estimator.now));
}

void controller_latch(struct controller *c, enum action_kind action, enum reason reason)
{
    c->tried.latched[action] = reason;
    /* What comes next need not wait for a sync. */
    c->last.alternatives_known = false;
}

void controller_failed(struct controller *c, enum action_kind action, int64_t now_ns)
{
    struct retry *r = &c->tried.retry[action];

    /* What was remembered as done is not. */
    if (action == ACTION_POST_COPY)
        c->post_copy_ns = 0;
    if (action == ACTION_SUSPEND)
        c->suspended_ns = 0;
    if (action == ACTION_BANDWIDTH)
        c->tried.speed_set_bps = 0;
    if (action == ACTION_CANCEL)
        c->cancel_ns = 0;
    if (++r->times > RETRIES_MAX)
        controller_latch(c, action, REASON_ACTION_FAILED);
    else
        r->next_ns = now_ns + (int64_t)(RETRY_S * 1e9) * (1 << (r->times - 1));
}

void controller_done(struct controller *c, enum action_kind action)
{
    c->tried.retry[action] = (struct retry){0};
}

/* Is another try due of an action that failed? */
static bool is_retry_due(const struct controller *c, int64_t now_ns)
{
    for (unsigned i = 0; i < ACTIONS; i++) {
        if (c->tried.retry[i].next_ns != 0 && c->tried.retry[i].next_ns <= now_ns)
            return true;
    }
    return false;
}

static void add_release(struct decision *d, enum reason reason)
{
    decision_add(d, (struct action){.kind = ACTION_RELEASE, .reason = reason, .share = 1});
}

/* A throttle is in force: keep it, ease it, or give it up. True when the step is decided. */
static bool step_throttled(struct controller *c, const struct outlook *o, struct decision *d)
{
    const struct sample *s = o->s;
    const struct estimate *e = o->e;
    double limit_s = seconds_of(s->downtime_limit_ns);
    const int64_t *p = o->policy->v;

    if (action_allowance(o->policy, ACTION_THROTTLE) != ALLOW_YES ||
        p[POLICY_MODE] != MODE_ENFORCE) {
        add_release(d, REASON_POLICY_CHANGED);
        return false;
    }
    if (c->tried.latched[ACTION_THROTTLE] != REASON_NONE) {
        add_release(d, c->tried.latched[ACTION_THROTTLE]);
        return false;
    }
    if (s->auto_converge_percent > 0) {
        add_release(d, REASON_AUTO_CONVERGE);
        return false;
    }
    if (p[POLICY_MAX_WORK_LOST] != POLICY_NONE &&
        c->tried.work_lost_s + c->seen.last_loss_s > seconds_of(p[POLICY_MAX_WORK_LOST])) {
        controller_latch(c, ACTION_THROTTLE, REASON_WORK_BUDGET_SPENT);
        add_release(d, REASON_WORK_BUDGET_SPENT);
        return false;
    }
    if (d->course.ends && d->course.seconds - d->course.downtime_s < ABOUT_TO_END_S) {
        d->reason = REASON_ABOUT_TO_END;
        return true;
    }
    if (!s->at_sync) {
        d->reason = REASON_IN_FORCE;
        return d->course.ends;
    }
    if (outlook_spread(o, 1, limit_s).all_end) {
        add_release(d, REASON_LESS_SUFFICES);
        return true;
    }
    if (c->seen.stuck_passes >= STUCK_PASSES && !d->alternative[ALT_THROTTLE].works &&
        !d->alternative[ALT_BOTH].works) {
        controller_latch(c, ACTION_THROTTLE, REASON_THROTTLE_INEFFECTIVE);
        c->latch_bytes = e->drain_bps * limit_s;
        add_release(d, REASON_THROTTLE_INEFFECTIVE);
        d->alternative[ALT_THROTTLE].reason = REASON_THROTTLE_INEFFECTIVE;
        d->alternative[ALT_BOTH].reason = REASON_THROTTLE_INEFFECTIVE;
        return false;
    }
    d->reason = REASON_IN_FORCE;
    return false;
}

/*
 * Has an administrator answered what was proposed? A long pass is not waited out then, except for a
 * throttle, which would be wasted on the rest of it.
 */
static bool is_answered(const struct controller *c, const struct outlook *o)
{
    enum action_kind asked = c->last.proposed[0].kind;

    return c->last.n_proposed > 0 && asked != ACTION_THROTTLE && asked != ACTION_DOWNTIME &&
           action_allowance(o->policy, asked) != ALLOW_ASK;
}

/* Is there anything to decide by that there was not at the last look? */
static bool is_new(const struct controller *c, const struct outlook *o)
{
    return o->s->at_sync || !c->last.alternatives_known || is_answered(c, o) ||
           is_retry_due(c, o->s->now_ns);
}

/* The policy's limit of passes: stop and copy now, by downtime where the ceiling allows it. */
static void step_precopy_limit(struct controller *c, const struct outlook *o, struct decision *d)
{
    static const enum alternative_kind ways[] = {ALT_DOWNTIME, ALT_SUSPEND};
    int64_t passes = o->policy->v[POLICY_PRECOPY_ITERATIONS];
    int64_t bytes = o->policy->v[POLICY_PRECOPY_THRESHOLD];
    double limit_s =
        fmax(o->e->last_x_bytes / o->e->transfer_bps * PRECOPY_MARGIN, DOWNTIME_LIMIT_MIN_S);
    struct alternative *a = &d->alternative[ALT_DOWNTIME];

    if (!o->s->at_sync || !((passes != POLICY_NONE && o->e->passes >= (unsigned)passes) ||
                            (bytes != POLICY_NONE && o->e->last_x_bytes <= (double)bytes)))
        return;
    *a = outlook_may(o, ACTION_DOWNTIME);
    a->approved = a->approved && limit_s <= outlook_ceiling_s(o);
    a->reason = c->tried.latched[ACTION_DOWNTIME];
    a->works = a->reason == REASON_NONE;
    a->downtime_ns = ns_of(fmax(limit_s, seconds_of(o->s->downtime_limit_ns)));
    a->forecast = outlook_send_rest(o, limit_s, 0);
    if (!ladder_force(&c->tried, o, d, ways, 2, REASON_PRECOPY_LIMIT))
        d->reason = REASON_PRECOPY_LIMIT;
}

static void note_limit(struct controller *c, const struct decision *d)
{
    for (unsigned i = 0; i < d->n_actions; i++) {
        if (d->action[i].kind == ACTION_DOWNTIME)
            c->seen.passes_since_downtime = 0;
    }
}

/* A speed limit that we set, and that is more than is allowed by now, is lowered to that. */
static void lower_speed(const struct controller *c, const struct outlook *o, struct decision *d)
{
    int64_t max = o->policy->v[POLICY_MAX_BANDWIDTH];
    int64_t limit = o->s->speed_limit_bps;
    bool is_ours = c->tried.speed_set_bps == INT64_MAX
                       ? limit == 0
                       : fabs((double)limit - (double)c->tried.speed_set_bps) < (double)MIB_BYTES;

    if (c->tried.speed_set_bps == 0 || !is_ours || max == POLICY_NONE || d->n_actions > 0 ||
        c->tried.latched[ACTION_BANDWIDTH] != REASON_NONE ||
        action_allowance(o->policy, ACTION_BANDWIDTH) != ALLOW_YES)
        return;
    if (limit == 0 || (double)limit > (double)max * (1 + SPEED_DEADBAND))
        decision_add(d, (struct action){.kind = ACTION_BANDWIDTH,
                                        .reason = REASON_HOST_LIMIT,
                                        .speed_limit_bps = max});
}

static void consider_cancel(struct controller *c, const struct outlook *o, struct decision *d)
{
    static const enum alternative_kind ways[] = {ALT_POST_COPY, ALT_SUSPEND};
    const struct sample *s = o->s;
    const int64_t *p = o->policy->v;
    enum policy_allow allow = action_allowance(o->policy, ACTION_CANCEL);
    double deadline_s = seconds_of(o->deadline_ns);
    bool late = o->deadline_ns != POLICY_NONE && o->elapsed_ns >= o->deadline_ns;
    /* Until a deadline that was stated there is time for what nobody can forecast. */
    bool lost = !o->deadline_stated && d->verdict == VERDICT_HOPELESS &&
                c->hopeless_since_ns != 0 && c->hopeless_syncs >= HOPELESS_HOLD_SYNCS &&
                seconds_of(s->now_ns - c->hopeless_since_ns) >= HOPELESS_HOLD_S;
    bool stalled = d->verdict == VERDICT_STALLED;
    struct action cancel = {.kind = ACTION_CANCEL};

    if (late && d->course.ends && d->course.seconds < fmin(GRACE_MAX_S, deadline_s / 10) &&
        seconds_of(o->elapsed_ns) < deadline_s + GRACE_MAX_S) {
        d->reason = REASON_ABOUT_TO_END;
        return;
    }
    /* A deadline that nobody stated only says how long help may take. */
    if (!o->deadline_stated)
        late = late && !d->course.ends && c->estimator.now.ready;
    d->late = late && o->deadline_stated;
    if (late && d->n_actions == 0)
        d->reason = REASON_DEADLINE;
    if (late && p[POLICY_ON_DEADLINE] == ON_DEADLINE_FORCE && d->alternatives_known &&
        ladder_force(&c->tried, o, d, ways, 2, REASON_DEADLINE))
        return;
    if (allow == ALLOW_NO)
        return;
    late = d->late;
    if (!(late && p[POLICY_ON_DEADLINE] == ON_DEADLINE_CANCEL) && !lost && !stalled)
        return;
    if (must_wait(&c->tried, ACTION_CANCEL, s->now_ns))
        return;
    if (c->cancel_ns != 0 && seconds_of(s->now_ns - c->cancel_ns) < CANCEL_RETRY_S)
        return;
    cancel.reason = late ? REASON_DEADLINE : stalled ? REASON_STALLED : REASON_NOTHING_WORKS;
    if (allow == ALLOW_ASK) {
        d->n_proposed = 1;
        d->proposed[0] = cancel;
        d->asked = ALTERNATIVES;
        return;
    }
    c->cancel_ns = s->now_ns;
    d->n_actions = 0;
    decision_add(d, cancel);
}

/* Is something of ours in force? */
static bool has_acted(const struct controller *c, const struct sample *s)
{
    return s->cpu_share < 1 ||
           (s->downtime_limit_ns == c->own.set_ns && s->downtime_limit_ns > c->seen.found_limit_ns);
}

/* What costs the guest nothing need not wait until doubt is certainty. */
static bool take_free(struct controller *c, const struct outlook *o, struct decision *d)
{
    static const enum alternative_kind ways[] = {ALT_BANDWIDTH, ALT_COMPRESSION_CACHE};

    if (!o->s->at_sync || o->policy->v[POLICY_PATIENCE] > 0 ||
        policy_rung_at(o->policy->v[POLICY_ORDER], 0) != RUNG_BANDWIDTH)
        return false;
    for (unsigned i = 0; i < 2; i++) {
        if (d->alternative[ways[i]].approved && d->alternative[ways[i]].works) {
            ladder_take(&c->tried, o, d, ways[i]);
            return true;
        }
    }
    return false;
}

/*
 * A guest that does not do the same all the time may do less in a moment. Waiting for that is worth
 * what help would cost: who waits so long and then helps loses no more than twice the least.
 */
static bool is_worth_waiting(const struct controller *c, const struct outlook *o,
                             const struct decision *d)
{
    enum alternative_kind order[ALTERNATIVES];
    unsigned n = ladder_order(o, order);

    if (evidence_is_steady(&c->seen, o->e) || c->tried.throttled_passes > 0 ||
        outlook_half_time_over(o) || c->doubt_s >= WAIT_MOST_S)
        return false;
    for (unsigned i = 0; i < n; i++) {
        const struct alternative *a = &d->alternative[order[i]];

        /* There is no way back from post-copy or a pause, whatever they cost. */
        if (a->approved && a->works)
            return order[i] == ALT_POST_COPY || order[i] == ALT_SUSPEND ||
                   c->doubt_s * BROWNOUT <
                       a->forecast.work_lost_s - seconds_of(o->s->downtime_limit_ns);
    }
    return false;
}

/* Takes what the sample adds to the doubt. Is it still to be confirmed that it would not end? */
static bool note_doubt(struct controller *c, const struct outlook *o)
{
    const struct sample *s = o->s;
    /* One pass is one observation, and what was known of the guest is another. */
    bool sure = c->seen.flat_syncs >= SURE_SYNCS || c->sure_syncs + o->e->known >= SURE_SYNCS;

    c->was_sure |= sure && !has_acted(c, s);
    if (s->cpu_share >= 1)
        c->doubt_s += c->seen.since_last_s;
    if (s->at_sync) {
        /* Each time it has shrunk, doubt starts over. */
        if (c->doubtful_syncs == 0 || o->e->last_x_bytes < NOT_SHRINKING * c->doubt_bytes) {
            c->doubt_ns = s->now_ns;
            c->doubt_bytes = o->e->last_x_bytes;
            c->doubtful_syncs = 0;
        }
        c->doubtful_syncs++;
    }
    return !sure &&
           (c->doubtful_syncs < DOUBT_SYNCS || seconds_of(s->now_ns - c->doubt_ns) < DOUBT_S);
}

/* There is no new evidence: the last word stands. */
static void repeat_last(const struct controller *c, const struct outlook *o, struct decision *d)
{
    d->verdict = c->last.verdict == VERDICT_STARTING ? VERDICT_PLATEAU : c->last.verdict;
    d->reason = c->last.reason;
    if (has_acted(c, o->s) && d->verdict == VERDICT_NEEDS_HELP && c->last.n_proposed == 0) {
        d->verdict = VERDICT_HELPED;
        d->reason = REASON_IN_FORCE;
    }
    /* But a question is withdrawn when the policy it came from is not in force any more. */
    if (!o->new_policy) {
        d->n_proposed = c->last.n_proposed;
        memcpy(d->proposed, c->last.proposed, sizeof(d->proposed));
        d->asked = c->last.asked;
    }
}

static void end_hopelessness(struct controller *c)
{
    c->hopeless_since_ns = 0;
    c->hopeless_syncs = 0;
}

/* Nothing that is allowed, or that may be asked about, would end it. */
static void step_helpless(struct controller *c, const struct outlook *o, struct decision *d)
{
    const struct sample *s = o->s;

    d->chosen = ALTERNATIVES;
    if (!policy_allows_anything(o->policy)) {
        d->verdict = VERDICT_NEEDS_HELP;
        d->reason = REASON_NOT_APPROVED;
        return;
    }
    if (d->close && s->cpu_share < 1 && d->n_actions == 0) {
        /* No curve reaches the end, but the passes still shrink under what is in force. */
        d->verdict = VERDICT_HELPED;
        d->reason = REASON_IN_FORCE;
        end_hopelessness(c);
        return;
    }
    d->verdict = VERDICT_HOPELESS;
    if (d->n_actions == 0)
        d->reason = REASON_NOTHING_WORKS;
    /* What may not be cancelled is not on the way to it, even if it may be later; nor is what still
       shrinks, or comes so near that chance may end it. */
    if (c->hopeless_since_ns == 0 || action_allowance(o->policy, ACTION_CANCEL) == ALLOW_NO ||
        o->e->last_x_bytes < NOT_SHRINKING * c->hopeless_bytes ||
        o->e->last_x_bytes < NEAR * o->e->transfer_bps * seconds_of(s->downtime_limit_ns)) {
        c->hopeless_since_ns = s->now_ns;
        c->hopeless_bytes = o->e->last_x_bytes;
        c->hopeless_syncs = 0;
    }
    c->hopeless_syncs += s->at_sync;
}

/* It would not end by itself, as far as we know. */
static void step_doubtful(struct controller *c, const struct outlook *o, struct decision *d)
{
    const struct sample *s = o->s;
    const struct alternative *throttle = &d->alternative[ALT_THROTTLE];
    bool late = has_acted(c, s) && outlook_half_time_over(o);
    bool pressed = late || (throttle->works && o->left_s < PRESSED * throttle->forecast.seconds);
    bool unconfirmed = note_doubt(c, o);

    if (s->cpu_share >= 1 && !pressed && (unconfirmed || is_worth_waiting(c, o, d))) {
        if (take_free(c, o, d))
            return;
        d->verdict = VERDICT_PLATEAU;
        d->reason = unconfirmed ? REASON_UNCONFIRMED : REASON_UNSTEADY;
        return;
    }
    if (c->plateau_since_ns == 0)
        c->plateau_since_ns = s->now_ns;
    if (s->now_ns - c->plateau_since_ns < o->policy->v[POLICY_PATIENCE] && !has_acted(c, s)) {
        d->verdict = VERDICT_PLATEAU;
        d->reason = REASON_PATIENCE;
    } else if (!is_new(c, o) && d->n_actions == 0) {
        repeat_last(c, o, d);
    } else if (ladder_choose(&c->tried, o, d)) {
        end_hopelessness(c);
    } else {
        step_helpless(c, o, d);
    }
}

/* What the chance of an end is judged by, but for its date. */
static struct chance_facts facts(const struct controller *c, const struct outlook *o,
                                 const struct decision *d)
{
    const struct estimate *e = o->e;

    return (struct chance_facts){
        .known = true,
        .ends = d->course.ends,
        .all_end = isfinite(d->latest_s),
        .any_ends = isfinite(d->earliest_s),
        .throttled = o->s->cpu_share < 1,
        .steady = evidence_is_steady(&c->seen, e),
        .flat = c->seen.flat_syncs >= SURE_SYNCS,
        .sure = c->sure_syncs >= SURE_SYNCS,
        .passes = e->passes,
        .above = e->last_x_bytes / (e->transfer_bps * seconds_of(o->s->downtime_limit_ns)),
        .trend = e->last_x_bytes / e->prev_x_bytes,
        .part = isfinite(o->left_s) ? d->course.seconds / o->left_s : 0,
        .noise = e->noise,
    };
}

static void step_ready(struct controller *c, const struct outlook *o, const struct before *before,
                       struct decision *d)
{
    const struct estimate *e = o->e;
    const struct sample *s = o->s;
    double limit_s = seconds_of(s->downtime_limit_ns);

    /* What was pointless on a slower link, or with longer passes, is worth another try. */
    if (c->tried.latched[ACTION_THROTTLE] == REASON_THROTTLE_INEFFECTIVE &&
        e->drain_bps * limit_s > FASTER * c->latch_bytes)
        controller_latch(c, ACTION_THROTTLE, REASON_NONE);

    outlook_course(o, d);
    c->facts = facts(c, o, d);
    dates_judge(&c->dates, o->s, before, d);
    c->facts.held = c->dates.held;
    c->facts.receding = c->dates.receding;
    d->close = e->last_x_bytes < DOWNTIME_MARGIN * limit_s * e->transfer_bps ||
               (s->cpu_share < 1 && e->last_x_bytes < NOT_SHRINKING * e->prev_x_bytes);
    /* Between syncs there is no new evidence for anything else. */
    if (is_new(c, o) || o->new_policy) {
        c->sure_syncs = outlook_ends_with_less(o, limit_s) ? 0 : c->sure_syncs + s->at_sync;
        outlook_alternatives(&c->tried, o, d);
    } else {
        memcpy(d->alternative, c->last.alternative, sizeof(d->alternative));
        d->alternatives_known = true;
        d->alternative[ALT_WAIT].forecast =
            s->cpu_share < 1 ? outlook_forecast(o, &e->curve, 1, limit_s) : d->course;
        d->alternative[ALT_WAIT].works = d->alternative[ALT_WAIT].forecast.ends;
    }

    if (s->cpu_share < 1 && step_throttled(c, o, d)) {
        d->verdict = VERDICT_HELPED;
        return;
    }
    if (d->alternative[ALT_WAIT].works && s->cpu_share >= 1) {
        d->verdict = has_acted(c, s) ? VERDICT_HELPED : VERDICT_CONVERGING;
        d->chosen = ALT_WAIT;
        d->reason = has_acted(c, s) ? REASON_IN_FORCE : REASON_CONVERGES;
        if (outlook_breaks_ceiling(o, &d->course))
            d->reason = REASON_CEILING_AT_RISK;
        c->doubtful_syncs = 0;
        c->plateau_since_ns = 0;
        c->hopeless_since_ns = 0;
        /* The switchover was due and did not come: QEMU measures the link as slower than we do. */
        if (c->own.set_ns != 0 && c->seen.passes_since_downtime >= 4) {
            c->tried.downtime_margin *= DOWNTIME_MARGIN_STEP;
            c->seen.passes_since_downtime = 0;
        }
        return;
    }
    step_doubtful(c, o, d);
}

static void remember(struct controller *c, const struct action *a, const struct sample *s)
{
    switch (a->kind) {
    case ACTION_DOWNTIME:
        own_limit_set(&c->own, s->downtime_limit_ns, a->downtime_ns);
        break;
    case ACTION_BANDWIDTH:
        c->tried.speed_set_bps = a->speed_limit_bps > 0 ? a->speed_limit_bps : INT64_MAX;
        break;
    case ACTION_POST_COPY:
        c->post_copy_ns = s->now_ns;
        break;
    case ACTION_SUSPEND:
        c->suspended_ns = s->now_ns;
        break;
    default:
        break;
    }
}

/* What was asked for for good is under way: there is nothing left to decide but a stall. */
static bool step_final(struct controller *c, const struct outlook *o, struct decision *d)
{
    const struct sample *s = o->s;

    if (s->post_copy) {
        d->verdict = VERDICT_POST_COPY;
        d->reason = REASON_POST_COPY;
        if (s->cpu_share < 1)
            add_release(d, REASON_POST_COPY);
        return true;
    }
    if (c->post_copy_ns != 0 && seconds_of(s->now_ns - c->post_copy_ns) > POST_COPY_WAIT_S &&
        c->tried.latched[ACTION_POST_COPY] == REASON_NONE)
        controller_latch(c, ACTION_POST_COPY, REASON_ACTION_FAILED);
    if (c->suspended_ns == 0 || c->tried.latched[ACTION_SUSPEND] != REASON_NONE)
        return false;
    d->verdict = VERDICT_SWITCHOVER;
    d->reason = REASON_SUSPENDED;
    d->course = outlook_send_rest(o, o->e->remaining_bytes / o->e->drain_bps, 0);
    if (s->now_ns - c->seen.moved_ns > o->policy->v[POLICY_STALL_TIMEOUT]) {
        d->verdict = VERDICT_STALLED;
        d->reason = REASON_STALLED;
        consider_cancel(c, o, d);
    }
    return true;
}

/* Takes the sample, which may be another job's first, and what follows from it for the outlook. */
static void take_sample(struct controller *c, struct outlook *o, struct before *before)
{
    const struct sample *s = o->s;
    const int64_t *p = o->policy->v;

    if (estimator_add(&c->estimator, s)) {
        controller_init(c);
        estimator_add(&c->estimator, s);
        *before = (struct before){0};
    }
    evidence_take(&c->seen, &c->tried, o->e, s, before,
                  (double)p[POLICY_MIN_CPU] / (double)PPM_ONE);
    if (!own_limit_notice(&c->own, &c->tried, o))
        controller_latch(c, ACTION_DOWNTIME, REASON_OTHER_WRITER);
    outlook_set_deadline(o, c->seen.memory_known ? s->elapsed_ns - c->seen.memory_ns : 0);
    o->held_s = c->seen.held_s;
    o->taken = c->own.taken;
    if (p[POLICY_MAX_DOWNTIME] != POLICY_NONE)
        o->ceiling_s = seconds_of(p[POLICY_MAX_DOWNTIME]);
    else if (p[POLICY_AIM_DOWNTIME] != POLICY_NONE)
        o->ceiling_s = outlook_ceiling_for(o, seconds_of(c->seen.found_limit_ns));
    if (evidence_is_flat(&c->seen, s->now_ns))
        o->flat_speed = fmin(o->e->speed, estimate_speed_at(o->e, s->cpu_share));
}

/* What is said of the end, now that all is decided. */
static void judge_end(struct controller *c, const struct outlook *o, struct decision *d)
{
    c->facts.close = d->close;
    c->facts.comes = decision_end_by_curves(d) == END_COMES;
    c->facts.never = decision_end_by_curves(d) == END_NEVER;
    d->chance_known = c->facts.known;
    d->chance = chance_of(&c->facts);
    if (decision_end(d) == END_COMES) {
        d->earliest_s = DATE_EARLY * d->course.seconds;
        d->latest_s = DATE_LATE * d->course.seconds;
    }
    if (d->verdict == VERDICT_STARTING)
        outlook_first_guess(o, d);
}

void controller_step(struct controller *c, const struct policy_values *policy,
                     const struct sample *s, struct decision *ret)
{
    struct before before = evidence_before(&c->estimator);
    struct decision d = {.course.downtime_s = NAN,
                         .earliest_s = INFINITY,
                         .latest_s = INFINITY,
                         .chosen = c->last.chosen,
                         .apply = policy->v[POLICY_MODE] == MODE_ENFORCE};
    struct outlook o = {
        .e = &c->estimator.now,
        .policy = policy,
        .s = s,
        .new_policy = memcmp(policy, &c->last_policy, sizeof(*policy)) != 0,
        .left_s = INFINITY,
        .flat_speed = INFINITY,
    };

    take_sample(c, &o, &before);
    if (step_final(c, &o, &d)) {
        c->last = *ret = d;
        return;
    }
    c->facts.known = false;
    if (o.e->ready) {
        step_ready(c, &o, &before, &d);
        step_precopy_limit(c, &o, &d);
        lower_speed(c, &o, &d);
        note_limit(c, &d);
    } else {
        d.verdict = VERDICT_STARTING;
        d.reason = outlook_breaks_ceiling(&o, NULL) ? REASON_CEILING_AT_RISK : REASON_NO_EVIDENCE;
    }
    own_limit_step(&c->own, &c->tried, &o, &d);
    if (c->seen.moved_ns != 0 && s->now_ns - c->seen.moved_ns > policy->v[POLICY_STALL_TIMEOUT] &&
        !d.course.ends && d.n_actions == 0) {
        d.verdict = VERDICT_STALLED;
        d.reason = REASON_STALLED;
    }
    consider_cancel(c, &o, &d);
    judge_end(c, &o, &d);
    for (unsigned i = 0; d.apply && i < d.n_actions; i++)
        remember(c, &d.action[i], s);
    c->last = d;
    c->last_policy = *policy;
    verdict_settle(&c->said, s->now_ns, &d);
    *ret = d;
}
