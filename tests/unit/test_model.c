/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "policy/model/model.h"

#define MB   1e6
#define LINK (100 * MB)
/* Pause, device state and resume in every blackout. */
#define OVERHEAD_S 0.05

static struct model m;

#define assert_near(value, expected, relative)                                                     \
    do {                                                                                           \
        double v_ = (value), e_ = (expected);                                                      \
        if (!(fabs(v_ - e_) <= (relative)*fabs(e_)))                                               \
            print_error(#value " is %g, expected %g\n", v_, e_);                                   \
        assert_true(fabs(v_ - e_) <= (relative)*fabs(e_));                                         \
    } while (0)

/* 1 GB, one vCPU, all of it busy, one region. */
static struct model_guest one_region(double bytes, double rate_bps)
{
    return (struct model_guest){
        .ram_bytes = 1000 * MB,
        .vcpus = 1,
        .vcpu_busy = {1},
        .regions = 1,
        .region = {{.bytes = bytes, .rate_bps = rate_bps, .cpu_bound = 1}},
    };
}

static void start(const struct model_guest *guest)
{
    model_start(&m, guest, &(struct model_link){.bps = LINK}, 1);
}

/* Until the migration ends or `seconds` have gone by. */
static void run_until(double seconds)
{
    while (m.state == MODEL_RUNNING && m.time_s < seconds - 1e-6)
        model_run(&m, seconds - m.time_s);
}

/* Syncs until `iteration` has begun. */
static void run_to_pass(uint64_t iteration)
{
    while (m.state == MODEL_RUNNING && m.iteration < iteration)
        model_run(&m, 1000);
}

static void an_idle_guest_takes_one_pass(void **state)
{
    struct model_guest guest = {.ram_bytes = 1000 * MB, .vcpus = 1};

    (void)state;
    start(&guest);
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.time_s, 10 + OVERHEAD_S, 0.01);
    assert_near(m.sent_bytes, 1000 * MB, 1e-6);
    assert_true(m.downtime_s <= 0.3 * 1.04 + OVERHEAD_S);
    assert_near(m.work_lost_s, m.downtime_s, 1e-9);
}

static void zero_pages_cost_no_bandwidth(void **state)
{
    struct model_guest guest = {.ram_bytes = 1000 * MB, .zero_bytes = 600 * MB, .vcpus = 1};

    (void)state;
    start(&guest);
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.time_s, 4.2, 0.02);
    assert_near(m.sent_bytes, 400 * MB + 600 * MB / 512, 1e-3);
}

static void a_saturated_hot_set_is_the_plateau(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);

    (void)state;
    for (int sequential = 0; sequential < 2; sequential++) {
        guest.region[0].sequential = sequential;
        start(&guest);
        run_to_pass(12);
        assert_int_equal(m.state, MODEL_RUNNING);
        assert_near(m.sync_bytes, 200 * MB, 0.001);
        /* Each pass sends all but what fits into the downtime limit. */
        assert_near(m.time_s, 9.7 + 10 * 1.7, 0.03);
    }
}

/* U(t) = rate * t: V' = L + rate * (V - L) / B * (1 - L / H), by hand. */
static void a_uniform_writer_shrinks_each_pass_by_its_rate_over_the_bandwidth(void **state)
{
    struct model_guest guest = one_region(1000 * MB, 50 * MB);
    double before;

    (void)state;
    guest.region[0].sequential = true;
    start(&guest);
    run_to_pass(2);
    /* 9.75 s at 50 MB/s; the first pass leaves half of it, and what it did not send. */
    assert_near(m.sync_bytes, 25 * MB + 9.75 / 2 * 50 * MB * 0.975, 0.005);
    before = m.sync_bytes;
    run_to_pass(3);
    assert_near(m.sync_bytes, 27.5 * MB + (before - 27.5 * MB) * 0.5 * 0.97, 0.03);
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
}

static void it_ends_exactly_when_the_plateau_fits_into_the_downtime_limit(void **state)
{
    struct model_guest guest = one_region(100 * MB, 20000 * MB);

    (void)state;
    start(&guest);
    m.downtime_limit_s = 0.95;
    run_until(100);
    assert_int_equal(m.state, MODEL_RUNNING);
    m.downtime_limit_s = 1.06;
    run_until(105);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.downtime_s, 1 + OVERHEAD_S, 0.01);
}

