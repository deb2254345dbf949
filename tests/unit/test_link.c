/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/model/link.h"

#define BPS   100e6
#define SLOTS 10000

static void a_plain_link_carries_its_bandwidth_for_good(void **state)
{
    double next_s;

    (void)state;
    assert_true(link_bps(&(struct model_link){.bps = BPS}, 1, 17, &next_s) == BPS);
    assert_true(isinf(next_s));
}

static void scatter_is_a_lognormal_factor_of_mean_1_for_each_100_ms(void **state)
{
    const struct model_link link = {.bps = BPS, .scatter = 0.2};
    double sum = 0;
    double logs = 0;
    double squares = 0;

    (void)state;
    for (int i = 0; i < SLOTS; i++) {
        double next_s;
        double factor = link_bps(&link, 7, i * 0.1, &next_s) / BPS;

        assert_true(fabs(next_s - (i + 1) * 0.1) < 1e-6);
        assert_true(link_bps(&link, 7, i * 0.1 + 0.05, &next_s) / BPS == factor);
        sum += factor;
        logs += log(factor);
        squares += log(factor) * log(factor);
    }
    assert_true(fabs(sum / SLOTS - 1) < 0.01);
    assert_true(fabs(sqrt(squares / SLOTS - pow(logs / SLOTS, 2)) - 0.2) < 0.01);
}

static void two_seeds_meet_different_links_and_one_seed_the_same(void **state)
{
    const struct model_link link = {.bps = BPS, .scatter = 0.1};
    double next_s;

    (void)state;
    assert_true(link_bps(&link, 1, 3, &next_s) == link_bps(&link, 1, 3, &next_s));
    assert_true(link_bps(&link, 1, 3, &next_s) != link_bps(&link, 2, 3, &next_s));
}

static void a_shared_link_is_halved_once_in_its_interval(void **state)
{
    const struct model_link link = {
        .bps = BPS, .shared_s = 30, .shared_for_s = 10, .shared_factor = 0.5};
    double halved_s = 0;
    unsigned begins = 0;
    double was = BPS;
    double t = 0;

    (void)state;
    while (t < 30 * 100 - 1e-6) {
        double next_s;
        double bps = link_bps(&link, 3, t, &next_s);

        assert_true(next_s > t && floor(next_s / 30 - 1e-9) <= floor(t / 30 + 1e-9));
        assert_true(bps == BPS || bps == BPS / 2);
        begins += bps < was;
        halved_s += bps < BPS ? next_s - t : 0;
        was = bps;
        t = next_s;
    }
    /* One that lasts to the end of its interval may run into the next. */
    assert_in_range(begins, 90, 100);
    assert_true(halved_s > 900 && halved_s < 1100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_link_carries_its_bandwidth_for_good),
        cmocka_unit_test(scatter_is_a_lognormal_factor_of_mean_1_for_each_100_ms),
        cmocka_unit_test(two_seeds_meet_different_links_and_one_seed_the_same),
        cmocka_unit_test(a_shared_link_is_halved_once_in_its_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
