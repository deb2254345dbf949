/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The audit log and the history: what is in their lines, and what becomes of the files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/record/record.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/textfile.h"

#define UUID "11111111-1111-1111-1111-111111111111"

static const char *const files[] = {RECORD_AUDIT, RECORD_AUDIT ".1", RECORD_HISTORY,
                                    RECORD_HISTORY ".1"};
static char dir[64];
static int dir_fd;

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s", "/tmp/test-record-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    return dir_fd < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        unlinkat(dir_fd, files[i], 0);
    close(dir_fd);
    return rmdir(dir);
}

static struct record *start_bounded(size_t bytes)
{
    struct record *r = NULL;

    assert_int_equal(record_new(dir, &(struct record_limits){bytes, bytes}, NULL, &r), 0);
    return r;
}

static struct record *start(void)
{
    return start_bounded(record_limits_default.history_bytes);
}

static void stop(struct record *r)
{
    assert_true(record_stop(r));
    record_free(r);
}

static struct migration *new_migration(const char *name, double work_lost_s)
{
    struct migration *m = calloc(1, sizeof(*m));
    struct migration_event event = {.action = ACTION_THROTTLE, .detail = "to 20%"};

    assert_non_null(m);
    snprintf(m->domain.name, sizeof(m->domain.name), "%s", name);
    strcpy(m->domain.uuid, UUID);
    m->work_lost_s = work_lost_s;
    migration_add_event(m, &event);
    return m;
}

static void put_migration(struct record *r, const char *name, double work_lost_s)
{
    AUTO_FREE struct migration *m = new_migration(name, work_lost_s);

    record_migration(r, m, NULL);
}

static void append_raw(const char *file, const char *text)
{
    AUTO_CLOSE int fd = openat(dir_fd, file, O_WRONLY | O_CREAT | O_APPEND, 0600);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Parses each line of a file strictly; returns how many there are, and the last one. */
static unsigned read_lines(const char *file, struct json_object **ret_last)
{
    AUTO_FREE char *text = NULL;
    unsigned n = 0;

    assert_int_equal(textfile_read(dir_fd, file, 1 << 20, &text, NULL), 0);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, n++) {
        json_object_put(*ret_last);
        *ret_last = NULL;
        assert_int_equal(json_strict_parse(line, (size_t)(end - line), ret_last, NULL), 0);
    }
    return n;
}

static const char *text_of(struct json_object *object, const char *key)
{
    return json_object_get_string(json_object_object_get(object, key));
}

static double work_lost(struct json_object *list, size_t i)
{
    return json_object_get_double(
        json_object_object_get(json_object_array_get_idx(list, i), "work_lost_seconds"));
}

static void expect_history(struct record *r, const char *name, size_t limit, size_t n,
                           double newest)
{
    AUTO_JSON struct json_object *list = NULL;

    assert_int_equal(record_history(r, name, NULL, limit, &list), 0);
    assert_int_equal(json_object_array_length(list), n);
    for (size_t i = 0; i < n; i++)
        assert_true(work_lost(list, i) == newest - (double)i);
}

