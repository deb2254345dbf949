/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/outlook.h"

#include <math.h>

#include "common/units.h"
#include "policy/limits.h"
#include "policy/tuning.h"

static const double share_steps[] = {1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 4.5};
enum { SHARE_STEPS = sizeof(share_steps) / sizeof(share_steps[0]) };

/* The part of the blackout that no downtime limit knows of. */
static double overhead_s(const struct outlook *o)
{
    return OVERHEAD_S + fmax(seconds_of(o->s->flush_ns), 0);
}

struct forecast outlook_forecast(const struct outlook *o, const struct dirty_curve *curve,
                                 double speed, double limit_s)
{
    if (speed >= o->flat_speed && limit_s <= seconds_of(o->s->downtime_limit_ns) * (1 + LOOKS_GAIN))
        return (struct forecast){
            .plateau_bytes = o->e->last_x_bytes,
            .downtime_s = o->e->last_x_bytes / o->e->drain_bps + overhead_s(o),
        };
    return forecast_run(o->e, &(struct forecast_case){
                                  .curve = curve,
                                  .speed = speed,
                                  .downtime_limit_s = limit_s,
                                  .overhead_s = overhead_s(o),
                                  .held_s = o->held_s,
                                  .horizon_s = o->left_s,
                              });
}

struct spread outlook_spread(const struct outlook *o, double speed, double limit_s)
{
    struct spread r = {.likely = outlook_forecast(o, &o->e->curve, speed, limit_s)};
    struct forecast slow = outlook_forecast(o, &o->e->slow, speed, limit_s);
    struct forecast fast = outlook_forecast(o, &o->e->fast, speed, limit_s);

    r.all_end = r.likely.ends && slow.ends && fast.ends;
    r.any_ends = r.likely.ends || slow.ends || fast.ends;
    r.first = r.last = r.likely;
    if (slow.ends && (!r.first.ends || slow.seconds < r.first.seconds))
        r.first = slow;
    if (fast.ends && (!r.first.ends || fast.seconds < r.first.seconds))
        r.first = fast;
    if (slow.seconds > r.last.seconds)
        r.last = slow;
    if (fast.seconds > r.last.seconds)
        r.last = fast;
    return r;
}

bool outlook_ends_with_less(const struct outlook *o, double limit_s)
{
    struct dirty_curve slow = o->e->slow;

    slow.hot_bytes *= 1 - MAY_CHANGE;
    return outlook_spread(o, 1, limit_s).any_ends || outlook_forecast(o, &slow, 1, limit_s).ends;
}

/* The end if the guest dirtied nothing any more, and the link were as good as it gets. */
static double earliest(const struct outlook *o)
{
    const struct estimate *e = o->e;
    double enough = e->transfer_bps * fmax(seconds_of(o->s->downtime_limit_ns) - o->held_s, 0);

    return fmax(e->remaining_bytes - enough, 0) / (e->drain_bps * (1 + LUCK * e->noise));
}

void outlook_course(const struct outlook *o, struct decision *d)
{
    double limit_s = seconds_of(o->s->downtime_limit_ns) * (1 + LOOKS_GAIN);
    struct spread course = outlook_spread(o, o->e->speed, limit_s);

    d->course = course.likely;
    d->course.seconds -= OVERHEAD_SPARE_S;
    d->course.downtime_s -= OVERHEAD_SPARE_S;
    d->earliest_s = course.any_ends ? fmin(earliest(o), course.first.seconds) : INFINITY;
    d->latest_s = course.all_end ? course.last.seconds : INFINITY;
}

/* In the first pass, by what is known of the guest: later passes meet no zero pages. */
static struct forecast expected(const struct outlook *o)
{
    struct estimate e;
    struct outlook later = *o;

    estimate_copy(&e, o->e);
    e.drain_bps = fmin(e.drain_bps, e.transfer_bps);
    e.hot_bytes = e.curve.hot_bytes;
    later.e = &e;
    return outlook_forecast(&later, &e.curve, 1, seconds_of(o->s->downtime_limit_ns));
}

