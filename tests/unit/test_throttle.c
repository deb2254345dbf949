/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vCPUs are found, and their quotas set and restored. */
#include "common/cleanup.h"
#include "fake_cgwrite.h"
#include "throttle_tree.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

/* ---- discovery ---- */

static void vcpus_are_found_and_nothing_is_written(void **state)
{
    struct throttle *t = open_domain();
    pid_t pid = 0;

    (void)state;
    assert_int_equal(throttle_vcpu_count(t), VCPUS);
    assert_int_equal(fake_cgwrite.writes, 0);
    assert_false(journal_exists());
    throttle_free(t);
    assert_int_equal(throttle_find_pid(&roots, UUID, &pid), 0);
    assert_int_equal(pid, PID);
    assert_int_equal(throttle_find_pid(&roots, OTHER_UUID, &pid), -ENOENT);
}

static void two_processes_of_a_domain_are_told(void **state)
{
    pid_t pid = 0;

    (void)state;
    put_process(PID + 1000, UUID, 5);
    put_thread(PID + 1000, PID + 1001, "CPU 0/KVM\n", "/machine/incoming/vcpu0");
    put(in_tree("%s/machine/incoming/vcpu0/%s", layout->mount_dir,
                layout->version == 1 ? "tasks" : "cgroup.threads"),
        "5001001\n");
    put_quota_in("/machine/incoming/vcpu0", -1, 100000);
    assert_int_equal(throttle_find_pid(&roots, UUID, &pid), -ENOTUNIQ);
}

/* Anybody can start such a process, even with threads of such names. */
static void impostor_does_not_keep_a_domain_from_being_found(void **state)
{
    pid_t pid = 0;

    (void)state;
    put_process(PID - 7, UUID, 5);
    put_thread(PID - 7, PID - 6, "CPU 0/KVM\n", "/user/session");
    assert_int_equal(throttle_find_pid(&roots, UUID, &pid), 0);
    assert_int_equal(pid, PID);
}

/* Root alone makes the groups of guests; others may in subtrees that were handed over to them. */
static void group_of_another_user_is_refused(void **state)
{
    AUTO_FREE char *group = in_tree("%s%s/vcpu1", layout->mount_dir, layout->base);

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(group, 65534, 65534), 0);
    assert_int_equal(try_open(), -EOPNOTSUPP);
}

static void another_process_is_refused(void **state)
{
    (void)state;
    put_process(PID, OTHER_UUID, 777);
    assert_int_equal(try_open(), -ESTALE);
    remove_tree(in_tree("proc/%d", PID));
    assert_int_equal(try_open(), -ENOENT);
}

static void missing_controller_is_told(void **state)
{
    (void)state;
    for (int i = 0; i < VCPUS; i++)
        remove_tree(vcpu_file(i, layout->version == 1 ? "cpu.cfs_period_us" : "cpu.max"));
    assert_int_equal(try_open(), -EOPNOTSUPP);
    put_domain();
    assert_int_equal(try_open(), 0);
    put(in_tree("proc/self/mountinfo"), "22 27 0:21 / /proc rw - proc proc rw\n");
    assert_int_equal(try_open(), -EOPNOTSUPP);
}

static void shared_or_misnamed_group_is_refused(void **state)
{
    char both[64];

    (void)state;
    snprintf(both, sizeof(both), "%d\n%d\n", TID(1), PID);
    put_vcpu_group(1, both);
    assert_int_equal(try_open(), -EOPNOTSUPP);
    put_vcpu_group(1, "1\n");
    assert_int_equal(try_open(), -EOPNOTSUPP);
    put_domain();
    put(in_tree("%s/machine/lone/%s", layout->mount_dir,
                layout->version == 1 ? "tasks" : "cgroup.threads"),
        "4253\n");
    put_quota_in("/machine/lone", -1, 100000);
    put_thread(PID, TID(1), "CPU 1/TCG\n", "/machine/lone");
    assert_int_equal(try_open(), -EOPNOTSUPP);
    put_domain();
    put_thread(PID, TID(1), "CPU 11/TCG\n", layout->base);
    assert_int_equal(try_open(), -EOPNOTSUPP);
}

