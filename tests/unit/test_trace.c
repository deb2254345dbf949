/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/record/trace.h"
#include "common/cleanup.h"
#include "common/units.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s", "/tmp/test-trace-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

/* Calls fn with the path of each trace, oldest first; returns how many. */
static int each_trace(void (*fn)(const char *path))
{
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, alphasort);
    int found = 0;

    for (int i = 0; i < n; i++) {
        char path[400];

        snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            found++;
            if (fn)
                fn(path);
        }
        free(entries[i]);
    }
    free(entries);
    return found;
}

static void remove_path(const char *path)
{
    unlink(path);
}

static int remove_dir(void **state)
{
    (void)state;
    each_trace(remove_path);
    return rmdir(dir);
}

static void end(struct traces *ts)
{
    assert_true(traces_stop(ts));
    traces_free(ts);
}

static struct hv_domain domain_number(unsigned n)
{
    struct hv_domain d = {.name = "vm"};

    snprintf(d.uuid, sizeof(d.uuid), "00000000-0000-4000-8000-%012x", n);
    return d;
}

static struct policy some_policy(void)
{
    struct policy policy;
    struct policy_layer layer = {0};

    policy_init(&policy);
    assert_int_equal(policy_layer_set(&layer, POLICY_MAX_DOWNTIME, "1500ms", NULL), 0);
    assert_int_equal(policy_layer_set(&layer, POLICY_ALLOW_THROTTLE, "yes", NULL), 0);
    policy_merge(&policy, &layer, "a \"source\"");
    policy_finish(&policy);
    return policy;
}

static struct trace_step full_step(void)
{
    struct trace_step step = {
        .sample = {.now_ns = 5 * NS_PER_S,
                   .sync_ns = 4 * NS_PER_S,
                   .at_sync = true,
                   .elapsed_ns = 7,
                   .iteration = 3,
                   .total_bytes = 1 << 30,
                   .processed_bytes = 11,
                   .remaining_bytes = 12,
                   .disk_total_bytes = 13,
                   .disk_remaining_bytes = 14,
                   .downtime_limit_ns = 15,
                   .expected_downtime_ns = 16,
                   .flush_ns = 17,
                   .auto_converge_percent = 20,
                   .post_copy = true,
                   .cpu_share = 0.1,
                   .cpu_allowance = 0.25,
                   .vcpus = 3,
                   .vcpu_time_ns = {1, 0, 3}},
        .verdict = VERDICT_NEEDS_HELP,
        .reason = REASON_BOTH_SUFFICE,
        .apply = true,
        .n_actions = 2,
        .action = {{.kind = ACTION_DOWNTIME, .reason = REASON_BOTH_SUFFICE, .downtime_ns = 42},
                   {.kind = ACTION_THROTTLE,
                    .reason = REASON_BOTH_SUFFICE,
                    .share = 1.0 / 3,
                    .period_us = 10000}},
        .result = {TRACE_FAILED, TRACE_APPLIED},
    };

    return step;
}

static void parse(const char *text, size_t len, struct trace_line *line)
{
    struct error err;

    if (trace_parse(text, len, line, &err) < 0)
        fail_msg("%s: %.*s", err.text, (int)len, text);
}

