/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/units.h"
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

static void nothing_is_done_before_two_passes_are_complete(void **state)
{
    struct model_guest guest = busy_guest();

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_downtime", "10s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.first_action_iteration, 3);
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
    assert_int_equal(sim.count[ACTION_DOWNTIME], 1);
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
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "deadline", "60s", NULL);
    sim_run(&sim, 60);
    hard = sim.least_share;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "deadline", "60s", "objective", "gentle",
              "min_cpu", "10%", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.least_share > hard);
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
    double end;

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    end = sim.model.time_s;
    assert_true(end > 10.1 && end < 12); /* the deadline below falls just before it */
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "allow_cancel", "yes", "deadline", "10s",
              NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
}

static void the_work_budget_is_kept(void **state)
{
    struct model_guest guest = sim_guest(400, 300);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", "max_work_lost", "2s", NULL);
    sim_run(&sim, 60);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_int_equal(sim.last_release, REASON_WORK_BUDGET_SPENT);
    assert_int_equal(sim.count[ACTION_THROTTLE], 1);
    assert_true(sim.model.work_lost_s < 2.3);
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
    struct model_guest guest = sim_guest(210, 420);

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
    sim_run(&sim, 8);
    assert_true(sim.model.cpu_share < 1);
    controller_latch_throttle(&sim.controller, REASON_OTHER_WRITER);
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

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Whatever the numbers are, nothing is done that the policy does not allow. */
static void wild_samples_never_lead_to_an_action_that_is_not_allowed(void **state)
{
    static const uint64_t wild[] = {0, 1, 4096, UINT64_C(1) << 20, UINT64_C(1) << 40, UINT64_MAX};
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

    (void)state;
    for (unsigned run = 0; run < 300; run++) {
        static struct controller c;
        struct policy p;
        int64_t now = 1;

        controller_init(&c);
        policy_init(&p);
        p.values.v[POLICY_MODE] = MODE_ENFORCE;
        if (run % 2)
            p.values.v[POLICY_ALLOW_THROTTLE] = ALLOW_YES;
        if (run % 3 == 0)
            p.values.v[POLICY_MAX_DOWNTIME] = NS_PER_S;
        if (run % 5 == 0)
            p.values.v[POLICY_ALLOW_CANCEL] = ALLOW_YES;
        for (unsigned i = 0; i < 60; i++) {
            struct sample s = {.cpu_share = next_random(&seed) % 3 ? 1 : 0.2};
            struct decision d;

            now += (int64_t)(next_random(&seed) % NS_PER_S);
            s.now_ns = now;
            s.at_sync = next_random(&seed) % 2;
            s.sync_ns = now - (int64_t)(next_random(&seed) % NS_PER_S);
            s.elapsed_ns = (int64_t)(wild[next_random(&seed) % 6] & INT64_MAX);
            s.iteration = i + wild[next_random(&seed) % 3];
            s.total_bytes = wild[next_random(&seed) % 6];
            s.processed_bytes = wild[next_random(&seed) % 6];
            s.remaining_bytes = wild[next_random(&seed) % 6];
            s.downtime_limit_ns = (int64_t)(wild[next_random(&seed) % 5]);
            s.vcpus = (unsigned)(next_random(&seed) % 3);
            s.vcpu_time_ns[0] = (int64_t)(wild[next_random(&seed) % 6] & INT64_MAX);
            controller_step(&c, &p.values, &s, &d);
            for (unsigned k = 0; k < d.n_actions; k++) {
                switch (d.action[k].kind) {
                case ACTION_DOWNTIME:
                    assert_true(p.values.v[POLICY_MAX_DOWNTIME] != POLICY_NONE);
                    assert_in_range(d.action[k].downtime_ns, 1, p.values.v[POLICY_MAX_DOWNTIME]);
                    break;
                case ACTION_THROTTLE:
                    assert_int_equal(p.values.v[POLICY_ALLOW_THROTTLE], ALLOW_YES);
                    assert_true(d.action[k].share >= 0.2 && d.action[k].share < 1);
                    break;
                case ACTION_CANCEL:
                    assert_int_equal(p.values.v[POLICY_ALLOW_CANCEL], ALLOW_YES);
                    break;
                default:
                    assert_true(s.cpu_share < 1);
                    break;
                }
            }
        }
    }
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
        cmocka_unit_test(nothing_is_done_before_two_passes_are_complete),
        cmocka_unit_test(migrations_that_converge_are_never_touched),
        cmocka_unit_test(downtime_is_raised_to_what_is_needed_and_not_to_the_ceiling),
        cmocka_unit_test(downtime_above_the_ceiling_is_never_chosen),
        cmocka_unit_test(throttling_ends_it_above_the_floor),
        cmocka_unit_test(a_sufficient_downtime_alone_is_preferred_to_a_throttle),
        cmocka_unit_test(downtime_and_throttle_are_combined_when_neither_works_alone),
        cmocka_unit_test(gentle_throttles_less_and_still_meets_the_deadline),
        cmocka_unit_test(a_throttle_that_does_not_lower_dirtying_is_released_and_said),
        cmocka_unit_test(a_guest_that_sleeps_is_not_throttled_for_nothing),
        cmocka_unit_test(an_ineffective_throttle_gives_way_to_the_next_rung),
        cmocka_unit_test(cancel_comes_at_the_deadline_and_not_before),
        cmocka_unit_test(a_hopeless_migration_is_cancelled_long_before_a_far_deadline),
        cmocka_unit_test(a_deadline_is_only_reported_unless_cancelling_is_wanted),
        cmocka_unit_test(a_migration_about_to_end_is_not_cancelled_at_the_deadline),
        cmocka_unit_test(the_work_budget_is_kept),
        cmocka_unit_test(patience_delays_the_first_action),
        cmocka_unit_test(a_quota_is_never_stacked_on_auto_converge),
        cmocka_unit_test(a_throttle_is_released_once_the_guest_needs_none),
        cmocka_unit_test(withdrawing_the_permission_releases_the_guest_at_once),
        cmocka_unit_test(switching_to_observe_releases_the_guest_and_then_only_proposes),
        cmocka_unit_test(a_latched_throttle_is_released_and_not_tried_again),
        cmocka_unit_test(counters_that_run_backwards_start_a_new_judgement),
        cmocka_unit_test(a_long_storage_phase_is_no_stall),
        cmocka_unit_test(wild_samples_never_lead_to_an_action_that_is_not_allowed),
        cmocka_unit_test(limits_are_kept_on_random_guests_and_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
