/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/estimate.h"

#include <math.h>
#include <string.h>

#include "policy/limits.h"
#include "policy/tuning.h"

/* A mean is taken over so many moments. */
enum { MEAN_STEPS = 16 };

void estimator_init(struct estimator *e)
{
    memset(e, 0, sizeof(*e));
    e->now.speed = 1;
}

/* The part of the hot set that is dirty after that time. */
static double part_dirty(const struct dirty_curve *curve, double tau_s)
{
    double writes = curve->kappa * tau_s;
    /* Not expm1(): it takes several times as long, and is exact where nothing is dirty. */
    double at_random = curve->in_order < 1 ? 1 - exp(-writes) : 0;

    return at_random + curve->in_order * (fmin(writes, 1) - at_random);
}

double dirty_curve_at(const struct dirty_curve *curve, double tau_s)
{
    return curve->hot_bytes * part_dirty(curve, tau_s);
}

double estimate_speed_at(const struct estimate *e, double share)
{
    double most = e->cpu_allowance > 0 ? share * e->cpu_allowance : share;
    double busy = 0;
    double got = 0;

    for (unsigned i = 0; i < e->vcpus; i++) {
        busy += e->vcpu_busy[i];
        got += fmin(e->vcpu_busy[i], most);
    }
    return busy > 0 ? got / busy : fmin(share, 1);
}

/*
 * The guest's own seconds between two samples: wall time at full speed, less when it was slowed.
 * Untouched stretches teach what each vCPU uses when nobody slows it.
 */
static double guest_seconds(struct estimator *e, const struct sample *a, const struct sample *b)
{
    double wall = (double)(b->now_ns - a->now_ns) / 1e9;
    double used = 0;
    double busy = 0;

    if (b->vcpus == 0 || a->vcpus != b->vcpus)
        return wall * b->cpu_share;
    if (a->cpu_share >= 1 && b->cpu_share >= 1 && b->auto_converge_percent == 0) {
        double keep = exp(-wall / BASELINE_S);

        e->free_s = e->free_s * keep + wall;
        e->now.vcpus = b->vcpus;
        for (unsigned i = 0; i < b->vcpus; i++) {
            double cpu = (double)(b->vcpu_time_ns[i] - a->vcpu_time_ns[i]) / 1e9;

            e->free_cpu_s[i] = e->free_cpu_s[i] * keep + cpu;
            e->now.vcpu_busy[i] = fmin(e->free_cpu_s[i] / e->free_s, 1);
        }
        return wall;
    }
    for (unsigned i = 0; i < b->vcpus; i++) {
        used += (double)(b->vcpu_time_ns[i] - a->vcpu_time_ns[i]) / 1e9;
        busy += e->now.vcpu_busy[i];
    }
    /* Without a baseline (the agent started on a throttled guest) the quota is all we know. */
    return busy > 0 ? fmin(used / busy, wall) : wall * b->cpu_share;
}

static double drained_bps(const struct estimator *e, unsigned from, unsigned to)
{
    return (e->window_drained[to] - e->window_drained[from]) /
           ((double)(e->window_ns[to] - e->window_ns[from]) / 1e9);
}

/* Does the link carry so much more or less since sample `late` than before it that the older
   samples are of no use? */
static bool link_changed(const struct estimator *e, unsigned oldest, unsigned late, unsigned newest)
{
    double ratio;

    if (late == newest || late == oldest)
        return false;
    ratio = drained_bps(e, late, newest) / drained_bps(e, oldest, late);
    return ratio < 1 / LINK_CHANGED || ratio > LINK_CHANGED;
}

