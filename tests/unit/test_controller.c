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

/* A 537 MB guest that writes 210 MB over and over at 210 MB/s, on a link of 97 MB/s. */
#define LINK 97
static struct sim sim;

static struct model_guest busy_guest(void)
{
    return sim_guest(210, 210);
}

static unsigned actions(const struct sim *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ACTIONS; i++)
        n += s->count[i];
    return n;
}

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

static void cancel_comes_at_the_deadline_and_not_before(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "15s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_CANCELLED);
    assert_true(sim.model.time_s >= 15 && sim.model.time_s < 16);
}

static void a_hopeless_migration_is_cancelled_long_before_a_far_deadline(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", NULL);
    sim_run(&sim, 300);
    assert_int_equal(sim.model.state, MODEL_CANCELLED);
    assert_true(sim.model.time_s > 30 && sim.model.time_s < 60);
}

static void nothing_is_cancelled_before_a_deadline_that_was_stated(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "5m", NULL);
    sim_run(&sim, 400);
    assert_int_equal(sim.model.state, MODEL_CANCELLED);
    assert_true(sim.model.time_s >= 300);
}

static void nothing_is_cancelled_for_a_deadline_that_nobody_stated(void **state)
{
    /* Ends by itself after 20 minutes of one pass. */
    struct model_guest guest = {.ram_bytes = 1200 * LINK * 1e6, .vcpus = 1, .vcpu_busy = {1}};

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", NULL);
    sim_run(&sim, 1500);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    sim_start(&sim, &guest, LINK, "preset", "must-finish", NULL);
    sim_run(&sim, 1500);
    assert_int_equal(actions(&sim), 0);
}

static void add_storage(struct sim *s, struct sample *sample)
{
    (void)s;
    sample->elapsed_ns += 3000 * NS_PER_S;
    sample->disk_total_bytes = UINT64_C(80) << 30;
}

static void storage_that_is_copied_before_does_not_count_for_the_deadline(void **state)
{
    struct model_guest guest = sim_guest(10, 10);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "1m", NULL);
    sim.meddle = add_storage;
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_CANCEL], 0);
}

static void a_plateau_is_no_stall(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "5m", "stall_timeout", "5s",
              NULL);
    sim_run(&sim, 299);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_false(sim.seen[VERDICT_STALLED]);
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
}

static void a_deadline_is_only_reported_unless_cancelling_is_wanted(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "15s", "on_deadline", "report",
              NULL);
    sim_run(&sim, 25);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.last.reason, REASON_DEADLINE);
}

static void a_migration_about_to_end_is_not_cancelled_at_the_deadline(void **state)
{
    struct model_guest guest = busy_guest();
    char deadline[32];

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    snprintf(deadline, sizeof(deadline), "%.1fs", sim.model.time_s - 0.5);
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "allow_cancel", "yes", "deadline",
              deadline, NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
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

static void what_still_shrinks_under_a_throttle_is_not_called_hopeless(void **state)
{
    struct model_guest guest = sim_guest(210, 400);

    (void)state;
    guest.region[0].sequential = true;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.seen[VERDICT_HELPED]);
    assert_false(sim.seen[VERDICT_HOPELESS]);
}

static void a_plateau_is_not_stalled_while_patience_waits_for_it(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "stall_timeout", "10s", "patience", "60s",
              NULL);
    sim_run(&sim, 50);
    assert_int_equal(sim.last.verdict, VERDICT_PLATEAU);
    assert_int_equal(actions(&sim), 0);
    /* Patience is over, and the evidence of a stall as old as it ever was. */
    sim_run(&sim, 120);
    assert_int_equal(sim.count[ACTION_CANCEL], 1);
    assert_true(sim.first_action_s > 60);
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

static void grow(struct sim *s, struct sample *sample)
{
    s->model.guest.region[0].bytes = 210e6 * (1 + 0.05 * (double)sample->iteration);
}

