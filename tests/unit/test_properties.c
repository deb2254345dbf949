/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What must hold for every guest, link and policy. Each case is made from a number, which is
 * printed when it fails: `test-properties NUMBER` runs that case alone, `test-properties FIRST
 * COUNT` as many as wanted.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/units.h"
#include "tests/unit/chance.h"
#include "tests/unit/sim.h"

static uint64_t first_case = 1;
static uint64_t cases = 2000;

/* ---- random worlds ---- */

struct world {
    struct model_guest guest;
    struct model_link link;
};

/* One to three regions; the first one is what mostly has to be sent again and again. */
static void random_world(uint64_t *seed, struct world *w)
{
    static const double sizes[] = {256, 512, 2048, 8192};
    double ram = ANY_OF(seed, sizes) * 1048576;
    double room;

    *w = (struct world){
        .guest = {.ram_bytes = ram, .zero_bytes = ram * between(seed, 0, 0.5)},
        .link = {.bps = ram * between(seed, 0.05, 0.5), .noise = one_in(seed, 2) ? 0.05 : 0},
    };
    w->guest.vcpus = 1 + (unsigned)(chance(seed) % 4);
    for (unsigned i = 0; i < w->guest.vcpus; i++)
        w->guest.vcpu_busy[i] = one_in(seed, 4) ? between(seed, 0.1, 1) : 1;
    room = w->guest.ram_bytes - w->guest.zero_bytes;
    w->guest.regions = 1 + (unsigned)(chance(seed) % 3);
    for (unsigned i = 0; i < w->guest.regions; i++) {
        struct model_region *r = &w->guest.region[i];

        *r = (struct model_region){
            .bytes = room * between(seed, 0.01, 0.6),
            .rate_bps = w->link.bps * (i == 0 ? between(seed, 0, 5) : between(seed, 0, 0.2)),
            .sequential = one_in(seed, 2),
            .cpu_bound = one_in(seed, 4) ? between(seed, 0, 1) : 1,
            .vcpu = one_in(seed, 2) ? (int)(chance(seed) % w->guest.vcpus) : MODEL_ALL_VCPUS,
        };
        room -= r->bytes;
    }
}

/* The policy a migration is run under at first. */
static void random_base(uint64_t *seed, struct policy_layer *layer)
{
    static const char *const downtimes[] = {"none", "400ms", "1s", "3s"};
    static const char *const floors[] = {"10%", "20%", "40%", "60%"};
    static const char *const deadlines[] = {"30s", "1m", "2m"};
    static const char *const budgets[] = {"none", "none", "3s", "15s"};

    *layer = (struct policy_layer){0};
    policy_layer_set(layer, POLICY_MODE, "enforce", NULL);
    policy_layer_set(layer, POLICY_MAX_DOWNTIME, ANY_OF(seed, downtimes), NULL);
    policy_layer_set(layer, POLICY_ALLOW_THROTTLE, one_in(seed, 3) ? "no" : "yes", NULL);
    policy_layer_set(layer, POLICY_MIN_CPU, ANY_OF(seed, floors), NULL);
    policy_layer_set(layer, POLICY_MAX_WORK_LOST, ANY_OF(seed, budgets), NULL);
    policy_layer_set(layer, POLICY_DEADLINE, ANY_OF(seed, deadlines), NULL);
    policy_layer_set(layer, POLICY_PATIENCE, one_in(seed, 4) ? "5s" : "0s", NULL);
    policy_layer_set(layer, POLICY_OBJECTIVE, one_in(seed, 4) ? "gentle" : "least-loss", NULL);
}

/* Steps by which a policy comes to allow more. Each changes one field, and none may do harm. */
enum widening {
    WIDEN_DOWNTIME,
    WIDEN_THROTTLE,
    WIDEN_MIN_CPU,
    WIDEN_BUDGET,
    WIDEN_DEADLINE,
    WIDEN_CANCEL,
    WIDENINGS,
};

static const char *const widening_names[] = {"max_downtime",  "allow_throttle", "min_cpu",
                                             "max_work_lost", "deadline",       "allow_cancel"};