void outlook_first_guess(const struct outlook *o, struct decision *d)
{
    static const struct dirty_curve none = {0};
    struct outlook open = *o;
    double downtime_s = d->course.downtime_s;

    open.left_s = INFINITY;
    if (o->s->total_bytes == 0 || o->e->drain_bps <= 0)
        return;
    if (o->e->passes > 0) {
        outlook_course(&open, d);
    } else {
        d->course = outlook_forecast(&open, &none, 1, seconds_of(o->s->downtime_limit_ns));
        d->course.seconds -= OVERHEAD_SPARE_S;
        d->earliest_s = d->course.seconds * (1 - EMPTY_MOST);
        if (o->e->expected)
            d->course = expected(&open);
    }
    d->course.downtime_s = downtime_s;
}

void outlook_set_deadline(struct outlook *o, int64_t elapsed_ns)
{
    double pass_s = (double)o->s->total_bytes / o->e->transfer_bps;

    o->elapsed_ns = elapsed_ns;
    o->deadline_ns = policy_deadline_ns(o->policy, o->s->total_bytes);
    o->deadline_stated = o->deadline_ns != POLICY_NONE;
    if (!o->deadline_stated && policy_allows_anything(o->policy) && o->e->transfer_bps > 0)
        o->deadline_ns = ns_of(fmax(DEADLINE_S, DEADLINE_PASSES * pass_s));
    if (o->deadline_ns != POLICY_NONE && o->elapsed_ns < o->deadline_ns)
        o->left_s = seconds_of(o->deadline_ns - o->elapsed_ns);
}

bool outlook_half_time_over(const struct outlook *o)
{
    return o->deadline_ns != POLICY_NONE && o->elapsed_ns > o->deadline_ns / 2;
}

/*
 * The least downtime limit up to `max_s` with which it ends on that curve, to the ratio `exact`;
 * 0 when none does.
 */