static void flushing_is_part_of_the_blackout(void **state)
{
    struct model_guest guest = one_region(1 * MB, 1 * MB);

    (void)state;
    guest.flush_s = 2;
    start(&guest);
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_true(m.downtime_s > 2 + OVERHEAD_S && m.downtime_s < 2.4 + OVERHEAD_S);
}

static void a_quota_slows_only_vcpus_that_want_more(void **state)
{
    struct model_guest guest = one_region(200 * MB, 200 * MB);

    (void)state;
    guest.vcpus = 2;
    guest.vcpu_busy[1] = 0.1;
    start(&guest);
    m.cpu_share = 0.2;
    assert_near(model_vcpu_speed(&m, 0), 0.2, 1e-9);
    assert_near(model_vcpu_speed(&m, 1), 1, 1e-9);
    assert_near(model_speed(&m), 0.3 / 1.1, 1e-9);
    run_until(5);
    assert_near(m.cpu_s[0], 1, 1e-6);
    assert_near(m.cpu_s[1], 0.5, 1e-6);
    assert_near(m.work_lost_s, 5 * 0.8 / 1.1, 1e-6);
    assert_near(m.least_share, 0.2, 1e-9);
}

static void only_the_cpu_bound_part_of_a_writer_slows_down(void **state)
{
    static const double parts[] = {0, 0.5, 1};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct model_guest guest = one_region(1000 * MB, 100 * MB);

        guest.region[0].cpu_bound = parts[i];
        start(&guest);
        m.cpu_share = 0.2;
        run_until(4);
        assert_near(m.tau_s[0], 4 * (1 - 0.8 * parts[i]), 1e-6);
    }
}

static void qemu_puts_vcpus_to_sleep_whatever_they_do(void **state)
{
    struct model_guest guest = one_region(200 * MB, 200 * MB);

    (void)state;
    guest.vcpu_busy[0] = 0.1;
    start(&guest);
    m.vcpu_sleep[0] = 0.5;
    assert_near(model_speed(&m), 1 / 1.1, 1e-9);
    m.cpu_share = 0.5;
    assert_near(model_speed(&m), 1 / 1.1, 1e-9);
}

static void throttling_ends_what_would_not_end(void **state)
{
    struct model_guest guest = one_region(200 * MB, 200 * MB);

    (void)state;
    start(&guest);
    run_to_pass(4);
    m.cpu_share = 0.2;
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.least_speed, 0.2, 1e-9);
}

static void phases_take_turns_over_and_over(void **state)
{
    struct model_guest guest = one_region(1000 * MB, 10 * MB);

    (void)state;
    guest.phases = 2;
    guest.phase[0] = (struct model_phase){.seconds = 2, .rate = 1, .busy = 1};
    guest.phase[1] = (struct model_phase){.seconds = 1, .rate = 0, .busy = 0.5};
    guest.phase_offset_s = 1;
    start(&guest);
    run_until(8); /* busy 1, idle 1, busy 2, idle 1, busy 2, idle 1 */
    assert_near(m.tau_s[0], 5, 1e-6);
    assert_near(m.cpu_s[0], 6.5, 1e-6);
}

static void the_link_changes_at_the_times_given(void **state)
{
    struct model_guest guest = {.ram_bytes = 1000 * MB, .vcpus = 1};

    (void)state;
    model_start(&m, &guest,
                &(struct model_link){
                    .bps = LINK, .changes = 2, .change = {{.at_s = 2, .factor = 0.5}, {4, 1}}},
                1);
    run_until(8);
    assert_near(m.sent_bytes, 700 * MB, 1e-6);
}

static void noise_has_the_deviation_asked_for_and_no_bias(void **state)
{
    struct model_guest guest = {.ram_bytes = 1e6 * MB, .vcpus = 1};
    double before = 0;
    double sum = 0;
    double squares = 0;

    (void)state;
    model_start(&m, &guest, &(struct model_link){.bps = LINK, .noise = 0.2}, 7);
    for (unsigned i = 0; i < 4000; i++) {
        double bps;

        run_until((i + 1) * 0.5);
        bps = (m.sent_bytes - before) / 0.5 / LINK;
        before = m.sent_bytes;
        sum += bps;
        squares += (bps - 1) * (bps - 1);
    }
    assert_near(sum / 4000, 1, 0.02);
    assert_near(sqrt(squares / 4000), 0.2, 0.05);
}