static void but_no_longer_than_help_would_cost(void **state)
{
    struct model_guest guest = sim_guest(210, 2000);

    (void)state;
    guest.ram_bytes = 2e9;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim.meddle = grow;
    sim_run(&sim, 90);
    assert_true(sim.count[ACTION_THROTTLE] >= 1);
    assert_true(sim.first_action_iteration > 5);
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

static void a_long_storage_phase_is_no_stall(void **state)
{
    struct model_guest guest = busy_guest();
    struct sample s = {.cpu_share = 1, .disk_total_bytes = 1, .downtime_limit_ns = 300 * NS_PER_MS};
    struct decision d;

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", NULL);
    for (s.now_ns = NS_PER_S; s.now_ns < 300 * NS_PER_S; s.now_ns += NS_PER_S) {
        s.elapsed_ns = s.now_ns;
        controller_step(&sim.controller, &sim.policy.values, &s, &d);
        assert_int_equal(d.verdict, VERDICT_STARTING);
        assert_int_equal(d.n_actions, 0);
    }
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

static void passes_that_still_shrink_just_above_the_switchover_are_left_alone(void **state)
{
    struct model_guest guest = sim_guest(88, 140);

    (void)state;
    guest.region[0].sequential = false;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(actions(&sim), 0);
}

/* The time the migration really takes from here, with nothing changed any more. */
static double time_left(const struct sim *s)
{
    static struct model on;

    on = s->model;
    while (on.state == MODEL_RUNNING && on.time_s < 1000)
        model_run(&on, 1000 - on.time_s);
    return on.time_s - s->model.time_s;
}

static void an_end_is_named_in_the_first_pass_and_nothing_is_done_about_it(void **state)
{
    struct model_guest guest = sim_guest(5, 500);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 2);
    assert_int_equal(sim.last.verdict, VERDICT_STARTING);
    assert_true(sim.last.course.ends);
    assert_true(fabs(sim.last.course.seconds - 0.25 - time_left(&sim)) < 0.1 * time_left(&sim));
    /* A guest that dirties more only makes it later. */
    assert_true(isinf(sim.last.latest_s));
    guest = busy_guest();
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 2);
    assert_true(sim.last.earliest_s - 0.25 < time_left(&sim));
    sim_run(&sim, 6);
    assert_int_equal(sim.model.iteration, 2);
    assert_int_equal(sim.last.verdict, VERDICT_STARTING);
    assert_true(sim.last.earliest_s > 0 && isinf(sim.last.latest_s));
    assert_int_equal(actions(&sim), 0);
}

static void passes_that_shrink_slowly_are_dated(void **state)
{
    struct model_guest guest = sim_guest(2000, 0.9 * LINK);

    (void)state;
    guest.ram_bytes = 4e9;
    sim_start(&sim, &guest, LINK, NULL);
    for (int at = 100; at < 175; at += 10) {
        double left;

        sim_run(&sim, at);
        left = time_left(&sim);
        assert_true(sim.last.course.ends);
        assert_true(sim.last.earliest_s - 0.5 < left && left < sim.last.latest_s);
        if (fabs(sim.last.course.seconds - left) > 0.12 * left)
            print_error("at %d s: %.1f s forecast, %.1f s true\n", at, sim.last.course.seconds,
                        left);
        assert_true(fabs(sim.last.course.seconds - left) <= 0.12 * left);
    }
}

static void what_the_first_pass_left_rules_out_that_a_set_is_full_at_once(void **state)
{
    struct model_guest guest = sim_guest(2000, 0.6 * LINK);

    (void)state;
    guest.ram_bytes = 4e9;
    sim_start(&sim, &guest, LINK, NULL);
    while (sim.controller.estimator.now.passes < 2)
        sim_run(&sim, sim.model.time_s + 0.25);
    assert_true(sim.last.earliest_s - 0.5 < time_left(&sim));
    assert_true(time_left(&sim) < sim.last.latest_s && isfinite(sim.last.latest_s));
    assert_int_equal(decision_end(&sim.last), END_COMES);
}

static struct dirty_curve fitted(const double at_s[3], const double bytes[3])
{
    struct estimator e;

    estimator_init(&e);
    for (unsigned i = 0; i < 3; i++)
        estimator_add_point(&e, at_s[i], bytes[i]);
    return e.now.curve;
}

static void a_guest_that_writes_in_order_is_told_from_one_that_writes_all_over(void **state)
{
    const double at_s[] = {4, 2, 1};
    struct dirty_curve in_order = fitted(at_s, (double[]){240e6, 200e6, 100e6});
    struct dirty_curve all_over = fitted(at_s, (double[]){238.0e6, 218.2e6, 167.7e6});
    struct dirty_curve either = fitted(at_s, (double[]){240e6, 240e6, 240e6});

    (void)state;
    assert_true(in_order.in_order > 0.9);
    assert_true(fabs(dirty_curve_at(&in_order, 0.5) - 50e6) < 3e6);
    assert_true(all_over.in_order < 0.1);
    assert_true(fabs(dirty_curve_at(&all_over, 0.5) - 108.3e6) < 5e6);
    assert_true(either.in_order > 0.1 && either.in_order < 0.9);
}

