/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The throttle on the kernel's own cgroups, through libcgroup: a process that looks like a QEMU
 * with busy vCPUs is put in a scratch group and slowed. Skipped without permission to make one.
 */
#include "cgroup-throttle/cpuquota.h"
#include "cgroup-throttle/throttle.h"
#include "common/cleanup.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define UUID "6f1c9c1e-3a55-4b6e-9c0d-0123456789ab"

enum { VCPUS_MAX = 2 };

/* As systemd escapes "qemu-1-vm1". */
#define SCOPE "/machine-qemu\\x2d1\\x2dvm1.scope"

static struct cpu_mount cpu;
static char slice[40], vcpu_path[120];
static char run_dir[64];
static pid_t child;

static int put(const char *group, const char *file, const char *text)
{
    AUTO_FREE char *name = NULL;
    AUTO_CLOSE int fd = -1;

    assert_true(asprintf(&name, "%s%s%s/%s", cpu.point, slice, group, file) >= 0);
    fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static int make_group(const char *group)
{
    AUTO_FREE char *name = NULL;

    assert_true(asprintf(&name, "%s%s%s", cpu.point, slice, group) >= 0);
    return mkdir(name, 0755) < 0 ? -errno : 0;
}

static void remove_group(const char *group)
{
    AUTO_FREE char *name = NULL;

    assert_true(asprintf(&name, "%s%s%s", cpu.point, slice, group) >= 0);
    /* The kernel may need a moment to see the group empty. */
    for (int i = 0; i < 6000 && rmdir(name) < 0 && errno == EBUSY; i++)
        usleep(10000);
}

/* What a thread tells: they come in any order. */
struct vcpu {
    unsigned index;
    pid_t tid;
};

static void *spin(void *opaque)
{
    struct vcpu *vcpu = opaque;
    char name[16];

    vcpu->tid = gettid();
    snprintf(name, sizeof(name), "CPU %u/TCG", vcpu->index % VCPUS_MAX);
    prctl(PR_SET_NAME, name);
    if (write(STDOUT_FILENO, vcpu, sizeof(*vcpu)) == sizeof(*vcpu))
        for (volatile unsigned int i = 0;; i++)
            ;
    return NULL;
}

/* What the child runs: tells the ids of its busy threads on standard output. */
static int be_qemu(unsigned vcpus)
{
    static struct vcpu vcpu[VCPUS_MAX];
    pthread_t thread;

    if (vcpus == 0)
        return 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < vcpus && i < VCPUS_MAX; i++) {
        vcpu[i].index = i;
        if (pthread_create(&thread, NULL, spin, &vcpu[i]) != 0)
            return 1;
    }
    pthread_join(thread, NULL);
    return 1;
}

static void start_qemu(unsigned vcpus, pid_t *ret_tid)
{
    char count[2] = {(char)('0' + vcpus), '\0'};
    int pipe_fd[2];

    assert_int_equal(pipe(pipe_fd), 0);
    child = fork();
    if (child == 0) {
        dup2(pipe_fd[1], STDOUT_FILENO);
        execl("/proc/self/exe", "qemu-pretended", "-uuid", UUID, count, (char *)NULL);
        _exit(127);
    }
    close(pipe_fd[1]);
    for (unsigned i = 0; i < vcpus; i++) {
        struct vcpu vcpu;

        assert_int_equal(read(pipe_fd[0], &vcpu, sizeof(vcpu)), sizeof(vcpu));
        ret_tid[vcpu.index] = vcpu.tid;
    }
    close(pipe_fd[0]);
}

/* The groups as systemd and libvirt make them, in a slice of our own. */
static bool make_groups(void)
{
    if (cpu_mount_find("/proc", 1, "/x", &cpu) < 0 && cpu_mount_find("/proc", 2, "/x", &cpu) < 0)
        return false;
    snprintf(slice, sizeof(slice), "/migpolicy%d.slice", (int)getpid());
    snprintf(vcpu_path, sizeof(vcpu_path), "%s" SCOPE "/libvirt/vcpu0", slice);
    return make_group("") == 0 && make_group(SCOPE) == 0 && make_group(SCOPE "/libvirt") == 0;
}

static int place_vcpu(unsigned vcpu, pid_t tid)
{
    char group[60], tid_text[16];
    int r;

    snprintf(group, sizeof(group), SCOPE "/libvirt/vcpu%u", vcpu);
    snprintf(tid_text, sizeof(tid_text), "%d", (int)tid);
    r = make_group(group);
    if (r < 0 || cpu.version == 1)
        return r < 0 ? r : put(group, "tasks", tid_text);
    r = put(group, "cgroup.type", "threaded");
    if (r == 0)
        r = put("", "cgroup.subtree_control", "+cpu");
    if (r == 0)
        r = put(SCOPE, "cgroup.subtree_control", "+cpu");
    if (r == 0)
        r = put(SCOPE "/libvirt", "cgroup.subtree_control", "+cpu");
    return r < 0 ? r : put(group, "cgroup.threads", tid_text);
}

