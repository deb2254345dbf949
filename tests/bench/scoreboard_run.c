/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs one contender on one row. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/units.h"
#include "policy/model/simulate.h"
#include "tests/bench/scoreboard.h"

enum { CONTENDERS_MAX = 32 };

static double step_seconds;
static uint64_t steps;

unsigned contenders(const struct contender **ret)
{
    static struct contender list[CONTENDERS_MAX];
    unsigned n = 0;

    for (; n < n_peers; n++)
        list[n] =
            (struct contender){.name = peers[n].name, .kind = CONTENDER_PEER, .peer = &peers[n]};
    list[n++] = (struct contender){.name = "oracle", .kind = CONTENDER_ORACLE};
    list[n++] = (struct contender){
        .name = "migpolicy", .kind = CONTENDER_MIGPOLICY, .objective = OBJECTIVE_LEAST_LOSS};
    list[n++] = (struct contender){
        .name = "migpolicy-gentle", .kind = CONTENDER_MIGPOLICY, .objective = OBJECTIVE_GENTLE};
    *ret = list;
    return n;
}

void run_cost(double *ret_seconds, uint64_t *ret_steps)
{
    *ret_seconds = step_seconds;
    *ret_steps = steps;
}

static void note_sync(struct outcome *o, const struct model *m)
{
    /* The noise of the link is not what the guest's size in seconds is about. */
    double bps = m->link.noise > 0 || m->link.scatter > 0 ? m->link.bps : m->link_bps;

    if (m->iteration < 2 || m->sync_bytes / bps >= o->best_stop_s)
        return;
    o->best_stop_s = m->sync_bytes / bps;
    o->best_stop_bytes = m->sync_bytes;
}

static void note_end(struct outcome *o, const struct model *m)
{
    o->completed = m->state == MODEL_COMPLETED;
    o->cancelled = m->state == MODEL_CANCELLED;
    o->time_s = m->time_s;
    o->downtime_s = m->downtime_s;
    o->limit_s = m->downtime_limit_s;
    o->bytes = m->sent_bytes;
    o->work_lost_s = m->work_lost_s;
    o->least_speed = m->least_speed;
    o->least_share = m->least_share;
}

static void run_peer(const struct peer *peer, const struct row *row, struct model *m, bool trace,
                     struct outcome *o)
{
    struct peer_state state = {0};
    double next_s = 0;

    while (m->state == MODEL_RUNNING && m->time_s < row->deadline_s) {
        struct sample s;

        model_sample(m, &s);
        peer->step(&state, &s, m, fmax(row->ceiling_s, DEFAULT_LIMIT_S));
        o->paused = m->state == MODEL_COMPLETED;
        if (m->state != MODEL_RUNNING)
            break;
        if (trace && s.at_sync)
            printf("%8.2f pass %-3lu x %8.1f MB  speed %.2f  downtime limit %.2f s\n", m->time_s,
                   (unsigned long)m->iteration, (double)s.remaining_bytes / 1e6, model_speed(m),
                   m->downtime_limit_s);
        if (m->time_s >= next_s - 1e-9)
            next_s = m->time_s + peer->poll_s;
        model_run(m, fmin(next_s, row->deadline_s) - m->time_s);
        note_sync(o, m);
    }
}

static void make_policy(const struct row *row, enum policy_objective objective,
                        struct policy *policy)
{
    int64_t *v = policy->values.v;

    policy_init(policy);
    v[POLICY_MODE] = MODE_ENFORCE;
    if (row->ceiling_s > 0)
        v[POLICY_MAX_DOWNTIME] = (int64_t)(row->ceiling_s * 1e9);
    v[POLICY_ALLOW_THROTTLE] = row->throttle ? ALLOW_YES : ALLOW_NO;
    v[POLICY_MIN_CPU] = (int64_t)(row->min_cpu * (double)PPM_ONE);
    v[POLICY_DEADLINE] = (int64_t)(row->deadline_s * 1e9);
    v[POLICY_PATIENCE] = (int64_t)(row->patience_s * 1e9);
    v[POLICY_OBJECTIVE] = objective;
    v[POLICY_ON_DEADLINE] = ON_DEADLINE_REPORT;
}

static void trace_step(const struct sample *s, const struct estimate *e, const struct decision *d)
{
    printf("%8.2f %s %-3lu x %8.1f MB  B %.0f MB/s  U %.0f MB  hot %.0f MB k %.3g [%.2g..%.2g]  "
           "speed %.2f  %s/%s  ",
           (double)s->elapsed_ns / 1e9, s->at_sync ? "pass" : "    ", (unsigned long)s->iteration,
           (double)s->remaining_bytes / 1e6, e->transfer_bps / 1e6, e->last_unique_bytes / 1e6,
           e->curve.hot_bytes / 1e6, e->curve.kappa, e->slow.kappa, e->fast.kappa, e->speed,
           verdict_name(d->verdict), reason_name(d->reason));
    if (d->course.ends)
        printf("ends in %.2f s [%.2f..%.2f], downtime %.2f s", d->course.seconds, d->earliest_s,
               d->latest_s, d->course.downtime_s);
    for (unsigned i = 0; i < d->n_actions; i++) {
        const struct action *a = &d->action[i];

        printf("  => %s", action_name(a->kind));
        if (a->kind == ACTION_DOWNTIME)
            printf(" %.0f ms", (double)a->downtime_ns / 1e6);
        if (a->kind == ACTION_THROTTLE)
            printf(" %.0f%%", a->share * 100);
        printf(" (%s)", reason_name(a->reason));
    }
    putchar('\n');
}