static void a_link_that_halves_is_noticed_before_the_window_is_over(void **state)
{
    struct model_guest guest = sim_guest(5, 500);
    const struct estimate *e = &sim.controller.estimator.now;

    (void)state;
    guest.ram_bytes = 4e9;
    sim_start(&sim, &guest, LINK, NULL);
    sim.model.link.changes = 1;
    sim.model.link.change[0] = (struct model_change){.at_s = 10, .factor = 0.5};
    sim.model.link_next_s = 10;
    sim_run(&sim, 10);
    assert_true(fabs(e->drain_bps - 1e6 * LINK) < 0.02e6 * LINK);
    sim_run(&sim, 11.1);
    assert_true(fabs(e->drain_bps - 0.5e6 * LINK) < 0.05e6 * LINK);
    assert_true(fabs(e->transfer_bps - 0.5e6 * LINK) < 0.05e6 * LINK);
}

/* Long passes shrink until one is short enough to show a small set that is written much faster. */
static void an_end_that_moves_away_is_not_said(void **state)
{
    struct model_guest guest = sim_guest(2000, 0.6 * LINK);

    (void)state;
    guest.ram_bytes = 4e9;
    guest.regions = 2;
    guest.region[1] = (struct model_region){
        .bytes = 60e6, .rate_bps = 5e6 * LINK, .sequential = true, .cpu_bound = true};
    sim_start(&sim, &guest, LINK, NULL);
    for (int at = 75; at < 160; at++) {
        sim_run(&sim, at);
        assert_int_not_equal(decision_end(&sim.last), END_COMES);
    }
    assert_int_equal(sim.model.state, MODEL_RUNNING);
}

static void what_is_shown_after_an_action_is_the_course_with_it(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    while (sim.count[ACTION_THROTTLE] == 0)
        sim_run(&sim, sim.model.time_s + 0.25);
    assert_true(isinf(sim.last.earliest_s) || sim.last.verdict == VERDICT_NEEDS_HELP);
    sim_run(&sim, sim.model.time_s + 0.5);
    assert_int_equal(sim.last.verdict, VERDICT_HELPED);
    assert_true(isfinite(sim.last.earliest_s));
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

/* A busy guest, and a speed limit of half the link. */
static void start_limited(const char *max)
{
    struct model_guest guest = sim_guest(210, 80);

    sim_start(&sim, &guest, LINK, "allow_bandwidth", "yes", "max_bandwidth", max, "allow_throttle",
              "yes", "max_downtime", "5s", NULL);
    model_limit_speed(&sim.model, LINK / 2.0 * 1e6);
}

static void bandwidth_comes_before_all_that_harms_the_guest(void **state)
{
    (void)state;
    start_limited("1GiB/s");
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 1);
    assert_int_equal(actions(&sim), 1);
}

static void bandwidth_is_raised_to_what_is_needed_and_not_to_the_ceiling(void **state)
{
    (void)state;
    start_limited("1GiB/s");
    sim_run(&sim, 25);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 1);
    assert_true(sim.controller.tried.speed_set_bps > 50e6 &&
                sim.controller.tried.speed_set_bps < 200e6);
}

static void bandwidth_is_raised_to_the_ceiling_if_that_does_not_suffice(void **state)
{
    (void)state;
    start_limited("60MB/s");
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 1);
    assert_int_equal(sim.controller.tried.speed_set_bps, 60 * 1000000);
    assert_true(sim.count[ACTION_DOWNTIME] + sim.count[ACTION_THROTTLE] > 0);
}

/* Others need a part of the host's bandwidth from some time on. */
static void share_bandwidth(struct sim *s, struct sample *sample)
{
    (void)sample;
    if (s->controller.tried.speed_set_bps != 0)
        s->policy.values.v[POLICY_MAX_BANDWIDTH] = INT64_C(50) * 1000000;
}

static void a_speed_limit_of_ours_is_lowered_with_what_is_allowed(void **state)
{
    (void)state;
    start_limited("60MB/s");
    sim.meddle = share_bandwidth;
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 2);
    assert_int_equal(sim.controller.tried.speed_set_bps, 50 * 1000000);
}

static void share_a_little(struct sim *s, struct sample *sample)
{
    (void)sample;
    if (s->controller.tried.speed_set_bps != 0)
        s->policy.values.v[POLICY_MAX_BANDWIDTH] = INT64_C(56) * 1000000;
}