static double least_downtime(const struct outlook *o, const struct dirty_curve *curve, double speed,
                             double max_s, double exact)
{
    /* A search by ratios does not get away from 0. */
    double low = fmax(seconds_of(o->s->downtime_limit_ns), DOWNTIME_LIMIT_MIN_S);
    double high = max_s;

    if (outlook_forecast(o, curve, speed, low).ends)
        return low;
    if (high <= low || !outlook_forecast(o, curve, speed, high).ends)
        return 0;
    while (high / low > exact) {
        double middle = sqrt(low * high);

        if (outlook_forecast(o, curve, speed, middle).ends)
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* How much longer than the limit a blackout may be. */
static double slack(const struct outlook *o)
{
    return fmax(DOWNTIME_SLACK, 1 + LUCK * o->e->noise);
}

/* The largest limit that keeps the ceiling with so much time beside sending memory. */
static double limit_within(const struct outlook *o, double beside_s)
{
    return fmax((o->ceiling_s - beside_s - fmax(seconds_of(o->s->flush_ns), 0)) / slack(o), 0);
}

double outlook_ceiling_s(const struct outlook *o)
{
    return limit_within(o, OVERHEAD_MOST_S);
}

double outlook_kept_s(const struct outlook *o)
{
    return limit_within(o, OVERHEAD_S);
}

bool outlook_breaks_ceiling(const struct outlook *o, const struct forecast *f)
{
    double least_s = overhead_s(o) - OVERHEAD_SPARE_S + o->held_s;

    return o->policy->v[POLICY_MAX_DOWNTIME] != POLICY_NONE &&
           (f ? f->downtime_s : least_s) > o->ceiling_s;
}

double outlook_ceiling_for(const struct outlook *o, double limit_s)
{
    return limit_s * slack(o) + overhead_s(o) - OVERHEAD_S + OVERHEAD_MOST_S;
}

struct alternative outlook_may(const struct outlook *o, enum action_kind action)
{
    enum policy_allow allow = action_allowance(o->policy, action);

    return (struct alternative){
        .approved = allow == ALLOW_YES,
        .ask = allow == ALLOW_ASK,
        .share = 1,
        .downtime_ns = o->s->downtime_limit_ns,
    };
}

static struct forecast forecast_faster(const struct outlook *o, double bandwidth)
{
    return forecast_run(o->e, &(struct forecast_case){
                                  .curve = &o->e->curve,
                                  .speed = 1,
                                  .bandwidth = bandwidth,
                                  .downtime_limit_s = seconds_of(o->s->downtime_limit_ns),
                                  .overhead_s = overhead_s(o),
                                  .held_s = o->held_s,
                                  .horizon_s = o->left_s,
                              });
}

/*
 * A higher speed limit costs the guest nothing. How much faster the link would be without the
 * present limit nobody knows: where the forecast promises nothing, it is worth a try.
 */
static struct alternative try_bandwidth(const struct tried *tried, const struct outlook *o)
{
    struct alternative a = outlook_may(o, ACTION_BANDWIDTH);
    double carried = o->e->transfer_bps;
    double limit = (double)o->s->speed_limit_bps;
    double max = (double)o->policy->v[POLICY_MAX_BANDWIDTH]; /* negative: none */
    double low = 1;
    double most = max >= 0 ? max / carried : SPEED_RAISE_MAX;
    double high = most;

    a.reason = tried->latched[ACTION_BANDWIDTH];
    if (a.reason != REASON_NONE)
        return a;
    if (limit <= 0 || carried < SPEED_LIMITING * limit) {
        a.reason = REASON_BANDWIDTH_NOT_LIMITING;
        return a;
    }
    if (max >= 0 && max <= fmax(limit, carried) * (1 + SPEED_DEADBAND)) {
        a.reason = REASON_BANDWIDTH_OVER_CEILING;
        return a;
    }
    a.works = true;
    a.reason = REASON_BANDWIDTH_WORTH_A_TRY;
    a.speed_limit_bps = max >= 0 ? (int64_t)max : 0;
    a.forecast = forecast_faster(o, most);
    if (!a.forecast.ends)
        return a;
    while (high / low > 1.02) {
        double middle = sqrt(low * high);

        if (forecast_faster(o, middle).ends)
            high = middle;
        else
            low = middle;
    }
    high = fmin(high * SPEED_MARGIN, most);
    a.reason = REASON_BANDWIDTH_SUFFICES;
    a.forecast = forecast_faster(o, high);
    a.speed_limit_bps = (int64_t)(high * carried);
    return a;
}

static struct alternative try_compression_cache(const struct tried *tried, const struct outlook *o)
{
    struct alternative a = outlook_may(o, ACTION_COMPRESSION_CACHE);
    int64_t now = (int64_t)o->s->compression_cache_bytes;
    int64_t ceiling = o->policy->v[POLICY_MAX_COMPRESSION_CACHE];
    int64_t max = ceiling == POLICY_NONE ? INT64_MAX : ceiling;
    double wanted = o->e->hot_bytes * CACHE_MARGIN;

    a.reason = tried->latched[ACTION_COMPRESSION_CACHE];
    if (a.reason != REASON_NONE)
        return a;
    a.reason = REASON_NOT_COMPRESSED;
    if (now <= 0)
        return a;
    /* QEMU takes powers of two only. */
    a.cache_bytes = now;
    while ((double)a.cache_bytes < wanted && a.cache_bytes <= max / 2)
        a.cache_bytes *= 2;
    a.works = a.cache_bytes > now;
    a.reason = a.works ? REASON_CACHE_WORTH_A_TRY : REASON_CACHE_LARGE_ENOUGH;
    return a;
}

struct forecast outlook_send_rest(const struct outlook *o, double downtime_s, double speed)
{
    double send_s = o->e->remaining_bytes / o->e->drain_bps;

    return (struct forecast){
        .ends = true,
        .seconds = send_s + overhead_s(o),
        .downtime_s = downtime_s + overhead_s(o),
        .work_lost_s = send_s * (1 - speed) + overhead_s(o),
    };
}

/* What ends any migration, unless it has failed before. */
static struct alternative try_for_good(const struct tried *tried, const struct outlook *o,
                                       enum action_kind action, enum reason suffices,
                                       double downtime_s, double speed)
{
    struct alternative a = outlook_may(o, action);

    a.reason = tried->latched[action];
    a.works = a.reason == REASON_NONE;
    if (a.works) {
        a.reason = suffices;
        a.forecast = outlook_send_rest(o, downtime_s, speed);
    }
    return a;
}

/*
 * A limit costs the guest nothing until it ends the migration. So while time is plentiful it is
 * raised towards what is likely needed half of the way at a time, from what the most favourable
 * curve needs: shorter passes show what really is.
 */
static double step_towards(const struct outlook *o, double needed)
{
    double limit_s = seconds_of(o->s->downtime_limit_ns);
    double hoped;

    if (needed <= DOWNTIME_STEP_MIN * limit_s || outlook_half_time_over(o))
        return needed;
    hoped = least_downtime(o, &o->e->slow, 1, needed, DOWNTIME_STEP_MIN);
    return sqrt(fmax(hoped, DOWNTIME_STEP_MIN * limit_s) * needed);
}

/* In hundredths of a second, in thousandths where a raise would be lost otherwise; none at all
   would never end a migration. A limit is not lowered. */
static int64_t limit_ns(const struct outlook *o, double limit_s)
{
    int64_t now_ns = o->s->downtime_limit_ns;
    double most_s = fmin(limit_s, DOWNTIME_LIMIT_MAX_S);
    int64_t ns = (int64_t)fmax(most_s * 100, 1) * (NS_PER_S / 100);

    if (ns <= now_ns)
        ns = (int64_t)ceil(most_s * 1000) * (NS_PER_S / 1000);
    return ns > now_ns ? ns : now_ns;
}

/*
 * The limit to set where `needed` is needed: with a margin, and by so much above the one in force
 * that it is worth a write, as far as `max_s` allows if that is enough. A lesser raise would never
 * be written, and the limit in force has just been found not to do.
 */
static double raised(const struct tried *tried, const struct outlook *o, double needed,
                     double max_s)
{
    double now_s = seconds_of(o->s->downtime_limit_ns);
    double limit_s = fmax(needed * tried->downtime_margin, (1 + DOWNTIME_DEADBAND) * now_s);

    if (needed <= now_s)
        return needed;
    return needed <= max_s ? fmin(limit_s, max_s) : limit_s;
}

/* Waiting has a price: is the chance of a blackout that is so much shorter worth another pass? */
static bool is_worth_a_pass(const struct outlook *o, double shorter_s)
{
    double pass_s = o->e->last_x_bytes / o->e->drain_bps;

    /* A trial that another program ends shows nothing. */
    if (o->taken)
        return false;
    return o->policy->v[POLICY_AIM_DOWNTIME] != POLICY_NONE
               ? shorter_s > 0
               : shorter_s * TRIAL_CHANCE > BROWNOUT * pass_s;
}

static struct alternative try_downtime(const struct tried *tried, struct outlook in_time)
{
    const struct outlook *o = &in_time;
    struct alternative a = outlook_may(o, ACTION_DOWNTIME);
    double needed;

    in_time.left_s *= DOWNTIME_PART;
    needed = least_downtime(o, &o->e->curve, 1, DOWNTIME_LIMIT_MAX_S, EXACT);

    a.reason = tried->latched[ACTION_DOWNTIME];
    if (a.reason != REASON_NONE)
        return a;
    if (needed <= 0) {
        a.reason = REASON_DOWNTIME_INSUFFICIENT;
        return a;
    }
    a.reason = REASON_DOWNTIME_SUFFICES;
    /* Where it may be lowered again before the next sync, it has to do at once. */
    if (o->taken)
        needed = fmax(needed, o->e->last_x_bytes / o->e->transfer_bps);
    needed = raised(tried, o, needed, outlook_ceiling_s(o));
    a.forecast = outlook_forecast(o, &o->e->curve, 1, needed);
    if (a.approved) {
        double step = step_towards(o, fmin(needed, outlook_ceiling_s(o)));
        struct forecast hoped = outlook_forecast(o, &o->e->slow, 1, step);

        if (is_worth_a_pass(o, needed - step) && hoped.ends &&
            step > (1 + DOWNTIME_DEADBAND) * seconds_of(o->s->downtime_limit_ns)) {
            a.reason = REASON_DOWNTIME_WORTH_A_TRY;
            a.forecast = hoped;
            needed = step;
        }
    }
    a.downtime_ns = limit_ns(o, needed);
    a.ceiling_ns = ns_of(outlook_ceiling_for(o, seconds_of(a.downtime_ns)));
    a.works = a.forecast.ends;
    if (a.approved && needed > outlook_ceiling_s(o)) {
        a.approved = false;
        a.reason = REASON_DOWNTIME_OVER_CEILING;
    } else if (!a.approved) {
        a.reason = REASON_NOT_APPROVED;
    }
    return a;
}

static bool is_open(const struct alternative *a)
{
    return a->approved && a->works;
}

static bool is_final_open(const struct decision *d)
{
    return is_open(&d->alternative[ALT_POST_COPY]) || is_open(&d->alternative[ALT_SUSPEND]);
}

/*
 * A throttle that works on all curves, and so not before passes were seen that a throttle will
 * make; with half of the time gone, on the likeliest.
 */
static bool is_sure(const struct outlook *o, const struct alternative *a)
{
    struct spread spread;

    if (!is_open(a))
        return false;
    spread = outlook_spread(o, estimate_speed_at(o->e, a->share), seconds_of(a->downtime_ns));
    return spread.all_end || (spread.likely.ends && outlook_half_time_over(o));
}

/*
 * When nothing works for sure: a longer downtime also makes passes shorter, and what short passes
 * find, long ones do not show. A limit costs the guest nothing until it ends the migration, so it
 * is raised as far as is allowed, and what is seen then decides what comes next. Where post-copy or
 * a pause would end it for sure, there must be hope for that on the most favourable curve.
 */
static void hope_for_downtime(const struct tried *tried, const struct outlook *o,
                              struct decision *d)
{
    struct alternative *a = &d->alternative[ALT_DOWNTIME];
    double limit_s = seconds_of(o->s->downtime_limit_ns);
    int64_t most_ns = limit_ns(o, outlook_ceiling_s(o));
    struct forecast hoped = outlook_forecast(o, &o->e->slow, 1, seconds_of(most_ns));

    if (a->approved || seconds_of(most_ns) <= (1 + DOWNTIME_DEADBAND) * limit_s ||
        (!hoped.ends && is_final_open(d)) || tried->latched[ACTION_DOWNTIME] != REASON_NONE)
        return;
    *a = (struct alternative){
        .approved = true,
        .works = true,
        .reason = REASON_DOWNTIME_WORTH_A_TRY,
        .share = 1,
        .downtime_ns = most_ns,
        .forecast = hoped,
    };
}

/*
 * Is the milder throttle `b` to be preferred to `a`? gentle: whenever it is in time, even if the
 * guest were somewhat faster, since next to the critical speed a forecast is worth nothing; if that
 * was too hopeful, the next sync tightens it. least-loss: only if it loses less guest work even on
 * the worst curve, because hard and short costs little, and tightening pass after pass costs much.
 */
static bool milder_is_better(const struct outlook *o, const struct spread *a,
                             const struct spread *b, const struct forecast *careful)
{
    if (o->policy->v[POLICY_OBJECTIVE] == OBJECTIVE_GENTLE)
        return careful->ends && careful->seconds <= GENTLE_PART * o->left_s;
    return a->all_end && b->all_end && b->last.work_lost_s < a->last.work_lost_s;
}

/* Would it lose no more guest work, the blackout left out, than max_work_lost leaves? */
static bool is_affordable(const struct tried *tried, const struct outlook *o,
                          const struct forecast *f)
{
    int64_t budget = o->policy->v[POLICY_MAX_WORK_LOST];

    return budget == POLICY_NONE ||
           tried->work_lost_s + f->work_lost_s - f->downtime_s <= seconds_of(budget);
}

/*
 * What a throttle to a->share, which leaves the guest `speed`, would do; with, if need be, a
 * downtime limit up to `max_s`. *ret_careful: the end of a guest that is somewhat faster.
 */
static struct spread weigh_throttle(const struct tried *tried, const struct outlook *o,
                                    double speed, double max_s, bool is_hardest,
                                    struct alternative *a, struct forecast *ret_careful)
{
    double limit_s = seconds_of(o->s->downtime_limit_ns);
    struct spread spread;
    bool hopeful;

    if (max_s > limit_s) {
        double needed = least_downtime(o, &o->e->curve, speed, max_s, EXACT);

        limit_s = fmax(raised(tried, o, needed, max_s), limit_s);
        a->downtime_ns = limit_ns(o, limit_s);
    }
    spread = outlook_spread(o, speed, limit_s);
    /* A throttle is worth a try until throttled passes have shown what it does. */
    hopeful = tried->throttled_passes < JUDGE_PASSES && !spread.likely.ends;
    a->forecast = hopeful ? spread.first : spread.likely;
    /* What is in force has been paid for in part: it goes on until the budget is spent. */
    a->works = a->forecast.ends && (o->s->cpu_share < 1 || is_affordable(tried, o, &spread.first));
    /* And none is given up before the hardest has been tried. */
    if (is_hardest && !a->works && o->s->cpu_share < 1 && tried->floor_passes == 0) {
        a->works = true;
        a->reason = REASON_THROTTLE_WORTH_A_TRY;
    }
    *ret_careful = outlook_forecast(o, hopeful ? &o->e->slow : &o->e->curve,
                                    fmin(speed * GENTLE_MARGIN, 1), limit_s);
    return spread;
}

/* Throttling with, if need be, a downtime limit up to `max_s`. */
static struct alternative try_throttle(const struct tried *tried, const struct outlook *o,
                                       double max_s)
{
    double floor_share = (double)o->policy->v[POLICY_MIN_CPU] / (double)PPM_ONE;
    struct alternative best = outlook_may(o, ACTION_THROTTLE);
    struct spread best_spread = {0};

    best.share = floor_share;
    best.reason = tried->latched[ACTION_THROTTLE];
    if (best.reason == REASON_NONE && o->s->auto_converge_percent > 0)
        best.reason = REASON_AUTO_CONVERGE;
    if (best.reason != REASON_NONE)
        return best;
    /* What holds the switchover beside memory is not lessened by slowing the guest. */
    best.reason = REASON_HELD;
    if (o->held_s >= fmax(max_s, seconds_of(o->s->downtime_limit_ns)))
        return best;
    best.reason = REASON_THROTTLE_INSUFFICIENT;
    if (estimate_speed_at(o->e, floor_share) > USELESS_SPEED) {
        best.reason = REASON_THROTTLE_USELESS;
        return best;
    }
    for (unsigned i = 0; i < SHARE_STEPS; i++) {
        struct alternative a = best;
        struct forecast careful;
        struct spread spread;
        double speed;

        a.share = floor_share * share_steps[i];
        speed = estimate_speed_at(o->e, a.share);
        if (a.share >= 1 || speed > USELESS_SPEED)
            break;
        spread = weigh_throttle(tried, o, speed, max_s, i == 0, &a, &careful);
        if (i == 0 || (is_affordable(tried, o, &careful) &&
                       milder_is_better(o, &best_spread, &spread, &careful))) {
            best = a;
            best_spread = spread;
        }
        /* Where this does not end on any curve, nothing milder does. */
        if (!spread.any_ends)
            break;
        /* What loses least is compared by the worst curve: without one there is no comparing. */
        if (o->policy->v[POLICY_OBJECTIVE] == OBJECTIVE_LEAST_LOSS && !best_spread.all_end)
            break;
    }
    if (best.works && !best.approved && !best.ask)
        best.reason = REASON_NOT_APPROVED;
    else if (best.works && best.forecast.ends)
        best.reason = max_s > 0 ? REASON_BOTH_SUFFICE : REASON_THROTTLE_SUFFICES;
    else if (best.forecast.ends)
        best.reason = REASON_THROTTLE_OVER_BUDGET;
    return best;
}

void outlook_alternatives(const struct tried *tried, const struct outlook *o, struct decision *d)
{
    struct alternative *a = d->alternative;

    a[ALT_WAIT] = (struct alternative){
        .approved = true,
        .share = 1,
        .downtime_ns = o->s->downtime_limit_ns,
        .forecast = outlook_forecast(o, &o->e->curve, 1, seconds_of(o->s->downtime_limit_ns)),
    };
    a[ALT_WAIT].works = a[ALT_WAIT].forecast.ends;
    a[ALT_WAIT].reason = a[ALT_WAIT].works ? REASON_CONVERGES
                         : o->held_s > 0   ? REASON_HELD
                                           : REASON_UNCONFIRMED;
    a[ALT_BANDWIDTH] = try_bandwidth(tried, o);
    a[ALT_COMPRESSION_CACHE] = try_compression_cache(tried, o);
    a[ALT_DOWNTIME] = try_downtime(tried, *o);
    a[ALT_THROTTLE] = try_throttle(tried, o, 0);
    a[ALT_BOTH] = try_throttle(
        tried, o, tried->latched[ACTION_DOWNTIME] == REASON_NONE ? outlook_ceiling_s(o) : 0);
    a[ALT_BOTH].approved = a[ALT_BOTH].approved && o->ceiling_s > 0;
    a[ALT_BOTH].ask = a[ALT_BOTH].ask && o->ceiling_s > 0;
    a[ALT_POST_COPY] =
        try_for_good(tried, o, ACTION_POST_COPY, REASON_POST_COPY_SUFFICES, 0, POST_COPY_SPEED);
    a[ALT_SUSPEND] = try_for_good(tried, o, ACTION_SUSPEND, REASON_SUSPEND_SUFFICES,
                                  o->e->remaining_bytes / o->e->drain_bps, 0);
    if (!is_sure(o, &a[ALT_THROTTLE]) && !is_sure(o, &a[ALT_BOTH]))
        hope_for_downtime(tried, o, d);
    d->alternatives_known = true;
}
