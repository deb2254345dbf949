/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the registry renders: exact lines, escaping, limits, and updates from several threads. */
#include "metrics/internal.h"
#include "metrics/metrics.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UUID_A "11111111-1111-1111-1111-111111111111"
#define UUID_B "22222222-2222-2222-2222-222222222222"

static const char *const phases[] = {"memory", "switchover", NULL};
static const char *const verdicts[] = {"starting", "needs-help", "done", NULL};
static const char *const actions[] = {"downtime", "throttle", NULL};
static const char *const reasons[] = {"plateau", "deadline", NULL};
static const char *const methods[] = {"List", "Set", NULL};
static const char *const results[] = {"ok", "denied", NULL};
static const struct metrics_labels labels = {phases, verdicts, actions, reasons, methods, results};

static int setup(void **state)
{
    struct metrics *m;

    if (metrics_new(&labels, &m) < 0)
        return -1;
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    metrics_free(*state);
    return 0;
}

static char *page(struct metrics *m, enum metrics_format format)
{
    struct metrics_buf b = {0};

    metrics_render(m, format, &b);
    return b.data;
}

static bool has_line(const char *text, const char *line)
{
    size_t len = strlen(line);

    for (const char *at = text; (at = strstr(at, line)); at++) {
        if ((at == text || at[-1] == '\n') && at[len] == '\n')
            return true;
    }
    return false;
}

#define assert_line(m, format, line)                                                               \
    do {                                                                                           \
        char *text_ = page(m, format);                                                             \
        if (!has_line(text_, line))                                                                \
            fail_msg("missing: %s", line);                                                         \
        free(text_);                                                                               \
    } while (0)

#define assert_absent(m, format, part)                                                             \
    do {                                                                                           \
        char *text_ = page(m, format);                                                             \
        if (strstr(text_, part))                                                                   \
            fail_msg("present: %s", part);                                                         \
        free(text_);                                                                               \
    } while (0)

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

static void counters_start_at_zero_and_add_up(void **state)
{
    struct metrics *m = *state;

    assert_line(m, METRICS_TEXT, "migpolicy_migrations_started_total 0");
    assert_line(m, METRICS_TEXT, "migpolicy_migrations_failed_total{reason=\"lost\"} 0");
    metrics_count(m, METRIC_MIGRATIONS_STARTED, METRICS_SINGLE, 2);
    metrics_count(m, METRIC_MIGRATIONS_STARTED, METRICS_SINGLE, 3);
    metrics_count(m, METRIC_MIGRATIONS_FAILED, METRICS_AT(METRICS_FAILURE_LOST), 1);
    assert_line(m, METRICS_TEXT, "# TYPE migpolicy_migrations_started_total counter");
    assert_line(m, METRICS_TEXT, "migpolicy_migrations_started_total 5");
    assert_line(m, METRICS_TEXT, "migpolicy_migrations_failed_total{reason=\"lost\"} 1");
    assert_line(m, METRICS_TEXT, "migpolicy_migrations_failed_total{reason=\"failed\"} 0");
}

static void series_of_large_sets_appear_with_their_first_count(void **state)
{
    struct metrics *m = *state;

    assert_absent(m, METRICS_TEXT, "migpolicy_actions_total");
    metrics_count(m, METRIC_ACTIONS, METRICS_AT(1, METRICS_ACTION_DENIED, 0), 1);
    assert_line(m, METRICS_TEXT,
                "migpolicy_actions_total{action=\"throttle\",result=\"denied\",reason=\"plateau\"} "
                "1");
    char *text = page(m, METRICS_TEXT);
    assert_int_equal(count_of(text, "\nmigpolicy_actions_total{"), 1);
    free(text);
}

static void indexes_outside_a_set_and_wrong_types_change_nothing(void **state)
{
    struct metrics *m = *state;

    metrics_count(m, METRIC_ACTIONS, METRICS_AT(0, 0, 2), 1);
    metrics_count(m, METRIC_ACTIONS, METRICS_AT(2, 0, 0), 1);
    metrics_count(m, METRIC_MIGRATIONS_STARTED, METRICS_AT(1), 1);
    metrics_count(m, METRIC_HOST_COUNT, METRICS_SINGLE, 1);
    metrics_set(m, METRIC_MIGRATIONS_STARTED, METRICS_SINGLE, 7);
    metrics_observe(m, METRIC_LIBVIRT_UP, METRICS_SINGLE, 7);
    assert_absent(m, METRICS_TEXT, "migpolicy_actions_total");
    assert_absent(m, METRICS_TEXT, "migpolicy_libvirt_up");
    assert_line(m, METRICS_TEXT, "migpolicy_migrations_started_total 0");
}

