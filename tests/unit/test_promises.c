/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is promised in every world: whoever allows more, of whatever there is to allow, gets nothing
 * worse, and what would end by itself within a stated deadline is neither cancelled nor forced.
 * Each world is made from a number, which is printed when it fails: `test-promises NUMBER` runs
 * that one alone, `test-promises FIRST COUNT` as many as wanted, all that fail told.
 */
#include <assert.h>
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

static uint64_t first_world = 1;
static uint64_t worlds = 200;

/* ---- random worlds ---- */

struct world {
    struct model_guest guest;
    struct model_link link;
    double speed_limit_bps; /* of the migration; 0: none */
    double limit_s;         /* downtime limit that it begins with */
};

static void random_regions(uint64_t *seed, struct world *w)
{
    double room = w->guest.ram_bytes - w->guest.zero_bytes;

    assert(w->guest.vcpus > 0);
    w->guest.regions = 1 + (unsigned)(chance(seed) % 3);
    for (unsigned i = 0; i < w->guest.regions; i++) {
        struct model_region *r = &w->guest.region[i];

        *r = (struct model_region){
            .bytes = room * between(seed, 0.005, 0.6),
            .rate_bps = w->link.bps * (i == 0 ? between(seed, 0, 2) : between(seed, 0, 0.2)),
            .sequential = one_in(seed, 2),
            .cpu_bound = one_in(seed, 4) ? between(seed, 0, 1) : 1,
            .vcpu = one_in(seed, 2) ? (int)(chance(seed) % w->guest.vcpus) : MODEL_ALL_VCPUS,
        };
        room -= r->bytes;
    }
}

static void random_link(uint64_t *seed, struct model_link *l)
{
    double at_s = 0;

    l->noise = one_in(seed, 3) ? 0 : between(seed, 0, 0.15);
    if (one_in(seed, 4))
        l->changes = 1 + (unsigned)(chance(seed) % 3);
    for (unsigned i = 0; i < l->changes; i++) {
        at_s += between(seed, 1, 60);
        l->change[i] = (struct model_change){at_s, between(seed, 0.4, 1.2)};
    }
    if (one_in(seed, 5)) {
        l->shared_s = between(seed, 20, 60);
        l->shared_for_s = l->shared_s * between(seed, 0.1, 0.5);
        l->shared_factor = 0.5;
    }
}

static void random_world(uint64_t *seed, struct world *w)
{
    static const double sizes[] = {512, 2048, 8192, 65536};
    static const unsigned vcpus[] = {1, 2, 4, 16, 300};
    double ram = ANY_OF(seed, sizes) * 1048576;
    struct model_guest *g = &w->guest;

    *w = (struct world){.guest = {.ram_bytes = ram, .zero_bytes = ram * between(seed, 0, 0.5)},
                        .link = {.bps = ram * between(seed, 0.02, 0.5)},
                        .limit_s = 0.3};
    g->vcpus = ANY_OF(seed, vcpus);
    for (unsigned i = 0; i < g->vcpus; i++)
        g->vcpu_busy[i] = one_in(seed, 4) ? between(seed, 0.1, 1) : 1;
    random_regions(seed, w);
    random_link(seed, &w->link);
    if (one_in(seed, 3))
        g->phases = 2 + (unsigned)(chance(seed) % 2);
    for (unsigned i = 0; i < g->phases; i++)
        g->phase[i] = (struct model_phase){.seconds = between(seed, 1, 30),
                                           .rate = between(seed, 0, 1.5),
                                           .busy = 1,
                                           .jitter = between(seed, 0, 0.5)};
    if (one_in(seed, 6))
        g->device_bytes = w->link.bps * between(seed, 0, 0.4);
    if (one_in(seed, 6))
        g->flush_s = between(seed, 0, 1);
    if (one_in(seed, 6))
        g->disk_bytes = w->link.bps * between(seed, 1, 300);
    if (one_in(seed, 6))
        g->shared_cpus = fmax(0.1, g->vcpus * between(seed, 0.2, 1));
    if (one_in(seed, 5))
        w->speed_limit_bps = w->link.bps * between(seed, 0.3, 1.2);
}