static void unwritable_quota_is_told_before_any_change(void **state)
{
    AUTO_FREE char *file =
        vcpu_file(VCPUS - 1, layout->version == 1 ? "cpu.cfs_period_us" : "cpu.max");
    uid_t user = geteuid();

    (void)state;
    for (int i = 0; i < VCPUS - 1; i++) {
        AUTO_FREE char *other =
            vcpu_file(i, layout->version == 1 ? "cpu.cfs_period_us" : "cpu.max");
        AUTO_FREE char *quota = vcpu_file(i, "cpu.cfs_quota_us");

        assert_int_equal(chmod(other, 0666), 0);
        assert_true(layout->version == 2 || chmod(quota, 0666) == 0);
    }
    assert_int_equal(chmod(file, 0444), 0);
    if (user == 0) /* whom no mode stops */
        assert_int_equal(seteuid(65534), 0);
    assert_int_equal(try_open(), -EACCES);
    assert_int_equal(seteuid(user), 0);
}

/* ---- set and restore ---- */

static void quota_is_applied_and_restored(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();
    size_t drifted = 9;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    assert_all_quotas(2000, 10000);
    assert_int_equal(throttle_check(t, &drifted), 0);
    assert_int_equal(drifted, 0);
    assert_true(journal_exists());
    assert_int_equal(throttle_set(t, 0.5, 20000), 0);
    assert_all_quotas(10000, 20000);
    assert_int_equal(throttle_restore(t, false, &result), 0);
    assert_int_equal(result.restored, VCPUS);
    assert_all_quotas(-1, 100000);
    assert_false(journal_exists());
    throttle_free(t);
}

static void quota_of_the_user_is_restored_exactly(void **state)
{
    struct throttle *t;

    (void)state;
    put_quota(0, 54321, 123456);
    put_quota(1, 2500000, 1000000);
    t = open_domain();
    assert_int_equal(throttle_set(t, 0.5, 10000), 0);
    assert_quota(0, 2200, 10000); /* half of 44% */
    assert_quota(1, 5000, 10000); /* half of one CPU, the most a thread can use */
    assert_quota(2, 5000, 10000);
    assert_int_equal(throttle_set(t, 1, 10000), 0);
    assert_quota(0, 54321, 123456);
    assert_int_equal(throttle_set(t, 0.1, 10000), 0);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    assert_quota(0, 54321, 123456);
    assert_quota(1, 2500000, 1000000);
    assert_quota(2, -1, 100000);
    throttle_free(t);
}

static void limit_of_the_domain_counts(void **state)
{
    struct throttle *t;

    (void)state;
    put_quota_in(layout->base, 50000, 100000);
    t = open_domain();
    assert_int_equal(throttle_set(t, 0.5, 10000), 0);
    assert_all_quotas(2500, 10000);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    throttle_free(t);
}

static void unchanged_quota_is_not_written(void **state)
{
    struct throttle *t = open_domain();
    unsigned int writes;

    (void)state;
    assert_int_equal(throttle_set(t, 1, 10000), 0);
    assert_int_equal(fake_cgwrite.writes, 0);
    assert_false(journal_exists());
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    writes = fake_cgwrite.writes;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    assert_int_equal(throttle_restore(t, false, NULL), 0);
    assert_int_equal(fake_cgwrite.writes, 2 * writes);
    assert_int_equal(throttle_restore(t, false, NULL), 0);
    assert_int_equal(throttle_restore(t, false, NULL), 0);
    assert_int_equal(fake_cgwrite.writes, 2 * writes);
    throttle_free(t);
}

static void short_quota_lengthens_the_period(void **state)
{
    struct throttle *t = open_domain();

    (void)state;
    assert_int_equal(throttle_set(t, 0.05, 10000), 0);
    assert_all_quotas(1000, 20000);
    assert_int_equal(throttle_set(t, 0.0001, 10000), 0);
    assert_all_quotas(1000, 1000000);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    throttle_free(t);
}

static void quota_is_never_above_the_original(void **state)
{
    static const double shares[] = {0.0001, 0.01, 0.3333, 0.9, 0.999999, 1};
    static const struct cpu_quota originals[] = {
        {1000, 1000000}, {1000, 1000}, {1001, 999983}, {33333, 100000}, {300000, 100000}};

    (void)state;
    for (size_t o = 0; o < sizeof(originals) / sizeof(originals[0]); o++) {
        for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++) {
            for (int64_t period = 1000; period <= 1000000; period = period * 7 / 2) {
                double allowance = (double)originals[o].quota_us / (double)originals[o].period_us;
                struct cpu_quota q = cpu_quota_tighten(&originals[o], allowance > 1 ? 1 : allowance,
                                                       shares[s], period);

                assert_true(cpu_quota_valid(&q));
                assert_true(q.quota_us * originals[o].period_us <=
                            originals[o].quota_us * q.period_us);
            }
        }
    }
}

