/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/controller.h"

#include <math.h>
#include <string.h>

#include "common/units.h"
#include "policy/ladder.h"

/* QEMU measures the link over 100 ms; its threshold swings by about this much around ours. */
#define DOWNTIME_MARGIN      1.04
#define DOWNTIME_MARGIN_STEP 1.06
/* Asked for and not there after this long, post-copy has failed. */
#define POST_COPY_WAIT_S 10.0
/* Downtime limits are the same when they differ by less than what libvirt counts in. */
#define DOWNTIME_SAME_NS NS_PER_MS
/* The limit that stops and copies covers this much more than what a pass began with. */
#define PRECOPY_MARGIN 1.1
/* Nothing is started or lifted any more when the switchover comes within this time. */
#define ABOUT_TO_END_S 1.0
/* A migration past its deadline is left alone when it ends within a tenth of it, at most this. */
#define GRACE_MAX_S 5.0
/* Hopelessness must have lasted this long, and this many syncs, to cancel before the deadline. */
#define HOPELESS_HOLD_S     30.0
#define HOPELESS_HOLD_SYNCS 5
/* Passes without a new low, at least, to speak of a stall. */
#define STALL_PASSES 3
/* A cancel that had no effect is asked for again after this long. */
#define CANCEL_RETRY_S 10.0
/* The remainder still shrinks when it falls by more than this. */
#define NOT_SHRINKING 0.97
/* Guest and link may each vary by a tenth: so many times what fits into the switchover is near. */
#define NEAR 1.2
/* Doubt ends when no more than this many times of what throttling would take is left. */
#define PRESSED 1.5
/* A throttle given up gets another try when so many times as much fits into the switchover. */
#define FASTER 1.5
/* The remainder is flat when it is at least this much of what it was a pass before. */
#define FLAT 0.99
/* Syncs in a row, and the time, for which the likeliest forecast must fail, or the remainder be
   flat whatever is forecast. */
#define DOUBT_SYNCS 3
#define DOUBT_S     2.0

void controller_init(struct controller *c)
{
    memset(c, 0, sizeof(*c));
    estimator_init(&c->estimator);
    c->tried.downtime_margin = DOWNTIME_MARGIN;
    c->low_bytes = INFINITY;
}

void controller_latch(struct controller *c, enum action_kind action, enum reason reason)
{
    c->tried.latched[action] = reason;
}

static void add_action(struct decision *d, struct action action)
{
    d->action[d->n_actions++] = action;
    d->reason = action.reason;
}

static void add_release(struct decision *d, enum reason reason)
{
    add_action(d, (struct action){.kind = ACTION_RELEASE, .reason = reason, .share = 1});
}

/* Is more than that part of what was above the switchover a pass ago still there? */
static bool remains(const struct estimate *e, const struct sample *s, double part)
{
    double enough = e->transfer_bps * seconds_of(s->downtime_limit_ns);

    return e->last_x_bytes - enough > part * (e->prev_x_bytes - enough);
}

/* Passes that end as they began, as far above the switchover, are a plateau, whatever a curve
   through them would allow. */
static bool is_flat(const struct estimate *e, const struct sample *s)
{
    return remains(e, s, FLAT);
}

/* What was known before the present sample. */
struct before {
    int64_t now_ns; /* 0: nothing */
    double cpu_share;
    int64_t downtime_limit_ns;
    uint64_t processed_bytes;
    unsigned passes;
    double lost_s;
};

