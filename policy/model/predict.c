/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/model/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"
#include "policy/model/simulate.h"

/* Periods that are always measured: 1, 2 and 4 s. */
#define POINTS_MIN 3
/* Points below the shortest period. */
enum { BELOW = 3 };
/* When exactly a migration ends hangs on little things such as what QEMU measures of the link. */
enum { SEEDS = 5 };
/* A migration that has not ended after several times of sending all the memory never will. */
#define ROUNDS        4
#define HORIZON_MIN_S 600.0
#define HORIZON_MAX_S 86400.0
/* Passes to the plateau. */
#define PLATEAU_PASSES 200

/* A guest that dirties memory along a measured curve. */
struct world {
    struct model_guest guest;
    struct model_point point[BELOW + PREDICT_POINTS];
};

const char *predict_kind_name(enum predict_kind kind)
{
    static const char *const names[PREDICT_KINDS] = {"policy", "wait", "downtime", "throttle"};

    return names[kind];
}

/*
 * Which curve. The likeliest goes through what was measured, the slow and the fast one are the ends
 * of the fit. Where nothing can be measured all are straight, but the fast one.
 */
enum world_kind { WORLD_LIKELIEST, WORLD_SLOW, WORLD_FAST, WORLDS };

static void make_world(const struct predict_facts *f, enum world_kind kind,
                       const struct dirty_curve *shape, struct world *ret)
{
    const struct model_point *last = &f->point[f->points - 1];
    struct model_guest *g = &ret->guest;
    struct model_region *r = &g->region[0];
    double most = 0;
    unsigned n = 0;

    *g = (struct model_guest){
        .ram_bytes = f->memory_bytes, .flush_s = f->flush_s, .vcpus = f->vcpus};
    memcpy(g->vcpu_busy, f->vcpu_busy, sizeof(g->vcpu_busy));
    for (unsigned i = 0; i < f->points; i++)
        most = fmax(most, f->point[i].bytes);
    /* What gets dirty is not zero, however little the process seems to hold. */
    most = fmin(fmax(most, shape->hot_bytes), fmax(f->used_bytes, most));
    g->zero_bytes = fmax(f->memory_bytes - fmax(f->used_bytes, most), 0);
    if (last->bytes <= 0)
        return;
    g->regions = 1;
    *r = (struct model_region){
        .bytes = most, .cpu_bound = 1, .vcpu = MODEL_ALL_VCPUS, .curve = ret->point};
    for (unsigned i = BELOW; i > 0 && kind == WORLD_FAST; i--) {
        double s = ldexp(f->point[0].seconds, -(int)i);
        double part = dirty_curve_at(shape, s) / dirty_curve_at(shape, f->point[0].seconds);

        ret->point[n++] = (struct model_point){s, f->point[0].bytes * part};
    }
    for (unsigned i = 0; i < f->points; i++) {
        struct model_point p = f->point[i];

        if (kind != WORLD_LIKELIEST)
            p.bytes = dirty_curve_at(shape, p.seconds);
        if (n > 0)
            p.bytes = fmax(p.bytes, ret->point[n - 1].bytes);
        ret->point[n++] = p;
    }
    r->curve_points = n;
}

bool predict_wants_more(const struct predict_facts *f)
{
    const struct model_point *last = &f->point[f->points - 1];

    return f->points < POINTS_MIN ||
           (f->points < PREDICT_POINTS && last->bytes > f->bandwidth_bps * last->seconds);
}

static double find_plateau(const struct world *w, double bandwidth_bps)
{
    double bytes = w->guest.regions > 0 ? w->guest.region[0].bytes : 0;

    for (unsigned i = 0; i < PLATEAU_PASSES && bytes > 0; i++)
        bytes = model_unique_bytes(&w->guest.region[0], bytes / bandwidth_bps);
    return bytes;
}

static void keep_actions(void *context, const struct sample *s, const struct decision *d)
{
    struct predict_course *c = context;

    for (unsigned i = 0; i < d->n_actions && c->actions < PREDICT_ACTIONS_MAX; i++) {
        bool applied = decision_applies(d, i);

        /* What is only observed is decided again and again. */
        if (!applied && c->actions > 0 &&
            c->action[c->actions - 1].action.kind == d->action[i].kind)
            continue;
        c->action[c->actions++] =
            (struct predict_action){(double)s->elapsed_ns / 1e9, applied, d->action[i]};
    }
}