static void gauges_are_left_out_while_unknown(void **state)
{
    struct metrics *m = *state;

    assert_absent(m, METRICS_TEXT, "migpolicy_libvirt_up");
    metrics_set(m, METRIC_LIBVIRT_UP, METRICS_SINGLE, 1);
    assert_line(m, METRICS_TEXT, "migpolicy_libvirt_up 1");
    metrics_set(m, METRIC_LIBVIRT_UP, METRICS_SINGLE, NAN);
    assert_absent(m, METRICS_TEXT, "migpolicy_libvirt_up");
    metrics_set(m, METRIC_POLICIES, METRICS_AT(METRICS_SOURCE_OVERRIDE), 3);
    assert_line(m, METRICS_TEXT, "migpolicy_policies{source=\"override\"} 3");
    assert_absent(m, METRICS_TEXT, "source=\"config\"");
}

static void histogram_buckets_are_cumulative_and_bounds_inclusive(void **state)
{
    struct metrics *m = *state;
    struct metrics_at open = METRICS_AT(METRICS_CALL_OPEN);
#define CALL "migpolicy_libvirt_call_duration_seconds"

    metrics_observe(m, METRIC_LIBVIRT_CALL_DURATION, open, 0.001);
    metrics_observe(m, METRIC_LIBVIRT_CALL_DURATION, open, 0.5);
    metrics_observe(m, METRIC_LIBVIRT_CALL_DURATION, open, 100);
    assert_line(m, METRICS_TEXT, "# TYPE " CALL " histogram");
    assert_line(m, METRICS_TEXT, CALL "_bucket{call=\"open\",le=\"0.001\"} 1");
    assert_line(m, METRICS_TEXT, CALL "_bucket{call=\"open\",le=\"0.3\"} 1");
    assert_line(m, METRICS_TEXT, CALL "_bucket{call=\"open\",le=\"1.0\"} 2");
    assert_line(m, METRICS_TEXT, CALL "_bucket{call=\"open\",le=\"30.0\"} 2");
    assert_line(m, METRICS_TEXT, CALL "_bucket{call=\"open\",le=\"+Inf\"} 3");
    assert_line(m, METRICS_TEXT, CALL "_sum{call=\"open\"} 100.501");
    assert_line(m, METRICS_TEXT, CALL "_count{call=\"open\"} 3");
    assert_line(m, METRICS_TEXT, CALL "_count{call=\"abort\"} 0");
#undef CALL
}

static void values_that_would_spoil_a_histogram_are_dropped(void **state)
{
    struct metrics *m = *state;

    metrics_observe(m, METRIC_MIGRATION_DURATION, METRICS_SINGLE, NAN);
    metrics_observe(m, METRIC_MIGRATION_DURATION, METRICS_SINGLE, INFINITY);
    metrics_observe(m, METRIC_MIGRATION_DURATION, METRICS_SINGLE, -1);
    assert_line(m, METRICS_TEXT, "migpolicy_migration_duration_seconds_sum 0");
    assert_line(m, METRICS_TEXT, "migpolicy_migration_duration_seconds_count 0");
}

static void a_vm_has_series_only_for_what_is_known(void **state)
{
    struct metrics *m = *state;
    struct metrics_vm vm = METRICS_VM_UNKNOWN;

    vm.memory_remaining_bytes = 200 * 1048576.0;
    vm.expected_downtime_seconds = 0.1;
    assert_int_equal(metrics_vm_update(m, UUID_A, "web", &vm), 0);
    assert_line(m, METRICS_TEXT,
                "migpolicy_migration_memory_remaining_bytes{vm=\"web\",uuid=\"" UUID_A
                "\"} 209715200");
    assert_line(m, METRICS_TEXT,
                "migpolicy_migration_expected_downtime_seconds{vm=\"web\",uuid=\"" UUID_A
                "\"} 0.1");
    char *text = page(m, METRICS_TEXT);
    assert_int_equal(count_of(text, "vm=\"web\""), 3); /* migpolicy_vm_info, too */
    assert_null(strstr(text, "NaN"));
    assert_null(strstr(text, "nan"));
    free(text);
}

