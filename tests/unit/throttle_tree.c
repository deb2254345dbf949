/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "throttle_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "fake_cgwrite.h"

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

const struct layout *layout;
char *tree;
struct throttle_roots roots;

/* ---- the tree ---- */

char *in_tree(const char *format, ...)
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

void put(char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

char *vcpu_file(int vcpu, const char *file)
{
    return in_tree("%s%s/vcpu%d/%s", layout->mount_dir, layout->base, vcpu, file);
}

void put_quota_in(const char *group, int64_t quota_us, int64_t period_us)
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

void put_quota(int vcpu, int64_t quota_us, int64_t period_us)
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
char *read_all(char *path)
{
    AUTO_FREE char *name = path;
    AUTO_FCLOSE FILE *f = fopen(name, "re");
    char *text = calloc(1, 65536);

    assert_non_null(f);
    assert_non_null(text);
    assert_true(fread(text, 1, 65535, f) > 0);
    return text;
}

struct cpu_quota get_quota(int vcpu)
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

void assert_quota(int vcpu, int64_t quota_us, int64_t period_us)
{
    struct cpu_quota q = get_quota(vcpu);

    assert_int_equal(q.quota_us, quota_us);
    assert_int_equal(q.period_us, period_us);
}

void assert_all_quotas(int64_t quota_us, int64_t period_us)
{
    for (int i = 0; i < VCPUS; i++)
        assert_quota(i, quota_us, period_us);
}

void put_thread(pid_t pid, pid_t tid, const char *comm, const char *group)
{
    AUTO_FREE char *lines = NULL;

    assert_true(
        asprintf(&lines, "%s%s:%s%s\n", layout->cgroup_lines, layout->version == 1 ? "1:cpu" : "0:",
                 strcmp(layout->mount_root, "/") == 0 ? "" : layout->mount_root, group) >= 0);
    put(in_tree("proc/%d/task/%d/comm", pid, tid), comm);
    put(in_tree("proc/%d/task/%d/cgroup", pid, tid), lines);
    put(in_tree("proc/%d/task/%d/schedstat", pid, tid), "5000000 7 9\n");
}

void put_vcpu_group(int vcpu, const char *threads)
{
    put(vcpu_file(vcpu, layout->version == 1 ? "tasks" : "cgroup.threads"), threads);
}

void put_process(pid_t pid, const char *uuid, uint64_t start_time)
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

void put_domain(void)
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

void remove_tree(char *path)
{
    AUTO_FREE char *name = path;

    assert_int_equal(nftw(name, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int set_up(void **state)
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

int tear_down(void **state)
{
    (void)state;
    remove_tree(tree);
    return 0;
}

struct throttle *open_domain(void)
{
    struct throttle *t = NULL;

    assert_int_equal(throttle_open(&roots, UUID, "vm1", PID, &t), 0);
    return t;
}

int try_open(void)
{
    struct throttle *t = NULL;
    int r = throttle_open(&roots, UUID, "vm1", PID, &t);

    assert_int_equal(fake_cgwrite.writes, 0);
    assert_true((r == 0) == (t != NULL));
    throttle_free(t);
    return r;
}

bool exists(char *path)
{
    AUTO_FREE char *name = path;

    return faccessat(AT_FDCWD, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool journal_exists(void)
{
    return exists(in_tree("run/undo/" UUID ".json"));
}

void fail_writes(unsigned int from, unsigned int to, int error)
{
    fake_cgwrite.writes = 0;
    fake_cgwrite.fail_from = from;
    fake_cgwrite.fail_to = to;
    fake_cgwrite.error = error;
}

int run_on_layouts(const struct CMUnitTest *tests, size_t count)
{
    enum { LAYOUTS = sizeof(layouts) / sizeof(layouts[0]), TESTS_MAX = 64 };
    struct CMUnitTest all[LAYOUTS * TESTS_MAX] = {0};
    char names[LAYOUTS * TESTS_MAX][128];

    assert_true(count <= TESTS_MAX);
    for (size_t i = 0; i < LAYOUTS * count; i++) {
        all[i] = tests[i % count];
        all[i].initial_state = (void *)(uintptr_t)&layouts[i / count];
        snprintf(names[i], sizeof(names[i]), "%s: %s", layouts[i / count].name, all[i].name);
        all[i].name = names[i];
    }
    return _cmocka_run_group_tests("throttle", all, LAYOUTS * count, NULL, NULL);
}
