/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people and Prometheus read about a migration. */
#include "agent/record/migration.h"
#include "agent/record/phase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

#define UUID "11111111-1111-1111-1111-111111111111"

static struct migration *new_migration(void)
{
    struct migration *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    strcpy(m->domain.name, "vm");
    strcpy(m->domain.uuid, UUID);
    m->active = true;
    m->sample.cpu_share = 1;
    m->duration_s = m->downtime_s = NAN;
    return m;
}

static void expect_next(const struct migration *m, const char *text)
{
    char buf[256];

    memset(buf, 'x', sizeof(buf));
    assert_ptr_equal(migration_next_action(m, buf, sizeof(buf)), buf);
    assert_string_equal(buf, text);
}

static void expect_description(enum alternative_kind kind, const struct alternative *a,
                               const char *text)
{
    char buf[256];

    assert_ptr_equal(migration_describe(kind, a, buf, sizeof(buf)), buf);
    assert_string_equal(buf, text);
}

/* A ceiling is wished for that covers what the limit needs and is not far above it; then `rest`. */
static void expect_wish(const struct migration *m, double ceiling_s, const char *rest)
{
    static const char start[] = "would help: --max-downtime ";
    char buf[256], *end = buf;
    double wish = 0;

    migration_next_action(m, buf, sizeof(buf));
    if (strncmp(buf, start, strlen(start)) == 0)
        wish = strtod(buf + strlen(start), &end);
    if (wish < ceiling_s || wish > ceiling_s + 0.1 + 1e-9 || strcmp(end, rest) != 0)
        fail_msg("%f s needed: %s", ceiling_s, buf);
}

static void each_result_and_outcome_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(event_result_name(EVENT_APPLIED), "applied");
    assert_string_equal(event_result_name(EVENT_FAILED), "failed");
    assert_string_equal(event_result_name(EVENT_PROPOSED), "proposed");
    assert_string_equal(event_result_name(EVENT_APPROVED), "approved");
    assert_string_equal(event_result_name(EVENT_DENIED), "denied");
    assert_string_equal(outcome_name(OUTCOME_COMPLETED), "completed");
    assert_string_equal(outcome_name(OUTCOME_CANCELLED), "cancelled");
    assert_string_equal(outcome_name(OUTCOME_FAILED), "failed");
    assert_string_equal(outcome_name(OUTCOME_LOST), "lost");
}

static void a_question_and_a_pause_are_told_before_all_else(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    strcpy(m->paused, "paused by uid 7");
    expect_next(m, "paused by uid 7; none");
    m->paused[0] = '\0';
    m->proposal.id = 3;
    strcpy(m->proposal.text, "suspend: ends in 1.0 s");
    expect_next(m, "asks: suspend: ends in 1.0 s (migpolicy approve 3)");
    free(m);
}

static void ring_keeps_the_last_events(void **state)
{
    struct migration *m = new_migration();
    bool seen[MIGRATION_EVENTS] = {false};

    (void)state;
    for (int i = 0; i < 2 * MIGRATION_EVENTS + 5; i++)
        migration_add_event(m, &(struct migration_event){.elapsed_s = i});
    assert_int_equal(m->events, 2 * MIGRATION_EVENTS + 5);
    for (int i = 0; i < MIGRATION_EVENTS; i++) {
        int age = (int)m->event[i].elapsed_s - (MIGRATION_EVENTS + 5);

        assert_in_range(age, 0, MIGRATION_EVENTS - 1);
        seen[age] = true;
    }
    for (int i = 0; i < MIGRATION_EVENTS; i++)
        assert_true(seen[i]);
    free(m);
}

static void alternatives_are_told_with_their_price(void **state)
{
    struct forecast ends = {
        .ends = true, .seconds = 12.34, .downtime_s = 0.256, .work_lost_s = 5.06};

    (void)state;
    expect_description(ALT_WAIT, &(struct alternative){.share = 1, .reason = REASON_CONVERGES},
                       "no action: does not end");
    expect_description(ALT_WAIT,
                       &(struct alternative){
                           .works = true, .share = 1, .reason = REASON_CONVERGES, .forecast = ends},
                       "no action: ends in 12.3 s, downtime 0.26 s, guest work lost 5.1 s");
    expect_description(ALT_DOWNTIME,
                       &(struct alternative){.works = true,
                                             .share = 1,
                                             .reason = REASON_DOWNTIME_SUFFICES,
                                             .downtime_ns = 1500 * NS_PER_MS,
                                             .forecast = ends},
                       "downtime limit 1.50 s: ends in 12.3 s, downtime 0.26 s, guest work lost "
                       "5.1 s");
    expect_description(ALT_THROTTLE,
                       &(struct alternative){.share = 0.25,
                                             .reason = REASON_THROTTLE_INSUFFICIENT,
                                             .downtime_ns = 300 * NS_PER_MS},
                       "CPU at 25%, downtime limit 0.30 s: does not end");
    expect_description(ALT_POST_COPY, &(struct alternative){.works = true, .forecast = ends},
                       "post-copy: ends in 12.3 s, downtime 0.26 s, guest work lost 5.1 s");
    expect_description(ALT_BANDWIDTH,
                       &(struct alternative){.works = true, .speed_limit_bps = 100 * MIB_BYTES},
                       "speed limit 100MiB/s: worth a try");
    expect_description(ALT_BANDWIDTH, &(struct alternative){.works = true},
                       "no speed limit: worth a try");
    expect_description(ALT_COMPRESSION_CACHE,
                       &(struct alternative){.works = true, .cache_bytes = 128 * MIB_BYTES},
                       "compression cache 128 MiB: worth a try");
}

