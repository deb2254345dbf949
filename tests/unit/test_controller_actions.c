/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What else can be done, whom it is left to, and others who change limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/units.h"
#include "tests/unit/sim.h"

static struct sim sim;

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

/* What the ceiling leaves for a limit varies with what the link is seen to scatter by. */
static void a_limit_that_ends_nothing_is_not_raised_bit_by_bit(void **state)
{
    struct model_guest guest = sim_guest(400, 1200);

    (void)state;
    guest.region[0].sequential = false;
    sim_start(&sim, &guest, LINK, "max_downtime", "1s", NULL);
    model_start(&sim.model, &guest, &(struct model_link){.bps = LINK * 1e6, .noise = 0.05}, 1);
    sim_run(&sim, 400);
    assert_int_equal(sim.model.state, MODEL_RUNNING);
    assert_in_range(sim.count[ACTION_DOWNTIME], 1, 2);
}

/* Less than is otherwise told apart: a limit of 20 ms that has to be 28. */
static void a_short_limit_is_raised_by_little_if_that_is_needed(void **state)
{
    struct model_guest guest = sim_guest(2000, 50);

    (void)state;
    guest.ram_bytes = 4e9;
    guest.region[0].sequential = false;
    sim_start(&sim, &guest, LINK, "max_downtime", "2s", NULL);
    sim.model.downtime_limit_s = 0.02;
    sim_run(&sim, 600);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.count[ACTION_DOWNTIME] > 0);
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

/* From its second pass on, which ends after 8 s, it finds more each time: the next may find less.
 */
static void what_cannot_be_taken_back_waits_longer_for_a_guest_that_varies(void **state)
{
    struct model_guest guest = sim_guest(210, 2000);

    (void)state;
    guest.ram_bytes = 2e9;
    sim_start(&sim, &guest, LINK, "allow_post_copy", "yes", NULL);
    sim.meddle = sim_grow;
    sim_run(&sim, 90);
    assert_int_equal(sim.count[ACTION_POST_COPY], 1);
    assert_true(sim.first_action_s > 40 && sim.first_action_s < 60);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bandwidth_comes_before_all_that_harms_the_guest),
        cmocka_unit_test(bandwidth_is_raised_to_what_is_needed_and_not_to_the_ceiling),
        cmocka_unit_test(bandwidth_is_raised_to_the_ceiling_if_that_does_not_suffice),
        cmocka_unit_test(a_limit_that_ends_nothing_is_not_raised_bit_by_bit),
        cmocka_unit_test(a_short_limit_is_raised_by_little_if_that_is_needed),
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
        cmocka_unit_test(what_cannot_be_taken_back_waits_longer_for_a_guest_that_varies),
        cmocka_unit_test(post_copy_that_is_not_possible_gives_way_to_the_next_rung),
        cmocka_unit_test(the_order_of_the_policy_is_kept),
        cmocka_unit_test(what_comes_after_an_approved_cancel_is_never_done),
        cmocka_unit_test(what_is_to_be_asked_about_is_proposed_and_not_done),
        cmocka_unit_test(nobody_is_asked_while_something_approved_works),
        cmocka_unit_test(an_answer_is_not_kept_waiting_for_the_next_pass),
        cmocka_unit_test(passes_are_limited_by_downtime_or_by_suspend),
        cmocka_unit_test(a_downtime_limit_that_others_set_is_not_fought_over),
        cmocka_unit_test(a_downtime_limit_is_held_if_the_policy_says_so_and_not_for_ever),
        cmocka_unit_test(an_action_that_fails_for_a_passing_reason_is_tried_again_and_not_at_once),
        cmocka_unit_test(what_was_refused_gives_way_without_waiting_for_a_sync),
        cmocka_unit_test(a_downtime_limit_that_others_set_at_once_is_noticed_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
