/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The throttle on temporary trees of /proc and cgroups. Every test runs once per layout: cgroup
 * versions 1 and 2, names as libvirt makes them with and without systemd, and a cgroup namespace.
 */
#include "cgroup-throttle/cpuquota.h"
#include "cgroup-throttle/journal.h"
#include "cgroup-throttle/throttle.h"
#include "common/cleanup.h"
#include "fake_cgwrite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#define UUID       "6f1c9c1e-3a55-4b6e-9c0d-0123456789ab"
#define OTHER_UUID "6f1c9c1e-3a55-4b6e-9c0d-0123456789ac"
#define PID        5000000 /* more than any kernel gives out */
#define VCPUS      3
#define TID(n)     (PID + 10 + (n))

struct layout {
    const char *name;
    int version;
    const char *mount_root;
    const char *mount_dir; /* below the temporary tree */
    const char *mount_dir_escaped;
    const char *cgroup_lines; /* other controllers, before the one of cpu */
    const char *base;         /* parent group of the vCPU groups, below the mount root */
};

static const struct layout layouts[] = {
    {"v1-libvirt", 1, "/", "cg/cpu", "cg/cpu", "5:cpuset:/elsewhere\n2:cpuacct:/\n",
     "/machine/qemu-1-vm1.libvirt-qemu"},
    {"v1-colon-and-blank", 1, "/", "c g/cpu", "c\\040g/cpu", "2:memory:/a:b\n",
     "/machine/qemu-1-a:b c.libvirt-qemu"},
    {"v1-namespace", 1, "/pod/ab", "cg/cpu", "cg/cpu", "", "/machine/qemu-1-vm1.libvirt-qemu"},
    {"v2-systemd", 2, "/", "cg", "cg", "",
     "/machine.slice/machine-qemu\\x2d1\\x2dvm1.scope/libvirt"},
    {"v2-truncated", 2, "/", "cg", "cg", "1:name=systemd:/x\n",
     "/machine.slice/"
     "machine-qemu\\x2d12\\x2da\\x2dvery\\x2dlong\\x2dname\\x2dthat\\x2dwas\\x2dcut.scope/"
     "libvirt"},
    {"v2-namespace", 2, "/a\\b", "cg", "cg", "", "/machine/qemu-1-vm1.libvirt-qemu"},
};

static const struct layout *layout;
static char *tree;
static struct throttle_roots roots;

/* ---- the tree ---- */

__attribute__((format(printf, 1, 2))) static char *in_tree(const char *format, ...)
{
    AUTO_FREE char *rest = NULL;
    char *path;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&rest, format, args) >= 0);
    va_end(args);
    assert_true(asprintf(&path, "%s/%s", tree, rest) >= 0);
    return path;
}