static void window_add(struct estimator *e, const struct sample *s)
{
    unsigned newest = e->window_count % ESTIMATE_WINDOW;
    unsigned late = newest;
    unsigned used;
    double span;

    /* A link that has less to send than it carries in a burst does not show what it carries. */
    if (!e->pass_is_first && e->now.last_x_bytes < e->now.transfer_bps * BURST_S) {
        e->window_count = 0;
        e->now.drain_bps = fmin(e->now.drain_bps, e->now.transfer_bps);
        return;
    }
    e->window_ns[newest] = s->now_ns;
    e->window_sent[newest] = (double)s->processed_bytes;
    e->window_drained[newest] = e->drained_bytes;
    e->window_count++;
    used = e->window_count < ESTIMATE_WINDOW ? e->window_count : ESTIMATE_WINDOW;

    for (unsigned back = 1; back < used; back++) {
        unsigned i = (e->window_count - 1 - back) % ESTIMATE_WINDOW;

        span = (double)(s->now_ns - e->window_ns[i]) / 1e9;
        if (span >= WINDOW_S * NEWEST && late == newest)
            late = i;
        if (span < WINDOW_S && back + 1 < used)
            continue;
        if (span < WINDOW_MIN_S)
            return;
        if (link_changed(e, i, late, newest)) {
            i = late;
            span = (double)(s->now_ns - e->window_ns[i]) / 1e9;
        }
        e->now.transfer_bps = (e->window_sent[newest] - e->window_sent[i]) / span;
        e->now.drain_bps = (e->window_drained[newest] - e->window_drained[i]) / span;
        return;
    }
}

static double longest_tau(const struct estimator *e)
{
    double tau = 0;

    for (unsigned i = 0; i < e->points; i++)
        tau = fmax(tau, e->point[i].tau_s);
    return tau;
}

/* What a pass of that length makes older ones count less: 1 for the longest known. */
static double fade(const struct estimator *e, double tau_s)
{
    double longest = fmax(longest_tau(e), tau_s);

    return longest > 0 ? tau_s / longest : 1;
}

/* Sets the hot set that goes best with the curve's shape. Returns the weighted squares of what it
   misses by. */
static double fit_hot(const struct estimator *e, struct dirty_curve *curve)
{
    double part[ESTIMATE_PASSES] = {0};
    double num = 0;
    double den = 0;
    double squares = 0;

    /* Relative errors count: dividing by the measured value turns H into a linear unknown. */
    for (unsigned i = 0; i < e->points; i++) {
        part[i] = part_dirty(curve, e->point[i].tau_s) / e->point[i].unique_bytes;
        num += e->point[i].weight * part[i];
        den += e->point[i].weight * part[i] * part[i];
    }
    curve->hot_bytes = num / den;
    for (unsigned i = 0; i < e->points; i++) {
        double off = curve->hot_bytes * part[i] - 1;

        squares += e->point[i].weight * off * off;
    }
    /* A curve may lie above what the first pass left, but not below. */
    if (e->first.weight > 0) {
        double off = dirty_curve_at(curve, e->first.tau_s) / e->first.unique_bytes - 1;

        squares += off < 0 ? e->first.weight * off * off : 0;
    }
    return squares;
}

/* All curves of one kind, from the slowest on. */
struct family {
    struct dirty_curve curve[KAPPA_STEPS];
    double squares[KAPPA_STEPS];
    double best; /* the least of them */
};

static void fit_family(const struct estimator *e, double tau_max, double in_order,
                       struct family *ret)
{
    double step = pow(KAPPA_MAX / KAPPA_MIN, 1 / (KAPPA_STEPS - 1.0));
    double kappa = KAPPA_MIN / tau_max;

    ret->best = INFINITY;
    for (unsigned i = 0; i < KAPPA_STEPS; i++) {
        ret->curve[i] = (struct dirty_curve){.kappa = kappa, .in_order = in_order};
        ret->squares[i] = fit_hot(e, &ret->curve[i]);
        ret->best = fmin(ret->best, ret->squares[i]);
        kappa *= step;
    }
}

/* The middle of what is possible, by order of magnitude, each kind as much as it is likely. */
static struct dirty_curve fit_likeliest(const struct estimator *e, const struct family kind[2],
                                        double weights)
{
    double best = fmin(kind[0].best, kind[1].best);
    double variance =
        (SCATTER_PASSES * SCATTER_LIKELY * SCATTER_LIKELY + best) / (SCATTER_PASSES + weights);
    double likelihoods[2] = {0};
    double log_sum = 0;
    struct dirty_curve likeliest = {0};

    for (unsigned k = 0; k < 2; k++) {
        for (unsigned i = 0; i < KAPPA_STEPS; i++) {
            double off = (kind[k].squares[i] - best) / variance;
            double likelihood = off > DEVIATIONS * DEVIATIONS ? 0 : exp(-off / 2);

            log_sum += likelihood * log(kind[k].curve[i].kappa);
            likelihoods[k] += likelihood;
        }
    }
    likeliest.kappa = exp(log_sum / (likelihoods[0] + likelihoods[1]));
    likeliest.in_order = likelihoods[1] / (likelihoods[0] + likelihoods[1]);
    fit_hot(e, &likeliest);
    return likeliest;
}

