/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the migrations of a host share. */
#include "agent/watch/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

#define MEMBERS 3

static struct host *host;
static struct host_member member[MEMBERS];

static void start(int64_t throttled_max, int64_t bandwidth_bps)
{
    struct host_limits limits = {throttled_max, bandwidth_bps};

    host = host_new(&limits);
    memset(member, 0, sizeof(member));
    for (int i = 0; i < MEMBERS; i++)
        host_join(host, &member[i]);
}

static int stop(void **state)
{
    (void)state;
    host_free(host);
    return 0;
}

/* A policy that allows all this is about, as it is for that member. */
static struct policy overlaid(const struct host_member *m, int64_t max_bandwidth)
{
    struct policy policy;
    bool withheld;

    policy_init(&policy);
    policy.values.v[POLICY_ALLOW_THROTTLE] = ALLOW_YES;
    policy.values.v[POLICY_MAX_BANDWIDTH] = max_bandwidth;
    withheld = host_overlay(host, m, &policy);
    assert_int_equal(withheld, policy.values.v[POLICY_ALLOW_THROTTLE] == ALLOW_NO);
    return policy;
}

static void expect_may_throttle(int i, bool may)
{
    struct policy p = overlaid(&member[i], POLICY_NONE);

    assert_int_equal(p.values.v[POLICY_ALLOW_THROTTLE], may ? ALLOW_YES : ALLOW_NO);
    assert_string_equal(p.source[POLICY_ALLOW_THROTTLE],
                        may ? "default" : "max_throttled_domains of the host");
}

static void who_is_first_keeps_its_slot_until_it_gives_it_back(void **state)
{
    (void)state;
    start(1, 0);
    expect_may_throttle(0, true);
    expect_may_throttle(1, true);
    assert_true(host_take_slot(host, &member[0]));
    assert_false(host_take_slot(host, &member[1]));
    assert_true(host_take_slot(host, &member[0]));
    expect_may_throttle(0, true);
    expect_may_throttle(1, false);
    host_give_slot(host, &member[1]);
    expect_may_throttle(1, false);
    host_give_slot(host, &member[0]);
    assert_true(host_take_slot(host, &member[1]));
    expect_may_throttle(0, false);
}

static void who_leaves_gives_its_slot_back(void **state)
{
    (void)state;
    start(2, 0);
    assert_true(host_take_slot(host, &member[0]));
    assert_true(host_take_slot(host, &member[2]));
    expect_may_throttle(1, false);
    host_leave(host, &member[2]);
    expect_may_throttle(1, true);
    host_leave(host, &member[0]);
    host_leave(host, &member[1]);
}

static void none_may_be_throttled_where_the_limit_is_zero_and_all_where_there_is_none(void **state)
{
    (void)state;
    start(0, 0);
    assert_false(host_take_slot(host, &member[0]));
    expect_may_throttle(0, false);
    stop(NULL);
    start(-1, 0);
    for (int i = 0; i < MEMBERS; i++)
        assert_true(host_take_slot(host, &member[i]));
}

static void a_fair_part_leaves_the_modest_what_they_need(void **state)
{
    (void)state;
    assert_true(host_fair_part(600, NULL, 0) == 600);
    assert_true(host_fair_part(600, (double[]){1000}, 1) == 300);
    assert_true(host_fair_part(600, (double[]){100}, 1) == 500);
    assert_true(host_fair_part(600, (double[]){100, 1000}, 2) == 250);
    assert_true(host_fair_part(600, (double[]){100, 240}, 2) == 260);
    assert_true(host_fair_part(600, (double[]){0, 0, 0}, 3) == 600);
    assert_true(host_fair_part(600, (double[]){INFINITY, INFINITY}, 2) == 200);
}

/* Everybody asks again and again for what it needs of its part: the sum never stays above. */
static void parts_taken_add_up_to_the_whole(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 1000; round++) {
        double wants[MEMBERS];
        double needs[MEMBERS] = {0};
        double sum = 0;
        double wanted = 0;

        for (int i = 0; i < MEMBERS; i++) {
            seed = seed * 1103515245 + 12345;
            wanted += wants[i] = seed >> 16 & 1023;
        }
        for (int step = 0; step < 50 * MEMBERS; step++) {
            double others[MEMBERS - 1];
            int me = step % MEMBERS;

            for (int i = 0, n = 0; i < MEMBERS; i++) {
                if (i != me)
                    others[n++] = needs[i];
            }
            needs[me] = fmin(wants[me], host_fair_part(600, others, MEMBERS - 1));
        }
        for (int i = 0; i < MEMBERS; i++)
            sum += needs[i];
        assert_true(fabs(sum - fmin(wanted, 600)) < 1e-6);
    }
}

static void a_part_lowers_max_bandwidth_and_never_raises_it(void **state)
{
    struct policy p;

    (void)state;
    start(-1, 600 * MIB_BYTES);
    host_need(host, &member[0], 100e6);
    host_need(host, &member[1], 1e12);
    p = overlaid(&member[2], POLICY_NONE);
    assert_int_equal(p.values.v[POLICY_MAX_BANDWIDTH], 252 * MIB_BYTES);
    assert_string_equal(p.source[POLICY_MAX_BANDWIDTH], "its part of host_bandwidth");
    p = overlaid(&member[2], 10 * MIB_BYTES);
    assert_int_equal(p.values.v[POLICY_MAX_BANDWIDTH], 10 * MIB_BYTES);
    assert_string_equal(p.source[POLICY_MAX_BANDWIDTH], "default");
    host_leave(host, &member[1]);
    p = overlaid(&member[2], POLICY_NONE);
    assert_int_equal(p.values.v[POLICY_MAX_BANDWIDTH], 504 * MIB_BYTES);
}

static void a_part_is_never_too_small_to_be_set(void **state)
{
    struct policy p;

    (void)state;
    start(-1, MIB_BYTES);
    for (int i = 0; i < MEMBERS; i++)
        host_need(host, &member[i], 1e9);
    p = overlaid(&member[0], POLICY_NONE);
    assert_int_equal(p.values.v[POLICY_MAX_BANDWIDTH], MIB_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(who_is_first_keeps_its_slot_until_it_gives_it_back, stop),
        cmocka_unit_test_teardown(who_leaves_gives_its_slot_back, stop),
        cmocka_unit_test_teardown(
            none_may_be_throttled_where_the_limit_is_zero_and_all_where_there_is_none, stop),
        cmocka_unit_test(a_fair_part_leaves_the_modest_what_they_need),
        cmocka_unit_test(parts_taken_add_up_to_the_whole),
        cmocka_unit_test_teardown(a_part_lowers_max_bandwidth_and_never_raises_it, stop),
        cmocka_unit_test_teardown(a_part_is_never_too_small_to_be_set, stop),
    };

    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
