/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions to an administrator, and what their answers do to a policy. */
#include "agent/watch/approval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/units.h"

static struct policy policy;
static struct approvals approvals;
static const struct migration_evidence evidence = {.known = true, .dirty_bps = 2e8};

/* Every action wants to be asked about; ask_timeout is 10 s. */
static int start(void **state)
{
    static const enum policy_field fields[] = {POLICY_ALLOW_BANDWIDTH, POLICY_ALLOW_THROTTLE,
                                               POLICY_ALLOW_POST_COPY, POLICY_ALLOW_CANCEL};
    struct policy_layer layer = {0};

    (void)state;
    for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        assert_int_equal(policy_layer_set(&layer, fields[i], "ask", NULL), 0);
    assert_int_equal(policy_layer_set(&layer, POLICY_MAX_DOWNTIME, "1s", NULL), 0);
    assert_int_equal(policy_layer_set(&layer, POLICY_ASK_TIMEOUT, "10s", NULL), 0);
    policy_init(&policy);
    policy_merge(&policy, &layer, "rule");
    policy_finish(&policy);
    approvals = (struct approvals){0};
    return 0;
}

static bool ask(enum alternative_kind kind, enum action_kind action, double seconds)
{
    struct decision d = {.apply = true, .n_proposed = 1, .asked = kind};

    d.proposed[0] = (struct action){.kind = action, .reason = REASON_THROTTLE_SUFFICES};
    if (kind != ALTERNATIVES)
        d.alternative[kind] = (struct alternative){.works = true, .share = 0.2};
    approvals_overlay(&approvals, &policy);
    return approvals_ask(&approvals, &policy.values, &d, &evidence, (int64_t)(seconds * 1e9));
}

static bool ask_throttle(double seconds)
{
    return ask(ALT_THROTTLE, ACTION_THROTTLE, seconds);
}

static void expect_field(enum policy_field field, enum policy_allow allow, const char *source)
{
    approvals_overlay(&approvals, &policy);
    assert_int_equal(policy.values.v[field], allow);
    assert_string_equal(policy.source[field], source);
}

static void a_question_is_new_once_and_keeps_its_number_and_time(void **state)
{
    unsigned id;

    (void)state;
    assert_int_equal(approvals_pending(&approvals).id, 0);
    assert_true(ask_throttle(1));
    id = approvals_pending(&approvals).id;
    assert_int_not_equal(id, 0);
    assert_string_equal(approvals_pending(&approvals).text,
                        "CPU at 20%, downtime limit 0.00 s: worth a try");
    assert_false(ask_throttle(2));
    approvals_withdraw(&approvals);
    assert_int_equal(approvals_pending(&approvals).id, 0);
    assert_false(ask_throttle(5));
    assert_int_equal(approvals_pending(&approvals).id, id);
    assert_int_equal(approvals_pending(&approvals).expires_ns, 11 * NS_PER_S);
}

static void another_question_takes_its_place_under_another_number(void **state)
{
    unsigned id;

    (void)state;
    assert_true(ask_throttle(1));
    id = approvals_pending(&approvals).id;
    assert_true(ask(ALTERNATIVES, ACTION_CANCEL, 2));
    assert_int_not_equal(approvals_pending(&approvals).id, id);
    assert_string_equal(approvals_pending(&approvals).text, "cancel");
    assert_int_equal(approvals_answer(&approvals, id, true, 0, "approved", &(struct proposal){0}),
                     -ENOENT);
}

static void approval_allows_just_what_was_asked(void **state)
{
    struct proposal p;

    (void)state;
    ask_throttle(1);
    assert_int_equal(approvals_answer(&approvals, approvals_pending(&approvals).id, true, 0,
                                      "approved by uid 7", &p),
                     0);
    assert_int_equal(p.action.kind, ACTION_THROTTLE);
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_YES, "approved by uid 7");
    expect_field(POLICY_ALLOW_CANCEL, ALLOW_ASK, "rule");
    assert_false(ask_throttle(2));
    assert_int_equal(approvals_pending(&approvals).id, 0);
}

static void denial_forbids_it_and_an_answer_counts_once(void **state)
{
    struct proposal p;
    unsigned id;

    (void)state;
    ask(ALT_POST_COPY, ACTION_POST_COPY, 1);
    id = approvals_pending(&approvals).id;
    assert_int_equal(approvals_answer(&approvals, id, false, 0, "denied by uid 7", &p), 0);
    assert_int_equal(approvals_answer(&approvals, id, true, 0, "approved by uid 7", &p), -ENOENT);
    assert_int_equal(approvals_answer(&approvals, 0, true, 0, "approved by uid 7", &p), -ENOENT);
    expect_field(POLICY_ALLOW_POST_COPY, ALLOW_NO, "denied by uid 7");
}