static void a_speed_limit_of_ours_is_not_lowered_by_little(void **state)
{
    (void)state;
    start_limited("60MB/s");
    sim.meddle = share_a_little;
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 1);
}

static void a_speed_limit_of_others_is_not_lowered(void **state)
{
    (void)state;
    start_limited("20MB/s"); /* half of what it has */
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 0);
}

static void without_a_speed_limit_there_is_none_to_raise(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_bandwidth", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 0);
    assert_int_equal(sim.last.alternative[ALT_BANDWIDTH].reason, REASON_BANDWIDTH_NOT_LIMITING);
    assert_int_equal(sim.last.verdict, VERDICT_HOPELESS);
}

static void what_costs_the_guest_nothing_need_not_wait_for_certainty(void **state)
{
    struct model_guest guest = sim_guest(210, 90);

    (void)state;
    start_limited("1GiB/s");
    sim_run(&sim, 60);
    assert_int_equal(sim.first_action_iteration, 3);
    sim_start(&sim, &guest, LINK, "allow_bandwidth", "yes", "patience", "10m", NULL);
    model_limit_speed(&sim.model, LINK / 2.0 * 1e6);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_BANDWIDTH], 0);
}

static void a_question_stands_between_syncs(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "ask", "max_downtime", "500ms", NULL);
    sim_run(&sim, 20);
    assert_int_equal(sim.last.n_proposed, 1);
    for (unsigned i = 1; i <= 40; i++) {
        sim_run(&sim, 20 + i / 10.0);
        assert_int_equal(sim.last.verdict, VERDICT_NEEDS_HELP);
        assert_int_equal(sim.last.reason, REASON_ASKED);
    }
}

static void a_limit_below_what_the_link_carries_is_never_set(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_bandwidth", "yes", "max_bandwidth", "50MB/s", NULL);
    model_limit_speed(&sim.model, 60e6);
    sim_run(&sim, 60);
    assert_int_equal(actions(&sim), 0);
    assert_int_equal(sim.last.alternative[ALT_BANDWIDTH].reason, REASON_BANDWIDTH_OVER_CEILING);
}

static void compress(struct sim *s, struct sample *sample)
{
    (void)s;
    sample->compression_cache_bytes = 64 << 20;
}

static void the_cache_grows_to_what_the_guest_writes_to(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_compression_cache", "yes", NULL);
    sim.meddle = compress;
    sim_run(&sim, 20);
    assert_true(sim.count[ACTION_COMPRESSION_CACHE] > 0);
    assert_int_equal(sim.last.alternative[ALT_COMPRESSION_CACHE].cache_bytes, 256 << 20);
    sim_start(&sim, &guest, LINK, "allow_compression_cache", "yes", "max_compression_cache",
              "200MiB", NULL);
    sim.meddle = compress;
    sim_run(&sim, 20);
    assert_int_equal(sim.last.alternative[ALT_COMPRESSION_CACHE].cache_bytes, 128 << 20);
}

static void without_compression_there_is_no_cache_to_grow(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_compression_cache", "yes", NULL);
    sim_run(&sim, 20);
    assert_int_equal(actions(&sim), 0);
    assert_int_equal(sim.last.alternative[ALT_COMPRESSION_CACHE].reason, REASON_NOT_COMPRESSED);
}

static void post_copy_ends_what_nothing_else_does(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    guest.region[0].cpu_bound = 0;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "allow_post_copy", "yes", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_POST_COPY], 1);
    assert_true(sim.model.post_copy_s > 0);
}

static void post_copy_that_is_not_possible_gives_way_to_the_next_rung(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_post_copy", "yes", "allow_suspend", "yes", NULL);
    controller_latch(&sim.controller, ACTION_POST_COPY, REASON_POST_COPY_UNAVAILABLE);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_POST_COPY], 0);
    assert_int_equal(sim.count[ACTION_SUSPEND], 1);
    assert_true(sim.model.downtime_s > 1);
}

static void the_order_of_the_policy_is_kept(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "10s", "allow_suspend",
              "yes", "order", "suspend,throttle,downtime", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_SUSPEND], 1);
    assert_int_equal(actions(&sim), 1);
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "10s", "order",
              "throttle,downtime", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_THROTTLE], 1);
    assert_int_equal(sim.count[ACTION_DOWNTIME], 0);
}