/* false: not here. */
static bool make_guest(unsigned vcpus)
{
    pid_t tid[VCPUS_MAX];
    char pid_text[16];
    int r;

    if (!make_groups())
        return false;
    start_qemu(vcpus, tid);
    snprintf(pid_text, sizeof(pid_text), "%d", (int)child);
    r = put(SCOPE "/libvirt", "cgroup.procs", pid_text);
    for (unsigned i = 0; r == 0 && i < vcpus; i++)
        r = place_vcpu(i, tid[i]);
    return r == 0;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(run_dir, P_tmpdir "/test-throttle-real-XXXXXX");
    return mkdtemp(run_dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    char undo[sizeof(run_dir) + 8];

    (void)state;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    if (cpu.point) {
        remove_group(SCOPE "/libvirt/vcpu0");
        remove_group(SCOPE "/libvirt/vcpu1");
        remove_group(SCOPE "/libvirt");
        remove_group(SCOPE);
        remove_group("");
    }
    snprintf(undo, sizeof(undo), "%s/undo", run_dir);
    rmdir(undo);
    cpu_mount_clear(&cpu);
    return rmdir(run_dir);
}

static double measure_speed(struct throttle *t)
{
    struct timespec before, after;
    uint64_t used_before = 0, used_after = 0;

    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(throttle_usage_ns(t, 0, &used_before), 0);
    usleep(600000);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_int_equal(throttle_usage_ns(t, 0, &used_after), 0);
    return (double)(used_after - used_before) / ((double)(after.tv_sec - before.tv_sec) * 1e9 +
                                                 (double)(after.tv_nsec - before.tv_nsec));
}

static void busy_vcpu_is_slowed_and_released(void **state)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct cpu_quota original, now;
    struct throttle_result result;
    struct throttle *t = NULL;
    double full, slowed, released;

    (void)state;
    if (!make_guest(1))
        skip();
    assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &original), 0);
    assert_int_equal(throttle_open(&roots, UUID, "real", child, &t), 0);
    full = measure_speed(t);

    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
    assert_int_equal(now.quota_us, 2000);
    assert_int_equal(now.period_us, 10000);
    slowed = measure_speed(t);

    assert_int_equal(throttle_set(t, 0.05, 100000), 0);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.restored, 1);
    assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
    assert_true(cpu_quota_equal(&now, &original));
    released = measure_speed(t);
    throttle_free(t);
    print_message("# cgroup v%d: full %.3f, at 20%% %.3f, released %.3f\n", cpu.version, full,
                  slowed, released);
    assert_true(slowed < 0.27);
}

static void vanished_group_is_success(void **state)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct throttle_result result;
    struct throttle *t = NULL;

    (void)state;
    if (!make_guest(1))
        skip();
    assert_int_equal(throttle_open(&roots, UUID, "real", child, &t), 0);
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    child = 0;
    assert_int_equal(throttle_set(t, 0.3, 10000), -ENOENT);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.gone, 1);
    throttle_free(t);
}

/* A guest as a dead agent leaves it; false: not here. */
static bool leave_throttled(void)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct throttle *t = NULL;

    if (!make_guest(1))
        return false;
    assert_int_equal(throttle_open(&roots, UUID, "real", child, &t), 0);
    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    throttle_free(t);
    return true;
}

static bool journal_exists(void)
{
    AUTO_FREE char *name = NULL;

    assert_true(asprintf(&name, "%s/undo/" UUID ".json", run_dir) >= 0);
    return access(name, F_OK) == 0;
}

/* Ways not to see what is there. Each returns false where it cannot be had. */

static bool without_proc(void)
{
    return mount("none", "/proc", "tmpfs", 0, NULL) == 0;
}

static bool with_hidepid(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];

    if (mount("proc", "/proc", "proc", 0, "hidepid=2,gid=65534") < 0 ||
        syscall(SYS_capget, &header, caps) < 0)
        return false;
    /* As in the unit: else root sees everything. */
    caps[0].effective &= ~(1U << CAP_SYS_PTRACE);
    caps[0].permitted &= ~(1U << CAP_SYS_PTRACE);
    return syscall(SYS_capset, &header, caps) == 0;
}

static bool without_cgroups(void)
{
    return mount("none", cpu.point, "tmpfs", 0, NULL) == 0;
}