static void no_answer_in_time_is_a_no(void **state)
{
    struct proposal p;

    (void)state;
    ask_throttle(1);
    assert_false(approvals_expire(&approvals, 11 * NS_PER_S - 1, &p));
    assert_true(approvals_expire(&approvals, 11 * NS_PER_S, &p));
    assert_int_equal(p.action.kind, ACTION_THROTTLE);
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_NO, reason_text(REASON_ASK_TIMEOUT));
    assert_false(approvals_expire(&approvals, 12 * NS_PER_S, &p));
}

/* A throttle that is forecast to lose so much work, and to end; or not to end. */
static bool ask_at_cost(double seconds, double work_lost_s, bool ends)
{
    struct decision d = {.apply = true, .n_proposed = 1, .asked = ALT_THROTTLE};

    d.proposed[0].kind = ACTION_THROTTLE;
    d.alternative[ALT_THROTTLE] = (struct alternative){
        .works = true,
        .share = 0.2,
        .forecast = {.ends = ends, .seconds = 9, .downtime_s = 0.3, .work_lost_s = work_lost_s},
    };
    approvals_overlay(&approvals, &policy);
    return approvals_ask(&approvals, &policy.values, &d, &evidence, (int64_t)(seconds * 1e9));
}

static void a_question_that_has_grown_is_another_one_in_the_time_that_is_left(void **state)
{
    struct proposal p;
    unsigned id;

    (void)state;
    assert_true(ask_at_cost(1, 2, true));
    id = approvals_pending(&approvals).id;
    assert_false(ask_at_cost(2, 3.9, true));
    assert_false(ask_at_cost(3, 9, true));
    assert_false(ask_at_cost(4, 1, true));
    assert_false(ask_at_cost(4, 4.1, true));
    assert_false(ask_at_cost(8.9, 9, true));
    assert_int_equal(approvals_pending(&approvals).id, id);
    assert_true(ask_at_cost(9, 4.1, true));
    assert_int_not_equal(approvals_pending(&approvals).id, id);
    assert_int_equal(approvals_pending(&approvals).expires_ns, 11 * NS_PER_S);
    assert_int_equal(approvals_answer(&approvals, id, true, 0, "approved", &p), -ENOENT);
    id = approvals_pending(&approvals).id;
    assert_false(ask_at_cost(10, 0, false));
    assert_true(ask_at_cost(15, 0, false));
    assert_int_not_equal(approvals_pending(&approvals).id, id);
    assert_false(ask_at_cost(16, 50, true));
    assert_false(ask_at_cost(30, 50, true));
}

static void a_ceiling_below_what_is_asked_answers_nothing(void **state)
{
    struct proposal p;
    unsigned id;

    (void)state;
    ask_at_cost(1, 2.3, true);
    id = approvals_pending(&approvals).id;
    assert_int_equal(approvals_answer(&approvals, id, true, NS_PER_S, "approved", &p), -ERANGE);
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_ASK, "rule");
    assert_int_equal(approvals_pending(&approvals).id, id);
    assert_int_equal(approvals_answer(&approvals, id, true, 2 * NS_PER_S, "approved", &p), 0);
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_YES, "approved");
    start(NULL);
    ask_at_cost(1, 2.3, true);
    id = approvals_pending(&approvals).id;
    assert_int_equal(approvals_answer(&approvals, id, false, NS_PER_S, "denied", &p), 0);
}

static void a_ceiling_binds_and_beyond_it_the_question_comes_again(void **state)
{
    struct decision d = {.apply = true, .alternatives_known = true, .asked = ALTERNATIVES};
    struct policy before;
    struct proposal p;

    (void)state;
    before = policy;
    ask_at_cost(1, 2, true);
    assert_int_equal(approvals_answer(&approvals, approvals_pending(&approvals).id, true,
                                      3 * NS_PER_S, "approved", &p),
                     0);
    approvals_overlay(&approvals, &policy);
    assert_int_equal(policy.values.v[POLICY_MAX_WORK_LOST], 3 * NS_PER_S);
    assert_string_equal(policy.source[POLICY_MAX_WORK_LOST], "approved");

    /* What is at work keeps its permission, and what fits into it does. */
    d.alternative[ALT_THROTTLE].reason = REASON_THROTTLE_OVER_BUDGET;
    d.verdict = VERDICT_HELPED;
    approvals_ask(&approvals, &policy.values, &d, &evidence, 2 * NS_PER_S);
    policy = before;
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_YES, "approved");

    d.verdict = VERDICT_NEEDS_HELP;
    approvals_ask(&approvals, &policy.values, &d, &evidence, 3 * NS_PER_S);
    policy = before;
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_ASK, "rule");
    assert_int_equal(policy.values.v[POLICY_MAX_WORK_LOST], POLICY_NONE);
    assert_true(ask_at_cost(4, 5, true));
}