/* ---- running them ---- */

static struct sim sim;

struct outcome {
    enum model_state state;
    double memory_s; /* from when the memory was sent */
    double downtime_s;
    double lost_s;
    double least_share;
    unsigned count[ACTIONS];
};

static double memory_began_s;

static void note_memory(struct sim *s, struct sample *sample)
{
    if (sample->total_bytes == 0)
        memory_began_s = s->model.time_s;
}

static struct outcome run(const struct world *w, const struct policy *policy, uint64_t number,
                          double for_s)
{
    struct outcome o;

    sim_start(&sim, &w->guest, 1, NULL);
    model_start(&sim.model, &w->guest, &w->link, number);
    model_limit_speed(&sim.model, w->speed_limit_bps);
    sim.model.downtime_limit_s = w->limit_s;
    sim.policy = *policy;
    sim.meddle = note_memory;
    memory_began_s = 0;
    sim_run(&sim, w->guest.disk_bytes / w->link.bps * 4 + for_s);
    o = (struct outcome){.state = sim.model.state,
                         .memory_s = sim.model.time_s - memory_began_s,
                         .downtime_s = sim.model.downtime_s,
                         .lost_s = sim.model.work_lost_s,
                         .least_share = sim.least_share};
    memcpy(o.count, sim.count, sizeof(o.count));
    return o;
}

static void make_policy(const struct policy_layer *layer, struct policy *ret)
{
    policy_init(ret);
    policy_merge(ret, layer, "test");
    policy_finish(ret);
}

/* ---- what ends by itself in time ---- */

/* The most that may be allowed, with what is to be done at the deadline. */
static void set_all(struct policy_layer *layer, bool help)
{
    static const enum policy_field harmful[] = {POLICY_ALLOW_CANCEL, POLICY_ALLOW_POST_COPY,
                                                POLICY_ALLOW_SUSPEND};

    policy_layer_set(layer, POLICY_MODE, "enforce", NULL);
    for (size_t i = 0; i < sizeof(harmful) / sizeof(harmful[0]); i++)
        policy_layer_set(layer, harmful[i], "yes", NULL);
    if (!help)
        return;
    policy_layer_set(layer, POLICY_ALLOW_THROTTLE, "yes", NULL);
    policy_layer_set(layer, POLICY_ALLOW_BANDWIDTH, "yes", NULL);
    policy_layer_set(layer, POLICY_MAX_DOWNTIME, "5s", NULL);
}

static void set_deadline(struct policy_layer *layer, double seconds)
{
    char text[32];

    snprintf(text, sizeof(text), "%.0fms", ceil(fmax(seconds, 1) * 1000));
    policy_layer_set(layer, POLICY_DEADLINE, text, NULL);
}

static unsigned broken; /* promises, so far */
static unsigned early;  /* ended by post-copy or a pause before the deadline, as help */

static bool is_forced(const struct decision *d)
{
    for (unsigned i = 0; i < d->n_actions; i++) {
        if ((d->action[i].kind == ACTION_POST_COPY || d->action[i].kind == ACTION_SUSPEND) &&
            d->action[i].reason == REASON_DEADLINE)
            return true;
    }
    return false;
}

/* Whether it ends by itself, and so says something. */
static bool keeps_hands_off(uint64_t number)
{
    static const char *const at_deadline[] = {"cancel", "force", "report"};
    uint64_t seed = start_chance(number);
    struct policy_layer layer = {0};
    struct policy policy;
    struct outcome o;
    struct world w;

    random_world(&seed, &w);
    make_policy(&layer, &policy);
    o = run(&w, &policy, number, 600);
    if (o.state != MODEL_COMPLETED)
        return false;
    set_all(&layer, one_in(&seed, 2));
    policy_layer_set(&layer, POLICY_ON_DEADLINE, ANY_OF(&seed, at_deadline), NULL);
    set_deadline(&layer, o.memory_s * between(&seed, 1.02, 4));
    make_policy(&layer, &policy);
    o = run(&w, &policy, number, 3000);
    early += o.count[ACTION_POST_COPY] + o.count[ACTION_SUSPEND] > 0;
    if (o.state == MODEL_COMPLETED && !is_forced(&sim.last))
        return true;
    broken++;
    print_error("world %" PRIu64 ": %s after %.1f s of memory, deadline %.1f s\n", number,
                o.state == MODEL_CANCELLED   ? "cancelled"
                : o.state == MODEL_COMPLETED ? "forced"
                                             : "not ended",
                o.memory_s, (double)policy.values.v[POLICY_DEADLINE] / 1e9);
    return true;
}