static void a_dirty_page_curve_is_followed_and_goes_on_past_its_end(void **state)
{
    static const struct model_point points[] = {{1, 40 * MB}, {2, 60 * MB}, {4, 80 * MB}};
    struct model_region r = {.bytes = 100 * MB, .curve = points, .curve_points = 3};

    (void)state;
    assert_near(model_unique_bytes(&r, 0.5), 20 * MB, 1e-9);
    assert_near(model_unique_bytes(&r, 1.5), 50 * MB, 1e-9);
    assert_near(model_unique_bytes(&r, 4), 80 * MB, 1e-9);
    assert_near(model_unique_bytes(&r, 5), 90 * MB, 1e-9);
    assert_near(model_unique_bytes(&r, 50), 100 * MB, 1e-9);
}

static void auto_converge_throttles_in_steps_and_never_down(void **state)
{
    struct model_guest guest = one_region(400 * MB, 500 * MB);
    unsigned last = 0;

    (void)state;
    start(&guest);
    m.auto_converge = true;
    while (m.state == MODEL_RUNNING && m.time_s < 200) {
        model_run(&m, 200 - m.time_s);
        assert_true(m.throttle_percent == last || (last == 0 && m.throttle_percent == 20) ||
                    m.throttle_percent == last + 10 || m.throttle_percent == 99);
        last = m.throttle_percent;
    }
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_true(last >= 60);
}

static void forced_syncs_come_every_five_seconds_after_the_first_pass(void **state)
{
    struct model_guest guest = one_region(1000 * MB, 2000 * MB);
    uint64_t plain;

    (void)state;
    guest.ram_bytes = 2000 * MB;
    start(&guest);
    m.auto_converge = true;
    run_until(60);
    plain = m.iteration;
    start(&guest);
    m.auto_converge = m.forced_syncs = true;
    run_until(18);
    assert_int_equal(m.iteration, 1);
    run_until(60);
    assert_true(m.iteration > plain);
}

static void suspending_sends_the_rest_in_the_blackout(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);

    (void)state;
    start(&guest);
    run_to_pass(3);
    model_suspend(&m);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.downtime_s, 2 + OVERHEAD_S, 0.001);
}

static void a_paused_guest_dirties_nothing_and_its_memory_is_sent_all_the_same(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);
    double paused_s;

    (void)state;
    start(&guest);
    run_to_pass(3);
    m.paused = true;
    paused_s = m.time_s;
    run_until(paused_s + 1);
    assert_int_equal(m.state, MODEL_RUNNING);
    assert_near(m.downtime_s, 1, 0.001);
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.time_s, paused_s + 2 + OVERHEAD_S, 0.01);
    assert_near(m.downtime_s, 2 + OVERHEAD_S, 0.01);
    assert_near(m.work_lost_s, m.downtime_s, 1e-9);
}

static void resumed_it_goes_on_as_before(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);

    (void)state;
    start(&guest);
    run_to_pass(3);
    m.paused = true;
    run_until(m.time_s + 1);
    m.paused = false;
    run_until(100);
    assert_int_equal(m.state, MODEL_RUNNING);
    assert_near(m.downtime_s, 1, 0.001);
}

static void devices_hold_back_the_switchover_and_lengthen_the_blackout(void **state)
{
    struct model_guest guest = one_region(10 * MB, 1 * MB);
    struct sample s;

    (void)state;
    guest.device_bytes = 200 * MB;
    start(&guest);
    run_until(60);
    assert_int_equal(m.state, MODEL_RUNNING);
    assert_true(m.iteration > 100);
    model_sample(&m, &s);
    assert_true(s.remaining_bytes < 10 * MB);
    assert_near((double)s.expected_downtime_ns, 2e9, 0.1);
    m.downtime_limit_s = 2.5;
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.downtime_s, 2 + OVERHEAD_S, 0.01);
}

static void storage_is_copied_before_the_first_pass(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1 * MB);
    struct sample s;

    (void)state;
    guest.disk_bytes = 3000 * MB;
    start(&guest);
    model_run(&m, 10);
    model_sample(&m, &s);
    assert_true(!s.at_sync && s.iteration == 0 && s.total_bytes == 0 && s.processed_bytes == 0);
    assert_near((double)s.disk_remaining_bytes, 2000 * MB, 0.001);
    assert_near((double)s.elapsed_ns, 10e9, 0.001);
    run_to_pass(1);
    model_sample(&m, &s);
    assert_true(s.at_sync && s.disk_remaining_bytes == 0);
    assert_near((double)s.elapsed_ns, 30e9, 0.001);
    assert_near((double)s.remaining_bytes, 1000 * MB, 0.001);
    run_until(100);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.time_s, 40 + OVERHEAD_S, 0.01);
}

