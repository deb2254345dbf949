/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a guest is slowed, how much, and when it gets its speed back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sim.h"

static struct sim sim;

static void throttling_ends_it_above_the_floor(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_DOWNTIME], 0);
    assert_true(sim.least_share >= 0.2);
    assert_true(sim.model.time_s < 13);
    assert_true(sim.model.work_lost_s < 4);
}

/* Eight busy vCPUs under two CPUs get a quarter of one each: a fifth of that is a twentieth. */
static void a_share_is_of_what_a_limit_on_all_vcpus_leaves_to_each(void **state)
{
    struct model_guest guest = sim_guest(210, 4 * 210);

    (void)state;
    guest.vcpus = 8;
    for (unsigned i = 0; i < guest.vcpus; i++)
        guest.vcpu_busy[i] = 1;
    guest.region[0].vcpu = MODEL_ALL_VCPUS;
    guest.shared_cpus = 2;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "min_cpu", "20%", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.model.least_speed < 0.3 && sim.model.least_speed >= 0.2 - 1e-9);
    assert_true(fabs(sim.controller.tried.work_lost_s -
                     (sim.model.work_lost_s - sim.model.downtime_s)) < 0.5);
}

static void gentle_throttles_less_and_still_meets_the_deadline(void **state)
{
    struct model_guest guest = busy_guest();
    double hard;

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "deadline", "60s", "min_cpu", "10%",
              NULL);
    sim_run(&sim, 60);
    hard = sim.least_share;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "deadline", "60s", "objective", "gentle",
              "min_cpu", "10%", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.least_share > hard);
}

/* Fast writers of little memory: passes are short, and a mild throttle shows nothing. */
static void throttling_is_not_given_up_before_the_hardest_has_been_tried(void **state)
{
    (void)state;
    for (unsigned rate = 250; rate <= 400; rate += 10) {
        struct model_guest guest = sim_guest(63, rate);

        sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "deadline", "60s", "objective",
                  "gentle", NULL);
        sim_run(&sim, 60);
        if (sim.last_release == REASON_THROTTLE_INEFFECTIVE)
            assert_true(sim.least_share < 0.21);
        assert_int_equal(sim.model.state, MODEL_COMPLETED);
    }
}

static void a_throttle_that_does_not_lower_dirtying_is_released_and_said(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    guest.region[0].cpu_bound = false; /* paced by a clock, busy-waiting in between */
    guest.region[0].rate_bps = 150e6;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_THROTTLE], 1);
    assert_int_equal(sim.count[ACTION_RELEASE], 1);
    assert_int_equal(sim.last_release, REASON_THROTTLE_INEFFECTIVE);
    assert_true(sim.model.cpu_share == 1);
    assert_int_equal(sim.last.alternative[ALT_THROTTLE].reason, REASON_THROTTLE_INEFFECTIVE);
}

/* Each pass promises an end with the next, and finds as much: a writer by the clock, and device
   state that nobody told of, keep it just above the switchover. */
static void a_throttle_that_always_just_does_not_end_it_is_released(void **state)
{
    struct model_guest guest = sim_guest(35.2, 174);

    (void)state;
    guest.region[guest.regions++] = (struct model_region){
        .bytes = 46.4e6, .rate_bps = 14e6, .sequential = true, .cpu_bound = 1};
    guest.region[guest.regions++] =
        (struct model_region){.bytes = 97e6, .rate_bps = 17.6e6, .cpu_bound = 1};
    guest.region[0].sequential = false;
    guest.region[0].cpu_bound = 0.04;
    guest.device_bytes = 10.1e6;
    for (unsigned noisy = 0; noisy < 2; noisy++) {
        struct model_link link = {.bps = LINK * 1e6, .noise = 0.03 * noisy};

        sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "min_cpu", "5%", NULL);
        model_start(&sim.model, &guest, &link, 1);
        sim.model.downtime_limit_s = noisy ? 0.19 : 0.209;
        sim_run(&sim, 120);
        assert_int_equal(sim.last_release, REASON_THROTTLE_INEFFECTIVE);
        assert_true(sim.model.work_lost_s < 8);
    }
}

static void a_guest_that_sleeps_is_not_throttled_for_nothing(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    guest.region[0].cpu_bound = false;
    guest.vcpu_busy[0] = 0.05;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(actions(&sim), 0);
    assert_int_equal(sim.last.alternative[ALT_THROTTLE].reason, REASON_THROTTLE_USELESS);
}

static void an_ineffective_throttle_gives_way_to_the_next_rung(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    guest.region[0].cpu_bound = false;
    guest.region[0].rate_bps = 150e6;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "allow_cancel", "yes", "deadline", "30s",
              NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_CANCELLED);
    assert_true(sim.model.time_s >= 30 && sim.model.time_s < 31);
}