static void what_comes_after_an_approved_cancel_is_never_done(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "allow_suspend", "yes", "order",
              "cancel,suspend", NULL);
    sim_run(&sim, 120);
    assert_int_equal(sim.model.state, MODEL_CANCELLED);
    assert_int_equal(sim.count[ACTION_SUSPEND], 0);
}

static void what_is_to_be_asked_about_is_proposed_and_not_done(void **state)
{
    static const char *const fields[] = {"allow_throttle", "allow_suspend", "allow_post_copy",
                                         "allow_bandwidth"};
    static const enum action_kind kinds[] = {ACTION_THROTTLE, ACTION_SUSPEND, ACTION_POST_COPY,
                                             ACTION_BANDWIDTH};
    struct model_guest guest = busy_guest();

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        sim_start(&sim, &guest, LINK, fields[i], "ask", NULL);
        if (kinds[i] == ACTION_BANDWIDTH)
            model_limit_speed(&sim.model, LINK / 2.0 * 1e6);
        sim_run(&sim, 30);
        assert_int_equal(actions(&sim), 0);
        assert_int_equal(sim.last.reason, REASON_ASKED);
        assert_int_equal(sim.last.n_proposed, 1);
        assert_int_equal(sim.last.proposed[0].kind, kinds[i]);
    }
}

static void nobody_is_asked_while_something_approved_works(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "ask", "allow_suspend", "yes", NULL);
    sim_run(&sim, 30);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_SUSPEND], 1);
}

static void approve_post_copy(struct sim *s, struct sample *sample)
{
    if (s->last.n_proposed > 0 && !sample->at_sync)
        s->policy.values.v[POLICY_ALLOW_POST_COPY] = ALLOW_YES;
}

static void an_answer_is_not_kept_waiting_for_the_next_pass(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_post_copy", "ask", NULL);
    sim.meddle = approve_post_copy;
    sim_run(&sim, 20);
    assert_int_equal(sim.count[ACTION_POST_COPY], 1);
    assert_false(sim.controller.estimator.last.at_sync);
}

static void a_cancel_is_asked_for_at_the_deadline(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "ask", "deadline", "20s", "on_deadline", "cancel",
              NULL);
    sim_run(&sim, 25);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.last.n_proposed, 1);
    assert_int_equal(sim.last.proposed[0].kind, ACTION_CANCEL);
}

static void the_deadline_forces_an_end_if_that_is_allowed(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_post_copy", "yes", "on_deadline", "force", "deadline",
              "20s", "patience", "10m", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_POST_COPY], 1);
    assert_true(sim.first_action_s >= 20 && sim.first_action_s < 21);
    sim_start(&sim, &guest, LINK, "allow_suspend", "yes", "on_deadline", "force", "deadline", "20s",
              "patience", "10m", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_SUSPEND], 1);
    sim_start(&sim, &guest, LINK, "on_deadline", "force", "deadline", "20s", "max_downtime", "1s",
              NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
}

static void the_deadline_grows_with_the_guest(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    /* Half a GiB. */
    sim_start(&sim, &guest, LINK, "allow_suspend", "yes", "on_deadline", "force",
              "deadline_per_gib", "60s", "patience", "10m", NULL);
    sim_run(&sim, 60);
    assert_true(sim.first_action_s >= 30 && sim.first_action_s < 31);
}

static void passes_are_limited_by_downtime_or_by_suspend(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "precopy_iterations", "4", "max_downtime", "5s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_DOWNTIME] + 0u, actions(&sim));
    sim_start(&sim, &guest, LINK, "precopy_iterations", "4", "max_downtime", "1s", "allow_suspend",
              "yes", "patience", "10m", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.count[ACTION_SUSPEND], 1);
    assert_int_equal(sim.first_action_iteration, 5);
    sim_start(&sim, &guest, LINK, "precopy_threshold", "300MB", "allow_suspend", "yes", "patience",
              "10m", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.count[ACTION_SUSPEND], 1);
    assert_true(sim.first_action_iteration < 5);
    sim_start(&sim, &guest, LINK, "precopy_iterations", "4", NULL);
    sim_run(&sim, 60);
    assert_int_equal(actions(&sim), 0);
}

static void step_downtime_like_others_do(struct sim *s, struct sample *sample)
{
    (void)sample;
    if (s->model.time_s > 15)
        s->model.downtime_limit_s = 0.3;
}