static void a_state_is_one_among_zeros(void **state)
{
    struct metrics *m = *state;
    struct metrics_vm vm = METRICS_VM_UNKNOWN;
#define VERDICT(name, value)                                                                       \
    "migpolicy_migration_verdict{vm=\"web\",uuid=\"" UUID_A "\",verdict=\"" name "\"} " value

    vm.verdict = 1;
    metrics_vm_update(m, UUID_A, "web", &vm);
    assert_line(m, METRICS_TEXT, VERDICT("starting", "0"));
    assert_line(m, METRICS_TEXT, VERDICT("needs-help", "1"));
    assert_line(m, METRICS_TEXT, VERDICT("done", "0"));
    assert_absent(m, METRICS_TEXT, "migpolicy_migration_phase");
    vm.verdict = 3;
    metrics_vm_update(m, UUID_A, "web", &vm);
    assert_absent(m, METRICS_TEXT, "migpolicy_migration_verdict");
#undef VERDICT
}

static void hostile_names_are_escaped_and_made_utf8(void **state)
{
    struct metrics *m = *state;
    struct metrics_vm vm = METRICS_VM_UNKNOWN;

    vm.iteration = 1;
    metrics_vm_update(m, UUID_A, "a\"b\\c\nd{}é\xff<i>&'", &vm);
    assert_line(m, METRICS_TEXT,
                "migpolicy_migration_iteration{vm=\"a\\\"b\\\\c\\nd{}é\xef\xbf\xbd<i>&'\","
                "uuid=\"" UUID_A "\"} 1");
}

static void bytes_that_are_no_character_are_replaced_one_by_one(void **state)
{
    struct metrics *m = *state;
    struct metrics_vm vm = METRICS_VM_UNKNOWN;
#define R "\xef\xbf\xbd"
    static const struct {
        const char *given, *shown;
    } cases[] = {
        {"\xc0\x80", R R},             /* overlong */
        {"\xe0\x80\x80", R R R},       /* overlong */
        {"\xed\xa0\x80", R R R},       /* surrogate */
        {"\xf4\x90\x80\x80", R R R R}, /* past U+10FFFF */
        {"\xe2\x82", R R},             /* cut */
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    };
#undef R

    vm.iteration = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[200];

        metrics_vm_update(m, UUID_A, cases[i].given, &vm);
        snprintf(line, sizeof(line), "migpolicy_migration_iteration{vm=\"%s\",uuid=\"%s\"} 1",
                 cases[i].shown, UUID_A);
        assert_line(m, METRICS_TEXT, line);
    }
}

static void long_names_are_cut_between_characters(void **state)
{
    struct metrics *m = *state;
    struct metrics_vm vm = METRICS_VM_UNKNOWN;
    char name[1001] = {0}, line[400];

    for (size_t i = 0; i < 1000; i += 2)
        memcpy(name + i, "é", 2);
    vm.iteration = 1;
    metrics_vm_update(m, UUID_A, name, &vm);
    snprintf(line, sizeof(line), "migpolicy_migration_iteration{vm=\"%.254s\",uuid=\"%s\"} 1", name,
             UUID_A);
    assert_line(m, METRICS_TEXT, line);
}

static void a_uuid_that_is_too_long_is_refused(void **state)
{
    struct metrics *m = *state;
    struct metrics_last last = {0};

    assert_int_equal(metrics_vm_update(m, UUID_A "1", "web", &METRICS_VM_UNKNOWN), -EINVAL);
    assert_int_equal(metrics_vm_last(m, UUID_A "1", "web", &last), -EINVAL);
    assert_absent(m, METRICS_TEXT, "vm=\"web\"");
}