static void what_ends_by_itself_within_its_deadline_is_neither_cancelled_nor_forced(void **state)
{
    unsigned ended = 0;

    (void)state;
    broken = early = 0;
    for (uint64_t i = 0; i < worlds; i++)
        ended += keeps_hands_off(first_world + i);
    print_message("# %u of %" PRIu64 " worlds end by themselves: %u cancelled or forced at their "
                  "deadline, %u ended before it by post-copy or a pause\n",
                  ended, worlds, broken, early);
    assert_int_equal(broken, 0);
    if (worlds > 100)
        assert_true(ended > worlds / 4 && early < ended / 10);
}

/* ---- allowing more ---- */

/* All there is to allow, each with what allows less and what allows more of it. */
static const struct {
    enum policy_field field;
    const char *less[3], *more[3];
} permissions[] = {
    {POLICY_MAX_DOWNTIME, {"none", "400ms", "1s"}, {"2s", "5s", "20s"}},
    {POLICY_ALLOW_THROTTLE, {"no", "no", "no"}, {"yes", "yes", "yes"}},
    {POLICY_MIN_CPU, {"30%", "50%", "80%"}, {"5%", "10%", "25%"}},
    {POLICY_MAX_WORK_LOST, {"1s", "3s", "8s"}, {"none", "30s", "10s"}},
    {POLICY_ALLOW_BANDWIDTH, {"no", "no", "no"}, {"yes", "yes", "yes"}},
    {POLICY_ALLOW_COMPRESSION_CACHE, {"no", "no", "no"}, {"yes", "yes", "yes"}},
    {POLICY_ALLOW_POST_COPY, {"no", "no", "no"}, {"yes", "yes", "yes"}},
    {POLICY_ALLOW_SUSPEND, {"no", "no", "no"}, {"yes", "yes", "yes"}},
    {POLICY_ALLOW_CANCEL, {"no", "no", "no"}, {"yes", "yes", "yes"}},
};

enum { PERMISSIONS = sizeof(permissions) / sizeof(permissions[0]) };

/* What may be left of a link, all of a sudden. */
static double rest(const struct model_link *l)
{
    double part = l->shared_s > 0 ? l->shared_factor : 1;

    for (unsigned i = 0; i < l->changes; i++)
        part = fmin(part, l->change[i].factor);
    return part;
}

/* It ended, in time, within what the policy sets as far as anybody can know: the link may carry
   less in the blackout than before. A pause, and post-copy, are bounded by nothing. */
static bool is_kept(const struct outcome *o, const struct world *w, const struct policy *policy)
{
    const int64_t *p = policy->values.v;

    return o->state == MODEL_COMPLETED && o->memory_s <= (double)p[POLICY_DEADLINE] / 1e9 &&
           o->least_share >= (double)p[POLICY_MIN_CPU] / PPM_ONE - 1e-9 &&
           (o->count[ACTION_DOWNTIME] == 0 || o->count[ACTION_SUSPEND] > 0 ||
            o->count[ACTION_POST_COPY] > 0 || p[POLICY_MAX_DOWNTIME] == POLICY_NONE ||
            o->downtime_s <=
                (double)p[POLICY_MAX_DOWNTIME] / 1e9 * (1 + 2 * w->link.noise) / rest(&w->link));
}

