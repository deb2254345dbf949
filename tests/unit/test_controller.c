/* SPDX-License-Identifier: LGPL-2.1-or-later */
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
#include "tests/unit/sim.h"

static struct sim sim;

static void nothing_is_done_without_a_policy_but_the_need_and_the_cure_are_known(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, NULL);
    sim_run(&sim, 30);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(actions(&sim) + sim.proposed, 0);
    assert_int_equal(sim.last.verdict, VERDICT_NEEDS_HELP);
    assert_int_equal(sim.last.reason, REASON_NOT_APPROVED);
    assert_true(sim.last.alternative[ALT_DOWNTIME].works);
    assert_true(sim.last.alternative[ALT_THROTTLE].works);
    assert_false(sim.last.alternative[ALT_WAIT].works);
}

static void observe_mode_decides_the_same_and_applies_nothing(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "mode", "observe", "allow_throttle", "yes", NULL);
    sim_run(&sim, 20);
    assert_int_equal(actions(&sim), 0);
    assert_true(sim.proposed > 0);
}

static void nothing_is_done_before_two_passes_agree(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "10s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.first_action_iteration, 4);
}

static void migrations_that_converge_are_never_touched(void **state)
{
    static const double cases[][2] = {{1, 500},  {8, 210},  {25, 1000}, {60, 60},
                                      {60, 120}, {210, 50}, {210, 85},  {400, 80}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int sequential = 0; sequential < 2; sequential++) {
            struct model_guest guest = sim_guest(cases[i][0], cases[i][1]);

            guest.region[0].sequential = sequential;
            sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "10s",
                      "allow_cancel", "yes", NULL);
            sim_run(&sim, 300);
            if (sim.model.state != MODEL_COMPLETED || actions(&sim) != 0)
                print_error("hot %.0f MB at %.0f MB/s\n", cases[i][0], cases[i][1]);
            assert_int_equal(sim.model.state, MODEL_COMPLETED);
            assert_int_equal(actions(&sim), 0);
        }
    }
}

static void downtime_is_raised_to_what_is_needed_and_not_to_the_ceiling(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "max_downtime", "8s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_THROTTLE], 0);
    /* 210 MB at 97 MB/s take 2.2 s; shorter passes leave a little less. */
    assert_true(sim.greatest_limit_s > 1.5 && sim.greatest_limit_s < 2.6);
    assert_true(sim.model.downtime_s < 2.5);
}

static void the_ceiling_that_is_wished_for_does(void **state)
{
    struct model_guest guest = busy_guest();
    char ceiling[32];

    (void)state;
    /* A slow flush is part of the blackout. */
    guest.flush_s = 1.5;
    sim_start(&sim, &guest, LINK, NULL);
    sim_run(&sim, 30);
    snprintf(ceiling, sizeof(ceiling), "%" PRId64 "ms",
             sim.last.alternative[ALT_DOWNTIME].ceiling_ns / NS_PER_MS + 1);
    sim_start(&sim, &guest, LINK, "max_downtime", ceiling, NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.model.downtime_s * 1e3 < strtod(ceiling, NULL));
}

static void downtime_above_the_ceiling_is_never_chosen(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "max_downtime", "1s", NULL);
    sim_run(&sim, 60);
    assert_true(sim.greatest_limit_s < 1);
    assert_int_equal(sim.count[ACTION_THROTTLE], 0);
    assert_int_equal(sim.last.alternative[ALT_DOWNTIME].reason, REASON_DOWNTIME_OVER_CEILING);
    assert_true(sim.seen[VERDICT_HOPELESS]);
}

static void a_sufficient_downtime_alone_is_preferred_to_a_throttle(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "4s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_THROTTLE], 0);
    assert_true(sim.count[ACTION_DOWNTIME] > 0);
}

static void downtime_and_throttle_are_combined_when_neither_works_alone(void **state)
{
    struct model_guest guest = sim_guest(210, 600);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    sim_start(&sim, &guest, LINK, "max_downtime", "1s", NULL);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_RUNNING);

    guest = sim_guest(210, 420);
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "1500ms", "min_cpu",
              "25%", NULL);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.count[ACTION_THROTTLE] > 0);
    assert_true(sim.model.downtime_s <= 1.5);
}

static void a_limit_that_would_break_the_ceiling_is_lowered_at_the_start(void **state)
{
    struct model_guest guest = sim_guest(60, 60);

    (void)state;
    sim_start(&sim, &guest, LINK, "max_downtime", "250ms", "allow_throttle", "yes", NULL);
    sim_run(&sim, 1);
    assert_int_equal(sim.count[ACTION_DOWNTIME], 1);
    assert_true(sim.greatest_limit_s < 0.1);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.model.downtime_s < 0.25);
}

static void a_ceiling_that_cannot_be_kept_is_said_before_it_is_broken(void **state)
{
    struct model_guest guest = sim_guest(10, 10);

    (void)state;
    guest.ram_bytes = 4e9;
    guest.flush_s = 2;
    sim_start(&sim, &guest, LINK, "max_downtime", "1s", NULL);
    for (unsigned i = 1; sim.last.reason != REASON_CEILING_AT_RISK && i < 240; i++)
        sim_run(&sim, i * 0.25);
    assert_int_equal(sim.last.reason, REASON_CEILING_AT_RISK);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(actions(&sim), 0);
}