/* What was learned from the sample about the throttle in force. */
static void account(struct controller *c, const struct sample *s, const struct before *before,
                    double floor_share)
{
    const struct estimate *e = &c->estimator.now;
    double dt = seconds_of(s->now_ns - before->now_ns);
    bool new_pass = e->passes > before->passes;

    if (before->now_ns != 0 && dt > 0 && before->cpu_share < 1) {
        c->throttled_s += dt;
        c->tried.work_lost_s += e->lost_s - before->lost_s;
        c->last_loss_s = e->lost_s - before->lost_s;
        c->tried.throttled_passes += new_pass;
        c->tried.floor_passes +=
            new_pass && before->cpu_share <= floor_share * (1 + SHARE_DEADBAND);
    } else if (s->cpu_share >= 1 && !new_pass) {
        c->tried.throttled_passes = 0;
        c->tried.floor_passes = 0;
    }
    c->passes_since_downtime += new_pass;
    if (s->cpu_share != before->cpu_share || s->downtime_limit_ns != before->downtime_limit_ns ||
        (new_pass && !is_flat(e, s)))
        c->flat_syncs = 0;
    else if (new_pass && c->flat_syncs++ == 0)
        c->flat_ns = s->now_ns;
    /* Before the RAM phase nothing remains, and nothing is stalled: storage is being copied. */
    if (s->total_bytes == 0)
        return;
    /* Within a pass what remains falls and jumps back: lows are compared from sync to sync. */
    if (new_pass && e->last_x_bytes < c->low_bytes) {
        c->low_bytes = e->last_x_bytes;
        c->low_ns = s->now_ns;
        c->low_passes = e->passes;
    }
    if (s->processed_bytes != before->processed_bytes)
        c->moved_ns = s->now_ns;
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
        c->tried.work_lost_s + c->last_loss_s > seconds_of(p[POLICY_MAX_WORK_LOST])) {
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
    if (c->tried.throttled_passes > 0 && remains(e, s, NOT_SHRINKING) &&
        !d->alternative[ALT_THROTTLE].works && !d->alternative[ALT_BOTH].works) {
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

static void take(struct controller *c, const struct outlook *o, struct decision *d,
                 enum alternative_kind kind)
{
    struct action steps[DECISION_ACTIONS_MAX];
    unsigned n = ladder_steps(o, kind, &d->alternative[kind], steps);

    for (unsigned i = 0; i < n; i++) {
        add_action(d, steps[i]);
        if (steps[i].kind == ACTION_DOWNTIME)
            c->passes_since_downtime = 0;
    }
    d->chosen = kind;
    d->verdict = d->n_actions > 0 ? VERDICT_NEEDS_HELP : VERDICT_HELPED;
    if (d->n_actions == 0)
        d->reason = REASON_IN_FORCE;
}

static void propose(const struct outlook *o, struct decision *d, enum alternative_kind kind)
{
    d->n_proposed = ladder_steps(o, kind, &d->alternative[kind], d->proposed);
    d->asked = kind;
    d->chosen = ALTERNATIVES;
    d->verdict = VERDICT_NEEDS_HELP;
    d->reason = REASON_ASKED;
}

/*
 * Takes the first approved alternative that works, or else proposes the first that works and may
 * be asked about; false when there is neither.
 */
static bool choose(struct controller *c, const struct outlook *o, struct decision *d)
{
    enum alternative_kind order[ALTERNATIVES];
    unsigned n = ladder_order(o, order);

    for (unsigned i = 0; i < n; i++) {
        if (d->alternative[order[i]].approved && d->alternative[order[i]].works) {
            take(c, o, d, order[i]);
            return true;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (d->alternative[order[i]].ask && d->alternative[order[i]].works) {
            propose(o, d, order[i]);
            return true;
        }
    }
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

/* Post-copy or a pause, whichever the policy allows, or wants to be asked about. */
static bool force(struct controller *c, const struct outlook *o, struct decision *d,
                  const enum alternative_kind ways[], unsigned n, enum reason reason)
{
    for (unsigned i = 0; i < n; i++) {
        struct alternative *a = &d->alternative[ways[i]];

        if (!a->works || !(a->approved || a->ask))
            continue;
        a->reason = reason;
        d->n_actions = 0;
        if (a->approved)
            take(c, o, d, ways[i]);
        else
            propose(o, d, ways[i]);
        return true;
    }
    return false;
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
    a->downtime_ns = (int64_t)fmax(limit_s * 1e9, (double)o->s->downtime_limit_ns);
    a->forecast = outlook_send_rest(o, limit_s, 0);
    if (!force(c, o, d, ways, 2, REASON_PRECOPY_LIMIT))
        d->reason = REASON_PRECOPY_LIMIT;
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
        add_action(d, (struct action){.kind = ACTION_BANDWIDTH,
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
    bool late = o->deadline_ns != POLICY_NONE && s->elapsed_ns >= o->deadline_ns;
    bool lost = d->verdict == VERDICT_HOPELESS && c->hopeless_since_ns != 0 &&
                c->hopeless_syncs >= HOPELESS_HOLD_SYNCS &&
                seconds_of(s->now_ns - c->hopeless_since_ns) >= HOPELESS_HOLD_S;
    bool stalled = d->verdict == VERDICT_STALLED;
    struct action cancel = {.kind = ACTION_CANCEL};

    if (late && d->course.ends && d->course.seconds < fmin(GRACE_MAX_S, deadline_s / 10) &&
        seconds_of(s->elapsed_ns) < deadline_s + GRACE_MAX_S) {
        d->reason = REASON_ABOUT_TO_END;
        return;
    }
    if (late && d->n_actions == 0)
        d->reason = REASON_DEADLINE;
    if (late && p[POLICY_ON_DEADLINE] == ON_DEADLINE_FORCE && d->alternatives_known &&
        force(c, o, d, ways, 2, REASON_DEADLINE))
        return;
    if (allow == ALLOW_NO)
        return;
    if (!(late && p[POLICY_ON_DEADLINE] == ON_DEADLINE_CANCEL) && !lost && !stalled)
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
    add_action(d, cancel);
}

/* Is something of ours in force? */
static bool has_acted(const struct controller *c, const struct sample *s)
{
    return s->cpu_share < 1 ||
           (c->downtime_set_ns != 0 && s->downtime_limit_ns == c->downtime_set_ns);
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
            take(c, o, d, ways[i]);
            return true;
        }
    }
    return false;
}

/* It would not end by itself, as far as we know. */
static void step_doubtful(struct controller *c, const struct outlook *o, struct decision *d)
{
    const struct sample *s = o->s;
    const int64_t *p = o->policy->v;
    const struct alternative *throttle = &d->alternative[ALT_THROTTLE];
    bool sure = (o->e->passes >= 2 && is_flat(o->e, s)) || c->sure;
    bool late = has_acted(c, s) && outlook_half_time_over(o);
    bool pressed = late || (throttle->works && o->left_s < PRESSED * throttle->forecast.seconds);

    if (s->at_sync) {
        /* Each time it has shrunk, doubt starts over. */
        if (c->doubtful_syncs == 0 || o->e->last_x_bytes < NOT_SHRINKING * c->doubt_bytes) {
            c->doubt_ns = s->now_ns;
            c->doubt_bytes = o->e->last_x_bytes;
            c->doubtful_syncs = 0;
        }
        c->doubtful_syncs++;
    }
    if (s->cpu_share >= 1 && !sure && !pressed &&
        (c->doubtful_syncs < DOUBT_SYNCS || seconds_of(s->now_ns - c->doubt_ns) < DOUBT_S)) {
        if (take_free(c, o, d))
            return;
        d->verdict = VERDICT_PLATEAU;
        d->reason = REASON_UNCONFIRMED;
        return;
    }
    if (c->plateau_since_ns == 0)
        c->plateau_since_ns = s->now_ns;
    if (s->now_ns - c->plateau_since_ns < p[POLICY_PATIENCE] && !has_acted(c, s)) {
        d->verdict = VERDICT_PLATEAU;
        d->reason = REASON_PATIENCE;
        return;
    }
    if (!s->at_sync && c->last.alternatives_known && d->n_actions == 0 && !is_answered(c, o)) {
        /* The last word stands. */
        d->verdict = c->last.verdict == VERDICT_STARTING ? VERDICT_PLATEAU : c->last.verdict;
        d->reason = c->last.reason;
        if (has_acted(c, s) && d->verdict == VERDICT_NEEDS_HELP && c->last.n_proposed == 0) {
            d->verdict = VERDICT_HELPED;
            d->reason = REASON_IN_FORCE;
        }
        /* But a question is withdrawn when the policy it came from is not in force any more. */
        if (!o->new_policy) {
            d->n_proposed = c->last.n_proposed;
            memcpy(d->proposed, c->last.proposed, sizeof(d->proposed));
            d->asked = c->last.asked;
        }
        return;
    }
    if (choose(c, o, d)) {
        c->hopeless_since_ns = 0;
        c->hopeless_syncs = 0;
        return;
    }
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
        c->hopeless_since_ns = 0;
        c->hopeless_syncs = 0;
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

/*
 * Has the end come nearer since it was last forecast? One that moves away by more than a third of
 * the time that goes by is none, whatever the curves say: the guest or the link is not as they have
 * it.
 */
static void judge_date(struct controller *c, const struct outlook *o, const struct before *before,
                       struct decision *d)
{
    const struct sample *s = o->s;
    double now_s = seconds_of(s->now_ns);
    double end_s = now_s + d->course.seconds;
    bool moved_away;

    if (s->cpu_share != before->cpu_share || s->downtime_limit_ns != before->downtime_limit_ns) {
        c->end_s = 0;
        c->held = c->receding = false;
    }
    moved_away = c->end_s != 0 && end_s - c->end_s > (now_s - c->end_said_s) / 3;
    if (s->at_sync) {
        c->held = d->course.ends && c->end_s != 0 && !moved_away;
        c->receding = d->course.ends && moved_away;
    }
    if (s->at_sync || c->end_s == 0) {
        c->end_s = d->course.ends ? end_s : 0;
        c->end_said_s = now_s;
    }
    d->held = c->held;
    /* Passes under a throttle are shorter than all that are known: no curve is sure of them. */
    if (c->receding || (s->cpu_share < 1 && !c->held))
        d->latest_s = INFINITY;
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
    judge_date(c, o, before, d);
    d->close = e->last_x_bytes < DOWNTIME_MARGIN * limit_s * e->transfer_bps ||
               (s->cpu_share < 1 && e->last_x_bytes < NOT_SHRINKING * e->prev_x_bytes);
    /* Between syncs there is no new evidence for anything else. */
    if (s->at_sync || !c->last.alternatives_known || is_answered(c, o) || o->new_policy) {
        c->sure = !outlook_ends_with_less(o, limit_s);
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
        c->doubtful_syncs = 0;
        c->plateau_since_ns = 0;
        c->hopeless_since_ns = 0;
        /* The switchover was due and did not come: QEMU measures the link as slower than we do. */
        if (c->downtime_set_ns != 0 && c->passes_since_downtime >= 4) {
            c->tried.downtime_margin *= DOWNTIME_MARGIN_STEP;
            c->passes_since_downtime = 0;
        }
        return;
    }
    step_doubtful(c, o, d);
}

/* Counters that stand still, or several passes without a new low, for the policy's time. */
static bool is_stalled(const struct controller *c, const struct sample *s, int64_t timeout_ns,
                       const struct decision *d)
{
    if (c->moved_ns != 0 && s->now_ns - c->moved_ns > timeout_ns)
        return true;
    return d->reason != REASON_PATIENCE && c->low_ns != 0 && s->now_ns - c->low_ns > timeout_ns &&
           s->cpu_share >= 1 && c->estimator.now.passes >= c->low_passes + STALL_PASSES;
}

static void remember(struct controller *c, const struct action *a, const struct sample *s)
{
    switch (a->kind) {
    case ACTION_DOWNTIME:
        c->downtime_before_ns = s->downtime_limit_ns;
        c->downtime_set_ns = a->downtime_ns;
        c->downtime_seen = false;
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

static bool same_limit(int64_t a_ns, int64_t b_ns)
{
    return (a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns) < DOWNTIME_SAME_NS;
}

/* Somebody else has the last word on a limit that was ours. */
static void notice_others(struct controller *c, const struct sample *s)
{
    if (c->downtime_set_ns == 0)
        return;
    if (same_limit(s->downtime_limit_ns, c->downtime_set_ns))
        c->downtime_seen = true;
    /* Unless it has just not been possible to set it. */
    else if (c->downtime_seen || !same_limit(s->downtime_limit_ns, c->downtime_before_ns))
        controller_latch(c, ACTION_DOWNTIME, REASON_OTHER_WRITER);
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
    if (s->now_ns - c->moved_ns > o->policy->v[POLICY_STALL_TIMEOUT]) {
        d->verdict = VERDICT_STALLED;
        d->reason = REASON_STALLED;
        consider_cancel(c, o, d);
    }
    return true;
}

void controller_step(struct controller *c, const struct policy_values *policy,
                     const struct sample *s, struct decision *ret)
{
    const struct estimate *e = &c->estimator.now;
    const struct sample *last = &c->estimator.last;
    struct before before = {
        .now_ns = last->now_ns,
        .cpu_share = last->cpu_share,
        .downtime_limit_ns = last->downtime_limit_ns,
        .processed_bytes = last->processed_bytes,
        .passes = e->passes,
        .lost_s = e->lost_s,
    };
    struct decision d = {.course.downtime_s = NAN,
                         .earliest_s = INFINITY,
                         .latest_s = INFINITY,
                         .chosen = c->last.chosen,
                         .apply = policy->v[POLICY_MODE] == MODE_ENFORCE};
    struct outlook o = {
        .e = e,
        .policy = policy,
        .s = s,
        .new_policy = memcmp(policy, &c->last_policy, sizeof(*policy)) != 0,
        .left_s = INFINITY,
        .flat_speed = INFINITY,
    };

    if (estimator_add(&c->estimator, s)) {
        controller_init(c);
        estimator_add(&c->estimator, s);
        before = (struct before){0};
    }
    account(c, s, &before, (double)policy->v[POLICY_MIN_CPU] / (double)PPM_ONE);

    notice_others(c, s);

    o.deadline_ns = policy_deadline_ns(policy, s->total_bytes + s->disk_total_bytes);
    if (o.deadline_ns != POLICY_NONE && s->elapsed_ns < o.deadline_ns)
        o.left_s = seconds_of(o.deadline_ns - s->elapsed_ns);
    if (policy->v[POLICY_MAX_DOWNTIME] != POLICY_NONE)
        o.ceiling_s = seconds_of(policy->v[POLICY_MAX_DOWNTIME]);

    if (c->flat_syncs >= DOUBT_SYNCS && seconds_of(s->now_ns - c->flat_ns) >= DOUBT_S)
        o.flat_speed = fmin(e->speed, estimate_speed_at(e, s->cpu_share));

    if (step_final(c, &o, &d)) {
        c->last = *ret = d;
        return;
    }
    if (e->ready) {
        step_ready(c, &o, &before, &d);
        step_precopy_limit(c, &o, &d);
        lower_speed(c, &o, &d);
    } else {
        d.verdict = VERDICT_STARTING;
        d.reason = REASON_NO_EVIDENCE;
    }
    if (is_stalled(c, s, policy->v[POLICY_STALL_TIMEOUT], &d) && !d.course.ends &&
        d.n_actions == 0) {
        d.verdict = VERDICT_STALLED;
        d.reason = REASON_STALLED;
    }
    consider_cancel(c, &o, &d);
    if (d.verdict == VERDICT_STARTING)
        outlook_first_guess(&o, &d);
    for (unsigned i = 0; d.apply && i < d.n_actions; i++)
        remember(c, &d.action[i], s);
    c->last = *ret = d;
    c->last_policy = *policy;
}
