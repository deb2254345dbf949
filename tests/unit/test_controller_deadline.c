/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The deadline, cancelling, and what is a stall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/units.h"
#include "tests/unit/sim.h"

static struct sim sim;

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

static void storage_that_takes_longer_than_the_deadline_is_not_cancelled(void **state)
{
    struct model_guest guest = sim_guest(10, 10);

    (void)state;
    guest.disk_bytes = 300 * LINK * 1e6;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", "deadline", "1m", NULL);
    sim_run(&sim, 400);
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

/* An eighth more than what fits is always found, and the link scatters: one look lets it through.
 */
static void what_chance_may_end_is_not_cancelled_as_hopeless(void **state)
{
    struct model_guest guest = sim_guest(1.12 * 0.3 * LINK, 3000);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_cancel", "yes", NULL);
    model_start(&sim.model, &guest, &(struct model_link){.bps = LINK * 1e6, .noise = 0.05}, 2);
    sim_run(&sim, 300);
    assert_true(sim.seen[VERDICT_HOPELESS]);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.model.time_s > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_is_asked_for_at_the_deadline),
        cmocka_unit_test(the_deadline_forces_an_end_if_that_is_allowed),
        cmocka_unit_test(the_deadline_grows_with_the_guest),
        cmocka_unit_test(a_paused_guest_is_left_alone_unless_it_stalls),
        cmocka_unit_test(cancel_comes_at_the_deadline_and_not_before),
        cmocka_unit_test(a_hopeless_migration_is_cancelled_long_before_a_far_deadline),
        cmocka_unit_test(nothing_is_cancelled_before_a_deadline_that_was_stated),
        cmocka_unit_test(nothing_is_cancelled_for_a_deadline_that_nobody_stated),
        cmocka_unit_test(storage_that_is_copied_before_does_not_count_for_the_deadline),
        cmocka_unit_test(storage_that_takes_longer_than_the_deadline_is_not_cancelled),
        cmocka_unit_test(a_plateau_is_no_stall),
        cmocka_unit_test(a_deadline_is_only_reported_unless_cancelling_is_wanted),
        cmocka_unit_test(a_migration_about_to_end_is_not_cancelled_at_the_deadline),
        cmocka_unit_test(what_still_shrinks_under_a_throttle_is_not_called_hopeless),
        cmocka_unit_test(a_plateau_is_not_stalled_while_patience_waits_for_it),
        cmocka_unit_test(a_long_storage_phase_is_no_stall),
        cmocka_unit_test(what_chance_may_end_is_not_cancelled_as_hopeless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