static void a_short_downtime_is_aimed_at_and_raised_only_as_far_as_is_needed(void **state)
{
    struct model_guest idle = sim_guest(1, 1);
    struct model_guest busy = sim_guest(60, 60);

    (void)state;
    sim_start(&sim, &idle, LINK, "aim_downtime", "50ms", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_DOWNTIME], 1);
    assert_true(sim.model.downtime_s < 0.12);
    /* A plateau of 60 MB takes 0.6 s. */
    sim_start(&sim, &busy, LINK, "aim_downtime", "50ms", "max_downtime", "2s", NULL);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.model.downtime_s < 0.8);
}

/* QEMU counts two seconds of device state to the switchover. */
static double limit_with_device_s;

static void add_device(struct sim *s, struct sample *sample)
{
    /* What has been set since the last look is the limit; the model is left what remains of it. */
    if (s->model.downtime_limit_s != fmax(limit_with_device_s - 2, 0))
        limit_with_device_s = s->model.downtime_limit_s;
    s->model.downtime_limit_s = fmax(limit_with_device_s - 2, 0);
    sample->downtime_limit_ns = (int64_t)(limit_with_device_s * 1e9);
}

static void start_with_device(const char *field, const char *value)
{
    struct model_guest guest = sim_guest(2, 2);

    sim_start(&sim, &guest, LINK, field, value, NULL);
    sim.meddle = add_device;
    limit_with_device_s = 0.3;
    sim.model.downtime_limit_s = 0;
    sim_run(&sim, 120);
}

static void a_switchover_that_is_due_and_does_not_come_is_helped(void **state)
{
    (void)state;
    start_with_device("max_downtime", "10s");
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.greatest_limit_s < 4);
    start_with_device("mode", "observe");
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.last.alternative[ALT_WAIT].reason, REASON_HELD);
    assert_int_equal(sim.last.verdict, VERDICT_NEEDS_HELP);
    start_with_device("allow_throttle", "yes"); /* which lessens nothing of that */
    assert_int_equal(actions(&sim), 0);
}

/* Just below the limit: QEMU counts a bit of device state to it. */
static void a_switchover_that_is_just_due_and_does_not_come_is_helped_too(void **state)
{
    struct model_guest guest = sim_guest(29, 500);

    (void)state;
    guest.device_bytes = 0.05 * LINK * 1e6;
    sim_start(&sim, &guest, LINK, "max_downtime", "10s", NULL);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.greatest_limit_s < 0.6);
}

/* It writes to nothing, so nothing is sent while its devices hold the switchover. */
static void an_idle_guest_whose_devices_hold_it_is_helped_and_not_stalled(void **state)
{
    struct model_guest guest = {
        .ram_bytes = 512e6, .device_bytes = 200e6, .vcpus = 1, .vcpu_busy = {0.1}};

    (void)state;
    sim_start(&sim, &guest, LINK, "max_downtime", "10s", NULL);
    sim_run(&sim, 300);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.greatest_limit_s < 4);
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "mode", "observe", NULL);
    sim_run(&sim, 300);
    assert_false(sim.seen[VERDICT_STALLED]);
    assert_int_equal(sim.last.alternative[ALT_WAIT].reason, REASON_HELD);
}

static void patience_delays_the_first_action(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "patience", "10s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.first_action_s >= 16);
    assert_true(sim.seen[VERDICT_PLATEAU]);
}

/* A burst of writing that grows from pass to pass, and is over after a while. */
static void burst(struct sim *s, struct sample *sample)
{
    if (sample->iteration >= 9)
        s->model.guest.region[0].bytes = 5e6;
    else if (sample->iteration >= 2)
        s->model.guest.region[0].bytes = 210e6 * (1 + 0.05 * (double)sample->iteration);
}

static void a_guest_that_does_not_do_the_same_all_the_time_is_waited_for(void **state)
{
    struct model_guest guest = sim_guest(210, 2000);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim.meddle = burst;
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_THROTTLE], 0);
}

static void but_no_longer_than_help_would_cost(void **state)
{
    struct model_guest guest = sim_guest(210, 2000);

    (void)state;
    guest.ram_bytes = 2e9;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim.meddle = sim_grow;
    sim_run(&sim, 90);
    assert_true(sim.count[ACTION_THROTTLE] >= 1);
    assert_true(sim.first_action_iteration > 5);
}

static void counters_that_run_backwards_start_a_new_judgement(void **state)
{
    struct model_guest guest = busy_guest();
    struct sample s;
    struct decision d;

    (void)state;
    sim_start(&sim, &guest, LINK, NULL);
    sim_run(&sim, 20);
    assert_int_equal(sim.last.verdict, VERDICT_NEEDS_HELP);
    model_sample(&sim.model, &s);
    s.iteration = 1;
    s.processed_bytes = 0;
    s.elapsed_ns = 0;
    controller_step(&sim.controller, &sim.policy.values, &s, &d);
    assert_int_equal(d.verdict, VERDICT_STARTING);
    assert_int_equal(sim.controller.estimator.now.passes, 0);
}