static void widen(uint64_t *seed, enum widening how, struct policy_values *p)
{
    double factor = between(seed, 1.1, 4);

    switch (how) {
    case WIDEN_DOWNTIME:
        p->v[POLICY_MAX_DOWNTIME] = p->v[POLICY_MAX_DOWNTIME] == POLICY_NONE
                                        ? NS_PER_S
                                        : (int64_t)((double)p->v[POLICY_MAX_DOWNTIME] * factor);
        break;
    case WIDEN_THROTTLE:
        p->v[POLICY_ALLOW_THROTTLE] = ALLOW_YES;
        break;
    case WIDEN_MIN_CPU:
        p->v[POLICY_MIN_CPU] = (int64_t)((double)p->v[POLICY_MIN_CPU] / factor);
        break;
    case WIDEN_BUDGET:
        if (p->v[POLICY_MAX_WORK_LOST] != POLICY_NONE)
            p->v[POLICY_MAX_WORK_LOST] =
                one_in(seed, 2) ? POLICY_NONE
                                : (int64_t)((double)p->v[POLICY_MAX_WORK_LOST] * factor);
        break;
    case WIDEN_DEADLINE:
        p->v[POLICY_DEADLINE] = (int64_t)((double)p->v[POLICY_DEADLINE] * factor);
        break;
    default:
        p->v[POLICY_ALLOW_CANCEL] = ALLOW_YES;
        p->v[POLICY_ON_DEADLINE] = ON_DEADLINE_CANCEL;
        break;
    }
}

/* ---- allowing more never makes it worse ---- */

/*
 * How much worse is not worse: another policy acts at another moment, and meets another moment of
 * the link and another stage of its passes.
 */
#define SLACK_RATIO  1.25
#define SLACK_LOST_S 0.5
#define SLACK_TIME_S 2.0

static struct sim sim;

/*
 * Kept is what the policy sets, as far as anybody can know: what the link will carry during the
 * blackout, and so how long that takes, is known no better than to the link's noise.
 */
struct outcome {
    bool kept; /* it ended, in time and within what the policy sets */
    bool acted;
    double time_s;
    double lost_s;
};

static struct outcome run(const struct world *w, const struct policy *policy, uint64_t number)
{
    const int64_t *p = policy->values.v;
    const struct model *m = &sim.model;
    double deadline_s = (double)p[POLICY_DEADLINE] / 1e9;

    sim_start(&sim, &w->guest, 1, NULL);
    model_start(&sim.model, &w->guest, &w->link, number);
    sim.policy = *policy;
    sim_run(&sim, deadline_s + 10);
    return (struct outcome){
        .kept = m->state == MODEL_COMPLETED && m->time_s <= deadline_s &&
                sim.least_share >= (double)p[POLICY_MIN_CPU] / PPM_ONE - 1e-9 &&
                (sim.count[ACTION_DOWNTIME] == 0 ||
                 m->downtime_s <= (double)p[POLICY_MAX_DOWNTIME] / 1e9 * (1 + w->link.noise)),
        .acted = !isnan(sim.first_action_s),
        .time_s = m->time_s,
        .lost_s = m->work_lost_s,
    };
}

/*
 * What is compared is the time it takes and the guest work it costs, blackout included. The ladder,
 * the objective and the deadline say how the one is traded for the other, so an outcome is worse if
 * it is so in one and not better in the other.
 */
static bool is_worse(const struct outcome *a, const struct outcome *than)
{
    bool costlier = a->lost_s > SLACK_RATIO * than->lost_s + SLACK_LOST_S;
    bool later = a->time_s > SLACK_RATIO * than->time_s + SLACK_TIME_S;

    return (costlier && a->time_s >= than->time_s) || (later && a->lost_s >= than->lost_s);
}

/* The case of that number; whether anything was done in it. */
static bool compare(uint64_t number)
{
    uint64_t seed = start_chance(number);
    enum widening how = (enum widening)(chance(&seed) % WIDENINGS);
    struct policy_layer layer;
    struct policy policy;
    struct world w;
    struct outcome narrow;
    struct outcome wide;

    random_world(&seed, &w);
    random_base(&seed, &layer);
    policy_init(&policy);
    policy_merge(&policy, &layer, "test");
    policy_finish(&policy);
    narrow = run(&w, &policy, number);
    if (!narrow.kept)
        return narrow.acted;
    widen(&seed, how, &policy.values);
    wide = run(&w, &policy, number);
    if (how == WIDEN_DEADLINE) /* there is more time, and it may be used */
        wide.time_s = fmin(wide.time_s, narrow.time_s);
    if (!wide.kept || is_worse(&wide, &narrow))
        print_error("case %" PRIu64 ": %s: from %.1f s, %.2f s of work lost to %.1f s, %.2f s%s\n",
                    number, widening_names[how], narrow.time_s, narrow.lost_s, wide.time_s,
                    wide.lost_s, wide.kept ? "" : ", and its limits not kept");
    assert_true(wide.kept);
    assert_false(is_worse(&wide, &narrow));
    return narrow.acted || wide.acted;
}