/* The last rung of the ladder that was taken. */
static unsigned rung(const struct outcome *o)
{
    static const enum action_kind order[] = {ACTION_SUSPEND, ACTION_POST_COPY, ACTION_THROTTLE,
                                             ACTION_DOWNTIME, ACTION_BANDWIDTH};
    unsigned n = sizeof(order) / sizeof(order[0]);

    for (unsigned i = 0; i < n; i++) {
        if (o->count[order[i]] > 0)
            return n - i;
    }
    return 0;
}

/*
 * In time and work lost; an outcome is worse if it is so in one and not better in the other. The
 * ladder says what is to be preferred: a throttle to a pause, although that may cost less in all.
 */
static bool is_worse(const struct outcome *a, const struct outcome *than)
{
    bool costlier = a->lost_s > 1.25 * than->lost_s + 0.5;
    bool later = a->memory_s > 1.25 * than->memory_s + 2;

    if (rung(a) < rung(than))
        return false;
    return (costlier && a->memory_s >= than->memory_s) || (later && a->lost_s >= than->lost_s);
}

/* Both end by post-copy or a pause, but before that the one tried what the ladder has first, which
   did not do: that had its price, and could not be known. */
static bool is_trial(const struct outcome *a, const struct outcome *than)
{
    return a->count[ACTION_POST_COPY] + a->count[ACTION_SUSPEND] > 0 && rung(a) == rung(than) &&
           a->count[ACTION_THROTTLE] + a->count[ACTION_DOWNTIME] >
               than->count[ACTION_THROTTLE] + than->count[ACTION_DOWNTIME];
}

static unsigned trials;

/* Whether anything can be said of it. */
static bool compare(uint64_t number)
{
    uint64_t seed = start_chance(number);
    unsigned widened = (unsigned)(chance(&seed) % PERMISSIONS);
    struct policy_layer layer = {0};
    struct policy policy;
    struct outcome narrow;
    struct outcome wide;
    struct world w;

    random_world(&seed, &w);
    policy_layer_set(&layer, POLICY_MODE, "enforce", NULL);
    for (unsigned i = 0; i < PERMISSIONS; i++) {
        bool more = i != widened && one_in(&seed, 2);

        policy_layer_set(
            &layer, permissions[i].field,
            more ? ANY_OF(&seed, permissions[i].more) : ANY_OF(&seed, permissions[i].less), NULL);
    }
    set_deadline(&layer, between(&seed, 20, 300));
    make_policy(&layer, &policy);
    narrow = run(&w, &policy, number, 400);
    if (!is_kept(&narrow, &w, &policy))
        return false;
    policy_layer_set(&layer, permissions[widened].field, ANY_OF(&seed, permissions[widened].more),
                     NULL);
    make_policy(&layer, &policy);
    wide = run(&w, &policy, number, 400);
    if (is_kept(&wide, &w, &policy) && is_worse(&wide, &narrow) && is_trial(&wide, &narrow)) {
        trials++;
    } else if (!is_kept(&wide, &w, &policy) || is_worse(&wide, &narrow)) {
        broken++;
        print_error("world %" PRIu64 ": %s: from %.1f s, %.2f s lost to %.1f s, %.2f s lost%s\n",
                    number, policy_field_info(permissions[widened].field)->name, narrow.memory_s,
                    narrow.lost_s, wide.memory_s, wide.lost_s,
                    is_kept(&wide, &w, &policy) ? "" : ", and its limits not kept");
    }
    return true;
}

static void whoever_allows_more_of_anything_gets_nothing_worse(void **state)
{
    unsigned kept = 0;

    (void)state;
    broken = trials = 0;
    for (uint64_t i = 0; i < worlds; i++)
        kept += compare(first_world + i);
    print_message("# %u of %" PRIu64
                  " worlds end as wished with less allowed: %u worse with more, %u by a trial "
                  "that failed\n",
                  kept, worlds, broken, trials);
    assert_int_equal(broken, 0);
    if (worlds > 100)
        assert_true(kept > worlds / 4 && trials <= kept / 50);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ends_by_itself_within_its_deadline_is_neither_cancelled_nor_forced),
        cmocka_unit_test(whoever_allows_more_of_anything_gets_nothing_worse),
    };

    if (argc > 1) {
        first_world = strtoull(argv[1], NULL, 10);
        worlds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