static void fit(struct estimator *e)
{
    double tau_max = longest_tau(e);
    struct family kind[2];
    const struct family *at_random = &kind[0];
    double weights = 0;
    double variance;
    double size_error;
    bool any = false;

    if (tau_max <= 0)
        return;
    for (unsigned i = 0; i < e->points; i++)
        weights += e->point[i].weight;
    fit_family(e, tau_max, 0, &kind[0]);
    fit_family(e, tau_max, 1, &kind[1]);
    e->now.curve = fit_likeliest(e, kind, weights);
    variance = (SCATTER_PASSES * SCATTER_POSSIBLE * SCATTER_POSSIBLE + at_random->best) /
               (SCATTER_PASSES + weights);
    for (unsigned i = 0; i < KAPPA_STEPS; i++) {
        if ((at_random->squares[i] - at_random->best) / variance > DEVIATIONS * DEVIATIONS)
            continue;
        if (!any)
            e->now.slow = at_random->curve[i];
        e->now.fast = at_random->curve[i];
        any = true;
    }
    size_error = fmax(DEVIATIONS * sqrt(variance / weights), SIZE_ERROR);
    e->now.slow.hot_bytes *= 1 - size_error;
    e->now.fast.hot_bytes *= 1 + size_error;
}

/*
 * Adds a point to the curve. Older ones fade with guest time, measured by the longest pass, so that
 * a burst of short passes near the end does not wipe out what long ones have shown; points of about
 * the same length are one point.
 */
static void add_point(struct estimator *e, double tau_s, double unique_bytes, double weight)
{
    double keep = pow(POINT_FADE, fade(e, tau_s));
    struct estimate_point *slot = &e->point[0];

    for (unsigned i = 0; i < e->points; i++) {
        struct estimate_point *p = &e->point[i];

        p->weight *= keep;
        if (p->weight < slot->weight)
            slot = p;
    }
    e->first.weight = e->first.weight * keep < FORGOTTEN ? 0 : e->first.weight * keep;
    for (unsigned i = 0; i < e->points; i++) {
        struct estimate_point *p = &e->point[i];
        double both = p->weight + weight;

        if (fabs(log(p->tau_s / tau_s)) > SAME_TAU)
            continue;
        p->tau_s = (p->tau_s * p->weight + tau_s * weight) / both;
        p->unique_bytes = (p->unique_bytes * p->weight + unique_bytes * weight) / both;
        p->weight = fmin(both, POINT_WEIGHT_MAX);
        return;
    }
    if (e->points < ESTIMATE_PASSES)
        slot = &e->point[e->points++];
    *slot = (struct estimate_point){tau_s, unique_bytes, weight};
}

/* The curve of that shape that leaves so much after the first pass: the mean of U over its length.
 */
static struct dirty_curve first_curve(double tau_s, double x_bytes, double kappa_tau)
{
    return (struct dirty_curve){.hot_bytes = x_bytes / (1 - (1 - exp(-kappa_tau)) / kappa_tau),
                                .kappa = kappa_tau / tau_s};
}

void estimator_add_point(struct estimator *e, double tau_s, double unique_bytes)
{
    add_point(e, tau_s, fmax(unique_bytes, 4096), 1);
    fit(e);
}

static bool is_point(const struct estimate_point *p)
{
    return p->tau_s > 0 && p->unique_bytes >= 4096 && isfinite(p->tau_s) &&
           isfinite(p->unique_bytes) && p->weight >= FORGOTTEN && p->weight <= 1;
}

void estimator_set_prior(struct estimator *e, const struct prior *prior)
{
    e->points = 0;
    for (unsigned i = 0; i < prior->points && i < ESTIMATE_PASSES; i++) {
        if (is_point(&prior->point[i]))
            e->point[e->points++] = prior->point[i];
    }
    if (!is_point(&prior->first))
        e->points = 0;
    e->now.expected = e->points > 0;
    e->prior_first = prior->first;

    e->prior_plateau = prior->plateau;
    fit(e);
}

