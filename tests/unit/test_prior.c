/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is known of a guest from an earlier migration: when it counts, and when it does not. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/json_strict.h"
#include "policy/json/prior_json.h"
#include "tests/unit/sim.h"

static struct sim sim;

/* Migrates a guest with a throttle allowed; returns what that has taught. */
static struct prior learned_of(const struct model_guest *guest)
{
    struct prior prior;

    sim_start(&sim, guest, LINK, "allow_throttle", "yes", NULL);
    sim_run(&sim, 60);
    controller_learned(&sim.controller, &prior);
    return prior;
}

static void migrate_knowing(const struct model_guest *guest, const struct prior *prior)
{
    sim_start(&sim, guest, LINK, "allow_throttle", "yes", NULL);
    controller_set_prior(&sim.controller, prior);
    sim_run(&sim, 60);
}

static void a_guest_known_not_to_converge_is_helped_at_its_first_sync(void **state)
{
    struct model_guest guest = busy_guest();
    struct prior prior = learned_of(&guest);
    double first_s = sim.first_action_s;
    double lost_s = sim.model.work_lost_s;

    (void)state;
    assert_int_equal(sim.first_action_iteration, 4);
    assert_true(prior.points >= 2 && prior.plateau);
    migrate_knowing(&guest, &prior);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.first_action_iteration, 2);
    assert_true(sim.first_action_s < first_s);
    assert_true(sim.model.work_lost_s < 1.05 * lost_s);
    /* And what it knows it hands on. */
    controller_learned(&sim.controller, &prior);
    assert_true(prior.points >= 2 && prior.plateau);
}

static void what_was_known_is_forgotten_when_the_guest_does_something_else(void **state)
{
    static const double others[][2] = {{1, 500}, {60, 60}, {210, 60}, {400, 60}};
    struct model_guest guest = busy_guest();
    struct prior prior = learned_of(&guest);

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct model_guest other = sim_guest(others[i][0], others[i][1]);

        migrate_knowing(&other, &prior);
        assert_int_equal(sim.model.state, MODEL_COMPLETED);
        assert_int_equal(actions(&sim), 0);
        assert_false(sim.controller.estimator.now.known);
    }
}

static void what_was_calm_and_is_busy_now_is_helped_as_if_nothing_were_known(void **state)
{
    struct model_guest calm = sim_guest(60, 60);
    struct model_guest busy = busy_guest();
    struct prior prior = learned_of(&calm);

    (void)state;
    migrate_knowing(&busy, &prior);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_int_equal(sim.first_action_iteration, 4);
}

static void what_is_known_of_a_guest_that_changes_or_converges_makes_nothing_sooner(void **state)
{
    struct model_guest guest = busy_guest();
    struct prior prior = learned_of(&guest);

    (void)state;
    prior.plateau = false;
    migrate_knowing(&guest, &prior);
    assert_int_equal(sim.model.state, MODEL_COMPLETED);
    assert_true(sim.first_action_iteration > 2);
}

static void nothing_is_decided_by_it_in_the_first_pass(void **state)
{
    struct model_guest guest = busy_guest();
    struct prior prior = learned_of(&guest);

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    controller_set_prior(&sim.controller, &prior);
    sim_run(&sim, 1);
    assert_int_equal(sim.last.verdict, VERDICT_STARTING);
    assert_false(sim.last.course.ends);
    assert_int_equal(actions(&sim), 0);
    /* An agent that joins later cannot tell whether the guest still does the same. */
    estimator_init(&sim.controller.estimator);
    controller_set_prior(&sim.controller, &prior);
    estimator_add(&sim.controller.estimator,
                  &(struct sample){.now_ns = 1, .iteration = 2, .total_bytes = 1 << 29});
    assert_int_equal(sim.controller.estimator.points, 0);
}

