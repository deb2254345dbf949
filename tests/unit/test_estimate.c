/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/units.h"
#include "policy/estimate.h"

/* A link that carries now more and now less, for half a second each, looked at every poll_ns: how
   far the estimate is off the mean at worst, once it has seen enough. */
static double worst_error(int64_t poll_ns)
{
    const double mean_bps = 100e6;
    struct estimator e;
    struct sample s = {.iteration = 1, .total_bytes = UINT64_C(8) << 30, .cpu_share = 1};
    double sent = 0;
    double worst = 0;

    estimator_init(&e);
    for (int64_t t = poll_ns; t < 20 * NS_PER_S; t += poll_ns) {
        sent += mean_bps * (t / (NS_PER_S / 2) % 2 ? 1.4 : 0.6) * (double)poll_ns / 1e9;
        s.now_ns = s.elapsed_ns = t;
        s.processed_bytes = (uint64_t)sent;
        s.remaining_bytes = s.total_bytes - s.processed_bytes;
        estimator_add(&e, &s);
        if (t > 5 * NS_PER_S)
            worst = fmax(worst, fabs(e.now.transfer_bps / mean_bps - 1));
    }
    return worst;
}

static void rates_are_of_the_same_time_however_often_it_looks(void **state)
{
    (void)state;
    assert_true(worst_error(250 * NS_PER_MS) < 0.15);
    assert_true(worst_error(100 * NS_PER_MS) < 0.15);
    assert_true(worst_error(20 * NS_PER_MS) < 0.15);
}

/* After a first pass at 100 MB/s, syncs come every 100 ms and find next to nothing: looks meet
   several passes each, and a link that is idle most of the time. */
static void a_link_with_little_to_send_is_not_taken_for_a_slow_one(void **state)
{
    static struct estimator e;
    struct sample s = {.iteration = 1, .total_bytes = 600000000, .cpu_share = 1};

    (void)state;
    estimator_init(&e);
    for (int64_t t = 0; t < 60 * NS_PER_S; t += NS_PER_S) {
        bool first = t <= 5 * NS_PER_S;

        s.now_ns = s.elapsed_ns = t;
        s.iteration = first ? 1 : (uint64_t)(t / (NS_PER_S / 10));
        s.processed_bytes += first ? 100000000 : 9000000;
        s.remaining_bytes = first ? s.total_bytes - s.processed_bytes : 0;
        estimator_add(&e, &s);
    }
    assert_true(fabs(e.now.transfer_bps / 100e6 - 1) < 0.05);
    assert_true(e.now.drain_bps > 50e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_of_the_same_time_however_often_it_looks),
        cmocka_unit_test(a_link_with_little_to_send_is_not_taken_for_a_slow_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
