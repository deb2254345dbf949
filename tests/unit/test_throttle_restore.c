/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is restored from journals after a crash, and what is not touched. */
#include "common/cleanup.h"
#include "fake_cgwrite.h"
#include "throttle_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

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
    if (geteuid() == 0) {
        assert_int_equal(chown(undo, 65534, 65534), 0);
        assert_int_equal(throttle_restore_all(&roots, see, &seen), -EPERM);
        assert_int_equal(chown(undo, 0, 0), 0);
    }
    assert_int_equal(rename(undo, moved), 0);
    assert_int_equal(symlink(moved, undo), 0);
    assert_true(throttle_restore_all(&roots, see, &seen) < 0);
    assert_int_equal(seen.calls, 5);
    assert_int_equal(fake_cgwrite.writes, 0);
}

static void what_was_being_written_when_an_agent_died_is_removed(void **state)
{
    struct seen seen = {0};

    (void)state;
    crash(0.2);
    put(in_tree("run/undo/" UUID ".json.tmp"), "{");
    put(in_tree("run/undo/" OTHER_UUID ".json.tmp"), "{");
    assert_int_equal(throttle_restore_all(&roots, see, &seen), 0);
    assert_int_equal(seen.calls, 1);
    assert_false(journal_exists());
    assert_false(exists(in_tree("run/undo/" UUID ".json.tmp")));
    assert_false(exists(in_tree("run/undo/" OTHER_UUID ".json.tmp")));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        TEST(what_was_being_written_when_an_agent_died_is_removed),
        TEST(journal_is_private),
    };

    return run_on_layouts(tests, sizeof(tests) / sizeof(tests[0]));
}