/* What came of the course a look was at: the model run on from there, with nothing changed. */
static void probe(const struct model *m, const struct controller *c, const struct decision *d,
                  double deadline_s, struct probe *ret)
{
    static struct model on;
    static struct pages pages;

    model_copy(&on, &pages, m);
    while (on.state == MODEL_RUNNING && on.time_s < deadline_s)
        model_run(&on, deadline_s - on.time_s);
    *ret = (struct probe){
        .known = true,
        .facts = c->facts,
        .early = d->verdict == VERDICT_STARTING,
        .end = decision_end(d),
        .ends = d->course.ends,
        .seconds = d->course.seconds,
        .earliest_s = d->earliest_s,
        .latest_s = d->latest_s,
        .ended = on.state == MODEL_COMPLETED && on.time_s <= deadline_s,
        .true_s = on.time_s - m->time_s,
    };
}

/* The seed of the migration before, from that of a run. */
enum { EARLIER = 777 };

/* A run of the controller, as it is watched. */
struct run {
    struct model *model;
    struct controller controller;
    struct outcome *outcome;
    bool trace;
    struct timespec asked;
    enum verdict verdict;
    enum reason reason;
    double deadline_s;
    double time_s; /* what the run takes: forecasts are probed; 0: not known yet */
};

static void before_step(void *context, struct sample *s)
{
    struct run *run = context;

    (void)s;
    note_sync(run->outcome, run->model);
    clock_gettime(CLOCK_MONOTONIC, &run->asked);
}

static void after_step(void *context, const struct sample *s, const struct decision *d)
{
    struct run *run = context;
    const struct model *m = run->model;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    step_seconds +=
        (double)(now.tv_sec - run->asked.tv_sec) + (double)(now.tv_nsec - run->asked.tv_nsec) / 1e9;
    steps++;
    for (unsigned f = 0; f < FRACTIONS && run->time_s > 0; f++) {
        struct probe *p = &run->outcome->probe[0][f];

        if (!p->known && m->time_s >= run->time_s * (f + 1) / (FRACTIONS + 1))
            probe(m, &run->controller, d, run->deadline_s, p);
    }
    if (run->trace &&
        (s->at_sync || d->n_actions > 0 || d->verdict != run->verdict || d->reason != run->reason))
        trace_step(s, &run->controller.estimator.now, d);
    run->verdict = d->verdict;
    run->reason = d->reason;
    if (d->apply)
        run->outcome->actions += d->n_actions;
}

static void run_controller(const struct policy *policy, const struct row *row, struct model *m,
                           const struct prior *prior, double time_s, bool trace, struct outcome *o,
                           struct prior *ret_learned)
{
    static struct run run;

    run = (struct run){.model = m,
                       .outcome = o,
                       .trace = trace,
                       .verdict = VERDICTS,
                       .reason = REASONS,
                       .deadline_s = row->deadline_s,
                       .time_s = time_s};
    controller_init(&run.controller);
    controller_set_prior(&run.controller, prior);
    simulate(m, &run.controller, &policy->values, row->deadline_s,
             &(struct simulate_watch){before_step, after_step, &run});
    note_sync(o, m);
    controller_learned(&run.controller, ret_learned);
}

static void start(const struct row *row, uint64_t seed, struct model *m, struct pages *pages)
{
    if (row->pages)
        model_start_pages(m, pages, &row->guest, &row->link, seed + row->salt);
    else
        model_start(m, &row->guest, &row->link, seed + row->salt);
    m->overhead_s = row->overhead_s;
}

static void run_migpolicy(enum policy_objective objective, const struct row *row, uint64_t seed,
                          struct model *m, bool trace, struct outcome *o)
{
    static struct model begin;
    static struct model again;
    static struct pages begin_pages;
    static struct pages again_pages;
    struct policy policy;
    struct prior prior = {0};
    struct prior learned;

    make_policy(row, objective, &policy);
    if (row->again) {
        struct outcome before = {0};

        start(row, seed + EARLIER, &again, &again_pages);
        run_controller(&policy, row, &again, &prior, 0, false, &before, &learned);
        prior = learned;
    }
    model_copy(&begin, &begin_pages, m);
    run_controller(&policy, row, m, &prior, 0, trace, o, &learned);
    /* Each once more: now it is known when a quarter of it is over. */
    for (unsigned watch = 0;
         watch < (objective == OBJECTIVE_LEAST_LOSS ? COURSES : COURSE_WATCHING); watch++) {
        struct outcome first = {0};
        struct outcome probed = {0};
        double time_s = m->time_s;

        if (watch == COURSE_WATCHING) {
            policy.values.v[POLICY_MODE] = MODE_OBSERVE;
            model_copy(&again, &again_pages, &begin);
            run_controller(&policy, row, &again, &prior, 0, false, &first, &learned);
            time_s = again.time_s;
        }
        model_copy(&again, &again_pages, &begin);
        run_controller(&policy, row, &again, &prior, time_s, false, &probed, &learned);
        memcpy(o->probe[watch], probed.probe[0], sizeof(o->probe[watch]));
    }
}