static void whoever_allows_more_gets_nothing_worse(void **state)
{
    unsigned acted = 0;

    (void)state;
    for (uint64_t i = 0; i < cases; i++)
        acted += compare(first_case + i);
    if (cases > 100)
        assert_true(acted > cases / 4);
}

/* They did, before the controller was mended: the numbers mean what the functions above make of
   them. */
static void cases_that_once_failed_do_so_no_more(void **state)
{
    static const uint64_t numbers[] = {
        34142, 52940, 77963, /* a throttle given up before the hardest, and shares next to it */
        9003,  19561,        /* hopeless, and the ceiling of the downtime not tried */
        73770, 97937,        /* nor the hardest throttle */
        67308, 75767,        /* a throttle given up, and not tried again with a longer limit */
        4141,  31098,        /* cancelled next to the switchover */
        56960, 98810,        /* cancelled while passes shrank */
        49114, 97544,        /* a throttle on mere hope, before a limit that costs nothing */
        36255, 38536,        /* the least limit that would do, and just too late */
        85066,               /* a throttle lifted next to a switchover that takes long */
        49032, 41750, 51529, /* the same limit for ever, too little of a change to be written */
        8080,  28183, 53834, /* in time but for the blackout */
        66747,               /* the same */
        54434,               /* patience once more, after the first action */
        78516,               /* a budget spent on what it could not pay for */
        13709, 27463, 61213, /* a throttle nobody could be sure of, before a limit */
        90194,               /* the same */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        compare(numbers[i]);
}

/* ---- nonsense in, nothing forbidden out ---- */

/* Any value the field accepts. */
static int64_t random_value(uint64_t *seed, const struct policy_field_info *info)
{
    int64_t n = 1;

    switch (info->kind) {
    case KIND_ORDER:
        return info->initial;
    case KIND_CHOICE:
        while (info->choices[n])
            n++;
        return (int64_t)(chance(seed) % (uint64_t)n);
    default:
        if (info->initial == POLICY_NONE && one_in(seed, 4))
            return POLICY_NONE;
        return info->min + (int64_t)(pow((double)(info->max - info->min), between(seed, 0, 1)) - 1);
    }
}

static void random_policy(uint64_t *seed, struct policy *ret)
{
    struct policy_layer layer = {0};

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (one_in(seed, 2))
            continue;
        layer.values.v[i] = random_value(seed, policy_field_info((enum policy_field)i));
        layer.set |= 1u << i;
    }
    policy_init(ret);
    policy_merge(ret, &layer, "test");
    policy_finish(ret);
}

/* As far apart as counters may be for their differences to be numbers (policy/json/trace_json.h).
 */
static const int64_t wild[] = {
    0, 1, -1, 4096, 1 << 20, INT64_C(1) << 40, INT64_C(1) << 60, -(INT64_C(1) << 60)};
static const double wild_shares[] = {1, 1, 1, 0.2, 0, NAN}; /* ours, so not that wild */

static uint64_t wild_count(uint64_t *seed)
{
    return one_in(seed, 8) ? UINT64_MAX : (uint64_t)ANY_OF(seed, wild);
}

static void wild_sample(uint64_t *seed, int64_t now_ns, struct sample *s)
{
    bool sane = one_in(seed, 2);

    /* Half of what is said makes sense, or nothing would ever be judged. */
    s->now_ns = one_in(seed, 50) ? ANY_OF(seed, wild) : now_ns;
    s->at_sync = one_in(seed, 2);
    s->sync_ns =
        one_in(seed, 10) ? ANY_OF(seed, wild) : now_ns - (int64_t)(chance(seed) % NS_PER_S);
    s->elapsed_ns = one_in(seed, 30) ? ANY_OF(seed, wild) : now_ns;
    s->iteration = one_in(seed, 30) ? wild_count(seed) : s->iteration + s->at_sync;
    s->total_bytes = one_in(seed, 10) ? wild_count(seed) : UINT64_C(1) << 30;
    s->processed_bytes = one_in(seed, 30) ? wild_count(seed) : s->processed_bytes + (20 << 20);
    s->remaining_bytes = sane ? chance(seed) % (1 << 30) : wild_count(seed);
    s->disk_total_bytes = one_in(seed, 10) ? wild_count(seed) : 0;
    s->disk_remaining_bytes = one_in(seed, 10) ? wild_count(seed) : 0;
    s->downtime_limit_ns = sane ? 300 * NS_PER_MS : ANY_OF(seed, wild);
    s->speed_limit_bps = sane ? 0 : ANY_OF(seed, wild);
    s->compression_cache_bytes = sane ? 64 << 20 : wild_count(seed);
    s->flush_ns = sane ? 0 : ANY_OF(seed, wild);
    s->expected_downtime_ns = sane ? 0 : ANY_OF(seed, wild);
    s->auto_converge_percent = one_in(seed, 20) ? (unsigned)chance(seed) : 0;
    s->post_copy = one_in(seed, 50);
    s->cpu_share = ANY_OF(seed, wild_shares);
    s->vcpus = (unsigned)(chance(seed) % (one_in(seed, 10) ? SAMPLE_VCPUS_MAX + 1 : 3));
    for (unsigned i = 0; i < s->vcpus; i++)
        s->vcpu_time_ns[i] = one_in(seed, 10) ? ANY_OF(seed, wild) : now_ns;
}