static void a_migration_that_has_shown_nothing_teaches_nothing(void **state)
{
    struct model_guest guest = busy_guest();
    struct prior prior = learned_of(&guest);
    struct prior learned;

    (void)state;
    sim_start(&sim, &guest, LINK, "allow_throttle", "yes", NULL);
    controller_set_prior(&sim.controller, &prior);
    sim_run(&sim, 1);
    controller_learned(&sim.controller, &learned);
    assert_int_equal(learned.points, 0);
    assert_null(prior_to_json(&learned));
}

static void points_nobody_can_have_measured_are_left_out(void **state)
{
    static const struct prior odd = {
        .points = 6,
        .point =
            {{NAN, 1e6, 1}, {1, INFINITY, 1}, {-1, 1e6, 1}, {1, 1e6, 7}, {1, 0, 1}, {1, 1e6, 0}},
        .first = {1, 1e6, 1},
    };
    static const struct prior unfit = {.points = 1, .point = {{1, 1e6, 1}}};
    struct estimator e;

    (void)state;
    estimator_init(&e);
    estimator_set_prior(&e, &odd);
    assert_int_equal(e.points, 0);
    assert_false(e.now.expected);
    /* Without a first pass to compare with, nothing can be confirmed. */
    estimator_set_prior(&e, &unfit);
    assert_int_equal(e.points, 0);
}

static void what_is_learned_is_read_as_it_was_written(void **state)
{
    struct model_guest guest = busy_guest();
    struct prior prior = learned_of(&guest);
    AUTO_JSON struct json_object *o = prior_to_json(&prior);
    struct prior read;

    (void)state;
    assert_int_equal(prior_from_json(o, &read), 0);
    assert_int_equal(read.points, prior.points);
    assert_int_equal(read.plateau, prior.plateau);
    for (unsigned i = 0; i < prior.points; i++) {
        assert_true(read.point[i].tau_s == prior.point[i].tau_s);
        assert_true(fabs(read.point[i].unique_bytes - prior.point[i].unique_bytes) <= 1);
        assert_true(prior.point[i].weight <= 1);
    }
}

static void what_is_no_memory_of_a_guest_is_refused(void **state)
{
    static const char *const texts[] = {
        "null",
        "[]",
        "{}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "]}",
        "{\"plateau\":1,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":[{"
        "\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1}]}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "{\"cpu_seconds\":0,\"dirty_bytes\":1,\"weight\":1}]}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "{\"cpu_seconds\":1,\"dirty_bytes\":1e30,\"weight\":1}]}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":2}]}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "{\"cpu_seconds\":\"1\",\"dirty_bytes\":1,\"weight\":1}]}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "{\"cpu_seconds\":1,\"dirty_bytes\":1}]}",
        "{\"plateau\":true,\"first\":{\"cpu_seconds\":1,\"dirty_bytes\":1,\"weight\":1},\"points\":"
        "["
        "1]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        AUTO_JSON struct json_object *o = NULL;
        struct prior prior;

        assert_int_equal(json_strict_parse(texts[i], strlen(texts[i]), &o, NULL), 0);
        if (prior_from_json(o, &prior) != -EINVAL)
            fail_msg("%s", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_known_not_to_converge_is_helped_at_its_first_sync),
        cmocka_unit_test(what_was_known_is_forgotten_when_the_guest_does_something_else),
        cmocka_unit_test(what_was_calm_and_is_busy_now_is_helped_as_if_nothing_were_known),
        cmocka_unit_test(what_is_known_of_a_guest_that_changes_or_converges_makes_nothing_sooner),
        cmocka_unit_test(nothing_is_decided_by_it_in_the_first_pass),
        cmocka_unit_test(a_migration_that_has_shown_nothing_teaches_nothing),
        cmocka_unit_test(points_nobody_can_have_measured_are_left_out),
        cmocka_unit_test(what_is_learned_is_read_as_it_was_written),
        cmocka_unit_test(what_is_no_memory_of_a_guest_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