static void ended_migration_tells_its_last_event(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->active = false;
    expect_next(m, "");
    for (int i = 0; i < MIGRATION_EVENTS; i++)
        migration_add_event(m, &(struct migration_event){0});
    migration_add_event(m, &(struct migration_event){.action = ACTION_CANCEL,
                                                     .result = EVENT_FAILED,
                                                     .reason = REASON_DEADLINE});
    expect_next(m, "last: cancel failed (deadline)");
    free(m);
}

static void throttle_in_force_is_told_first(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->sample.cpu_share = 0.2;
    m->decision.reason = REASON_IN_FORCE;
    m->decision.n_actions = 1;
    expect_next(m, "throttled to 20% (in-force)");
    free(m);
}

static void action_is_told_as_done_or_as_what_would_be_done(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->decision.n_actions = 1;
    m->decision.action[0].kind = ACTION_DOWNTIME;
    m->decision.action[0].reason = REASON_DOWNTIME_SUFFICES;
    expect_next(m, "would: downtime (downtime-suffices)");
    m->decision.apply = true;
    expect_next(m, "downtime (downtime-suffices)");
    free(m);
}

static void what_would_be_asked_is_told(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->decision.verdict = VERDICT_NEEDS_HELP;
    m->decision.n_proposed = 1;
    m->decision.proposed[0].kind = ACTION_CANCEL;
    m->decision.proposed[0].reason = REASON_DEADLINE;
    expect_next(m, "would ask: cancel (deadline)");
    free(m);
}

static void what_would_help_is_told_as_flags(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->decision.verdict = VERDICT_NEEDS_HELP;
    m->decision.reason = REASON_NOT_APPROVED;
    expect_next(m, "not-approved");
    m->decision.alternative[ALT_DOWNTIME] =
        (struct alternative){.works = true, .share = 1, .ceiling_ns = 2000 * NS_PER_MS};
    expect_wish(m, 2, "s");
    m->decision.alternative[ALT_THROTTLE] =
        (struct alternative){.works = true, .share = 0.3, .forecast = {.seconds = 7.2}};
    expect_wish(m, 2, "s or --allow-throttle (30% CPU for 8 s)");
    m->decision.alternative[ALT_DOWNTIME].works = false;
    expect_next(m, "would help: --allow-throttle (30% CPU for 8 s)");
    free(m);
}

static void downtime_wished_for_covers_what_is_needed(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->decision.verdict = VERDICT_HOPELESS;
    m->decision.alternative[ALT_DOWNTIME] = (struct alternative){.works = true, .share = 1};
    for (int64_t ms = 1; ms < 20000; ms += 7) {
        m->decision.alternative[ALT_DOWNTIME].ceiling_ns = ms * NS_PER_MS;
        expect_wish(m, (double)ms / 1e3, "s");
    }
    free(m);
}

static void anything_else_tells_its_reason(void **state)
{
    struct migration *m = new_migration();

    (void)state;
    m->decision.verdict = VERDICT_CONVERGING;
    m->decision.reason = REASON_CONVERGES;
    expect_next(m, "converges");
    free(m);
}

static void short_buffers_are_filled_and_terminated(void **state)
{
    struct migration *m = new_migration();
    struct alternative a = {.works = true, .share = 0.5, .forecast = {.seconds = INFINITY}};
    char buf[16];

    (void)state;
    m->decision.verdict = VERDICT_STALLED;
    m->decision.alternative[ALT_DOWNTIME] =
        (struct alternative){.works = true, .share = 1, .downtime_ns = INT64_MAX};
    m->decision.alternative[ALT_THROTTLE] = a;
    for (size_t size = 1; size <= sizeof(buf); size++) {
        memset(buf, 'x', sizeof(buf));
        migration_next_action(m, buf, size);
        assert_int_equal(strlen(buf), size - 1);
        memset(buf, 'x', sizeof(buf));
        migration_describe(ALT_THROTTLE, &a, buf, size);
        assert_int_equal(strlen(buf), size - 1);
    }
    free(m);
}

static struct metrics *new_metrics(void)
{
    static const char *const none[] = {NULL};
    const struct metrics_labels labels = {phase_names,  verdict_names, action_names,
                                          reason_names, none,          none};
    struct metrics *metrics;

    assert_int_equal(metrics_new(&labels, &metrics), 0);
    return metrics;
}