static void a_downtime_limit_that_others_set_is_not_fought_over(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    guest.region[0].bytes = 500e6; /* slow enough to be still there */
    guest.region[0].rate_bps = 500e6;
    sim_start(&sim, &guest, LINK, "max_downtime", "3s", NULL);
    sim_run(&sim, 14);
    sim.controller.own.set_ns = 2 * NS_PER_S; /* as if it had been raised */
    sim.model.downtime_limit_s = 2;
    sim.meddle = step_downtime_like_others_do;
    sim_run(&sim, 60);
    assert_int_equal(sim.controller.tried.latched[ACTION_DOWNTIME], REASON_OTHER_WRITER);
    assert_int_equal(sim.last.alternative[ALT_DOWNTIME].reason, REASON_OTHER_WRITER);
    assert_true(sim.model.downtime_limit_s == 0.3);
}

static void lower_downtime_at_each_look(struct sim *s, struct sample *sample)
{
    if (sample->downtime_limit_ns > 300 * NS_PER_MS)
        s->model.downtime_limit_s = 0.3;
}

static void a_downtime_limit_is_held_if_the_policy_says_so_and_not_for_ever(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "max_downtime", "3s", NULL);
    sim.meddle = lower_downtime_at_each_look;
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.controller.tried.latched[ACTION_DOWNTIME], REASON_OTHER_WRITER);
    sim_start(&sim, &guest, LINK, "max_downtime", "3s", "on_other_writer", "hold", NULL);
    sim.meddle = lower_downtime_at_each_look;
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.count[ACTION_DOWNTIME] <= sim.model.iteration);
    sim_start(&sim, &guest, LINK, "max_downtime", "3s", "on_other_writer", "hold", NULL);
    sim.meddle = lower_downtime_at_each_look;
    sim.controller.own.holds = 20;
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.controller.tried.latched[ACTION_DOWNTIME], REASON_OTHER_WRITER);
}

/* A pause that fails so many times. Returns how often it was tried. */
static unsigned try_pause(unsigned failures, double tried_s[])
{
    unsigned tries = 0;

    while (sim.model.state == MODEL_RUNNING && sim.model.time_s < 120) {
        struct sample s;
        struct decision d;

        model_sample(&sim.model, &s);
        controller_step(&sim.controller, &sim.policy.values, &s, &d);
        if (d.n_actions > 0 && d.action[0].kind == ACTION_SUSPEND) {
            tried_s[tries++] = sim.model.time_s;
            if (tries > failures)
                model_suspend(&sim.model);
            else
                controller_failed(&sim.controller, ACTION_SUSPEND, s.now_ns);
        }
        model_run(&sim.model, 0.25);
    }
    return tries;
}

static void an_action_that_fails_for_a_passing_reason_is_tried_again_and_not_at_once(void **state)
{
    struct model_guest guest = busy_guest();
    double tried_s[64] = {0};

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_suspend", "yes", NULL);
    assert_int_equal(try_pause(3, tried_s), 4);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    for (unsigned i = 1; i < 4; i++)
        assert_true(tried_s[i] - tried_s[i - 1] >= 1 << (i - 1) &&
                    tried_s[i] - tried_s[i - 1] < (1 << (i - 1)) + 1);
    sim_start(&sim, &guest, LINK, "allow_suspend", "yes", NULL);
    assert_int_equal(try_pause(1000, tried_s), 7);
    assert_int_equal(sim.controller.tried.latched[ACTION_SUSPEND], REASON_ACTION_FAILED);
}

static void what_was_refused_gives_way_without_waiting_for_a_sync(void **state)
{
    struct model_guest guest = busy_guest();
    struct sample s;
    struct decision d;
    double refused_s;

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_post_copy", "yes", "allow_suspend", "yes", NULL);
    do {
        model_run(&sim.model, 0.25);
        model_sample(&sim.model, &s);
        controller_step(&sim.controller, &sim.policy.values, &s, &d);
    } while (d.n_actions == 0);
    assert_int_equal(d.action[0].kind, ACTION_POST_COPY);
    refused_s = sim.model.time_s;
    controller_latch(&sim.controller, ACTION_POST_COPY, REASON_POST_COPY_UNAVAILABLE);
    model_run(&sim.model, 0.25);
    model_sample(&sim.model, &s);
    controller_step(&sim.controller, &sim.policy.values, &s, &d);
    assert_int_equal(d.n_actions, 1);
    assert_int_equal(d.action[0].kind, ACTION_SUSPEND);
    assert_true(sim.model.time_s - refused_s < 0.3);
}

