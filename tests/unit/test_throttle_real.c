/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The throttle on the kernel's own cgroups, through libcgroup: a process that looks like a QEMU
 * with one busy vCPU is put in a scratch group and slowed. Skipped without permission to make one.
 */
#include "cgroup-throttle/cpuquota.h"
#include "cgroup-throttle/throttle.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define UUID "6f1c9c1e-3a55-4b6e-9c0d-0123456789ab"

/* As systemd escapes "qemu-1-vm1". */
#define SCOPE "/machine-qemu\\x2d1\\x2dvm1.scope"

static struct cpu_mount mount;
static char slice[40], vcpu_path[120];
static char run_dir[64];
static pid_t child;

static int put(const char *group, const char *file, const char *text)
{
    AUTO_FREE char *name = NULL;
    AUTO_CLOSE int fd = -1;

    assert_true(asprintf(&name, "%s%s%s/%s", mount.point, slice, group, file) >= 0);
    fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static int make_group(const char *group)
{
    AUTO_FREE char *name = NULL;

    assert_true(asprintf(&name, "%s%s%s", mount.point, slice, group) >= 0);
    return mkdir(name, 0755) < 0 ? -errno : 0;
}

static void remove_group(const char *group)
{
    AUTO_FREE char *name = NULL;

    assert_true(asprintf(&name, "%s%s%s", mount.point, slice, group) >= 0);
    /* The kernel may need a moment to see the group empty. */
    for (int i = 0; i < 6000 && rmdir(name) < 0 && errno == EBUSY; i++)
        usleep(10000);
}

static void *spin(void *fd)
{
    pid_t tid = gettid();

    prctl(PR_SET_NAME, "CPU 0/TCG");
    if (write(*(int *)fd, &tid, sizeof(tid)) == sizeof(tid))
        for (volatile unsigned int i = 0;; i++)
            ;
    return NULL;
}

/* What the child runs: tells the id of its busy thread on standard output. */
static int be_qemu(void)
{
    int out = STDOUT_FILENO;
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (pthread_create(&thread, NULL, spin, &out) == 0)
        pthread_join(thread, NULL);
    return 1;
}

static pid_t start_qemu(void)
{
    int pipe_fd[2];
    pid_t tid = 0;

    assert_int_equal(pipe(pipe_fd), 0);
    child = fork();
    if (child == 0) {
        dup2(pipe_fd[1], STDOUT_FILENO);
        execl("/proc/self/exe", "qemu-pretended", "-uuid", UUID, (char *)NULL);
        _exit(127);
    }
    close(pipe_fd[1]);
    assert_int_equal(read(pipe_fd[0], &tid, sizeof(tid)), sizeof(tid));
    close(pipe_fd[0]);
    return tid;
}

/* The groups as systemd and libvirt make them, in a slice of our own. */
static bool make_groups(void)
{
    if (cpu_mount_find("/proc", 1, "/x", &mount) < 0 &&
        cpu_mount_find("/proc", 2, "/x", &mount) < 0)
        return false;
    snprintf(slice, sizeof(slice), "/migpolicy%d.slice", (int)getpid());
    snprintf(vcpu_path, sizeof(vcpu_path), "%s" SCOPE "/libvirt/vcpu0", slice);
    return make_group("") == 0 && make_group(SCOPE) == 0 && make_group(SCOPE "/libvirt") == 0;
}

static int place_vcpu(pid_t tid)
{
    char pid_text[16], tid_text[16];
    int r;

    snprintf(pid_text, sizeof(pid_text), "%d", (int)child);
    snprintf(tid_text, sizeof(tid_text), "%d", (int)tid);
    r = put(SCOPE "/libvirt", "cgroup.procs", pid_text);
    if (r == 0)
        r = make_group(SCOPE "/libvirt/vcpu0");
    if (r < 0 || mount.version == 1)
        return r < 0 ? r : put(SCOPE "/libvirt/vcpu0", "tasks", tid_text);
    r = put(SCOPE "/libvirt/vcpu0", "cgroup.type", "threaded");
    if (r == 0)
        r = put("", "cgroup.subtree_control", "+cpu");
    if (r == 0)
        r = put(SCOPE, "cgroup.subtree_control", "+cpu");
    if (r == 0)
        r = put(SCOPE "/libvirt", "cgroup.subtree_control", "+cpu");
    return r < 0 ? r : put(SCOPE "/libvirt/vcpu0", "cgroup.threads", tid_text);
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
    if (mount.point) {
        remove_group(SCOPE "/libvirt/vcpu0");
        remove_group(SCOPE "/libvirt");
        remove_group(SCOPE);
        remove_group("");
    }
    snprintf(undo, sizeof(undo), "%s/undo", run_dir);
    rmdir(undo);
    cpu_mount_clear(&mount);
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
    if (!make_groups() || place_vcpu(start_qemu()) < 0)
        skip();
    assert_int_equal(cpu_quota_read(&mount, vcpu_path, &original), 0);
    assert_int_equal(throttle_open(&roots, UUID, "real", child, &t), 0);
    full = measure_speed(t);

    assert_int_equal(throttle_set(t, 0.2, 10000), 0);
    assert_int_equal(cpu_quota_read(&mount, vcpu_path, &now), 0);
    assert_int_equal(now.quota_us, 2000);
    assert_int_equal(now.period_us, 10000);
    slowed = measure_speed(t);

    assert_int_equal(throttle_set(t, 0.05, 100000), 0);
    assert_int_equal(throttle_restore(t, true, &result), 0);
    assert_int_equal(result.restored, 1);
    assert_int_equal(cpu_quota_read(&mount, vcpu_path, &now), 0);
    assert_true(cpu_quota_equal(&now, &original));
    released = measure_speed(t);
    throttle_free(t);
    print_message("# cgroup v%d: full %.3f, at 20%% %.3f, released %.3f\n", mount.version, full,
                  slowed, released);
    assert_true(slowed < 0.27);
}

static void vanished_group_is_success(void **state)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = run_dir};
    struct throttle_result result;
    struct throttle *t = NULL;

    (void)state;
    if (!make_groups() || place_vcpu(start_qemu()) < 0)
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(busy_vcpu_is_slowed_and_released, set_up, tear_down),
        cmocka_unit_test_setup_teardown(vanished_group_is_success, set_up, tear_down),
    };

    if (argc == 3 && strcmp(argv[1], "-uuid") == 0)
        return be_qemu();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