static void the_last_summary_outlives_the_migration(void **state)
{
    struct metrics *m = *state;
    struct metrics_vm vm = METRICS_VM_UNKNOWN;
    struct metrics_last last = {METRICS_OUTCOME_CANCELLED, 12.5, NAN, 3, 1700000000.25};
#define LABELS "{vm=\"web\",uuid=\"" UUID_A "\",result=\"cancelled\"}"

    vm.iteration = 3;
    metrics_vm_update(m, UUID_A, "web", &vm);
    metrics_vm_update(m, UUID_B, "db", &vm);
    metrics_vm_last(m, UUID_A, "web", &last);
    metrics_vm_remove(m, UUID_A);
    metrics_vm_remove(m, UUID_B);
    metrics_vm_remove(m, "unknown");
    assert_absent(m, METRICS_TEXT, "migpolicy_migration_iteration");
    assert_absent(m, METRICS_TEXT, UUID_B);
    assert_line(m, METRICS_TEXT, "migpolicy_last_migration_duration_seconds" LABELS " 12.5");
    assert_line(m, METRICS_TEXT, "migpolicy_last_migration_work_lost_seconds" LABELS " 3");
    assert_line(m, METRICS_TEXT,
                "migpolicy_last_migration_end_timestamp_seconds" LABELS " 1700000000.25");
    assert_absent(m, METRICS_TEXT, "migpolicy_last_migration_downtime_seconds");
#undef LABELS
}

static void update_numbered(struct metrics *m, unsigned i)
{
    struct metrics_vm vm = METRICS_VM_UNKNOWN;
    char uuid[37];

    vm.iteration = 1;
    snprintf(uuid, sizeof(uuid), "%08u-0000-0000-0000-000000000000", i);
    assert_int_equal(metrics_vm_update(m, uuid, "vm", &vm), 0);
}

static void vms_past_the_cap_are_omitted_and_counted_until_there_is_room(void **state)
{
    struct metrics *m = *state;
    struct metrics_last last = {METRICS_OUTCOME_COMPLETED, 1, 1, 1, 1};

    for (unsigned i = 0; i < METRICS_VMS_MAX; i++)
        update_numbered(m, i + 10);
    assert_line(m, METRICS_TEXT, "migpolicy_vms_omitted 0");
    update_numbered(m, 1);
    update_numbered(m, 2);
    assert_line(m, METRICS_TEXT, "migpolicy_vms_omitted 2");
    char *text = page(m, METRICS_TEXT);
    assert_int_equal(count_of(text, "\nmigpolicy_migration_iteration{"), METRICS_VMS_MAX);
    assert_null(strstr(text, "\"00000001-"));
    free(text);

    metrics_vm_remove(m, "00000002-0000-0000-0000-000000000000");
    assert_line(m, METRICS_TEXT, "migpolicy_vms_omitted 1");
    /* Of a VM without series nothing is kept either, in whichever order it ends. */
    assert_int_equal(metrics_vm_last(m, UUID_A, "other", &last), 0);
    assert_line(m, METRICS_TEXT, "migpolicy_vms_omitted 1");
    assert_absent(m, METRICS_TEXT, UUID_A);

    metrics_vm_remove(m, "00000500-0000-0000-0000-000000000000");
    update_numbered(m, 1);
    assert_line(m, METRICS_TEXT, "migpolicy_vms_omitted 0");
    assert_line(m, METRICS_TEXT,
                "migpolicy_migration_iteration{vm=\"vm\",uuid=\"00000001-0000-0000-0000-"
                "000000000000\"} 1");
}

static void the_longest_ended_summary_makes_room(void **state)
{
    struct metrics *m = *state;
    struct metrics_last last = {METRICS_OUTCOME_COMPLETED, 1, 1, 1, 2000};

    metrics_vm_last(m, UUID_A, "later", &last);
    last.end_timestamp_seconds = 1000;
    metrics_vm_last(m, UUID_B, "earlier", &last);
    for (unsigned i = 0; i < METRICS_VMS_MAX - 1; i++)
        update_numbered(m, i);
    assert_absent(m, METRICS_TEXT, "vm=\"earlier\"");
    assert_line(m, METRICS_TEXT, "migpolicy_vms_omitted 0");
    char *text = page(m, METRICS_TEXT);
    assert_non_null(strstr(text, "vm=\"later\""));
    free(text);
}

