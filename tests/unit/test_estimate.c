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

/* What QEMU may send in 100 ms goes out in 20 of them, and is looked at every 20. */
static void a_rate_is_not_taken_from_less_than_two_of_qemus_windows(void **state)
{
    static struct estimator e;
    struct sample s = {.iteration = 1, .total_bytes = UINT64_C(1) << 30, .cpu_share = 1};
    bool known = false;

    (void)state;
    estimator_init(&e);
    for (int64_t t = 20; t <= 2000; t += 20) {
        s.now_ns = s.elapsed_ns = t * NS_PER_MS;
        s.processed_bytes += t % 100 == 40 ? 10000000 : 0;
        s.remaining_bytes = s.total_bytes - s.processed_bytes;
        estimator_add(&e, &s);
        known |= e.now.transfer_bps > 0;
        assert_true(e.now.transfer_bps < 160e6);
    }
    assert_true(known);
}

/* The next sample of a guest with one vCPU, which has used that much more CPU time. */
static void look(struct estimator *e, struct sample *s, int64_t after_ns, int64_t used_ns)
{
    s->now_ns += after_ns;
    s->elapsed_ns = s->now_ns;
    s->processed_bytes += 1000000;
    s->vcpu_time_ns[0] += used_ns;
    estimator_add(e, s);
}

static void what_a_guest_used_a_minute_ago_is_forgotten(void **state)
{
    static struct estimator e;
    static struct sample s = {.iteration = 1, .total_bytes = 1 << 30, .cpu_share = 1, .vcpus = 1};

    (void)state;
    estimator_init(&e);
    for (unsigned i = 0; i < 240; i++)
        look(&e, &s, NS_PER_S / 4, NS_PER_MS);
    assert_true(e.now.vcpu_busy[0] < 0.05);
    for (unsigned i = 0; i < 80; i++)
        look(&e, &s, NS_PER_S / 4, NS_PER_S / 4);
    assert_true(e.now.vcpu_busy[0] > 0.8);
}

/* A quota lets a vCPU run for a while and then not: a look may fall on either. */
static void speed_is_not_that_of_a_single_look(void **state)
{
    static struct estimator e;
    static struct sample s = {.iteration = 1, .total_bytes = 1 << 30, .cpu_share = 1, .vcpus = 1};

    (void)state;
    estimator_init(&e);
    for (unsigned i = 0; i < 40; i++)
        look(&e, &s, NS_PER_S / 10, NS_PER_S / 10);
    assert_true(e.now.speed > 0.99);
    s.cpu_share = 0.5;
    for (unsigned i = 0; i < 40; i++) {
        look(&e, &s, NS_PER_S / 10, i % 2 ? NS_PER_S / 10 : 0);
        assert_true(i < 10 || (e.now.speed > 0.3 && e.now.speed < 0.7));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_of_the_same_time_however_often_it_looks),
        cmocka_unit_test(a_link_with_little_to_send_is_not_taken_for_a_slow_one),
        cmocka_unit_test(a_rate_is_not_taken_from_less_than_two_of_qemus_windows),
        cmocka_unit_test(what_a_guest_used_a_minute_ago_is_forgotten),
        cmocka_unit_test(speed_is_not_that_of_a_single_look),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