static double ratio(int64_t quota_us, int64_t period_us)
{
    return quota_us < 0 ? 1e9 : (double)quota_us / (double)period_us;
}

static double largest_ratio;

static void watch_ratio(void)
{
    struct cpu_quota q = get_quota(0);

    assert_true(ratio(q.quota_us, q.period_us) <= largest_ratio + 1e-9);
}

static void no_state_between_writes_exceeds_both_ends(void **state)
{
    static const struct cpu_quota originals[] = {
        {-1, 100000}, {-1, 5000}, {50000, 100000}, {2000, 4000}, {400000, 1000000}};

    (void)state;
    fake_cgwrite.before = watch_ratio;
    for (size_t o = 0; o < sizeof(originals) / sizeof(originals[0]); o++) {
        struct throttle *t;

        largest_ratio = ratio(originals[o].quota_us, originals[o].period_us);
        put_quota(0, originals[o].quota_us, originals[o].period_us);
        t = open_domain();
        for (int64_t period = 4000; period < 1000000; period = period * 11 / 3) {
            assert_int_equal(throttle_set(t, 0.4, period), 0);
            assert_int_equal(throttle_set(t, 0.1, 1000004 - period), 0);
        }
        assert_int_equal(throttle_restore(t, true, NULL), 0);
        assert_quota(0, originals[o].quota_us, originals[o].period_us);
        throttle_free(t);
    }
}

static void bad_arguments_and_late_calls_are_refused(void **state)
{
    struct throttle *t = open_domain();

    (void)state;
    assert_int_equal(throttle_set(t, 0, 10000), -EINVAL);
    assert_int_equal(throttle_set(t, 1.01, 10000), -EINVAL);
    assert_int_equal(throttle_set(t, 0.5, 999), -EINVAL);
    assert_int_equal(throttle_set(t, 0.5, 1000001), -EINVAL);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    assert_int_equal(throttle_set(t, 0.5, 10000), -ESHUTDOWN);
    assert_int_equal(fake_cgwrite.writes, 0);
    throttle_free(t);
}

static void *set_until_shut_down(void *t)
{
    int r = 0;

    for (int i = 0; r == 0; i++)
        r = throttle_set(t, i % 2 ? 0.2 : 0.4, 10000);
    return (void *)(intptr_t)r;
}

static void final_restore_wins_over_a_setting_thread(void **state)
{
    struct throttle *t = open_domain();
    pthread_t thread;
    void *result;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, set_until_shut_down, t), 0);
    usleep(3000);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, -ESHUTDOWN);
    assert_all_quotas(-1, 100000);
    assert_false(journal_exists());
    throttle_free(t);
}

/* ---- failures ---- */

static void every_failing_write_is_rolled_back(void **state)
{
    (void)state;
    for (unsigned int n = 1;; n++) {
        struct throttle *t = open_domain();
        int r;

        fail_writes(n, n, -EINVAL);
        r = throttle_set(t, 0.2, 10000);
        if (r == 0) {
            assert_true(n > VCPUS);
            fail_writes(0, 0, 0);
            assert_int_equal(throttle_restore(t, true, NULL), 0);
            throttle_free(t);
            return;
        }
        assert_int_equal(r, -EINVAL);
        assert_all_quotas(-1, 100000);
        assert_false(journal_exists());
        throttle_free(t);
    }
}

static bool journal_was_first;

static void look_for_journal(void)
{
    journal_was_first = journal_was_first && journal_exists();
}

static void journal_is_there_before_the_first_write(void **state)
{
    struct throttle *t = open_domain();

    (void)state;
    journal_was_first = true;
    fake_cgwrite.before = look_for_journal;
    fail_writes(1, 1, -EIO);
    assert_int_equal(throttle_set(t, 0.2, 10000), -EIO);
    assert_int_equal(fake_cgwrite.writes, 1);
    assert_true(journal_was_first);
    assert_false(journal_exists());
    throttle_free(t);
}

static void nothing_is_written_without_a_journal(void **state)
{
    struct throttle *t = open_domain();

    (void)state;
    put(in_tree("run/undo"), "not a directory");
    assert_true(throttle_set(t, 0.2, 10000) < 0);
    assert_int_equal(fake_cgwrite.writes, 0);
    throttle_free(t);
}

static void no_journal_is_written_that_could_not_be_read(void **state)
{
    struct throttle *t = NULL;

    (void)state;
    assert_int_equal(throttle_open(&roots, UUID, "vm\xff", PID, &t), 0);
    assert_int_equal(throttle_set(t, 0.2, 10000), -EBADMSG);
    assert_int_equal(fake_cgwrite.writes, 0);
    assert_false(journal_exists());
    throttle_free(t);
}