static void a_decision_is_a_line_with_evidence_and_approval(void **state)
{
    const struct hv_domain domain = {.name = "vm", .uuid = UUID};
    const struct migration_event event = {
        .action = ACTION_THROTTLE,
        .result = EVENT_APPLIED,
        .reason = REASON_THROTTLE_SUFFICES,
        .detail = "to 20%",
        .approved_by = "override by uid 1000",
        .evidence = {.known = true,
                     .verdict = VERDICT_NEEDS_HELP,
                     .iteration = 5,
                     .remaining_bytes = 1000,
                     .dirty_bps = 2e6,
                     .forecast_s = 3.5},
    };
    AUTO_JSON struct json_object *o = NULL;
    struct record *r = start();
    struct stat st;

    (void)state;
    record_event(r, &domain, &event);
    stop(r);
    assert_int_equal(read_lines(RECORD_AUDIT, &o), 1);
    assert_string_equal(text_of(o, "schema_version"), "1");
    assert_string_equal(text_of(o, "vm"), "vm");
    assert_string_equal(text_of(o, "uuid"), UUID);
    assert_string_equal(text_of(o, "action"), "throttle");
    assert_string_equal(text_of(o, "result"), "applied");
    assert_string_equal(text_of(o, "reason"), "throttle-suffices");
    assert_string_equal(text_of(o, "approved_by"), "override by uid 1000");
    assert_string_equal(text_of(o, "verdict"), "needs-help");
    assert_string_equal(text_of(o, "iteration"), "5");
    assert_string_equal(text_of(o, "memory_remaining_bytes"), "1000");
    assert_true(json_object_get_double(json_object_object_get(o, "forecast_remaining_seconds")) ==
                3.5);
    assert_null(text_of(o, "transfer_rate_bytes_per_second"));
    assert_int_equal(fstatat(dir_fd, RECORD_AUDIT, &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void hostile_names_stay_within_their_line(void **state)
{
    static const char *const names[] = {"a\nb",    "{\"x\":1}\r\n",      "quote\" back\\slash",
                                        "\x1b[2J", "not utf-8 \xff\xc3", "\u202eright to left"};
    struct record *r = start();
    AUTO_JSON struct json_object *o = NULL;
    AUTO_JSON struct json_object *list = NULL;
    struct hv_domain domain = {.uuid = UUID};
    struct migration_event event = {.action = ACTION_CANCEL};
    size_t n = sizeof(names) / sizeof(names[0]);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        snprintf(domain.name, sizeof(domain.name), "%s", names[i]);
        record_event(r, &domain, &event);
        put_migration(r, names[i], 0);
        record_request(r, &(struct record_request){
                              .method = "Set", .vm = names[i], .detail = names[i], .by = names[i]});
    }
    stop(r);
    assert_int_equal(read_lines(RECORD_AUDIT, &o), 2 * n);
    r = start();
    assert_int_equal(record_history(r, "a\nb", NULL, 10, &list), 0);
    assert_int_equal(json_object_array_length(list), 1);
    stop(r);
}

static void history_is_newest_first_of_one_vm_and_limited(void **state)
{
    struct record *r = start();

    (void)state;
    expect_history(r, NULL, 10, 0, 0);
    for (unsigned i = 0; i < 5; i++) {
        put_migration(r, "other", 100);
        put_migration(r, "vm", i);
    }
    stop(r);
    r = start(); /* as after a restart */
    expect_history(r, "vm", 10, 5, 4);
    expect_history(r, "vm", 2, 2, 4);
    expect_history(r, "none", 10, 0, 0);
    stop(r);
}

static void a_torn_last_line_costs_nothing_but_itself(void **state)
{
    struct record *r = start();

    (void)state;
    put_migration(r, "vm", 1);
    stop(r);
    append_raw(RECORD_HISTORY, "{\"vm\": \"vm\", \"uui");
    r = start();
    expect_history(r, NULL, 10, 1, 1);
    put_migration(r, "vm", 2);
    stop(r);
    append_raw(RECORD_HISTORY, "\n\nnull\n[1]\n{\"vm\": 1}\n{}\n");
    r = start();
    expect_history(r, NULL, 10, 2, 2);
    stop(r);
}

static void a_file_is_bounded_and_its_predecessor_kept(void **state)
{
    struct record *r = start_bounded(4096);
    AUTO_JSON struct json_object *list = NULL;
    size_t kept;

    (void)state;
    for (unsigned i = 0; i < 40; i++)
        put_migration(r, "vm", i);
    stop(r);
    for (unsigned i = 2; i < 4; i++) {
        struct stat st;

        assert_int_equal(fstatat(dir_fd, files[i], &st, 0), 0);
        assert_in_range(st.st_size, 1, 4096);
    }
    r = start_bounded(4096);
    assert_int_equal(record_history(r, NULL, NULL, 100, &list), 0);
    kept = json_object_array_length(list);
    assert_in_range(kept, 6, 39);
    expect_history(r, NULL, 100, kept, 39);
    stop(r);
}

static void denials_cannot_wash_out_the_record(void **state)
{
    const struct record_request denied = {
        .method = "Set", .vm = "vm", .detail = "no", .by = "uid 7", .result = REQUEST_DENIED};
    struct record_request applied = denied;
    AUTO_JSON struct json_object *o = NULL;
    struct record *r = start();

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        record_request(r, &denied);
    applied.result = REQUEST_APPLIED;
    record_request(r, &applied);
    stop(r);
    assert_int_equal(read_lines(RECORD_AUDIT, &o), RECORD_DENIALS_PER_MINUTE + 1);
    assert_string_equal(text_of(o, "action"), "set");
    assert_string_equal(text_of(o, "result"), "applied");
    assert_string_equal(text_of(o, "approved_by"), "uid 7");
}

static void what_is_in_the_way_of_a_file_is_left_alone(void **state)
{
    struct record *r = start();
    struct stat st;

    (void)state;
    assert_int_equal(mkfifoat(dir_fd, RECORD_HISTORY, 0600), 0);
    assert_int_equal(symlinkat("elsewhere", dir_fd, RECORD_AUDIT), 0);
    put_migration(r, "vm", 1);
    record_event(r, &(struct hv_domain){.name = "vm"}, &(struct migration_event){0});
    stop(r);
    assert_int_equal(fstatat(dir_fd, RECORD_HISTORY, &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(faccessat(dir_fd, "elsewhere", F_OK, 0), -1);
}

static void without_a_directory_there_is_no_record(void **state)
{
    struct record *r = NULL;

    (void)state;
    assert_int_equal(record_new("/nonexistent", &record_limits_default, NULL, &r), -ENOENT);
    assert_null(r);
    record_event(NULL, &(struct hv_domain){.name = "vm"}, &(struct migration_event){0});
    put_migration(NULL, "vm", 1);
    assert_true(record_stop(NULL));
    record_free(NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_decision_is_a_line_with_evidence_and_approval),
        TEST(hostile_names_stay_within_their_line),
        TEST(history_is_newest_first_of_one_vm_and_limited),
        TEST(a_torn_last_line_costs_nothing_but_itself),
        TEST(a_file_is_bounded_and_its_predecessor_kept),
        TEST(denials_cannot_wash_out_the_record),
        TEST(what_is_in_the_way_of_a_file_is_left_alone),
        cmocka_unit_test(without_a_directory_there_is_no_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