static void every_kind_of_line_is_read_as_it_was_written(void **state)
{
    struct trace_line lines[] = {
        {.kind = TRACE_HEADER,
         .header =
             {.vm = "a\"b", .uuid = "u", .started = "t", .poll_ns = 5, .policy = some_policy()}},
        {.kind = TRACE_PRIOR,
         .prior = {.points = 2,
                   .point = {{1.5, 5e6, 1}, {0.1, 4096, 0.25}},
                   .first = {2, 7e6, 1},
                   .plateau = true}},
        {.kind = TRACE_STEP, .step = full_step()},
        {.kind = TRACE_STEP, .step = {.sample.cpu_share = 1}},
        {.kind = TRACE_POLICY, .policy = some_policy()},
        {.kind = TRACE_LATCH, .latch = {ACTION_SUSPEND, REASON_OTHER_WRITER}},
        {.kind = TRACE_END, .end = {"completed", 1.5, 0.25, 1e-3, true}},
    };
    char text[TRACE_LINE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct trace_line read;
        int len = trace_format(&lines[i], text);

        assert_true(len > 1);
        assert_int_equal(text[len - 1], '\n');
        parse(text, (size_t)len - 1, &read);
        assert_int_equal(read.kind, lines[i].kind);
        if (read.kind == TRACE_STEP) {
            assert_memory_equal(&read.step.sample, &lines[i].step.sample, sizeof(struct sample));
            assert_memory_equal(read.step.action, lines[i].step.action, sizeof(read.step.action));
            assert_memory_equal(read.step.result, lines[i].step.result, sizeof(read.step.result));
            assert_int_equal(read.step.verdict, lines[i].step.verdict);
            assert_int_equal(read.step.reason, lines[i].step.reason);
            assert_int_equal(read.step.apply, lines[i].step.apply);
        } else if (read.kind == TRACE_POLICY) {
            assert_memory_equal(&read.policy.values, &lines[i].policy.values,
                                sizeof(read.policy.values));
            assert_string_equal(read.policy.source[POLICY_MAX_DOWNTIME], "a \"source\"");
        } else if (read.kind == TRACE_HEADER) {
            assert_string_equal(read.header.vm, "a?b");
            assert_int_equal(read.header.poll_ns, 5);
        } else if (read.kind == TRACE_PRIOR) {
            assert_memory_equal(&read.prior, &lines[i].prior, sizeof(read.prior));
        } else if (read.kind == TRACE_LATCH) {
            assert_int_equal(read.latch.reason, REASON_OTHER_WRITER);
            assert_int_equal(read.latch.action, ACTION_SUSPEND);
        } else {
            assert_string_equal(read.end.outcome, "completed");
            assert_true(read.end.duration_s == 1.5 && read.end.truncated);
        }
    }
}

static void all_vcpus_there_can_be_fit_into_a_line(void **state)
{
    struct trace_line line = {.kind = TRACE_STEP, .step = full_step()};
    char text[TRACE_LINE_MAX];

    (void)state;
    line.step.sample.vcpus = SAMPLE_VCPUS_MAX;
    for (unsigned i = 0; i < SAMPLE_VCPUS_MAX; i++)
        line.step.sample.vcpu_time_ns[i] = INT64_C(1) << 59;
    line.step.sample.total_bytes = UINT64_MAX;
    assert_true(trace_format(&line, text) > 0);
    parse(text, strlen(text) - 1, &line);
    assert_int_equal(line.step.sample.total_bytes, UINT64_C(1) << 60);
}

static void a_name_that_is_no_utf8_does_not_spoil_the_trace(void **state)
{
    struct trace_line line = {.kind = TRACE_HEADER, .header.vm = "caf\xc3"};
    struct trace_line umlaut = {.kind = TRACE_HEADER, .header.vm = "caf\xc3\xa9"};
    char text[TRACE_LINE_MAX];

    (void)state;
    policy_init(&line.header.policy);
    policy_init(&umlaut.header.policy);
    assert_true(trace_format(&line, text) > 0);
    parse(text, strlen(text) - 1, &line);
    assert_string_equal(line.header.vm, "caf?");
    assert_true(trace_format(&umlaut, text) > 0);
    parse(text, strlen(text) - 1, &line);
    assert_string_equal(line.header.vm, "caf\xc3\xa9");
}