static void openmetrics_names_families_its_own_way_and_ends_with_eof(void **state)
{
    struct metrics *m = *state;
    char *text = page(m, METRICS_OPENMETRICS);

    assert_string_equal(text + strlen(text) - strlen("\n# EOF\n"), "\n# EOF\n");
    assert_true(has_line(text, "# TYPE migpolicy_migrations_started counter"));
    assert_true(has_line(text, "migpolicy_migrations_started_total 0"));
    assert_true(has_line(text, "# TYPE migpolicy_build info"));
    assert_true(has_line(text, "migpolicy_build_info{version=\"" MIGPOLICY_VERSION "\"} 1"));
    assert_true(has_line(text, "# TYPE process_cpu_seconds counter"));
    assert_true(has_line(text, "# UNIT process_cpu_seconds seconds"));
    free(text);

    text = page(m, METRICS_TEXT);
    assert_null(strstr(text, "# EOF"));
    assert_null(strstr(text, "# UNIT"));
    assert_true(has_line(text, "# TYPE migpolicy_build_info gauge"));
    free(text);
}

static void accept_decides_the_format(void **state)
{
    static const struct {
        const char *accept;
        enum metrics_format format;
    } cases[] = {
        {NULL, METRICS_TEXT},
        {"", METRICS_TEXT},
        {"*/*", METRICS_TEXT},
        {"text/html,application/xhtml+xml,*/*;q=0.8", METRICS_TEXT},
        {"application/openmetrics-text", METRICS_OPENMETRICS},
        {"Application/OpenMetrics-Text ; Version=1.0.0 ; charset=utf-8", METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
         "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         METRICS_OPENMETRICS},
        {"application/openmetrics-text; version=0.0.1, text/plain;q=0.5", METRICS_TEXT},
        {"application/openmetrics-text;q=0, text/plain", METRICS_TEXT},
        {"application/openmetrics-text;q=0.3, text/plain;q=0.300", METRICS_OPENMETRICS},
        {"application/openmetrics-text;q=0.3, text/plain;q=0.31", METRICS_TEXT},
        {"application/openmetrics-text;q=banana", METRICS_TEXT},
        {"application/openmetrics-textual", METRICS_TEXT},
        {",;=,;;q=,application/openmetrics-text;q", METRICS_TEXT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (metrics_negotiate(cases[i].accept) != cases[i].format)
            fail_msg("wrong format for: %s", cases[i].accept);
    }
}

static void process_values_are_read_at_each_rendering(void **state)
{
    char *text = page(*state, METRICS_TEXT);
    double fds = -1, resident = -1, start = -1;

    sscanf(strstr(text, "\nprocess_open_fds "), "\nprocess_open_fds %lf", &fds);
    sscanf(strstr(text, "\nprocess_resident_memory_bytes "), "\nprocess_resident_memory_bytes %lf",
           &resident);
    sscanf(strstr(text, "\nprocess_start_time_seconds "), "\nprocess_start_time_seconds %lf",
           &start);
    free(text);
    assert_true(fds >= 3);
    assert_true(resident > 1e5 && resident < 1e10);
    assert_true(start > 1e9);

    FILE *f = fopen("/dev/null", "r");
    char line[50];
    snprintf(line, sizeof(line), "process_open_fds %.0f", fds + 1);
    assert_line(*state, METRICS_TEXT, line);
    fclose(f);
}

#define THREADS 4
#define ROUNDS  2000
#define COUNTS  50

static void *count_much(void *arg)
{
    struct metrics *m = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned j = 0; j < COUNTS; j++)
            metrics_count(m, METRIC_MIGRATIONS_STARTED, METRICS_SINGLE, 1);
        metrics_observe(m, METRIC_MIGRATION_DOWNTIME, METRICS_SINGLE, 1);
        update_numbered(m, i % 50);
    }
    return NULL;
}

static double started(struct metrics *m)
{
    char *text = page(m, METRICS_TEXT);
    double value = -1;

    sscanf(strstr(text, "\nmigpolicy_migrations_started_total "),
           "\nmigpolicy_migrations_started_total %lf", &value);
    free(text);
    return value;
}