static void a_limit_on_all_vcpus_together_is_shared(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);

    (void)state;
    guest.vcpus = 8;
    for (unsigned i = 0; i < guest.vcpus; i++)
        guest.vcpu_busy[i] = 1;
    guest.shared_cpus = 2;
    start(&guest);
    assert_near(model_vcpu_speed(&m, 7), 0.25, 1e-9);
    model_run(&m, 1);
    assert_near(m.work_lost_s, 0, 1e-9); /* it is the guest's own limit */
    m.cpu_share = 0.2;                   /* of the quarter of a CPU that each gets */
    assert_near(model_vcpu_speed(&m, 7), 0.05, 1e-9);
    assert_near(model_speed(&m), 0.2, 1e-9);
    model_run(&m, 1);
    assert_near(m.work_lost_s, 0.8, 1e-9);
    assert_near(m.least_share, 0.2, 1e-9);
}

static void a_shared_limit_that_is_not_spent_leaves_each_a_cpu(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);

    (void)state;
    guest.vcpus = 8;
    guest.vcpu_busy[0] = 1;
    guest.shared_cpus = 2;
    start(&guest);
    assert_near(model_allowance(&m), 1, 1e-9);
    m.cpu_share = 0.2;
    assert_near(model_vcpu_speed(&m, 0), 0.2, 1e-9);
}

static void post_copy_has_a_short_blackout_and_a_slow_time(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);

    (void)state;
    start(&guest);
    run_to_pass(3);
    model_post_copy(&m);
    assert_int_equal(m.state, MODEL_COMPLETED);
    assert_near(m.downtime_s, OVERHEAD_S, 1e-6);
    assert_near(m.post_copy_s, 2, 0.001);
    assert_near(m.work_lost_s, OVERHEAD_S + 1, 0.001);
}

static void samples_count_as_the_hypervisor_does(void **state)
{
    struct model_guest guest = one_region(200 * MB, 1000 * MB);
    struct sample a;
    struct sample b;

    (void)state;
    start(&guest);
    run_until(2);
    model_sample(&m, &a);
    assert_int_equal(a.iteration, 1);
    assert_int_equal(a.total_bytes, 1000000000);
    assert_near((double)a.remaining_bytes, 800 * MB, 1e-6);
    assert_near((double)a.processed_bytes, 200 * MB, 1e-6);
    run_to_pass(2);
    model_sample(&m, &b);
    assert_true(b.at_sync);
    assert_true(b.sync_ns <= b.now_ns);
    assert_near((double)b.remaining_bytes, m.sync_bytes, 1e-6);
    model_sample(&m, &b);
    assert_false(b.at_sync);
}

/* What QEMU did in the laboratory: guests of 512 MiB that write 210 MB over and over, on a link of
   97 MB/s. Time, work lost. */
static void it_agrees_with_measured_migrations(void **state)
{
    struct model_guest one = one_region(210 * MB, 210 * MB);
    struct model_guest two = one_region(105 * MB, 210 * MB);
    struct model_link link = {.bps = 97 * MB};

    (void)state;
    one.ram_bytes = two.ram_bytes = 537 * MB;
    one.region[0].sequential = two.region[0].sequential = true;
    two.vcpus = two.regions = 2;
    two.vcpu_busy[1] = 1;
    two.region[1] = two.region[0];
    two.region[1].vcpu = 1;

    model_start(&m, &one, &link, 1);
    run_until(60);
    assert_near((double)m.iteration, 30, 0.05);

    model_start(&m, &one, &link, 1);
    m.auto_converge = m.forced_syncs = true;
    run_until(60);
    assert_near(m.time_s, 28, 0.1);
    assert_near(m.work_lost_s, 8.9, 0.1);
    assert_int_equal(m.throttle_percent, 70);

    model_start(&m, &two, &link, 1);
    m.auto_converge = m.forced_syncs = true;
    run_until(60);
    assert_near(m.time_s, 38, 0.1);
    assert_near(m.work_lost_s, 17, 0.2);

    /* A quota of 20% from the third or fourth pass on. */
    model_start(&m, &one, &link, 1);
    run_to_pass(4);
    m.cpu_share = 0.2;
    run_until(60);
    assert_near(m.time_s, 14.6, 0.2);
    assert_near(m.work_lost_s, 3.2, 0.2);

    model_start(&m, &two, &link, 1);
    run_to_pass(4);
    m.cpu_share = 0.2;
    run_until(60);
    assert_near(m.time_s, 19.7, 0.25);
    assert_near(m.work_lost_s, 9.5, 0.4);
}

