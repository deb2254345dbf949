/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When it ends, as far as anybody can say. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/sim.h"

static struct sim sim;

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

static unsigned verdicts;
static enum verdict verdict;

static void count_verdicts(struct sim *s, struct sample *sample)
{
    (void)sample;
    verdicts += s->last.verdict != verdict;
    verdict = s->last.verdict;
}

/* A guest that writes about what a link of uneven speed carries: it ends by chance, in minutes. */
static void what_is_said_while_the_evidence_goes_to_and_fro_is_the_doubt(void **state)
{
    struct model_guest guest = sim_guest(900, 1.05 * LINK);
    struct model_link link = {.bps = LINK * 1e6, .noise = 0.05};

    (void)state;
    guest.ram_bytes = 4e9;
    guest.region[0].sequential = false;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "1h", NULL);
        model_start(&sim.model, &guest, &link, seed);
        sim.meddle = count_verdicts;
        verdicts = 0;
        sim_run(&sim, 1000);
        assert_true(sim.model.iteration > 100);
        assert_int_equal(actions(&sim), 0);
        assert_in_range(verdicts, 3, 30);
    }
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
    assert_int_equal(decision_end_by_curves(&sim.last), END_COMES);
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

static void what_is_said_about_the_end_is_likely_enough(void **state)
{
    static const struct {
        double chance;
        bool ends;
        enum end said;
    } cases[] = {
        {0.95, true, END_COMES},  {0.95, false, END_UNKNOWN}, {0.89, true, END_UNKNOWN},
        {0.5, true, END_UNKNOWN}, {0.11, false, END_UNKNOWN}, {0.09, false, END_NEVER},
    };
    struct decision d = {.verdict = VERDICT_PLATEAU};

    (void)state;
    assert_true(isnan(decision_chance(&d)));
    assert_int_equal(decision_end(&d), END_UNKNOWN);
    d.chance_known = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        d.chance = cases[i].chance;
        d.course.ends = cases[i].ends;
        assert_int_equal(decision_end(&d), cases[i].said);
    }
    /* And nothing is said any more when it is over. */
    d.verdict = VERDICT_DONE;
    assert_true(isnan(decision_chance(&d)));
    assert_int_equal(decision_end(&d), END_UNKNOWN);
}

static void a_migration_that_comes_nearer_is_likely_to_end_and_one_on_a_plateau_is_not(void **state)
{
    struct model_guest calm = sim_guest(400, 80);
    struct model_guest busy = busy_guest();

    (void)state;
    sim_start(&sim, &calm, LINK, NULL);
    while (sim.model.state == MODEL_RUNNING && decision_end(&sim.last) != END_COMES)
        sim_run(&sim, sim.model.time_s + 0.25);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_true(sim.last.earliest_s < sim.last.course.seconds);
    assert_true(sim.last.latest_s > sim.last.course.seconds && isfinite(sim.last.latest_s));
    sim_start(&sim, &busy, LINK, NULL);
    sim_run(&sim, 20);
    assert_int_equal(decision_end(&sim.last), END_NEVER);
    assert_true(decision_chance(&sim.last) < 0.1);
}

/* Memory without content lies together: what comes in the first pass takes next to no time. */
static void no_end_comes_before_the_earliest_though_much_is_empty(void **state)
{
    static struct pages pages;
    struct model_guest guest = sim_guest(5, 5);

    (void)state;
    guest.ram_bytes = 1e9;
    guest.zero_bytes = 0.4e9;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        double floor_s = 0;

        sim_start(&sim, &guest, LINK, NULL);
        model_start_pages(&sim.model, &pages, &guest, &(struct model_link){.bps = LINK * 1e6},
                          seed);
        for (int s = 1; s < 3; s++) {
            sim_run(&sim, s);
            floor_s = fmax(floor_s, s + sim.last.earliest_s);
        }
        sim_run(&sim, 60);
        assert_int_equal(sim.model.state, MODEL_COMPLETED);
        assert_true(floor_s > 3 && floor_s < sim.model.time_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_that_still_shrink_just_above_the_switchover_are_left_alone),
        cmocka_unit_test(an_end_is_named_in_the_first_pass_and_nothing_is_done_about_it),
        cmocka_unit_test(passes_that_shrink_slowly_are_dated),
        cmocka_unit_test(what_the_first_pass_left_rules_out_that_a_set_is_full_at_once),
        cmocka_unit_test(a_guest_that_writes_in_order_is_told_from_one_that_writes_all_over),
        cmocka_unit_test(a_link_that_halves_is_noticed_before_the_window_is_over),
        cmocka_unit_test(an_end_that_moves_away_is_not_said),
        cmocka_unit_test(what_is_shown_after_an_action_is_the_course_with_it),
        cmocka_unit_test(what_is_said_about_the_end_is_likely_enough),
        cmocka_unit_test(what_is_said_while_the_evidence_goes_to_and_fro_is_the_doubt),
        cmocka_unit_test(
            a_migration_that_comes_nearer_is_likely_to_end_and_one_on_a_plateau_is_not),
        cmocka_unit_test(no_end_comes_before_the_earliest_though_much_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