static void concurrent_updates_lose_nothing_and_never_run_backwards(void **state)
{
    struct metrics *m = *state;
    pthread_t threads[THREADS];
    double before = 0;

    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, m), 0);
    for (size_t i = 0; i < 50; i++) {
        double now = started(m);

        assert_true(now >= before);
        before = now;
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal((int)started(m), THREADS * ROUNDS * COUNTS);
    assert_line(m, METRICS_TEXT, "migpolicy_migration_downtime_seconds_sum 8000");
    assert_line(m, METRICS_TEXT, "migpolicy_migration_downtime_seconds_count 8000");
}

static void a_registry_needs_every_set(void **state)
{
    struct metrics_labels some = labels;
    struct metrics *m = NULL;

    (void)state;
    some.reasons = NULL;
    assert_int_equal(metrics_new(&some, &m), -EINVAL);
    assert_null(m);
    metrics_free(NULL);
}

static void assert_file_is(const char *path, void (*render)(struct metrics_buf *))
{
    struct metrics_buf b = {0};
    char *written = NULL;
    size_t size = 0;
    FILE *f = fopen(path, "re");

    assert_non_null(f);
    assert_true(getdelim(&written, &size, '\0', f) > 0);
    fclose(f);
    render(&b);
    assert_string_equal(written, b.data);
    free(written);
    metrics_buf_free(&b);
}

static void the_documentation_is_current(void **state)
{
    (void)state;
    assert_file_is(SOURCE_ROOT "/docs/metrics.md", metrics_render_doc);
    assert_file_is(SOURCE_ROOT "/docs/migpolicy-metrics.7", metrics_render_manual);
}

static void the_manual_has_each_family(void **state)
{
    struct metrics_buf b = {0};
    char entry[100];

    (void)state;
    metrics_render_manual(&b);
    for (size_t i = 0; i < metrics_family_count; i++) {
        snprintf(entry, sizeof(entry), "\n.It Li %s Pq ", metrics_families[i].name);
        assert_int_equal(count_of(b.data, entry), 1);
        snprintf(entry, sizeof(entry), "%.30s", metrics_families[i].help);
        assert_non_null(strstr(b.data, entry));
    }
    assert_null(strchr(b.data, '`'));
    metrics_buf_free(&b);
}

static void no_two_families_share_a_name(void **state)
{
    struct metrics_buf b = {0};
    size_t families = 0;

    (void)state;
    metrics_render_doc(&b);
    for (const char *at = b.data; (at = strstr(at, "\n| `")); at++) {
        char row[100];

        snprintf(row, sizeof(row), "%.*s", (int)strcspn(at + 4, "`") + 5, at);
        assert_int_equal(count_of(b.data, row), 1);
        families++;
    }
    assert_true(families > 40);
    metrics_buf_free(&b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(counters_start_at_zero_and_add_up),
        TEST(series_of_large_sets_appear_with_their_first_count),
        TEST(indexes_outside_a_set_and_wrong_types_change_nothing),
        TEST(gauges_are_left_out_while_unknown),
        TEST(histogram_buckets_are_cumulative_and_bounds_inclusive),
        TEST(values_that_would_spoil_a_histogram_are_dropped),
        TEST(a_vm_has_series_only_for_what_is_known),
        TEST(a_state_is_one_among_zeros),
        TEST(hostile_names_are_escaped_and_made_utf8),
        TEST(bytes_that_are_no_character_are_replaced_one_by_one),
        TEST(long_names_are_cut_between_characters),
        TEST(a_uuid_that_is_too_long_is_refused),
        TEST(the_last_summary_outlives_the_migration),
        TEST(vms_past_the_cap_are_omitted_and_counted_until_there_is_room),
        TEST(the_longest_ended_summary_makes_room),
        TEST(openmetrics_names_families_its_own_way_and_ends_with_eof),
        TEST(accept_decides_the_format),
        TEST(process_values_are_read_at_each_rendering),
        TEST(concurrent_updates_lose_nothing_and_never_run_backwards),
        TEST(a_registry_needs_every_set),
        TEST(the_documentation_is_current),
        TEST(the_manual_has_each_family),
        TEST(no_two_families_share_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
