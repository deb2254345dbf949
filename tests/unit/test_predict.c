/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/model/predict.h"
#include "policy/model/simulate.h"

#define MB 1e6

#define assert_near(value, expected, relative)                                                     \
    do {                                                                                           \
        double v_ = (value), e_ = (expected);                                                      \
        if (!(fabs(v_ - e_) <= (relative)*fabs(e_)))                                               \
            fail_msg("%s is %g, expected %g", #value, v_, e_);                                     \
    } while (0)

/* 1 GB, of which 400 MB are zero; one busy vCPU; written to as told, sent at 100 MB/s. */
static struct model_guest real_guest(double hot_mb, double mbps, bool sequential)
{
    return (struct model_guest){
        .ram_bytes = 1000 * MB,
        .zero_bytes = 400 * MB,
        .vcpus = 1,
        .vcpu_busy = {1},
        .regions = 1,
        .region = {{.bytes = hot_mb * MB,
                    .rate_bps = mbps * MB,
                    .sequential = sequential,
                    .cpu_bound = 1,
                    .vcpu = MODEL_ALL_VCPUS}},
    };
}

static struct predict_facts measured(const struct model_guest *g)
{
    struct predict_facts f = {
        .memory_bytes = g->ram_bytes,
        .used_bytes = g->ram_bytes - g->zero_bytes,
        .vcpus = 1,
        .vcpu_busy = {1},
        .downtime_limit_s = 0.3,
        .bandwidth_bps = 100 * MB,
    };

    do {
        double s = 1 << f.points;

        f.point[f.points++] = (struct model_point){s, model_unique_bytes(&g->region[0], s)};
    } while (predict_wants_more(&f));
    return f;
}

/* Fields and values in turn, ended by NULL. */
static struct policy_values policy_of(const char *const *text)
{
    struct policy_layer layer = {0};
    struct policy p;

    for (; *text; text += 2) {
        enum policy_field field;

        assert_int_equal(policy_field_find(text[0], &field), 0);
        assert_int_equal(policy_layer_set(&layer, field, text[1], NULL), 0);
    }
    policy_init(&p);
    policy_merge(&p, &layer, "test");
    policy_finish(&p);
    return p.values;
}

#define POLICY(...) policy_of((const char *const[]){__VA_ARGS__, NULL})

/* What happens in the end, and what was predicted. How far a downtime limit that is raised by steps
   goes hangs on little. */
static void compare(const struct model_guest *g, const struct policy_values *policy,
                    double tolerance)
{
    struct predict_facts f = measured(g);
    struct prediction p;
    struct controller controller;
    struct model m;

    predict(&f, policy, &p);
    model_start(&m, g, &(struct model_link){.bps = f.bandwidth_bps}, 7);
    controller_init(&controller);
    simulate(&m, &controller, policy, 600, &(struct simulate_watch){.after = NULL});
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_int_equal(p.course[PREDICT_POLICY].state, MODEL_COMPLETED);
    assert_near(p.course[PREDICT_POLICY].seconds, m.time_s, tolerance);
    assert_near(p.course[PREDICT_POLICY].downtime_s, m.downtime_s, 0.5);
    assert_true(p.course[PREDICT_POLICY].earliest_s <= p.course[PREDICT_POLICY].seconds);
    assert_true(p.course[PREDICT_POLICY].latest_s >= p.course[PREDICT_POLICY].seconds);
}

static void a_guest_that_writes_little_ends_as_predicted(void **state)
{
    struct model_guest g = real_guest(20, 10, false);
    struct policy_values nothing = POLICY("mode", "observe");

    (void)state;
    compare(&g, &nothing, 0.1);
}

static void a_guest_that_writes_nothing_takes_the_time_of_its_memory(void **state)
{
    struct model_guest g = real_guest(1, 1, false);
    struct policy_values nothing = POLICY("mode", "observe");
    struct predict_facts f = measured(&g);
    struct prediction p;

    (void)state;
    for (unsigned i = 0; i < f.points; i++)
        f.point[i].bytes = 0;
    predict(&f, &nothing, &p);
    assert_int_equal(p.course[PREDICT_WAIT].state, MODEL_COMPLETED);
    assert_near(p.course[PREDICT_WAIT].seconds, 6, 0.1);
    assert_true(p.plateau_bytes == 0);
}

static void a_longer_downtime_ends_it_as_predicted(void **state)
{
    struct model_guest random = real_guest(200, 210, false);
    struct model_guest sequential = real_guest(300, 150, true);
    struct policy_values policy = POLICY("max_downtime", "4s");

    (void)state;
    compare(&random, &policy, 0.35);
    compare(&sequential, &policy, 0.35);
}

static void a_throttle_ends_it_as_predicted(void **state)
{
    struct model_guest random = real_guest(400, 210, false);
    struct model_guest sequential = real_guest(500, 200, true);
    struct policy_values policy = POLICY("allow_throttle", "yes");

    (void)state;
    /* One pass more or less decides whether a guest does the same all the time. */
    compare(&random, &policy, 0.2);
    compare(&sequential, &policy, 0.2);
}

static void a_guest_that_never_ends_by_itself_is_told_what_would_end_it(void **state)
{
    struct model_guest g = real_guest(500, 200, true);
    struct policy_values nothing = POLICY("mode", "observe");
    struct predict_facts f = measured(&g);
    struct prediction p;

    (void)state;
    predict(&f, &nothing, &p);
    assert_int_equal(p.course[PREDICT_WAIT].state, MODEL_RUNNING);
    assert_true(isinf(p.course[PREDICT_WAIT].earliest_s));
    assert_near(p.plateau_bytes, 500 * MB, 0.05);
    assert_int_equal(p.course[PREDICT_DOWNTIME].state, MODEL_COMPLETED);
    assert_near(p.course[PREDICT_DOWNTIME].downtime_s, 5, 0.25);
    assert_int_equal(p.course[PREDICT_THROTTLE].state, MODEL_COMPLETED);
    assert_true(p.course[PREDICT_THROTTLE].least_share < 1);
    assert_true(p.course[PREDICT_THROTTLE].throttled_s > 1);
    assert_int_equal(p.course[PREDICT_POLICY].actions, 0);
}

static void observing_proposes_and_does_nothing(void **state)
{
    struct model_guest g = real_guest(500, 200, true);
    struct policy_values policy = POLICY("allow_throttle", "yes", "mode", "observe");
    struct predict_facts f = measured(&g);
    struct prediction p;

    (void)state;
    predict(&f, &policy, &p);
    assert_int_equal(p.course[PREDICT_POLICY].state, MODEL_RUNNING);
    assert_int_equal(p.course[PREDICT_POLICY].actions, 1);
    assert_false(p.course[PREDICT_POLICY].action[0].applied);
    assert_int_equal(p.course[PREDICT_POLICY].action[0].action.kind, ACTION_THROTTLE);
}

/* A hot set that is full within the shortest period says nothing of how fast it fills. */
static void what_cannot_be_measured_widens_the_spread(void **state)
{
    struct model_guest fills = real_guest(400, 200, false);
    struct model_guest full = real_guest(200, 4000, false);
    struct policy_values policy = POLICY("allow_throttle", "yes");
    struct predict_facts f = measured(&fills);
    struct prediction p;

    (void)state;
    predict(&f, &policy, &p);
    assert_true(p.course[PREDICT_POLICY].latest_s < 1.5 * p.course[PREDICT_POLICY].earliest_s);
    f = measured(&full);
    predict(&f, &policy, &p);
    assert_true(isinf(p.course[PREDICT_POLICY].latest_s));
    assert_false(isinf(p.course[PREDICT_POLICY].earliest_s));
}

/* It idles at 2% of a CPU, so no quota reaches it. */
static void a_sleeper_is_not_helped_by_a_throttle(void **state)
{
    struct model_guest g = real_guest(400, 200, false);
    struct policy_values policy = POLICY("allow_throttle", "yes");
    struct predict_facts f = measured(&g);
    struct prediction p;

    (void)state;
    f.vcpu_busy[0] = 0.02;
    predict(&f, &policy, &p);
    assert_int_equal(p.course[PREDICT_THROTTLE].state, MODEL_RUNNING);
    assert_int_equal(p.course[PREDICT_POLICY].state, MODEL_RUNNING);
}

/* A process may hold less than the guest was seen to write to, and measured points may fall. */
static void facts_that_contradict_each_other_do_no_harm(void **state)
{
    struct model_guest g = real_guest(400, 200, false);
    struct policy_values nothing = POLICY("mode", "observe");
    struct predict_facts f = measured(&g);
    struct prediction p;

    (void)state;
    f.used_bytes = 50 * MB;
    f.point[1].bytes = f.point[0].bytes / 2;
    f.vcpus = 0;
    predict(&f, &nothing, &p);
    assert_true(p.course[PREDICT_WAIT].seconds > 2);
    assert_true(isfinite(p.plateau_bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_that_writes_little_ends_as_predicted),
        cmocka_unit_test(a_guest_that_writes_nothing_takes_the_time_of_its_memory),
        cmocka_unit_test(a_longer_downtime_ends_it_as_predicted),
        cmocka_unit_test(a_throttle_ends_it_as_predicted),
        cmocka_unit_test(a_guest_that_never_ends_by_itself_is_told_what_would_end_it),
        cmocka_unit_test(observing_proposes_and_does_nothing),
        cmocka_unit_test(what_cannot_be_measured_widens_the_spread),
        cmocka_unit_test(a_sleeper_is_not_helped_by_a_throttle),
        cmocka_unit_test(facts_that_contradict_each_other_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