static void make_parents(char *path)
{
    for (char *slash = path + strlen(tree) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

/* Takes over path. */
static void put_bytes(char *path, const char *bytes, size_t len)
{
    AUTO_FREE char *name = path;
    AUTO_FCLOSE FILE *f = NULL;

    make_parents(name);
    f = fopen(name, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
}

static void put(char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

static char *vcpu_file(int vcpu, const char *file)
{
    return in_tree("%s%s/vcpu%d/%s", layout->mount_dir, layout->base, vcpu, file);
}

static void put_quota_in(const char *group, int64_t quota_us, int64_t period_us)
{
    char quota[64], period[32];

    snprintf(period, sizeof(period), "%" PRId64 "\n", period_us);
    if (layout->version == 1) {
        snprintf(quota, sizeof(quota), "%" PRId64 "\n", quota_us);
        put(in_tree("%s%s/cpu.cfs_quota_us", layout->mount_dir, group), quota);
        put(in_tree("%s%s/cpu.cfs_period_us", layout->mount_dir, group), period);
        return;
    }
    if (quota_us < 0)
        snprintf(quota, sizeof(quota), "max %s", period);
    else
        snprintf(quota, sizeof(quota), "%" PRId64 " %s", quota_us, period);
    put(in_tree("%s%s/cpu.max", layout->mount_dir, group), quota);
}

static void put_quota(int vcpu, int64_t quota_us, int64_t period_us)
{
    AUTO_FREE char *group = NULL;

    assert_true(asprintf(&group, "%s/vcpu%d", layout->base, vcpu) >= 0);
    put_quota_in(group, quota_us, period_us);
}

static char *get_text(char *path)
{
    AUTO_FREE char *name = path;
    AUTO_FCLOSE FILE *f = fopen(name, "re");
    static char text[256];
    size_t len;

    assert_non_null(f);
    len = fread(text, 1, sizeof(text) - 1, f);
    text[len] = '\0';
    return text;
}

/* All of it, to be freed. */
static char *read_all(char *path)
{
    AUTO_FREE char *name = path;
    AUTO_FCLOSE FILE *f = fopen(name, "re");
    char *text = calloc(1, 65536);

    assert_non_null(f);
    assert_non_null(text);
    assert_true(fread(text, 1, 65535, f) > 0);
    return text;
}

static struct cpu_quota get_quota(int vcpu)
{
    struct cpu_quota q = {.quota_us = -1};
    const char *text;

    if (layout->version == 1) {
        q.quota_us = atoll(get_text(vcpu_file(vcpu, "cpu.cfs_quota_us")));
        q.period_us = atoll(get_text(vcpu_file(vcpu, "cpu.cfs_period_us")));
        return q;
    }
    text = get_text(vcpu_file(vcpu, "cpu.max"));
    if (strncmp(text, "max", 3) != 0)
        q.quota_us = atoll(text);
    q.period_us = atoll(strchr(text, ' '));
    return q;
}

static void assert_quota(int vcpu, int64_t quota_us, int64_t period_us)
{
    struct cpu_quota q = get_quota(vcpu);

    assert_int_equal(q.quota_us, quota_us);
    assert_int_equal(q.period_us, period_us);
}

static void assert_all_quotas(int64_t quota_us, int64_t period_us)
{
    for (int i = 0; i < VCPUS; i++)
        assert_quota(i, quota_us, period_us);
}

static void put_thread(pid_t pid, pid_t tid, const char *comm, const char *group)
{
    AUTO_FREE char *lines = NULL;

    assert_true(
        asprintf(&lines, "%s%s:%s%s\n", layout->cgroup_lines, layout->version == 1 ? "1:cpu" : "0:",
                 strcmp(layout->mount_root, "/") == 0 ? "" : layout->mount_root, group) >= 0);
    put(in_tree("proc/%d/task/%d/comm", pid, tid), comm);
    put(in_tree("proc/%d/task/%d/cgroup", pid, tid), lines);
    put(in_tree("proc/%d/task/%d/schedstat", pid, tid), "5000000 7 9\n");
}

static void put_vcpu_group(int vcpu, const char *threads)
{
    put(vcpu_file(vcpu, layout->version == 1 ? "tasks" : "cgroup.threads"), threads);
}

static void put_process(pid_t pid, const char *uuid, uint64_t start_time)
{
    AUTO_FREE char *stat = NULL;
    char cmdline[256];
    int len;

    assert_true(asprintf(&stat,
                         "%d (qemu ) 1 2 (x) S 1 1 1 0 -1 0 0 0 0 0 11 22 0 0 20 0 5 0 %" PRIu64
                         " 100 200\n",
                         pid, start_time) >= 0);
    put(in_tree("proc/%d/stat", pid), stat);
    len = snprintf(cmdline, sizeof(cmdline),
                   "/usr/bin/qemu-system-x86_64%c-name%cguest=vm1,debug-threads=on%c-uuid%c%s", 0,
                   0, 0, 0, uuid);
    put_bytes(in_tree("proc/%d/cmdline", pid), cmdline, (size_t)len + 1);
}

static void put_domain(void)
{
    put_process(PID, UUID, 777);
    put_thread(PID, PID, "qemu-system-x86\n", "/machine/emulator");
    put_thread(PID, PID + 1, "migration/src/0\n", "/machine/emulator");
    for (int i = VCPUS - 1; i >= 0; i--) {
        AUTO_FREE char *group = NULL;
        char comm[32], tid[32];

        assert_true(asprintf(&group, "%s/vcpu%d", layout->base, i) >= 0);
        snprintf(comm, sizeof(comm), "CPU %d/%s\n", i, layout->version == 1 ? "TCG" : "KVM");
        snprintf(tid, sizeof(tid), "%d\n", TID(i));
        put_thread(PID, TID(i), comm, group);
        put_vcpu_group(i, tid);
        put_quota(i, -1, 100000);
    }
}

static void put_mounts(void)
{
    AUTO_FREE char *text = NULL;
    const char *root = strcmp(layout->mount_root, "/a\\b") == 0 ? "/a\\134b" : layout->mount_root;

    assert_true(asprintf(&text,
                         "22 27 0:21 / /proc rw - proc proc rw\n"
                         "33 31 0:30 / %s/no rw shared:1 - cgroup cgroup rw,cpuacct,cpuset\n"
                         "34 31 0:31 /notmine %s/no rw - %s cgroup rw,cpu\n"
                         "32 31 0:29 %s %s/%s rw,relatime shared:7 master:2 - %s cgroup rw,cpu\n",
                         tree, tree, layout->version == 1 ? "cgroup" : "cgroup2", root, tree,
                         layout->mount_dir_escaped,
                         layout->version == 1 ? "cgroup" : "cgroup2") >= 0);
    put(in_tree("proc/self/mountinfo"), text);
    put(in_tree("proc/self/ns/pid"), "");
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_tree(char *path)
{
    AUTO_FREE char *name = path;

    assert_int_equal(nftw(name, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static int set_up(void **state)
{
    static char proc_dir[256], run_dir[256];

    layout = *state;
    /* Journals are synced to disk hundreds of times: in memory that costs nothing. */
    tree = strdup(access("/dev/shm", W_OK) == 0 ? "/dev/shm/test-throttle-XXXXXX"
                                                : P_tmpdir "/test-throttle-XXXXXX");
    assert_non_null(mkdtemp(tree));
    assert_int_equal(chmod(tree, 0755), 0);
    snprintf(proc_dir, sizeof(proc_dir), "%s/proc", tree);
    snprintf(run_dir, sizeof(run_dir), "%s/run", tree);
    assert_int_equal(mkdir(run_dir, 0755), 0);
    roots = (struct throttle_roots){.proc = proc_dir, .run_dir = run_dir};
    fake_cgwrite = (struct fake_cgwrite){0};
    put_mounts();
    put_domain();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    remove_tree(tree);
    return 0;
}

static struct throttle *open_domain(void)
{
    struct throttle *t = NULL;

    assert_int_equal(throttle_open(&roots, UUID, "vm1", PID, &t), 0);
    return t;
}

static int try_open(void)
{
    struct throttle *t = NULL;
    int r = throttle_open(&roots, UUID, "vm1", PID, &t);

    assert_int_equal(fake_cgwrite.writes, 0);
    assert_true((r == 0) == (t != NULL));
    throttle_free(t);
    return r;
}

static bool exists(char *path)
{
    AUTO_FREE char *name = path;

    return faccessat(AT_FDCWD, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool journal_exists(void)
{
    return exists(in_tree("run/undo/" UUID ".json"));
}

static void fail_writes(unsigned int from, unsigned int to, int error)
{
    fake_cgwrite.writes = 0;
    fake_cgwrite.fail_from = from;
    fake_cgwrite.fail_to = to;
    fake_cgwrite.error = error;
}

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

/* ---- after a crash ---- */

struct seen {
    unsigned int calls;
    int error;
    char uuid[256];
    char name[64];
    struct throttle_result result;
};

static void see(const char *uuid, const char *name, int error, const struct throttle_result *result,
                void *opaque)
{
    struct seen *seen = opaque;

    seen->calls++;
    seen->error = error;
    snprintf(seen->uuid, sizeof(seen->uuid), "%s", uuid);
    snprintf(seen->name, sizeof(seen->name), "%s", name ? name : "");
    seen->result = *result;
}

/* The daemon dies with quotas in force. */
static void crash(double share)
{
    struct throttle *t = open_domain();

    assert_int_equal(throttle_set(t, share, 10000), 0);
    throttle_free(t);
    assert_true(journal_exists());
}

static void journal_is_undone_after_a_crash(void **state)
{
    struct seen seen = {0};

    (void)state;
    put_quota(1, 54321, 123456);
    crash(0.2);
    assert_int_equal(throttle_restore_all(&roots, see, &seen), 0);
    assert_int_equal(seen.calls, 1);
    assert_string_equal(seen.uuid, UUID);
    assert_string_equal(seen.name, "vm1");
    assert_int_equal(seen.result.restored, VCPUS);
    assert_quota(0, -1, 100000);
    assert_quota(1, 54321, 123456);
    assert_false(journal_exists());
    assert_int_equal(throttle_restore_all(&roots, see, &seen), 0);
    assert_int_equal(seen.calls, 1);
}

static void crash_between_any_two_writes_is_undone(void **state)
{
    (void)state;
    for (unsigned int n = 1; n <= 2 * VCPUS; n++) {
        struct throttle *t = open_domain();

        assert_int_equal(throttle_set(t, 0.2, 10000), 0);
        /* From write n on everything fails, the rollback too: as if killed there. */
        fail_writes(n, 1000, -EIO);
        throttle_set(t, 0.4, 30000);
        throttle_free(t);
        fail_writes(0, 0, 0);
        assert_true(journal_exists());
        assert_int_equal(throttle_restore_all(&roots, NULL, NULL), 0);
        assert_all_quotas(-1, 100000);
        assert_false(journal_exists());
    }
}

static void leftover_is_undone_before_originals_are_read(void **state)
{
    struct throttle *t;

    (void)state;
    crash(0.2);
    t = open_domain();
    assert_all_quotas(-1, 100000);
    assert_int_equal(throttle_set(t, 0.5, 10000), 0);
    assert_all_quotas(5000, 10000);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    assert_all_quotas(-1, 100000);
    throttle_free(t);
}

static void recycled_pid_is_not_touched(void **state)
{
    struct seen seen = {0};

    (void)state;
    crash(0.2);
    fail_writes(0, 0, 0);
    put_process(PID, UUID, 778);
    assert_int_equal(throttle_restore_all(&roots, see, &seen), 0);
    assert_int_equal(seen.result.gone, VCPUS);
    assert_int_equal(fake_cgwrite.writes, 0);
    assert_all_quotas(2000, 10000);
    assert_false(journal_exists());
}

/* Restoring fails with `error`, and keeps the journal; once all is seen again, it works. */
static void assert_kept(int error)
{
    struct seen seen = {0};

    fail_writes(0, 0, 0);
    assert_int_equal(throttle_restore_all(&roots, see, &seen), error);
    assert_int_equal(seen.result.gone, 0);
    assert_int_equal(seen.result.failed, VCPUS);
    assert_int_equal(fake_cgwrite.writes, 0);
    assert_true(journal_exists());
}

static void assert_undone(void)
{
    assert_int_equal(throttle_restore_all(&roots, NULL, NULL), 0);
    assert_all_quotas(-1, 100000);
    assert_false(journal_exists());
}

static void move(const char *from, const char *to)
{
    AUTO_FREE char *old = in_tree("%s", from), *new = in_tree("%s", to);

    assert_int_equal(rename(old, new), 0);
}

static void nothing_is_gone_without_proc(void **state)
{
    (void)state;
    crash(0.2);
    move("proc", "hidden");
    assert_kept(-ENODATA);
    move("hidden", "proc");
    assert_undone();
}

static void nothing_is_gone_in_another_pid_namespace(void **state)
{
    (void)state;
    crash(0.2);
    move("proc/self/ns", "proc/self/elsewhere");
    put(in_tree("proc/self/ns/pid"), "");
    /* Nobody has its pid there, or somebody else. */
    move("proc/5000000", "hidden");
    assert_kept(-ENODATA);
    put_process(PID, UUID, 778);
    assert_kept(-ENODATA);
    remove_tree(in_tree("proc/%d", PID));
    remove_tree(in_tree("proc/self/ns"));
    move("proc/self/elsewhere", "proc/self/ns");
    move("hidden", "proc/5000000");
    assert_undone();
}

static void group_that_its_thread_is_in_is_not_gone(void **state)
{
    (void)state;
    crash(0.2);
    move(layout->mount_dir, "hidden");
    put(in_tree("%s/empty", layout->mount_dir), "");
    assert_kept(-ENODATA);
    remove_tree(in_tree("%s", layout->mount_dir));
    move("hidden", layout->mount_dir);
    assert_undone();
}

static void group_without_the_controller_needs_no_restore(void **state)
{
    struct seen seen = {0};

    (void)state;
    crash(0.2);
    for (int i = 0; i < VCPUS; i++)
        remove_tree(vcpu_file(i, layout->version == 1 ? "cpu.cfs_quota_us" : "cpu.max"));
    assert_int_equal(throttle_restore_all(&roots, see, &seen), 0);
    assert_int_equal(seen.result.gone, VCPUS);
    assert_false(journal_exists());
}

/* As hidepid does it: a process that lives, but not in /proc. */
static void hidden_process_is_not_gone(void **state)
{
    AUTO_FREE char *text = NULL, *changed = NULL;
    char *pid;

    (void)state;
    crash(0.2);
    text = read_all(in_tree("run/undo/" UUID ".json"));
    pid = strstr(text, "5000000");
    assert_non_null(pid);
    *pid = '\0';
    assert_true(asprintf(&changed, "%s%d%s", text, getpid(), pid + strlen("5000000")) >= 0);
    put(in_tree("run/undo/" UUID ".json"), changed);
    assert_kept(-ENODATA);
}

static void journal_of_a_group_not_its_own_is_not_followed(void **state)
{
    struct seen seen = {0};

    (void)state;
    crash(0.2);
    fail_writes(0, 0, 0);
    for (int i = 0; i < VCPUS; i++) {
        char comm[32];

        snprintf(comm, sizeof(comm), "CPU %d/TCG\n", i);
        put_thread(PID, TID(i), comm, "/machine/another/vcpu0");
    }
    assert_int_equal(throttle_restore_all(&roots, see, &seen), -ESTALE);
    assert_int_equal(seen.result.failed, VCPUS);
    assert_int_equal(fake_cgwrite.writes, 0);
    assert_true(journal_exists());
}

static void tell_open(const char *uuid, bool open, void *opaque)
{
    assert_string_equal(uuid, UUID);
    *(int *)opaque = open;
}

static void journal_of_an_open_handle_is_left_to_it(void **state)
{
    struct throttle *t = open_domain();
    struct seen seen = {0};
    int open = -1;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    assert_int_equal(throttle_restore_all(&roots, see, &seen), -EBUSY);
    assert_int_equal(seen.calls, 1);
    assert_all_quotas(2000, 10000);
    assert_int_equal(throttle_list_journals(&roots, tell_open, &open), 0);
    assert_int_equal(open, 1);
    throttle_free(t);
    assert_int_equal(throttle_list_journals(&roots, tell_open, &open), 0);
    assert_int_equal(open, 0);
    assert_undone();
}

static void *free_soon(void *t)
{
    usleep(20000);
    throttle_free(t);
    return NULL;
}

static void next_handle_waits_for_the_one_before(void **state)
{
    struct throttle *t = open_domain(), *next;
    pthread_t thread;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    fail_writes(1, 1, -EIO);
    assert_int_equal(throttle_restore(t, true, NULL), -EIO);
    assert_int_equal(pthread_create(&thread, NULL, free_soon, t), 0);
    next = open_domain();
    pthread_join(thread, NULL);
    assert_all_quotas(-1, 100000);
    /* One whose final restore has worked is waited for no more. */
    assert_int_equal(throttle_restore(next, true, NULL), 0);
    t = open_domain();
    throttle_free(next);
    throttle_free(t);
}

/* Takes all descriptors there are, up to a limit that keeps this short; returns how many. */
static int take_descriptors(int fd[64])
{
    struct rlimit limit;
    int n = 0;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while (n < 64 && (fd[n] = open("/", O_PATH | O_CLOEXEC)) >= 0)
        n++;
    return n;
}

static void restore_needs_no_descriptor_that_others_could_take(void **state)
{
    struct throttle_result result;
    struct throttle *t = open_domain();
    int fd[64], n, all = -1, by_journal, by_handle;
    AUTO_FREE char *name = NULL;

    (void)state;
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    n = take_descriptors(fd);
    by_handle = throttle_restore(t, true, &result);
    while (n > 0)
        close(fd[--n]);
    assert_int_equal(by_handle, 0);
    throttle_free(t);
    assert_all_quotas(-1, 100000);

    crash(0.2);
    n = take_descriptors(fd);
    by_journal = throttle_restore_journal(&roots, UUID, &name, &result);
    all = throttle_list_journals(&roots, tell_open, &all);
    while (n > 0)
        close(fd[--n]);
    assert_int_equal(by_journal, 0);
    assert_int_equal(all, 0);
    assert_all_quotas(-1, 100000);
    assert_false(journal_exists());
}

#define QUOTA      "{\"quota_us\":-1,\"period_us\":100000}"
#define QUOTAS     "\"original\":" QUOTA ",\"applied\":" QUOTA ",\"previous\":" QUOTA
#define VCPU(path) "{\"index\":0,\"tid\":4252,\"path\":\"" path "\"," QUOTAS "}"
#define HEAD(version)                                                                              \
    "{\"version\":" version ",\"uuid\":\"" UUID "\",\"name\":\"vm1\",\"pid\":4242,"
#define START         "\"start_time\":777,\"cgroup_version\":1,\"vcpus\":["
#define JOURNAL(vcpu) HEAD("1") START vcpu "]}"

static void malformed_journal_is_kept_and_told(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        JOURNAL(VCPU("/machine/vcpu0")) "x",
        "{\"version\":1,\"uuid\":\"" OTHER_UUID
        "\",\"name\":\"vm1\",\"pid\":4242," START VCPU("/machine/vcpu0") "]}",
        HEAD("0") START VCPU("/machine/vcpu0") "]}",
        HEAD("1") "\"pid_namespace\":0," START VCPU("/machine/vcpu0") "]}",
        HEAD("\"1\"") START VCPU("/machine/vcpu0") "]}",
        HEAD("1") "\"start_time\":-1,\"cgroup_version\":1,\"vcpus\":[" VCPU("/machine/vcpu0") "]}",
        HEAD("1") "\"start_time\":777,\"cgroup_version\":3,\"vcpus\":[" VCPU("/machine/vcpu0") "]}",
        HEAD("1") "\"start_time\":777,\"cgroup_version\":1}",
        HEAD("1") "\"start_time\":777,\"cgroup_version\":1,\"vcpus\":{}}",
        JOURNAL(""),
        JOURNAL("7"),
        JOURNAL("null"),
        JOURNAL(VCPU("/machine/vcpu1")),
        JOURNAL(VCPU("/machine")),
        JOURNAL(VCPU("machine/vcpu0")),
        JOURNAL(VCPU("")),
        JOURNAL(VCPU("vcpu0")),
        JOURNAL(VCPU("/machine/../../vcpu0")),
        JOURNAL(VCPU("/machine/./vcpu0")),
        JOURNAL(VCPU("/..//vcpu0")),
        JOURNAL(VCPU("/machine/vcpu0\\u0000/x/vcpu0")),
        JOURNAL("{\"index\":0,\"tid\":4252,\"path\":\"/m/vcpu0\"}"),
        JOURNAL("{\"index\":0,\"tid\":1,\"path\":\"/m/vcpu0\"," QUOTAS "}"),
        JOURNAL("{\"index\":0,\"tid\":4252,\"path\":\"/m/vcpu0\",\"original\":" QUOTA
                ",\"applied\":" QUOTA ",\"previous\":{\"quota_us\":999,\"period_us\":100000}}"),
        JOURNAL("{\"index\":0,\"tid\":4252,\"path\":\"/m/vcpu0\",\"original\":{\"quota_us\":NaN,"
                "\"period_us\":100000},\"applied\":" QUOTA ",\"previous\":" QUOTA "}"),
    };
    struct throttle *t = NULL;

    (void)state;
    crash(0.2);
    fail_writes(0, 0, 0);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct seen seen = {0};

        put(in_tree("run/undo/" UUID ".json"), texts[i]);
        assert_int_equal(throttle_open(&roots, UUID, "vm1", PID, &t), -EBADMSG);
        assert_int_equal(throttle_restore_all(&roots, see, &seen), -EBADMSG);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -EBADMSG);
        assert_string_equal(seen.uuid, UUID);
        /* It is the only trace of what may be left to undo: the next restore must not succeed. */
        assert_int_equal(throttle_restore_all(&roots, NULL, NULL), -EBADMSG);
        assert_true(journal_exists());
    }
    assert_int_equal(fake_cgwrite.writes, 0);
    /* The skeleton of the texts is right: it is what is wrong with each that was found. */
    put(in_tree("run/undo/" UUID ".json"), JOURNAL(VCPU("/machine/vcpu0")));
    assert_int_not_equal(throttle_open(&roots, UUID, "vm1", PID, &t), -EBADMSG);
    throttle_free(t);
}

/* Agents of other versions: a later one may have been taken back. */
static void journal_of_another_version_is_kept_and_told(void **state)
{
    struct throttle *t = NULL;
    struct seen seen = {0};

    (void)state;
    crash(0.2);
    fail_writes(0, 0, 0);
    put(in_tree("run/undo/" UUID ".json"), HEAD("2") "\"unheard\":\"of\"}");
    for (int i = 0; i < 2; i++)
        assert_int_equal(throttle_restore_all(&roots, see, &seen), -EPROTONOSUPPORT);
    assert_int_equal(seen.error, -EPROTONOSUPPORT);
    assert_string_equal(seen.uuid, UUID);
    assert_int_equal(throttle_open(&roots, UUID, "vm1", PID, &t), -EPROTONOSUPPORT);
    assert_true(journal_exists());
    assert_int_equal(fake_cgwrite.writes, 0);
}

/* As agents of before wrote it, and with a field of agents to come. */
static void journal_with_fields_missing_or_unheard_of_is_undone(void **state)
{
    AUTO_FREE char *text = NULL, *rest = NULL;
    char *field;

    (void)state;
    crash(0.2);
    text = read_all(in_tree("run/undo/" UUID ".json"));
    field = strstr(text, "\"pid_namespace\"");
    assert_non_null(field);
    rest = strdup(strchr(field, ',') + 1);
    sprintf(field, "\"unheard\":[],");
    assert_true(asprintf(&field, "%s%s", text, rest) >= 0);
    put(in_tree("run/undo/" UUID ".json"), field);
    free(field);
    assert_int_equal(throttle_restore_all(&roots, NULL, NULL), 0);
    assert_all_quotas(-1, 100000);
    assert_false(journal_exists());
}

static void symlinks_and_strangers_are_not_followed(void **state)
{
    AUTO_FREE char *journal = in_tree("run/undo/" UUID ".json");
    AUTO_FREE char *target = in_tree("run/elsewhere.json");
    AUTO_FREE char *undo = in_tree("run/undo");
    AUTO_FREE char *moved = in_tree("run/moved");
    AUTO_FREE char *fifo = in_tree("run/undo/" OTHER_UUID ".json");
    struct seen seen = {0};

    (void)state;
    crash(0.2);
    fail_writes(0, 0, 0);
    assert_int_equal(rename(journal, target), 0);
    assert_int_equal(symlink(target, journal), 0);
    assert_int_equal(throttle_restore_all(&roots, see, &seen), -EBADMSG);
    assert_true(journal_exists());
    assert_true(exists(strdup(target)));
    assert_int_equal(unlink(journal), 0);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    put(in_tree("run/undo/..%s.json", UUID), "{}");
    assert_int_equal(throttle_restore_all(&roots, see, &seen), -EBADMSG);
    assert_int_equal(seen.calls, 3);
    assert_int_equal(unlink(fifo), 0);
    put(in_tree("run/undo/" OTHER_UUID ".json/file"), "");
    assert_int_equal(throttle_restore_all(&roots, see, &seen), -EBADMSG);
    assert_int_equal(seen.calls, 5);
    assert_int_equal(chmod(undo, 0777), 0);
    assert_int_equal(throttle_restore_all(&roots, see, &seen), -EPERM);
    assert_int_equal(chmod(undo, 0700), 0);
    assert_int_equal(rename(undo, moved), 0);
    assert_int_equal(symlink(moved, undo), 0);
    assert_true(throttle_restore_all(&roots, see, &seen) < 0);
    assert_int_equal(seen.calls, 5);
    assert_int_equal(fake_cgwrite.writes, 0);
}

static void journal_is_private(void **state)
{
    AUTO_FREE char *journal = in_tree("run/undo/" UUID ".json");
    AUTO_FREE char *undo = in_tree("run/undo");
    mode_t mask = umask(0);
    struct stat st;

    (void)state;
    crash(0.2);
    umask(mask);
    assert_int_equal(stat(journal, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(undo, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

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
        TEST(failed_restore_keeps_the_journal_for_the_next),
        TEST(vanished_groups_need_no_restore),
        TEST(value_of_another_writer_is_left_alone),
        TEST(foreign_period_does_not_keep_our_quota),
        TEST(moved_or_recycled_process_is_noticed),
        TEST(usage_is_summed_over_vcpus),
        TEST(journal_is_undone_after_a_crash),
        TEST(crash_between_any_two_writes_is_undone),
        TEST(leftover_is_undone_before_originals_are_read),
        TEST(recycled_pid_is_not_touched),
        TEST(journal_of_a_group_not_its_own_is_not_followed),
        TEST(malformed_journal_is_kept_and_told),
        TEST(symlinks_and_strangers_are_not_followed),
        TEST(nothing_is_gone_without_proc),
        TEST(nothing_is_gone_in_another_pid_namespace),
        TEST(group_that_its_thread_is_in_is_not_gone),
        TEST(group_without_the_controller_needs_no_restore),
        TEST(hidden_process_is_not_gone),
        TEST(journal_of_an_open_handle_is_left_to_it),
        TEST(next_handle_waits_for_the_one_before),
        TEST(restore_needs_no_descriptor_that_others_could_take),
        TEST(journal_of_another_version_is_kept_and_told),
        TEST(journal_with_fields_missing_or_unheard_of_is_undone),
        TEST(journal_is_private),
    };
    enum { LAYOUTS = sizeof(layouts) / sizeof(layouts[0]), TESTS = sizeof(tests) / sizeof(*tests) };
    struct CMUnitTest all[LAYOUTS * TESTS];
    char names[LAYOUTS * TESTS][128];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        all[i] = tests[i % TESTS];
        all[i].initial_state = (void *)(uintptr_t)&layouts[i / TESTS];
        snprintf(names[i], sizeof(names[i]), "%s: %s", layouts[i / TESTS].name, all[i].name);
        all[i].name = names[i];
    }
    return cmocka_run_group_tests(all, NULL, NULL);
}