static bool is_allowed(const struct action *a, const struct policy_values *p,
                       enum policy_allow least)
{
    if (a->kind == ACTION_RELEASE)
        return true;
    if (a->kind >= ACTIONS || action_allowance(p, a->kind) < least)
        return false;
    switch (a->kind) {
    case ACTION_DOWNTIME:
        return a->downtime_ns > 0 && (a->downtime_ns <= p->v[POLICY_MAX_DOWNTIME] ||
                                      p->v[POLICY_MAX_DOWNTIME] == POLICY_NONE);
    case ACTION_THROTTLE:
        return a->share >= (double)p->v[POLICY_MIN_CPU] / PPM_ONE - 1e-9 && a->share < 1;
    case ACTION_BANDWIDTH:
        return p->v[POLICY_MAX_BANDWIDTH] == POLICY_NONE ||
               (a->speed_limit_bps > 0 && a->speed_limit_bps <= p->v[POLICY_MAX_BANDWIDTH]);
    case ACTION_COMPRESSION_CACHE:
        return a->cache_bytes > 0 && (p->v[POLICY_MAX_COMPRESSION_CACHE] == POLICY_NONE ||
                                      a->cache_bytes <= p->v[POLICY_MAX_COMPRESSION_CACHE]);
    default:
        return true;
    }
}

/* Names and sentences are looked up by all of these. */
static bool is_whole(const struct decision *d)
{
    bool whole = d->verdict < VERDICTS && d->reason < REASONS && d->chosen <= ALTERNATIVES &&
                 d->n_actions <= DECISION_ACTIONS_MAX && d->n_proposed <= DECISION_ACTIONS_MAX;

    for (unsigned i = 0; i < ALTERNATIVES; i++)
        whole = whole && d->alternative[i].reason < REASONS;
    return whole;
}

static void check_nonsense(uint64_t number)
{
    static struct controller c;
    uint64_t seed = start_chance(number);
    int64_t now_ns = NS_PER_S;
    struct sample s = {0};
    struct policy policy;

    controller_init(&c);
    random_policy(&seed, &policy);
    for (unsigned i = 0; i < 80; i++) {
        struct decision d;
        bool fine;

        now_ns += (int64_t)(chance(&seed) % NS_PER_S);
        wild_sample(&seed, now_ns, &s);
        if (one_in(&seed, 40))
            random_policy(&seed, &policy);
        controller_step(&c, &policy.values, &s, &d);
        fine = is_whole(&d) && d.apply == (policy.values.v[POLICY_MODE] == MODE_ENFORCE);
        for (unsigned k = 0; fine && k < d.n_actions; k++)
            fine = is_allowed(&d.action[k], &policy.values, ALLOW_YES) &&
                   (d.action[k].kind != ACTION_RELEASE || s.cpu_share < 1);
        for (unsigned k = 0; fine && k < d.n_proposed; k++)
            fine = is_allowed(&d.proposed[k], &policy.values, ALLOW_ASK);
        if (!fine)
            print_error("case %" PRIu64 ", sample %u: %s, %s, %u actions, the first %s\n", number,
                        i, verdict_name(d.verdict), reason_name(d.reason), d.n_actions,
                        d.n_actions > 0 ? action_name(d.action[0].kind) : "none");
        assert_true(fine);
    }
}

static void nonsense_leads_to_nothing_that_is_not_allowed(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < cases; i++)
        check_nonsense(first_case + i);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_allows_more_gets_nothing_worse),
        cmocka_unit_test(cases_that_once_failed_do_so_no_more),
        cmocka_unit_test(nonsense_leads_to_nothing_that_is_not_allowed),
    };

    if (argc > 1) {
        first_case = strtoull(argv[1], NULL, 10);
        cases = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