static void failed_restore_keeps_the_journal_for_the_next(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    fail_writes(1, 1, -EIO);
    assert_int_equal(throttle_restore(t, true, &result), -EIO);
    assert_int_equal(result.failed, 1);
    assert_int_equal(result.restored, VCPUS - 1);
    assert_true(journal_exists());
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.restored, VCPUS);
    assert_all_quotas(-1, 100000);
    assert_false(journal_exists());
    throttle_free(t);
}

static void vanished_groups_need_no_restore(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    remove_tree(in_tree("%s%s", layout->mount_dir, layout->base));
    assert_int_equal(throttle_set(t, 0.3, 10000), -ENOENT);
    remove_tree(in_tree("proc/%d/task", PID));
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.gone, VCPUS);
    assert_false(journal_exists());
    throttle_free(t);
}

static void value_of_another_writer_is_left_alone(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();
    size_t drifted = 0;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    put_quota(1, 7777, 50000);
    assert_int_equal(throttle_check(t, &drifted), 0);
    assert_int_equal(drifted, 1);
    assert_int_equal(throttle_set(t, 0.3, 10000), -EBUSY);
    assert_quota(0, 2000, 10000);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.drifted, 1);
    assert_int_equal(result.restored, VCPUS - 1);
    assert_quota(0, -1, 100000);
    assert_quota(1, 7777, 50000);
    assert_false(journal_exists());
    throttle_free(t);
}

static void foreign_period_does_not_keep_our_quota(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    put_quota(1, 2000, 50000);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.drifted, 1);
    assert_quota(1, -1, 50000);
    throttle_free(t);
}

/* It meant half a CPU; under our period it is five, until that is seen. */
static void quota_written_under_our_period_means_what_its_writer_meant(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();
    size_t drifted = 0;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    put_quota(1, 50000, 10000);
    assert_int_equal(throttle_check(t, &drifted), 0);
    assert_int_equal(drifted, 1);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.drifted, 1);
    assert_quota(1, 50000, 100000);
    assert_quota(0, -1, 100000);
    assert_false(journal_exists());
    throttle_free(t);
}

static void moved_or_recycled_process_is_noticed(void **state)
{
    struct throttle *t = open_domain();
    struct throttle_result result;
    unsigned int writes;
    size_t drifted;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    writes = fake_cgwrite.writes;
    put_thread(PID, TID(1), "CPU 1/TCG\n", "/elsewhere/vcpu1");
    assert_int_equal(throttle_check(t, &drifted), -ESTALE);
    assert_int_equal(throttle_set(t, 0.3, 10000), -ESTALE);
    put_process(PID, UUID, 778);
    assert_int_equal(throttle_check(t, &drifted), -ENOENT);
    assert_int_equal(throttle_set(t, 0.3, 10000), -ENOENT);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.gone, VCPUS);
    assert_int_equal(fake_cgwrite.writes, writes);
    assert_false(journal_exists());
    throttle_free(t);
}

static void usage_is_summed_over_vcpus(void **state)
{
    struct throttle *t = open_domain();
    uint64_t ns = 0;

    (void)state;
    put(in_tree("proc/%d/task/%d/schedstat", PID, TID(2)), "8000000001 1 1\n");
    assert_int_equal(throttle_usage_ns(t, 2, &ns), 0);
    assert_int_equal(ns, 8000000001);
    assert_int_equal(throttle_usage_ns(t, THROTTLE_ALL_VCPUS, &ns), 0);
    assert_int_equal(ns, 8010000001);
    assert_int_equal(throttle_usage_ns(t, VCPUS, &ns), -EINVAL);
    remove_tree(in_tree("proc/%d/task/%d/schedstat", PID, TID(2)));
    put(in_tree("proc/%d/task/%d/stat", PID, TID(2)),
        "9 (CPU 2/TCG) R 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 5 0 778 100 200\n");
    assert_int_equal(throttle_usage_ns(t, 2, &ns), 0);
    assert_int_equal(ns, 200 * (1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK)));
    throttle_free(t);
}

/* ---- limits above the vCPUs ---- */

/* So many CPUs for all vCPUs together; it has stopped them in so many of so many periods. */
static void put_limit_above(double cpus, unsigned periods, unsigned stopped)
{
    char text[128];

    put_quota_in(layout->base, (int64_t)(cpus * 100000), 100000);
    snprintf(text, sizeof(text), "usage_usec 7\nnr_periods %u\nnr_throttled %u\nthrottled_usec 9\n",
             periods, stopped);
    put(in_tree("%s%s/cpu.stat", layout->mount_dir, layout->base), text);
}