static void run(const struct predict_facts *f, const struct world *w,
                const struct policy_values *policy, uint64_t seed, struct predict_course *ret)
{
    int64_t deadline_ns = policy_deadline_ns(policy, (uint64_t)f->memory_bytes);
    double until_s = fmax(ROUNDS * f->memory_bytes / f->bandwidth_bps, HORIZON_MIN_S);
    const struct model_link link = {.bps = f->bandwidth_bps};
    struct controller controller;
    struct model m;

    if (deadline_ns != POLICY_NONE)
        until_s = fmax(until_s, (double)deadline_ns / 1e9 * 1.1);
    *ret = (struct predict_course){.seconds = 0};
    model_start(&m, &w->guest, &link, seed);
    model_limit_speed(&m, f->speed_limit_bps);
    m.downtime_limit_s = f->downtime_limit_s;
    controller_init(&controller);
    simulate(&m, &controller, policy, fmin(until_s, HORIZON_MAX_S),
             &(struct simulate_watch){.after = keep_actions, .context = ret});
    ret->state = m.state;
    ret->seconds = m.time_s;
    ret->downtime_s = m.downtime_s;
    ret->work_lost_s = m.work_lost_s;
    ret->throttled_s = controller.seen.throttled_s;
    ret->least_share = 1;
    for (unsigned i = 0; i < ret->actions; i++) {
        const struct predict_action *a = &ret->action[i];

        if (a->applied && a->action.kind == ACTION_THROTTLE)
            ret->least_share = fmin(ret->least_share, a->action.share);
    }
    ret->downtime_limit_s = m.downtime_limit_s;
}

/* The policy of a course: as it is, nothing, or one thing alone. */
static void make_policy(enum predict_kind kind, const struct policy_values *policy,
                        struct policy *ret)
{
    struct policy_layer layer = {.values = *policy};

    policy_init(ret);
    if (kind == PREDICT_DOWNTIME) {
        layer.set = 1u << POLICY_MAX_DOWNTIME;
        layer.values.v[POLICY_MAX_DOWNTIME] = policy_field_info(POLICY_MAX_DOWNTIME)->max;
    } else if (kind == PREDICT_THROTTLE) {
        layer.set = 1u << POLICY_ALLOW_THROTTLE | 1u << POLICY_MIN_CPU | 1u << POLICY_OBJECTIVE;
        layer.values.v[POLICY_ALLOW_THROTTLE] = ALLOW_YES;
    }
    layer.set |= 1u << POLICY_DEADLINE | 1u << POLICY_DEADLINE_PER_GIB;
    policy_merge(ret, &layer, "");
    policy_finish(ret);
    if (kind == PREDICT_POLICY)
        ret->values = *policy;
}

static double end_s(const struct predict_course *c)
{
    return c->state == MODEL_RUNNING ? INFINITY : c->seconds;
}

static int compare_ends(const void *a, const void *b)
{
    double x = end_s(a);
    double y = end_s(b);

    return (x > y) - (x < y);
}

/* The middle one of several likely courses, and the spread of all. */
static void run_all(const struct predict_facts *f, const struct world world[WORLDS],
                    const struct policy_values *policy, struct predict_course *ret)
{
    struct predict_course c[SEEDS];
    struct predict_course other;
    double earliest_s;
    double latest_s;

    for (unsigned i = 0; i < SEEDS; i++)
        run(f, &world[WORLD_LIKELIEST], policy, i, &c[i]);
    qsort(c, SEEDS, sizeof(c[0]), compare_ends);
    earliest_s = end_s(&c[0]);
    latest_s = end_s(&c[SEEDS - 1]);
    for (unsigned i = WORLD_SLOW; i < WORLDS; i++) {
        run(f, &world[i], policy, 0, &other);
        earliest_s = fmin(earliest_s, end_s(&other));
        latest_s = fmax(latest_s, end_s(&other));
    }
    *ret = c[SEEDS / 2];
    ret->earliest_s = earliest_s;
    ret->latest_s = latest_s;
}

void predict(const struct predict_facts *facts, const struct policy_values *policy,
             struct prediction *ret)
{
    struct estimator e;
    struct world world[WORLDS];

    estimator_init(&e);
    for (unsigned i = facts->points; i-- > 0;)
        estimator_add_point(&e, facts->point[i].seconds, facts->point[i].bytes);
    ret->estimate = e.now;
    make_world(facts, WORLD_LIKELIEST, &e.now.curve, &world[WORLD_LIKELIEST]);
    make_world(facts, WORLD_SLOW, &e.now.slow, &world[WORLD_SLOW]);
    make_world(facts, WORLD_FAST, &e.now.fast, &world[WORLD_FAST]);
    ret->plateau_bytes = find_plateau(&world[WORLD_LIKELIEST], facts->bandwidth_bps);
    for (unsigned kind = 0; kind < PREDICT_KINDS; kind++) {
        struct policy p;

        make_policy((enum predict_kind)kind, policy, &p);
        run_all(facts, world, &p.values, &ret->course[kind]);
    }
}
