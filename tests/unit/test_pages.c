/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/model/model.h"

#define GIB  1073741824.0
#define MB   1e6
#define LINK (100 * MB)

static struct pages p;
static double clocks[PAGES_REGIONS_MAX];

static struct model m;
static struct pages m_pages;

#define assert_near(value, expected, relative)                                                     \
    do {                                                                                           \
        double v_ = (value), e_ = (expected);                                                      \
        if (!(fabs(v_ - e_) <= (relative)*fabs(e_)))                                               \
            print_error(#value " is %g, expected %g\n", v_, e_);                                   \
        assert_true(fabs(v_ - e_) <= (relative)*fabs(e_));                                         \
    } while (0)

/* Sends all there is, in no time for the guest. */
static double send_all(void)
{
    return pages_send(&p, clocks, LINK, 1e6);
}

/* Bytes that `seconds` of the first region's clock make dirty after a pass that took no time. */
static double unique_bytes(double seconds)
{
    send_all();
    clocks[0] += seconds;
    return pages_sync(&p, clocks);
}

static void start(double zero_bytes)
{
    memset(clocks, 0, sizeof(clocks));
    pages_start(&p, GIB, zero_bytes, 5);
}

static void add(double bytes, double rate_bps, bool sequential, struct pages_habit habit)
{
    pages_add(&p, bytes, rate_bps, sequential, &habit);
}

static void all_memory_is_sent_once_and_zero_pages_as_marks(void **state)
{
    (void)state;
    start(GIB / 4);
    assert_near(pages_marked_bytes(&p), GIB, 1e-6);
    assert_near(send_all(), GIB * 3 / 4 + GIB / 4 * 8 / 4096, 1e-6);
    assert_true(pages_marked_bytes(&p) == 0);
    assert_true(pages_sync(&p, clocks) == 0);
}

static void writing_at_random_dirties_as_the_closed_form_says(void **state)
{
    (void)state;
    start(0);
    add(GIB / 2, 200 * MB, false, (struct pages_habit){0});
    for (int s = 1; s < 10; s *= 2)
        assert_near(unique_bytes(s), GIB / 2 * -expm1(-200 * MB * s / (GIB / 2)), 0.05);
}

static void writing_in_order_dirties_each_page_once_a_round(void **state)
{
    (void)state;
    start(0);
    add(GIB / 2, 200 * MB, true, (struct pages_habit){0});
    for (int tenths = 3; tenths < 26; tenths *= 2)
        assert_near(unique_bytes(tenths / 10.0), 200 * MB * tenths / 10, 0.01);
    assert_near(unique_bytes(4), GIB / 2, 1e-3);
}

/* A heavy tail: saturated early in its head, still growing when an even writer is done. */
static void zipf_is_dirty_sooner_in_its_head_and_later_in_its_tail(void **state)
{
    double zipf[2];
    double even[2];

    (void)state;
    start(0);
    add(GIB / 2, 200 * MB, false, (struct pages_habit){.theta = 0.99});
    zipf[0] = unique_bytes(1);
    zipf[1] = unique_bytes(20);
    start(0);
    add(GIB / 2, 200 * MB, false, (struct pages_habit){0});
    even[0] = unique_bytes(1);
    even[1] = unique_bytes(20);
    assert_true(zipf[0] < 0.7 * even[0]);
    assert_true(even[1] > 0.99 * GIB / 2);
    assert_true(zipf[1] < 0.9 * GIB / 2);
    assert_true(zipf[1] > 3 * zipf[0]);
}

static void the_log_of_a_gib_is_cleared_when_the_walker_comes_there(void **state)
{
    const double whole = 8 * GIB;
    double found;

    (void)state;
    memset(clocks, 0, sizeof(clocks));
    pages_start(&p, whole, 0, 5);
    add(whole, 4 * GIB, false, (struct pages_habit){0});
    send_all();
    clocks[0] = 100;
    assert_near(pages_sync(&p, clocks), whole, 1e-6);
    /* Half is sent at once: its log counts from now on, that of the rest still from before. */
    pages_send(&p, clocks, whole / 2, 1);
    clocks[0] = 110;
    send_all();
    found = pages_sync(&p, clocks);
    assert_true(found > 0.45 * whole);
    assert_true(found < 0.65 * whole);
}

static void zero_memory_lies_in_one_piece(void **state)
{
    unsigned changes = 0;

    (void)state;
    start(GIB / 4);
    for (unsigned i = 0; i < PAGES_COUNT; i++) {
        unsigned next = (i + 1) % PAGES_COUNT;

        changes += (p.zero[i / 64] >> (i % 64) & 1) != (p.zero[next / 64] >> (next % 64) & 1);
    }
    assert_int_equal(changes, 2);
}

static void memory_is_zero_until_it_is_filled(void **state)
{
    (void)state;
    start(GIB / 2);
    add(GIB / 4, 100 * MB, true, (struct pages_habit){.fills = true});
    /* The log is cleared, 1 s goes by, and all but the first pages are sent. */
    pages_send(&p, clocks, LINK, 0.01);
    clocks[0] = 1;
    assert_near(send_all(), GIB / 2 + 100 * MB, 0.01);
    assert_near(pages_sync(&p, clocks), 100 * MB, 0.01);
    clocks[0] = 1.5;
    assert_near(send_all(), 100 * MB, 0.01);
    assert_near(pages_sync(&p, clocks), 50 * MB, 0.01);
    assert_near(send_all(), 50 * MB, 0.01);
}

static void habits_set_the_pace(void **state)
{
    const struct pages_habit busy = {.every_s = 50, .busy_s = 10, .rest = 0.1};
    const struct pages_habit ramp = {.ramp_s = 100, .rest = 0.2};
    double sum = 0;

    (void)state;
    assert_true(pages_pace(&(struct pages_habit){0}, 1, 0, 3) == 1);
    for (int i = 0; i < 10000; i++)
        sum += pages_pace(&busy, 1, 0, i);
    assert_near(sum / 10000, 0.2 + 0.8 * 0.1, 0.05);
    assert_near(pages_pace(&ramp, 1, 0, 0), 0.2, 1e-6);
    assert_near(pages_pace(&ramp, 1, 0, 50), 0.6, 1e-6);
    assert_near(pages_pace(&ramp, 1, 0, 500), 1, 1e-6);
}

/* ---- a migration of such a guest ---- */

static void start_model(double bytes, double rate_bps, double cpu_bound,
                        const struct model_link *link)
{
    struct model_guest guest = {
        .ram_bytes = 1000 * MB,
        .vcpus = 1,
        .vcpu_busy = {1},
        .regions = 1,
        .region = {{.bytes = bytes, .rate_bps = rate_bps, .cpu_bound = cpu_bound}},
    };

    model_start_pages(&m, &m_pages, &guest, link, 9);
}

static void run_until(struct model *model, double seconds)
{
    while (model->state == MODEL_RUNNING && model->time_s < seconds - 1e-6)
        model_run(model, seconds - model->time_s);
}

static void a_guest_that_writes_little_ends_after_its_first_pass(void **state)
{
    (void)state;
    start_model(500 * MB, 1 * MB, 1, &(struct model_link){.bps = LINK});
    run_until(&m, 100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.time_s, 10, 0.02);
    assert_true(m.downtime_s <= m.downtime_limit_s + m.overhead_s);
    assert_near(m.sent_bytes, 1000 * MB, 0.03);
}

static void a_throttle_helps_against_the_vcpu_and_not_against_a_device(void **state)
{
    const struct model_link link = {.bps = LINK};

    (void)state;
    start_model(500 * MB, 150 * MB, 1, &link);
    run_until(&m, 300);
    assert_int_equal(m.state, MODEL_RUNNING);
    m.cpu_share = 0.2;
    run_until(&m, 400);
    assert_int_equal(m.state, MODEL_COMPLETED);
    start_model(500 * MB, 150 * MB, 0, &link);
    m.cpu_share = 0.2;
    run_until(&m, 400);
    assert_int_equal(m.state, MODEL_RUNNING);
}

static void bandwidth_is_what_went_over_the_link_in_the_last_100_ms(void **state)
{
    const struct model_link link = {
        .bps = LINK, .changes = 1, .change = {{.at_s = 5, .factor = 0.5}}};

    (void)state;
    start_model(500 * MB, 150 * MB, 1, &link);
    run_until(&m, 4.96);
    assert_near(m.window_bps, LINK, 0.01);
    run_until(&m, 5.31);
    assert_near(m.window_bps, LINK / 2, 0.01);
}

static void the_switchover_is_decided_by_that_bandwidth(void **state)
{
    const struct model_link link = {
        .bps = LINK, .changes = 1, .change = {{.at_s = 20, .factor = 0.5}}};

    (void)state;
    start_model(18 * MB, 10000 * MB, 1, &link);
    m.downtime_limit_s = 0.01;
    run_until(&m, 20);
    assert_int_equal(m.state, MODEL_RUNNING);
    /* 18 MB are more than the link now carries in the limit, not more than it carried just before.
     */
    m.downtime_limit_s = 0.3;
    run_until(&m, 20.1);
    assert_int_equal(m.state, MODEL_COMPLETED);
}

static void a_copy_goes_on_alike_and_by_itself(void **state)
{
    static struct model other;
    static struct pages other_pages;

    (void)state;
    start_model(500 * MB, 120 * MB, 1, &(struct model_link){.bps = LINK, .scatter = 0.1});
    run_until(&m, 15);
    model_copy(&other, &other_pages, &m);
    run_until(&m, 30);
    assert_true(other.time_s < 16);
    run_until(&other, 30);
    assert_true(other.sent_bytes == m.sent_bytes && other.iteration == m.iteration);
    assert_memory_equal(&other_pages, &m_pages, sizeof(m_pages));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_memory_is_sent_once_and_zero_pages_as_marks),
        cmocka_unit_test(writing_at_random_dirties_as_the_closed_form_says),
        cmocka_unit_test(writing_in_order_dirties_each_page_once_a_round),
        cmocka_unit_test(zipf_is_dirty_sooner_in_its_head_and_later_in_its_tail),
        cmocka_unit_test(the_log_of_a_gib_is_cleared_when_the_walker_comes_there),
        cmocka_unit_test(zero_memory_lies_in_one_piece),
        cmocka_unit_test(memory_is_zero_until_it_is_filled),
        cmocka_unit_test(habits_set_the_pace),
        cmocka_unit_test(a_guest_that_writes_little_ends_after_its_first_pass),
        cmocka_unit_test(a_throttle_helps_against_the_vcpu_and_not_against_a_device),
        cmocka_unit_test(bandwidth_is_what_went_over_the_link_in_the_last_100_ms),
        cmocka_unit_test(the_switchover_is_decided_by_that_bandwidth),
        cmocka_unit_test(a_copy_goes_on_alike_and_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