static void the_work_budget_is_kept(void **state)
{
    struct model_guest guest = sim_guest(400, 400);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_work_lost", "6s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.last_release, REASON_WORK_BUDGET_SPENT);
    assert_int_equal(sim.count[ACTION_THROTTLE], 1);
    assert_true(sim.model.work_lost_s < 6.3);
}

static void a_throttle_beyond_the_work_budget_is_not_begun(void **state)
{
    struct model_guest guest = sim_guest(400, 400);

    (void)state;
    /* The first pass alone takes 4 s. */
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_work_lost", "2s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_THROTTLE], 0);
    assert_true(sim.seen[VERDICT_HOPELESS]);
    assert_int_equal(sim.last.alternative[ALT_THROTTLE].reason, REASON_THROTTLE_OVER_BUDGET);
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_work_lost", "2s", "max_downtime",
              "8s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
}

static void report_auto_converge(struct sim *s, struct sample *sample)
{
    (void)s;
    sample->auto_converge_percent = 20;
}

static void a_quota_is_never_stacked_on_auto_converge(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim.meddle = report_auto_converge;
    sim_run(&sim, 30);
    assert_int_equal(actions(&sim), 0);
    assert_int_equal(sim.last.alternative[ALT_THROTTLE].reason, REASON_AUTO_CONVERGE);
}

static void calm_down(struct sim *s, struct sample *sample)
{
    (void)sample;
    if (s->model.cpu_share < 1)
        s->model.guest.region[0].bytes = fmin(s->model.guest.region[0].bytes, 5e6);
}

static void a_throttle_is_released_once_the_guest_needs_none(void **state)
{
    struct model_guest guest = sim_guest(400, 300);

    (void)state;
    guest.ram_bytes = 2e9;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim.meddle = calm_down;
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.count[ACTION_THROTTLE] >= 1);
}

static void withdraw(struct sim *s, struct sample *sample)
{
    if (sample->cpu_share < 1)
        s->policy.values.v[POLICY_ALLOW_THROTTLE] = ALLOW_NO;
}

static void withdrawing_the_permission_releases_the_guest_at_once(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim.meddle = withdraw;
    sim_run(&sim, 20);
    assert_int_equal(sim.last_release, REASON_POLICY_CHANGED);
    assert_true(sim.model.cpu_share == 1);
    assert_true(sim.model.work_lost_s < 0.5);
}

static void observe_only(struct sim *s, struct sample *sample)
{
    if (sample->cpu_share < 1)
        s->policy.values.v[POLICY_MODE] = MODE_OBSERVE;
}

static void switching_to_observe_releases_the_guest_and_then_only_proposes(void **state)
{
    struct model_guest guest = sim_guest(210, 400);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "1500ms", "min_cpu",
              "25%", NULL);
    sim.meddle = observe_only;
    sim_run(&sim, 40);
    assert_true(sim.model.cpu_share == 1);
    assert_int_equal(sim.count[ACTION_RELEASE], 1);
    assert_true(sim.proposed > 0);
}

static void a_latched_throttle_is_released_and_not_tried_again(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    for (unsigned i = 1; sim.model.cpu_share == 1 && i < 240; i++)
        sim_run(&sim, i * 0.25);
    assert_true(sim.model.cpu_share < 1);
    controller_latch(&sim.controller, ACTION_THROTTLE, REASON_OTHER_WRITER);
    sim_run(&sim, 30);
    assert_true(sim.model.cpu_share == 1);
    assert_int_equal(sim.count[ACTION_THROTTLE], 1);
    assert_int_equal(sim.last_release, REASON_OTHER_WRITER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(throttling_ends_it_above_the_floor),
        cmocka_unit_test(a_share_is_of_what_a_limit_on_all_vcpus_leaves_to_each),
        cmocka_unit_test(gentle_throttles_less_and_still_meets_the_deadline),
        cmocka_unit_test(throttling_is_not_given_up_before_the_hardest_has_been_tried),
        cmocka_unit_test(a_throttle_that_does_not_lower_dirtying_is_released_and_said),
        cmocka_unit_test(a_throttle_that_always_just_does_not_end_it_is_released),
        cmocka_unit_test(a_guest_that_sleeps_is_not_throttled_for_nothing),
        cmocka_unit_test(an_ineffective_throttle_gives_way_to_the_next_rung),
        cmocka_unit_test(the_work_budget_is_kept),
        cmocka_unit_test(a_throttle_beyond_the_work_budget_is_not_begun),
        cmocka_unit_test(a_quota_is_never_stacked_on_auto_converge),
        cmocka_unit_test(a_throttle_is_released_once_the_guest_needs_none),
        cmocka_unit_test(withdrawing_the_permission_releases_the_guest_at_once),
        cmocka_unit_test(switching_to_observe_releases_the_guest_and_then_only_proposes),
        cmocka_unit_test(a_latched_throttle_is_released_and_not_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