void estimator_learned(const struct estimator *e, struct prior *ret)
{
    double most = 0;

    *ret = (struct prior){.first = e->left};
    if (!is_point(&e->left) || !e->now.ready)
        return;
    for (unsigned i = 0; i < e->points; i++)
        most = fmax(most, e->point[i].weight);
    for (unsigned i = 0; i < e->points; i++) {
        struct estimate_point p = e->point[i];

        p.weight /= most;
        if (p.weight >= FORGOTTEN)
            ret->point[ret->points++] = p;
    }
}

/* Mean of what the curve finds dirty in a pass, over all times that its pages were sent at. */
static double mean_dirty(const struct dirty_curve *curve, double tau_s)
{
    double sum = 0;

    for (unsigned i = 0; i < MEAN_STEPS; i++)
        sum += dirty_curve_at(curve, tau_s * (i + 0.5) / MEAN_STEPS);
    return sum / MEAN_STEPS;
}

/* The first pass is over: does the guest do what is known of it? If not, that is forgotten. */
static bool confirms(struct estimator *e, double left_bytes)
{
    const struct dirty_curve *curve = &e->now.curve;
    const struct estimate_point *first = &e->prior_first;
    double ratio;

    if (!e->now.expected)
        return false;
    e->now.expected = false;
    ratio = left_bytes / first->unique_bytes * mean_dirty(curve, first->tau_s) /
            mean_dirty(curve, e->now.pass_tau_s);
    if (e->prior_plateau && ratio < KNOWN_RATIO && ratio > 1 / KNOWN_RATIO &&
        left_bytes < KNOWN_MORE * dirty_curve_at(curve, e->now.pass_tau_s) &&
        left_bytes > KNOWN_LESS * mean_dirty(curve, e->now.pass_tau_s))
        return true;
    e->points = 0;
    return false;
}

/* A sync ended a pass: turn it into a point of the dirty curve. */
static void end_pass(struct estimator *e, double seconds, double x_bytes, double left_bytes)
{
    double unique = fmax(x_bytes - left_bytes, 4096);
    /* What was left is known no better than to a burst of sending. */
    double noise = e->now.drain_bps * BURST_S;

    if (seconds <= 0.01)
        return;
    e->now.passes++;
    e->now.hot_bytes = fmax(x_bytes, e->now.hot_bytes);
    e->now.dirty_bps = unique / seconds;
    if (e->pass_is_first) {
        e->left = (struct estimate_point){e->now.pass_tau_s, x_bytes, 1};
        e->now.known = confirms(e, x_bytes);
        if (e->now.known) {
            /* Zero pages made this pass drain faster than the link carries. */
            e->now.drain_bps = fmin(e->now.drain_bps, e->now.transfer_bps);
            e->now.ready = e->now.drain_bps > 0;
        } else if (e->now.pass_tau_s > 0) {
            e->first = (struct estimate_point){e->now.pass_tau_s, fmax(unique - noise, 4096), 1};
            e->now.slow = first_curve(e->now.pass_tau_s, unique, KAPPA_MIN);
            e->now.curve = first_curve(e->now.pass_tau_s, unique, KAPPA_FIRST);
            e->now.fast = first_curve(e->now.pass_tau_s, unique, KAPPA_MAX);
        }
        return;
    }
    if (left_bytes < 0.9 * e->now.hot_bytes)
        unique /= 1 - left_bytes / e->now.hot_bytes;
    e->now.dirty_bps = unique / seconds;
    e->now.last_unique_bytes = unique;
    add_point(e, e->now.pass_tau_s, unique, unique / (unique + noise));
    fit(e);
    e->now.ready = e->now.passes >= 2 && e->now.drain_bps > 0;
}

static void begin_pass(struct estimator *e, int64_t sync_ns, double tau_s, double x_bytes)
{
    e->pass_start_ns = sync_ns;
    e->now.pass_tau_s = tau_s;
    e->now.prev_x_bytes = e->now.last_x_bytes;
    e->now.last_x_bytes = x_bytes;
}