static void hostile_lines_are_refused_with_a_reason(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "3",
        "{}",
        "{\"trace\":2}",
        "{\"latch\":\"rm -rf\"}",
        "{\"latch\":\"deadline\",\"action\":\"rm -rf\"}",
        "{\"latch\":\"deadline\"}",
        "{\"latch\":3}",
        "{\"sample\":{},\"decision\":{}}",
        "{\"sample\":{\"now_ns\":1e300},\"decision\":{\"verdict\":\"done\",\"reason\":\"none\"}}",
        /* NOLINTNEXTLINE(bugprone-suspicious-missing-comma): one line in two */
        "{\"sample\":{\"now_ns\":9223372036854775807},\"decision\":{\"verdict\":\"done\","
        "\"reason\":\"none\"}}",
        "{\"sample\":{\"total_bytes\":-1},\"decision\":{\"verdict\":\"done\",\"reason\":\"none\"}}",
        "{\"sample\":{\"cpu_share\":2},\"decision\":{\"verdict\":\"done\",\"reason\":\"none\"}}",
        "{\"sample\":{\"vcpus\":9},\"decision\":{\"verdict\":\"done\",\"reason\":\"none\"}}",
        "{\"sample\":{},\"decision\":{\"verdict\":\"done\",\"reason\":\"none\",\"actions\":"
        "[{},{},{},{},{}]}}",
        "{\"end\":{\"outcome\":\"Lost!\"}}",
        "{\"end\":{\"outcome\":\"a\",\"more\":1}}",
        "{\"policy\":{\"max_downtime\":3},\"sources\":{}}",
        "{\"policy\":{}}",
    };
    struct trace_line line = {.kind = TRACE_LATCH};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {""};

        if (trace_parse(bad[i], strlen(bad[i]), &line, &err) == 0)
            fail_msg("accepted: %s", bad[i]);
        assert_true(err.text[0] && !strchr(err.text, '\n'));
        assert_int_equal(line.kind, TRACE_LATCH);
    }
}

/* ---- the files ---- */

enum { PATIENCE_MS = 240000 };

static unsigned steps_seen, ends_seen, policies_seen, truncated_seen;

static void count_lines(const char *path)
{
    FILE *f AUTO_FCLOSE = fopen(path, "r");
    char text[TRACE_LINE_MAX];
    bool first = true;

    assert_non_null(f);
    while (fgets(text, sizeof(text), f)) {
        struct trace_line line;

        parse(text, strlen(text) - 1, &line);
        assert_int_equal(line.kind == TRACE_HEADER, first);
        first = false;
        steps_seen += line.kind == TRACE_STEP;
        ends_seen += line.kind == TRACE_END;
        policies_seen += line.kind == TRACE_POLICY;
        truncated_seen += line.kind == TRACE_END && line.end.truncated;
    }
}

static int count_all(void)
{
    steps_seen = ends_seen = policies_seen = truncated_seen = 0;
    return each_trace(count_lines);
}

/* Records migrations of so many steps, one after another. */
static void record(const struct trace_limits *limits, unsigned migrations, unsigned steps)
{
    struct policy policy = some_policy();
    struct trace_step step = full_step();
    struct traces *ts;

    assert_int_equal(traces_new(dir, limits, &ts), 0);
    for (unsigned i = 0; i < migrations; i++) {
        struct hv_domain domain = domain_number(i);
        struct trace *t = trace_start(ts, &domain, 0, 1, &policy);

        assert_non_null(t);
        for (unsigned k = 0; k < steps; k++)
            trace_step(t, &step);
        trace_end(t, &(struct trace_end){.outcome = "completed"});
        usleep(2000); /* names go by the millisecond */
    }
    end(ts);
}

static void a_migration_is_recorded_whole(void **state)
{
    (void)state;
    record(&trace_limits_default, 3, 50);
    assert_int_equal(count_all(), 3);
    assert_int_equal(steps_seen, 150);
    assert_int_equal(ends_seen, 3);
    assert_int_equal(truncated_seen, 0);
}

static void times_are_recorded_from_the_start_of_the_migration(void **state)
{
    struct policy policy = some_policy();
    struct hv_domain domain = domain_number(1);
    struct trace_step step = full_step();
    struct trace_line line;
    struct traces *ts;
    struct trace *t;
    struct dirent **entries;
    char path[400];
    char text[TRACE_LINE_MAX];
    FILE *f;

    (void)state;
    assert_int_equal(traces_new(dir, &trace_limits_default, &ts), 0);
    t = trace_start(ts, &domain, 3 * NS_PER_S, 1, &policy);
    trace_step(t, &step);
    trace_end(t, &(struct trace_end){.outcome = "completed"});
    end(ts);
    assert_int_equal(scandir(dir, &entries, NULL, alphasort), 3);
    snprintf(path, sizeof(path), "%s/%s", dir, entries[2]->d_name);
    for (int i = 0; i < 3; i++)
        free(entries[i]);
    free(entries);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    parse(text, strlen(text) - 1, &line);
    assert_int_equal(line.step.sample.now_ns, 2 * NS_PER_S);
    assert_int_equal(line.step.sample.sync_ns, NS_PER_S);
}