static void run_oracle(const struct row *row, struct model *m, bool trace);

void run_one(const struct contender *c, const struct row *row, uint64_t seed, bool trace,
             struct outcome *ret)
{
    static struct model m;
    static struct pages pages;

    *ret = (struct outcome){.best_stop_s = INFINITY};
    start(row, seed, &m, &pages);
    switch (c->kind) {
    case CONTENDER_PEER:
        run_peer(c->peer, row, &m, trace, ret);
        break;
    case CONTENDER_ORACLE:
        run_oracle(row, &m, trace);
        break;
    default:
        run_migpolicy(c->objective, row, seed, &m, trace, ret);
        break;
    }
    note_end(ret, &m);
    if (trace)
        printf("%s after %.2f s, downtime %.3f s, %.1f MB sent, work lost %.3f s\n",
               ret->completed   ? "completed"
               : ret->cancelled ? "cancelled"
                                : "not finished",
               ret->time_s, ret->downtime_s, ret->bytes / 1e6, ret->work_lost_s);
}

/* ---- the oracle ---- */

/* What it may do at one moment. */
struct plan {
    double share;
    double downtime_s;
};

/* Carries the plan out to the end, unless it is seen to be no better than `lost_s`. */
static void carry_out(struct model *m, const struct plan *plan, double deadline_s, double lost_s)
{
    m->cpu_share = plan->share;
    m->downtime_limit_s = plan->downtime_s;
    while (m->state == MODEL_RUNNING && m->time_s < deadline_s && m->work_lost_s < lost_s)
        model_run(m, deadline_s - m->time_s);
}

static bool in_limits(const struct model *m, const struct row *row)
{
    return m->state == MODEL_COMPLETED && m->time_s <= row->deadline_s &&
           m->downtime_s <= row_downtime_limit_s(row);
}

/* Tries plans from the state `from` on; keeps the best end so far in `best`. */
static void try_plans(const struct model *from, const struct row *row, struct model *best,
                      bool trace)
{
    static const double shares[] = {1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8};
    static const double parts[] = {1, 0.96, 0.9, 0.8, 0.6, 0.4, 0.25, 0.15, 0.08, 0.04, 0};
    double high = fmax(row->ceiling_s - from->overhead_s - from->guest.flush_s, DEFAULT_LIMIT_S);
    static struct model m;
    static struct pages pages;

    for (unsigned i = 0; i < (row->throttle ? sizeof(shares) / sizeof(shares[0]) : 1); i++) {
        for (unsigned k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
            struct plan plan = {
                .share = fmax(shares[i], row->min_cpu),
                .downtime_s = DEFAULT_LIMIT_S + parts[k] * (high - DEFAULT_LIMIT_S),
            };

            if (high <= 0.31 && k > 0)
                break;
            model_copy(&m, &pages, from);
            carry_out(&m, &plan, row->deadline_s, best->work_lost_s);
            /* A lower limit does not end it either. */
            if (m.state == MODEL_RUNNING)
                break;
            if (!in_limits(&m, row) || m.work_lost_s >= best->work_lost_s)
                continue;
            model_copy(best, best->pages, &m);
            if (trace)
                printf("%8.2f pass %-3lu share %.2f limit %.2f s: ends at %.2f s, loses %.3f s\n",
                       from->time_s, (unsigned long)from->iteration, plan.share, plan.downtime_s,
                       m.time_s, m.work_lost_s);
        }
    }
}

static void run_oracle(const struct row *row, struct model *m, bool trace)
{
    static struct model best;
    static struct model now;
    static struct pages best_pages;
    static struct pages now_pages;
    double next_s = 0;

    model_copy(&best, &best_pages, m);
    best.work_lost_s = INFINITY;
    model_copy(&now, &now_pages, m);
    carry_out(&now, &(struct plan){1, DEFAULT_LIMIT_S}, row->deadline_s, INFINITY);
    if (in_limits(&now, row)) {
        model_copy(m, m->pages, &now);
        return;
    }
    model_copy(&now, &now_pages, m);
    while (now.state == MODEL_RUNNING && now.time_s < row->deadline_s) {
        if (now.time_s >= next_s) {
            try_plans(&now, row, &best, trace);
            /* The first passes one by one, later ones with growing steps. */
            next_s = now.iteration < 5 ? 0 : now.time_s * 1.3;
        }
        model_run(&now, row->deadline_s - now.time_s);
    }
    if (isinf(best.work_lost_s))
        model_copy(&best, &best_pages, &now);
    model_copy(m, m->pages, &best);
}