static void a_downtime_limit_that_others_set_at_once_is_noticed_too(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, NULL);
    sim_run(&sim, 14);
    sim.controller.own.set_ns = 2 * NS_PER_S;
    sim.controller.own.before_ns = 200 * NS_PER_MS;
    sim.controller.own.in_force = false;
    sim.model.downtime_limit_s = 0.2; /* as it was: setting it has failed */
    sim_run(&sim, sim.model.time_s + 0.3);
    assert_int_equal(sim.controller.tried.latched[ACTION_DOWNTIME], REASON_NONE);
    sim.model.downtime_limit_s = 0.25;
    sim_run(&sim, sim.model.time_s + 0.3);
    assert_int_equal(sim.controller.tried.latched[ACTION_DOWNTIME], REASON_OTHER_WRITER);
}

static void a_paused_guest_is_left_alone_unless_it_stalls(void **state)
{
    struct model_guest guest = busy_guest();
    struct sample s;
    struct decision d;

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_suspend", "yes", "allow_cancel", "yes", "stall_timeout",
              "10s", "deadline", "10s", NULL);
    sim_run(&sim, 8);
    sim.controller.suspended_ns = 1;
    model_sample(&sim.model, &s);
    s.processed_bytes += 1;
    controller_step(&sim.controller, &sim.policy.values, &s, &d);
    assert_int_equal(d.verdict, VERDICT_SWITCHOVER);
    assert_int_equal(d.n_actions, 0);
    s.now_ns += 9 * NS_PER_S;
    s.elapsed_ns += 9 * NS_PER_S;
    controller_step(&sim.controller, &sim.policy.values, &s, &d);
    assert_int_equal(d.n_actions, 0);
    s.now_ns += 2 * NS_PER_S;
    controller_step(&sim.controller, &sim.policy.values, &s, &d);
    assert_int_equal(d.verdict, VERDICT_STALLED);
    assert_int_equal(d.action[0].kind, ACTION_CANCEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bandwidth_comes_before_all_that_harms_the_guest),
        cmocka_unit_test(bandwidth_is_raised_to_what_is_needed_and_not_to_the_ceiling),
        cmocka_unit_test(bandwidth_is_raised_to_the_ceiling_if_that_does_not_suffice),
        cmocka_unit_test(a_speed_limit_of_ours_is_lowered_with_what_is_allowed),
        cmocka_unit_test(a_speed_limit_of_ours_is_not_lowered_by_little),
        cmocka_unit_test(a_speed_limit_of_others_is_not_lowered),
        cmocka_unit_test(without_a_speed_limit_there_is_none_to_raise),
        cmocka_unit_test(what_costs_the_guest_nothing_need_not_wait_for_certainty),
        cmocka_unit_test(a_question_stands_between_syncs),
        cmocka_unit_test(a_limit_below_what_the_link_carries_is_never_set),
        cmocka_unit_test(the_cache_grows_to_what_the_guest_writes_to),
        cmocka_unit_test(without_compression_there_is_no_cache_to_grow),
        cmocka_unit_test(post_copy_ends_what_nothing_else_does),
        cmocka_unit_test(post_copy_that_is_not_possible_gives_way_to_the_next_rung),
        cmocka_unit_test(the_order_of_the_policy_is_kept),
        cmocka_unit_test(what_comes_after_an_approved_cancel_is_never_done),
        cmocka_unit_test(what_is_to_be_asked_about_is_proposed_and_not_done),
        cmocka_unit_test(nobody_is_asked_while_something_approved_works),
        cmocka_unit_test(an_answer_is_not_kept_waiting_for_the_next_pass),
        cmocka_unit_test(a_cancel_is_asked_for_at_the_deadline),
        cmocka_unit_test(the_deadline_forces_an_end_if_that_is_allowed),
        cmocka_unit_test(the_deadline_grows_with_the_guest),
        cmocka_unit_test(passes_are_limited_by_downtime_or_by_suspend),
        cmocka_unit_test(a_downtime_limit_that_others_set_is_not_fought_over),
        cmocka_unit_test(a_downtime_limit_is_held_if_the_policy_says_so_and_not_for_ever),
        cmocka_unit_test(an_action_that_fails_for_a_passing_reason_is_tried_again_and_not_at_once),
        cmocka_unit_test(what_was_refused_gives_way_without_waiting_for_a_sync),
        cmocka_unit_test(a_downtime_limit_that_others_set_at_once_is_noticed_too),
        cmocka_unit_test(a_paused_guest_is_left_alone_unless_it_stalls),
        cmocka_unit_test(nothing_is_done_without_a_policy_but_the_need_and_the_cure_are_known),
        cmocka_unit_test(observe_mode_decides_the_same_and_applies_nothing),
        cmocka_unit_test(nothing_is_done_before_two_passes_agree),
        cmocka_unit_test(migrations_that_converge_are_never_touched),
        cmocka_unit_test(downtime_is_raised_to_what_is_needed_and_not_to_the_ceiling),
        cmocka_unit_test(the_ceiling_that_is_wished_for_does),
        cmocka_unit_test(downtime_above_the_ceiling_is_never_chosen),
        cmocka_unit_test(throttling_ends_it_above_the_floor),
        cmocka_unit_test(a_sufficient_downtime_alone_is_preferred_to_a_throttle),
        cmocka_unit_test(downtime_and_throttle_are_combined_when_neither_works_alone),
        cmocka_unit_test(gentle_throttles_less_and_still_meets_the_deadline),
        cmocka_unit_test(throttling_is_not_given_up_before_the_hardest_has_been_tried),
        cmocka_unit_test(a_throttle_that_does_not_lower_dirtying_is_released_and_said),
        cmocka_unit_test(a_guest_that_sleeps_is_not_throttled_for_nothing),
        cmocka_unit_test(an_ineffective_throttle_gives_way_to_the_next_rung),
        cmocka_unit_test(cancel_comes_at_the_deadline_and_not_before),
        cmocka_unit_test(a_hopeless_migration_is_cancelled_long_before_a_far_deadline),
        cmocka_unit_test(nothing_is_cancelled_before_a_deadline_that_was_stated),
        cmocka_unit_test(nothing_is_cancelled_for_a_deadline_that_nobody_stated),
        cmocka_unit_test(storage_that_is_copied_before_does_not_count_for_the_deadline),
        cmocka_unit_test(a_plateau_is_no_stall),
        cmocka_unit_test(a_limit_that_would_break_the_ceiling_is_lowered_at_the_start),
        cmocka_unit_test(a_ceiling_that_cannot_be_kept_is_said_before_it_is_broken),
        cmocka_unit_test(a_short_downtime_is_aimed_at_and_raised_only_as_far_as_is_needed),
        cmocka_unit_test(a_switchover_that_is_due_and_does_not_come_is_helped),
        cmocka_unit_test(a_deadline_is_only_reported_unless_cancelling_is_wanted),
        cmocka_unit_test(a_migration_about_to_end_is_not_cancelled_at_the_deadline),
        cmocka_unit_test(the_work_budget_is_kept),
        cmocka_unit_test(a_throttle_beyond_the_work_budget_is_not_begun),
        cmocka_unit_test(patience_delays_the_first_action),
        cmocka_unit_test(what_still_shrinks_under_a_throttle_is_not_called_hopeless),
        cmocka_unit_test(a_plateau_is_not_stalled_while_patience_waits_for_it),
        cmocka_unit_test(a_quota_is_never_stacked_on_auto_converge),
        cmocka_unit_test(a_throttle_is_released_once_the_guest_needs_none),
        cmocka_unit_test(a_guest_that_does_not_do_the_same_all_the_time_is_waited_for),
        cmocka_unit_test(but_no_longer_than_help_would_cost),
        cmocka_unit_test(withdrawing_the_permission_releases_the_guest_at_once),
        cmocka_unit_test(switching_to_observe_releases_the_guest_and_then_only_proposes),
        cmocka_unit_test(a_latched_throttle_is_released_and_not_tried_again),
        cmocka_unit_test(counters_that_run_backwards_start_a_new_judgement),
        cmocka_unit_test(a_long_storage_phase_is_no_stall),
        cmocka_unit_test(downtime_is_raised_by_steps_while_time_is_plentiful),
        cmocka_unit_test(passes_that_still_shrink_just_above_the_switchover_are_left_alone),
        cmocka_unit_test(an_end_is_named_in_the_first_pass_and_nothing_is_done_about_it),
        cmocka_unit_test(passes_that_shrink_slowly_are_dated),
        cmocka_unit_test(what_the_first_pass_left_rules_out_that_a_set_is_full_at_once),
        cmocka_unit_test(a_guest_that_writes_in_order_is_told_from_one_that_writes_all_over),
        cmocka_unit_test(a_link_that_halves_is_noticed_before_the_window_is_over),
        cmocka_unit_test(an_end_that_moves_away_is_not_said),
        cmocka_unit_test(what_is_shown_after_an_action_is_the_course_with_it),
        cmocka_unit_test(limits_are_kept_on_random_guests_and_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