/* The value of a series of our VM; NAN if it is not there. */
static double exported(struct metrics *metrics, const char *series)
{
    struct metrics_buf page = {0};
    double value = NAN;
    char start[128];
    const char *at;

    snprintf(start, sizeof(start), "\n%s", series);
    metrics_render(metrics, METRICS_TEXT, &page);
    at = page.data ? strstr(page.data, start) : NULL;
    if (at)
        value = strtod(at + strcspn(at, "}") + 1, NULL);
    metrics_buf_free(&page);
    return value;
}

static bool in_phase(struct metrics *metrics, const char *phase)
{
    struct metrics_buf page = {0};
    char line[128];
    bool found;

    snprintf(line, sizeof(line), "phase=\"%s\"} 1\n", phase);
    metrics_render(metrics, METRICS_TEXT, &page);
    found = strstr(page.data, line) != NULL;
    metrics_buf_free(&page);
    return found;
}

static void phase_follows_from_sample_and_verdict(void **state)
{
    struct migration *m = new_migration();
    struct metrics *metrics = new_metrics();

    (void)state;
    phase_export(metrics, m);
    assert_true(in_phase(metrics, "setup"));
    m->sample.disk_total_bytes = 5;
    phase_export(metrics, m);
    assert_true(in_phase(metrics, "storage"));
    m->sample.total_bytes = 5;
    phase_export(metrics, m);
    assert_true(in_phase(metrics, "pre-copy"));
    m->decision.verdict = VERDICT_POST_COPY;
    phase_export(metrics, m);
    assert_true(in_phase(metrics, "post-copy"));
    m->decision.verdict = VERDICT_SWITCHOVER;
    phase_export(metrics, m);
    assert_true(in_phase(metrics, "switchover"));
    assert_false(in_phase(metrics, "post-copy"));
    metrics_free(metrics);
    free(m);
}

static void unknown_values_are_left_out(void **state)
{
    struct migration *m = new_migration();
    struct metrics *metrics = new_metrics();

    (void)state;
    m->sample.elapsed_ns = 1500 * NS_PER_MS;
    m->decision.course = (struct forecast){.ends = false, .seconds = 3, .downtime_s = 0.5};
    phase_export(metrics, m);
    assert_true(exported(metrics, "migpolicy_migration_elapsed_seconds{") == 1.5);
    assert_true(isnan(exported(metrics, "migpolicy_migration_dirty_rate_bytes_per_second{")));
    assert_true(isnan(exported(metrics, "migpolicy_migration_forecast_remaining_seconds{")));
    m->decision.course.ends = true;
    phase_export(metrics, m);
    assert_true(isnan(exported(metrics, "migpolicy_migration_forecast_remaining_seconds{")));
    m->estimate.ready = true;
    m->estimate.dirty_bps = 1e6;
    m->decision.verdict = VERDICT_CONVERGING;
    m->decision.latest_s = INFINITY;
    phase_export(metrics, m);
    assert_true(exported(metrics, "migpolicy_migration_dirty_rate_bytes_per_second{") == 1e6);
    assert_true(isnan(exported(metrics, "migpolicy_migration_forecast_remaining_seconds{")));
    /* A date that is not said is not exported. */
    m->decision.held = true;
    phase_export(metrics, m);
    assert_true(exported(metrics, "migpolicy_migration_forecast_remaining_seconds{") == 3);
    metrics_free(metrics);
    free(m);
}

static void summary_replaces_the_running_migration(void **state)
{
    struct migration *m = new_migration();
    struct metrics *metrics = new_metrics();

    (void)state;
    phase_export(metrics, m);
    assert_false(isnan(exported(metrics, "migpolicy_migration_elapsed_seconds{")));
    m->active = false;
    m->outcome = OUTCOME_CANCELLED;
    m->duration_s = 42;
    phase_export_last(metrics, m);
    assert_true(isnan(exported(metrics, "migpolicy_migration_elapsed_seconds{")));
    assert_true(exported(metrics, "migpolicy_last_migration_duration_seconds{") == 42);
    assert_true(isnan(exported(metrics, "migpolicy_last_migration_downtime_seconds{")));
    metrics_free(metrics);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_result_and_outcome_has_a_name),
        cmocka_unit_test(a_question_and_a_pause_are_told_before_all_else),
        cmocka_unit_test(ring_keeps_the_last_events),
        cmocka_unit_test(alternatives_are_told_with_their_price),
        cmocka_unit_test(ended_migration_tells_its_last_event),
        cmocka_unit_test(throttle_in_force_is_told_first),
        cmocka_unit_test(action_is_told_as_done_or_as_what_would_be_done),
        cmocka_unit_test(what_would_be_asked_is_told),
        cmocka_unit_test(what_would_help_is_told_as_flags),
        cmocka_unit_test(downtime_wished_for_covers_what_is_needed),
        cmocka_unit_test(anything_else_tells_its_reason),
        cmocka_unit_test(short_buffers_are_filled_and_terminated),
        cmocka_unit_test(phase_follows_from_sample_and_verdict),
        cmocka_unit_test(unknown_values_are_left_out),
        cmocka_unit_test(summary_replaces_the_running_migration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