static void a_ceiling_never_raises_what_the_policy_allows(void **state)
{
    struct policy_layer layer = {0};

    (void)state;
    approvals =
        (struct approvals){.allowed = 1u << POLICY_ALLOW_THROTTLE, .ceiling_ns = 9 * NS_PER_S};
    policy_layer_set(&layer, POLICY_MAX_WORK_LOST, "4s", NULL);
    policy_merge(&policy, &layer, "rule");
    approvals_overlay(&approvals, &policy);
    assert_int_equal(policy.values.v[POLICY_MAX_WORK_LOST], 4 * NS_PER_S);
}

static void time_runs_out_on_nothing_that_is_not_being_asked(void **state)
{
    struct proposal p;

    (void)state;
    ask_throttle(1);
    approvals_withdraw(&approvals);
    assert_false(approvals_expire(&approvals, 30 * NS_PER_S, &p));
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_ASK, "rule");
    assert_true(ask_throttle(31));
}

static void an_answer_yields_to_an_administrator_who_changes_the_policy(void **state)
{
    struct policy_layer layer = {0};
    struct proposal p;

    (void)state;
    ask_throttle(1);
    approvals_answer(&approvals, approvals_pending(&approvals).id, true, 0, "approved", &p);
    policy_layer_set(&layer, POLICY_ALLOW_THROTTLE, "no", NULL);
    start(NULL);
    policy_merge(&policy, &layer, "override");
    expect_field(POLICY_ALLOW_THROTTLE, ALLOW_NO, "override");
}

static void what_is_approved_already_is_not_asked_with_the_rest(void **state)
{
    struct decision d = {.apply = true, .n_proposed = 2, .asked = ALT_BOTH};

    (void)state;
    d.proposed[0].kind = ACTION_DOWNTIME;
    d.proposed[1].kind = ACTION_THROTTLE;
    assert_true(approvals_ask(&approvals, &policy.values, &d, &evidence, 0));
    assert_int_equal(approvals_pending(&approvals).fields, 1u << POLICY_ALLOW_THROTTLE);
    assert_int_equal(approvals_pending(&approvals).action.kind, ACTION_THROTTLE);
}

static void nobody_is_asked_in_observe_mode(void **state)
{
    struct decision d = {.n_proposed = 1, .asked = ALT_THROTTLE};

    (void)state;
    d.proposed[0].kind = ACTION_THROTTLE;
    assert_false(approvals_ask(&approvals, &policy.values, &d, &evidence, 0));
    assert_int_equal(approvals_pending(&approvals).id, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_question_is_new_once_and_keeps_its_number_and_time, start),
        cmocka_unit_test_setup(another_question_takes_its_place_under_another_number, start),
        cmocka_unit_test_setup(approval_allows_just_what_was_asked, start),
        cmocka_unit_test_setup(denial_forbids_it_and_an_answer_counts_once, start),
        cmocka_unit_test_setup(a_question_that_has_grown_is_another_one_in_the_time_that_is_left,
                               start),
        cmocka_unit_test_setup(a_ceiling_below_what_is_asked_answers_nothing, start),
        cmocka_unit_test_setup(a_ceiling_binds_and_beyond_it_the_question_comes_again, start),
        cmocka_unit_test_setup(a_ceiling_never_raises_what_the_policy_allows, start),
        cmocka_unit_test_setup(no_answer_in_time_is_a_no, start),
        cmocka_unit_test_setup(time_runs_out_on_nothing_that_is_not_being_asked, start),
        cmocka_unit_test_setup(an_answer_yields_to_an_administrator_who_changes_the_policy, start),
        cmocka_unit_test_setup(what_is_approved_already_is_not_asked_with_the_rest, start),
        cmocka_unit_test_setup(nobody_is_asked_in_observe_mode, start),
    };

    return cmocka_run_group_tests_name("approval", tests, NULL, NULL);
}