static void put_usage(int vcpu, double seconds)
{
    char text[64];

    snprintf(text, sizeof(text), "%.0f 7 9\n", 5e6 + seconds * 1e9);
    put(in_tree("proc/%d/task/%d/schedstat", PID, TID(vcpu)), text);
}

static void a_share_is_of_what_a_limit_above_leaves_to_each(void **state)
{
    struct throttle *t;

    (void)state;
    put_limit_above(0.75, 100, 100);
    t = open_domain();
    assert_true(throttle_allowance(t, 1) == 0.75);
    put_limit_above(0.75, 140, 139);
    for (int i = 0; i < VCPUS; i++)
        put_usage(i, 1);
    assert_true(fabs(throttle_allowance(t, 1 + 4 * INT64_C(1000000000)) - 0.25) < 1e-6);
    assert_int_equal(throttle_set(t, 0.2, 100000), 0);
    assert_all_quotas(5000, 100000);
    /* What they get now is what we leave them. */
    put_limit_above(0.75, 180, 139);
    assert_true(fabs(throttle_allowance(t, 1 + 8 * INT64_C(1000000000)) - 0.25) < 1e-6);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    assert_all_quotas(-1, 100000);
    throttle_free(t);
}

static void a_limit_above_that_is_not_spent_takes_nothing_from_a_vcpu(void **state)
{
    struct throttle *t;

    (void)state;
    put_limit_above(2, 100, 100);
    t = open_domain();
    assert_true(throttle_allowance(t, 1) == 1);
    put_limit_above(2, 140, 110);
    put_usage(0, 2);
    assert_true(throttle_allowance(t, 1 + 4 * INT64_C(1000000000)) == 1);
    assert_int_equal(throttle_set(t, 0.2, 100000), 0);
    assert_all_quotas(20000, 100000);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    throttle_free(t);
}

static void where_it_is_not_told_whether_a_limit_above_is_spent_it_is_not(void **state)
{
    struct throttle *t;

    (void)state;
    put_limit_above(0.75, 100, 100);
    put(in_tree("%s%s/cpu.stat", layout->mount_dir, layout->base), "nr_periods x\n");
    t = open_domain();
    put_usage(0, 1);
    assert_true(throttle_allowance(t, 1) == 0.75);
    assert_true(throttle_allowance(t, 1 + 4 * INT64_C(1000000000)) == 0.75);
    throttle_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vcpus_are_found_and_nothing_is_written),
        TEST(two_processes_of_a_domain_are_told),
        TEST(impostor_does_not_keep_a_domain_from_being_found),
        TEST(group_of_another_user_is_refused),
        TEST(another_process_is_refused),
        TEST(missing_controller_is_told),
        TEST(shared_or_misnamed_group_is_refused),
        TEST(unwritable_quota_is_told_before_any_change),
        TEST(quota_is_applied_and_restored),
        TEST(quota_of_the_user_is_restored_exactly),
        TEST(limit_of_the_domain_counts),
        TEST(unchanged_quota_is_not_written),
        TEST(short_quota_lengthens_the_period),
        TEST(quota_is_never_above_the_original),
        TEST(no_state_between_writes_exceeds_both_ends),
        TEST(bad_arguments_and_late_calls_are_refused),
        TEST(final_restore_wins_over_a_setting_thread),
        TEST(every_failing_write_is_rolled_back),
        TEST(journal_is_there_before_the_first_write),
        TEST(nothing_is_written_without_a_journal),
        TEST(no_journal_is_written_that_could_not_be_read),
        TEST(failed_restore_keeps_the_journal_for_the_next),
        TEST(vanished_groups_need_no_restore),
        TEST(value_of_another_writer_is_left_alone),
        TEST(foreign_period_does_not_keep_our_quota),
        TEST(quota_written_under_our_period_means_what_its_writer_meant),
        TEST(moved_or_recycled_process_is_noticed),
        TEST(usage_is_summed_over_vcpus),
        TEST(a_share_is_of_what_a_limit_above_leaves_to_each),
        TEST(a_limit_above_that_is_not_spent_takes_nothing_from_a_vcpu),
        TEST(where_it_is_not_told_whether_a_limit_above_is_spent_it_is_not),
    };

    return run_on_layouts(tests, sizeof(tests) / sizeof(tests[0]));
}