static void downtime_is_raised_by_steps_while_time_is_plentiful(void **state)
{
    struct model_guest guest = sim_guest(240, 195);
    double limit_s;

    (void)state;
    guest.region[0].sequential = false;
    sim_start(&sim, &guest, LINK, "max_downtime", "3s", "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_THROTTLE], 0);
    assert_true(sim.count[ACTION_DOWNTIME] > 1);
    /* The plateau of 2 s shrinks with shorter passes: less is needed than it seems at first. */
    assert_true(sim.greatest_limit_s < 1.6);
    /* With the half of the time gone it is set to what seems to be needed, at once. */
    sim_start(&sim, &guest, LINK, "max_downtime", "3s", "patience", "20s", "deadline", "40s", NULL);
    while (sim.count[ACTION_DOWNTIME] == 0 && sim.model.time_s < 40)
        sim_run(&sim, sim.model.time_s + 0.25);
    limit_s = sim.greatest_limit_s;
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(limit_s > 0.8 * sim.greatest_limit_s);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Guests, links and policies at random: what the admin set is kept, whatever happens. */
static void limits_are_kept_on_random_guests_and_links(void **state)
{
    uint64_t seed = UINT64_C(20261121);

    (void)state;
    for (unsigned run = 0; run < 200; run++) {
        struct model_guest guest = sim_guest(1 + (double)(next_random(&seed) % 500),
                                             1 + (double)(next_random(&seed) % 800));
        double link = 20 + (double)(next_random(&seed) % 400);
        const char *ceilings[] = {"400ms", "1s", "3s"};
        const char *floors[] = {"10%", "30%", "60%"};
        unsigned c = (unsigned)(next_random(&seed) % 3);
        unsigned f = (unsigned)(next_random(&seed) % 3);
        const double ceiling_s[] = {0.4, 1, 3};
        const double floor_share[] = {0.1, 0.3, 0.6};

        guest.region[0].sequential = next_random(&seed) % 2;
        guest.region[0].cpu_bound = next_random(&seed) % 4 != 0;
        sim_start(&sim, &guest, link, "allow_throttle", "yes", "max_downtime", ceilings[c],
                  "min_cpu", floors[f], NULL);
        sim_run(&sim, 300);
        if (sim.least_share < floor_share[f] - 1e-9 ||
            (sim.model.state == MODEL_COMPLETED && sim.model.downtime_s > ceiling_s[c]))
            print_error("run %u: hot %.0f rate %.0f link %.0f: downtime %.2f of %s, share %.2f\n",
                        run, guest.region[0].bytes / 1e6, guest.region[0].rate_bps / 1e6, link,
                        sim.model.downtime_s, ceilings[c], sim.least_share);
        assert_true(sim.least_share >= floor_share[f] - 1e-9);
        if (sim.model.state == MODEL_COMPLETED)
            assert_true(sim.model.downtime_s <= ceiling_s[c]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_done_without_a_policy_but_the_need_and_the_cure_are_known),
        cmocka_unit_test(observe_mode_decides_the_same_and_applies_nothing),
        cmocka_unit_test(nothing_is_done_before_two_passes_agree),
        cmocka_unit_test(migrations_that_converge_are_never_touched),
        cmocka_unit_test(downtime_is_raised_to_what_is_needed_and_not_to_the_ceiling),
        cmocka_unit_test(the_ceiling_that_is_wished_for_does),
        cmocka_unit_test(downtime_above_the_ceiling_is_never_chosen),
        cmocka_unit_test(a_sufficient_downtime_alone_is_preferred_to_a_throttle),
        cmocka_unit_test(downtime_and_throttle_are_combined_when_neither_works_alone),
        cmocka_unit_test(a_limit_that_would_break_the_ceiling_is_lowered_at_the_start),
        cmocka_unit_test(a_ceiling_that_cannot_be_kept_is_said_before_it_is_broken),
        cmocka_unit_test(a_short_downtime_is_aimed_at_and_raised_only_as_far_as_is_needed),
        cmocka_unit_test(a_switchover_that_is_due_and_does_not_come_is_helped),
        cmocka_unit_test(a_switchover_that_is_just_due_and_does_not_come_is_helped_too),
        cmocka_unit_test(an_idle_guest_whose_devices_hold_it_is_helped_and_not_stalled),
        cmocka_unit_test(patience_delays_the_first_action),
        cmocka_unit_test(a_guest_that_does_not_do_the_same_all_the_time_is_waited_for),
        cmocka_unit_test(but_no_longer_than_help_would_cost),
        cmocka_unit_test(counters_that_run_backwards_start_a_new_judgement),
        cmocka_unit_test(downtime_is_raised_by_steps_while_time_is_plentiful),
        cmocka_unit_test(limits_are_kept_on_random_guests_and_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