static void a_policy_is_recorded_when_it_changed_only(void **state)
{
    struct policy policy = some_policy();
    struct hv_domain domain = domain_number(1);
    struct traces *ts;
    struct trace *t;

    (void)state;
    assert_int_equal(traces_new(dir, &trace_limits_default, &ts), 0);
    t = trace_start(ts, &domain, 0, 1, &policy);
    trace_policy(t, &policy);
    policy.values.v[POLICY_MAX_DOWNTIME] += NS_PER_S;
    trace_policy(t, &policy);
    trace_policy(t, &policy);
    trace_end(t, &(struct trace_end){.outcome = "completed"});
    end(ts);
    assert_int_equal(count_all(), 1);
    assert_int_equal(policies_seen, 1);
}

static void samples_beyond_the_bound_are_left_out_and_it_is_said(void **state)
{
    struct trace_limits limits = trace_limits_default;

    (void)state;
    limits.file_samples = 10;
    record(&limits, 1, 11);
    count_all();
    assert_int_equal(steps_seen, 10);
    assert_int_equal(truncated_seen, 1);
}

static void bytes_beyond_the_bound_are_left_out_and_it_is_said(void **state)
{
    struct trace_limits limits = trace_limits_default;

    (void)state;
    limits.file_bytes = 4000;
    record(&limits, 1, 100);
    count_all();
    assert_in_range(steps_seen, 3, 8);
    assert_int_equal(truncated_seen, 1);
}

static void the_oldest_files_make_room_for_new_ones(void **state)
{
    struct trace_limits limits = trace_limits_default;
    char first[400];

    (void)state;
    limits.files = 4;
    record(&limits, 3, 1);
    record(&limits, 3, 1); /* those of an earlier run count too */
    assert_int_equal(count_all(), 4);
    limits.files = 100;
    limits.bytes = 6000;
    record(&limits, 10, 5);
    assert_in_range(count_all(), 1, 3);
    assert_int_equal(ends_seen, count_all());
    snprintf(first, sizeof(first), "%s/notes.txt", dir);
    close(open(first, O_CREAT | O_WRONLY, 0600));
    record(&limits, 3, 5);
    assert_int_equal(access(first, F_OK), 0);
}

static void wait_ms(int *waited_ms)
{
    assert_true((*waited_ms += 2) < PATIENCE_MS);
    usleep(2000);
}

static int begun;

static void count_begun(const char *path)
{
    struct stat st;

    begun += stat(path, &st) == 0 && st.st_size > 0;
}

/* Until so many traces have something in them. */
static void wait_for_files(int wanted)
{
    for (int waited_ms = 0; begun < wanted; wait_ms(&waited_ms)) {
        begun = 0;
        each_trace(count_begun);
    }
}

static int capture_stderr(int *ret_before)
{
    int fd = memfd_create("stderr", MFD_CLOEXEC);

    assert_true(fd >= 0);
    *ret_before = dup(STDERR_FILENO);
    assert_true(*ret_before >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    return fd;
}

static void wait_for_text(int fd, const char *text)
{
    char said[4096] = "";

    for (int waited_ms = 0; !strstr(said, text); wait_ms(&waited_ms)) {
        ssize_t n = pread(fd, said, sizeof(said) - 1, 0);

        assert_true(n >= 0);
        said[n] = '\0';
    }
}

static void restore_stderr(int fd, int before)
{
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    close(before);
    close(fd);
}

/* A disk that is full, to this process: files end here. Returns the limit as it was. */
static struct rlimit fill_disk(rlim_t bytes)
{
    struct rlimit before;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, before.rlim_max}), 0);
    return before;
}

/* The end of a trace has the writer write all that waits. */
static void record_one(struct traces *ts, unsigned number)
{
    struct policy policy = some_policy();
    struct hv_domain domain = domain_number(number);

    trace_end(trace_start(ts, &domain, 0, 1, &policy), &(struct trace_end){.outcome = "completed"});
}