static void the_same_seed_gives_the_same_migration(void **state)
{
    struct model_guest guest = one_region(100 * MB, 120 * MB);
    struct model_link link = {.bps = LINK, .noise = 0.2};
    double end[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        model_start(&m, &guest, &link, i < 2 ? 1 : 2);
        m.downtime_limit_s = 0.6;
        run_until(500);
        end[i] = m.time_s;
    }
    assert_true(end[0] == end[1]);
    assert_true(end[0] != end[2]);
}

static void how_time_is_cut_into_runs_does_not_matter(void **state)
{
    struct model_guest guest = one_region(250 * MB, 130 * MB);
    double end;
    double lost;

    (void)state;
    guest.phases = 2;
    guest.phase[0] = (struct model_phase){.seconds = 7, .rate = 1, .busy = 1};
    guest.phase[1] = (struct model_phase){.seconds = 5, .rate = 0.1, .busy = 0.2};
    start(&guest);
    m.cpu_share = 0.5;
    run_until(500);
    assert_int_equal(m.state, MODEL_COMPLETED);
    end = m.time_s;
    lost = m.work_lost_s;
    start(&guest);
    m.cpu_share = 0.5;
    while (m.state == MODEL_RUNNING)
        model_run(&m, 0.013);
    assert_near(m.time_s, end, 0.01);
    assert_near(m.work_lost_s, lost, 0.02);
}

static void speed_is_printed(void **state)
{
    struct model_guest guest = one_region(200 * MB, 200 * MB);
    struct timespec a;
    struct timespec b;
    unsigned runs = 2000;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (unsigned i = 0; i < runs; i++) {
        start(&guest);
        run_to_pass(6);
        m.cpu_share = 0.2;
        run_until(600);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    print_message("%.0f migrations per second\n",
                  runs / ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_guest_takes_one_pass),
        cmocka_unit_test(zero_pages_cost_no_bandwidth),
        cmocka_unit_test(a_saturated_hot_set_is_the_plateau),
        cmocka_unit_test(a_uniform_writer_shrinks_each_pass_by_its_rate_over_the_bandwidth),
        cmocka_unit_test(it_ends_exactly_when_the_plateau_fits_into_the_downtime_limit),
        cmocka_unit_test(flushing_is_part_of_the_blackout),
        cmocka_unit_test(a_quota_slows_only_vcpus_that_want_more),
        cmocka_unit_test(only_the_cpu_bound_part_of_a_writer_slows_down),
        cmocka_unit_test(qemu_puts_vcpus_to_sleep_whatever_they_do),
        cmocka_unit_test(throttling_ends_what_would_not_end),
        cmocka_unit_test(phases_take_turns_over_and_over),
        cmocka_unit_test(the_link_changes_at_the_times_given),
        cmocka_unit_test(noise_has_the_deviation_asked_for_and_no_bias),
        cmocka_unit_test(a_dirty_page_curve_is_followed_and_goes_on_past_its_end),
        cmocka_unit_test(auto_converge_throttles_in_steps_and_never_down),
        cmocka_unit_test(forced_syncs_come_every_five_seconds_after_the_first_pass),
        cmocka_unit_test(suspending_sends_the_rest_in_the_blackout),
        cmocka_unit_test(a_paused_guest_dirties_nothing_and_its_memory_is_sent_all_the_same),
        cmocka_unit_test(resumed_it_goes_on_as_before),
        cmocka_unit_test(devices_hold_back_the_switchover_and_lengthen_the_blackout),
        cmocka_unit_test(storage_is_copied_before_the_first_pass),
        cmocka_unit_test(a_limit_on_all_vcpus_together_is_shared),
        cmocka_unit_test(a_shared_limit_that_is_not_spent_leaves_each_a_cpu),
        cmocka_unit_test(post_copy_has_a_short_blackout_and_a_slow_time),
        cmocka_unit_test(samples_count_as_the_hypervisor_does),
        cmocka_unit_test(it_agrees_with_measured_migrations),
        cmocka_unit_test(the_same_seed_gives_the_same_migration),
        cmocka_unit_test(how_time_is_cut_into_runs_does_not_matter),
        cmocka_unit_test(speed_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