/* Some time between samples `last` and `s` the bitmap was synced. */
static void cross_sync(struct estimator *e, const struct sample *s, double wall_s, double guest_s)
{
    int64_t sync_ns = s->at_sync ? s->sync_ns : s->now_ns;
    double before = fmin(fmax((double)(sync_ns - e->last.now_ns) / 1e9, 0), wall_s);
    double after = wall_s - before;
    double guest_after = guest_s * after / wall_s;
    double drained = fmin(e->now.drain_bps * before, (double)e->last.remaining_bytes);
    double x = (double)s->remaining_bytes + e->now.drain_bps * after;

    e->drained_bytes += drained + e->now.drain_bps * after;
    e->now.pass_tau_s += guest_s - guest_after;
    /* Several syncs since the last look, or a pass joined midway: its length is not known. */
    if (e->pass_whole && s->iteration == e->last.iteration + 1)
        end_pass(e, (double)(sync_ns - e->pass_start_ns) / 1e9, x,
                 (double)e->last.remaining_bytes - drained);
    /* Zero pages make the first pass drain faster than any later one. */
    if (e->pass_is_first)
        e->window_count = 0;
    e->pass_whole = true;
    e->pass_is_first = false;
    begin_pass(e, sync_ns, guest_after, x);
}

/*
 * How much what the link carries scatters. Looks are further apart than QEMU's windows, so what
 * they show is the mean of several: it scatters less, by the root of their number if they are
 * independent.
 */
static void note_scatter(struct estimator *e, double wall_s, double drained_bytes)
{
    double off = drained_bytes / wall_s / e->now.drain_bps - 1;
    double windows = wall_s / QEMU_WINDOW_S;
    double part = 1 - exp(-wall_s / NOISE_OVER_S);

    if (e->now.drain_bps <= 0 || wall_s < QEMU_WINDOW_S)
        return;
    if (fabs(off) > NOISE_MOST)
        return; /* a link that changes is no noise */
    e->variance += (off * off * windows - e->variance) * part;
    e->now.noise = fmax(sqrt(e->variance) - NOISE_OURS, 0);
}

bool estimator_add(struct estimator *e, const struct sample *s)
{
    bool fresh_job =
        e->started && (s->processed_bytes < e->last.processed_bytes ||
                       s->iteration < e->last.iteration || s->elapsed_ns < e->last.elapsed_ns);
    double wall;
    double guest;

    if (fresh_job)
        estimator_init(e);
    if (s->total_bytes == 0)
        return fresh_job;
    if (!e->started) {
        e->started = true;
        e->pass_is_first = s->iteration <= 1;
        /* Joined later, it cannot be told whether the guest does what is known of it. */
        if (!e->pass_is_first && e->now.expected)
            e->points = 0;
        e->now.expected = e->now.expected && e->pass_is_first;
        e->pass_whole = s->at_sync || e->pass_is_first;
        begin_pass(e, s->at_sync ? s->sync_ns : s->now_ns, 0, (double)s->remaining_bytes);
    } else if (s->now_ns <= e->last.now_ns) {
        return fresh_job;
    } else {
        wall = (double)(s->now_ns - e->last.now_ns) / 1e9;
        guest = guest_seconds(e, &e->last, s);
        e->now.lost_s += wall - guest;
        e->now.speed += (guest / wall - e->now.speed) * fmin(wall / SPEED_SMOOTH_S, 1);
        if (s->iteration != e->last.iteration) {
            cross_sync(e, s, wall, guest);
        } else {
            double drained = fmax((double)e->last.remaining_bytes - (double)s->remaining_bytes, 0);

            e->now.pass_tau_s += guest;
            e->drained_bytes += drained;
            if (!e->pass_is_first)
                note_scatter(e, wall, drained);
        }
    }
    /* Another limit, another rate: what was measured under the old one is of no use. */
    if (e->started && s->speed_limit_bps != e->last.speed_limit_bps)
        e->window_count = 0;
    e->now.remaining_bytes = (double)s->remaining_bytes;
    e->now.cpu_allowance = s->cpu_allowance;
    sample_copy(&e->last, s);
    window_add(e, s);
    return fresh_job;
}