static void a_full_disk_leaves_whole_lines_and_what_waited_follows(void **state)
{
    struct policy policy = some_policy();
    struct hv_domain domain = domain_number(1);
    struct trace_step step = full_step();
    struct rlimit before = fill_disk(6000);
    int said, stderr_before;
    struct traces *ts;
    struct trace *t;

    (void)state;
    assert_int_equal(traces_new(dir, &trace_limits_default, &ts), 0);
    t = trace_start(ts, &domain, 0, 1, &policy);
    for (int i = 0; i < 5; i++)
        trace_step(t, &step);
    record_one(ts, 2);
    wait_for_files(2);
    said = capture_stderr(&stderr_before);
    for (int i = 0; i < 20; i++)
        trace_step(t, &step);
    record_one(ts, 3);
    wait_for_text(said, "cannot be recorded");
    count_all();
    assert_int_equal(steps_seen, 5);
    setrlimit(RLIMIT_FSIZE, &before);
    trace_step(t, &step);
    record_one(ts, 4);
    wait_for_text(said, "recorded again");
    restore_stderr(said, stderr_before);
    trace_end(t, &(struct trace_end){.outcome = "completed"});
    end(ts);
    count_all();
    assert_int_equal(steps_seen, 26);
    assert_int_equal(truncated_seen, 0);
}

static void what_a_full_disk_leaves_no_room_for_is_left_out_and_it_is_said(void **state)
{
    struct policy policy = some_policy();
    struct hv_domain domain = domain_number(1);
    struct trace_step step = full_step();
    struct rlimit before = fill_disk(400);
    int said, stderr_before;
    struct traces *ts;
    struct trace *t;

    (void)state;
    assert_int_equal(traces_new(dir, &trace_limits_default, &ts), 0);
    said = capture_stderr(&stderr_before);
    t = trace_start(ts, &domain, 0, 1, &policy);
    for (int i = 0; i < 1000; i++)
        trace_step(t, &step);
    record_one(ts, 2);
    wait_for_text(said, "cannot be recorded");
    restore_stderr(said, stderr_before);
    setrlimit(RLIMIT_FSIZE, &before);
    trace_step(t, &step);
    trace_end(t, &(struct trace_end){.outcome = "completed"});
    end(ts);
    count_all();
    assert_in_range(steps_seen, 100, 900);
    assert_int_equal(truncated_seen, 1);
}

static void without_a_directory_there_is_no_recording_and_no_harm(void **state)
{
    struct policy policy = some_policy();
    struct hv_domain domain = domain_number(1);
    struct trace_step step = full_step();
    struct traces *ts = NULL;
    char path[100];
    struct trace *t;

    (void)state;
    snprintf(path, sizeof(path), "%s/file", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(traces_new(path, &trace_limits_default, &ts), -ENOTDIR);
    assert_null(ts);
    t = trace_start(ts, &domain, 0, 1, &policy);
    assert_null(t);
    trace_policy(t, &policy);
    trace_step(t, &step);
    trace_latch(t, ACTION_THROTTLE, REASON_NO_CGROUP);
    trace_end(t, &(struct trace_end){.outcome = "completed"});
    end(ts);
}

static void a_uuid_that_is_none_makes_no_file(void **state)
{
    struct hv_domain domain = {.name = "vm", .uuid = "../../../../etc/passwd"};
    struct policy policy = some_policy();
    struct traces *ts;

    (void)state;
    assert_int_equal(traces_new(dir, &trace_limits_default, &ts), 0);
    assert_null(trace_start(ts, &domain, 0, 1, &policy));
    end(ts);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_line_is_read_as_it_was_written),
        cmocka_unit_test(all_vcpus_there_can_be_fit_into_a_line),
        cmocka_unit_test(a_name_that_is_no_utf8_does_not_spoil_the_trace),
        cmocka_unit_test(hostile_lines_are_refused_with_a_reason),
        TEST(a_migration_is_recorded_whole),
        TEST(times_are_recorded_from_the_start_of_the_migration),
        TEST(a_policy_is_recorded_when_it_changed_only),
        TEST(samples_beyond_the_bound_are_left_out_and_it_is_said),
        TEST(bytes_beyond_the_bound_are_left_out_and_it_is_said),
        TEST(the_oldest_files_make_room_for_new_ones),
        TEST(a_full_disk_leaves_whole_lines_and_what_waited_follows),
        TEST(what_a_full_disk_leaves_no_room_for_is_left_out_and_it_is_said),
        TEST(without_a_directory_there_is_no_recording_and_no_harm),
        TEST(a_uuid_that_is_none_makes_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