static bool with_read_only_cgroups(void)
{
    return mount(NULL, cpu.point, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0;
}

/* What the library opens is counted among those that it has: it gets along with those it keeps. */
static bool without_descriptors(void)
{
    struct rlimit none = {3, 3};

    return setrlimit(RLIMIT_NOFILE, &none) == 0;
}

/* Returns as its second process: the first only waits for it. */
static bool in_another_pid_namespace(void)
{
    pid_t pid;
    int status = 0;

    if (unshare(CLONE_NEWPID) < 0 || (pid = fork()) < 0)
        return false;
    if (pid > 0) {
        waitpid(pid, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    return mount("proc", "/proc", "proc", 0, NULL) == 0;
}

enum { KEPT, LOST, NOT_HERE };

static int restore_in(bool (*world)(void), int error)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            !world())
            _exit(NOT_HERE);
        _exit(throttle_restore_all(&roots, NULL, NULL) == error && journal_exists() ? KEPT : LOST);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void what_cannot_be_seen_or_written_is_not_taken_for_gone(void **state)
{
    static const struct {
        const char *name;
        bool (*see)(void);
        int error;
    } worlds[] = {
        {"no /proc", without_proc, -ENODATA},
        {"hidepid", with_hidepid, -ENODATA},
        {"no cgroups", without_cgroups, -ENODATA},
        {"another pid namespace", in_another_pid_namespace, -ENODATA},
        {"read-only cgroups", with_read_only_cgroups, -EROFS},
        {"no descriptors", without_descriptors, -EMFILE},
    };
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct cpu_quota now;

    (void)state;
    if (!leave_throttled())
        skip();
    for (size_t i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++) {
        int seen = restore_in(worlds[i].see, worlds[i].error);

        if (seen == NOT_HERE)
            print_message("# %s: not to be had here\n", worlds[i].name);
        else if (seen != KEPT)
            fail_msg("%s: the journal is lost, or it is another error", worlds[i].name);
    }
    assert_int_equal(throttle_restore_all(&roots, NULL, NULL), 0);
    assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
    assert_int_equal(now.quota_us, -1);
    assert_false(journal_exists());
}

/* A group may have no more than those above it, but only version 1 minds, and when it is written.
 */
static void group_tightened_above_does_not_keep_the_guest_slow(void **state)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct cpu_quota now;

    (void)state;
    if (!make_guest(1))
        skip();
    if (cpu.version != 1)
        return; /* a group of cgroup v2 may be given more than those above it */
    for (int shorter = 0; shorter < 2; shorter++) {
        const char *period = shorter ? "5000" : "100000", *quota = shorter ? "2500" : "50000";
        struct throttle *t = NULL;

        assert_int_equal(put(SCOPE "/libvirt/vcpu0", "cpu.cfs_period_us", period), 0);
        assert_int_equal(put(SCOPE "/libvirt/vcpu0", "cpu.cfs_quota_us", quota), 0);
        assert_int_equal(throttle_open(&roots, UUID, "real", child, &t), 0);
        assert_int_equal(throttle_set(t, 0.3, 10000), 0);
        assert_int_equal(put(SCOPE, "cpu.cfs_quota_us", "20000"), 0);

        /* By the handle, and again by the journal. */
        assert_int_equal(throttle_restore(t, true, NULL), -EINVAL);
        throttle_free(t);
        assert_int_equal(throttle_restore_all(&roots, NULL, NULL), -EINVAL);
        assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
        assert_int_equal(now.quota_us, -1);
        assert_true(journal_exists());

        assert_int_equal(put(SCOPE, "cpu.cfs_quota_us", "-1"), 0);
        assert_int_equal(throttle_restore_all(&roots, NULL, NULL), 0);
        assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
        assert_int_equal(now.quota_us, atoi(quota));
        assert_int_equal(now.period_us, atoi(period));
        assert_false(journal_exists());
    }
}

/* As libvirt's global_quota: two busy vCPUs under 0.1 CPUs, which any machine has, get about 0.05
   each, and a fifth of that is 0.01. */
static void a_share_is_of_what_a_limit_above_leaves_to_each(void **state)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct cpu_quota now;
    struct throttle *t = NULL;
    double cpus = 1;

    (void)state;
    if (!make_guest(2))
        skip();
    assert_int_equal(cpu.version == 1 ? put(SCOPE, "cpu.cfs_quota_us", "10000")
                                      : put(SCOPE, "cpu.max", "10000 100000"),
                     0);
    assert_int_equal(throttle_open(&roots, UUID, "real", child, &t), 0);
    for (int i = 0; i < 600 && cpus > 0.085; i++) {
        cpus = throttle_allowance(t, monotonic_ns());
        usleep(100000);
    }
    print_message("# two vCPUs under 0.1 CPUs can use %.3f each\n", cpus);
    assert_true(cpus <= 0.085);
    assert_int_equal(throttle_set(t, 0.2, 100000), 0);
    assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
    assert_true(now.quota_us * 1000 <= now.period_us * 17);
    assert_int_equal(throttle_restore(t, true, NULL), 0);
    assert_int_equal(cpu_quota_read(&cpu, vcpu_path, &now), 0);
    assert_int_equal(now.quota_us, -1);
    throttle_free(t);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(busy_vcpu_is_slowed_and_released, set_up, tear_down),
        cmocka_unit_test_setup_teardown(vanished_group_is_success, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_seen_or_written_is_not_taken_for_gone,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(group_tightened_above_does_not_keep_the_guest_slow, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_share_is_of_what_a_limit_above_leaves_to_each, set_up,
                                        tear_down),
    };

    if (argc == 4 && strcmp(argv[1], "-uuid") == 0)
        return be_qemu((unsigned)(argv[3][0] - '0'));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
