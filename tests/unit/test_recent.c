/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recent past in memory: courses stay bounded and stay sawtooths; migrations that ended. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/record/recent.h"
#include "common/json.h"
#include "common/units.h"

#define UUID "11111111-1111-1111-1111-111111111111"

static struct recent *recent;
static struct migration m;
static struct policy policy;

static int setup(void **state)
{
    (void)state;
    recent = recent_new();
    policy_init(&policy);
    memset(&m, 0, sizeof(m));
    snprintf(m.domain.name, sizeof(m.domain.name), "vm");
    snprintf(m.domain.uuid, sizeof(m.domain.uuid), UUID);
    m.sample.cpu_share = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    recent_free(recent);
    return 0;
}

static void look(double elapsed_s, uint64_t pass, uint64_t remaining)
{
    m.sample.elapsed_ns = (int64_t)(elapsed_s * NS_PER_S);
    m.sample.iteration = pass;
    m.sample.remaining_bytes = remaining;
    recent_look(recent, &m, &policy);
}

/* Passes of `points` looks each: what remains falls from 1000 to 100. */
static void saw(unsigned passes, unsigned points)
{
    for (unsigned i = 0; i < passes * points; i++)
        look(i, i / points + 1, 1000 - 900 * (i % points) / (points - 1));
}

static struct json_object *column(struct json_object *course, const char *name)
{
    struct json_object *o = NULL;

    assert_true(json_object_object_get_ex(course, name, &o));
    return o;
}

static double at(struct json_object *list, size_t i)
{
    return json_object_get_double(json_object_array_get_idx(list, i));
}

static size_t count_of(struct json_object *list, double value)
{
    size_t n = 0;

    for (size_t i = 0; i < json_object_array_length(list); i++)
        n += at(list, i) == value;
    return n;
}

static void a_course_tells_what_was_seen_and_only_what_is_new(void **state)
{
    (void)state;
    m.estimate.transfer_bps = 200;
    m.sample.downtime_limit_ns = NS_PER_S / 2;
    look(1, 1, 900);
    m.estimate.dirty_bps = 50;
    look(2.25, 1, 800);

    AUTO_JSON struct json_object *all = recent_course_to_json(recent, UUID, -1);
    assert_string_equal(
        json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN),
        "{\"elapsed_seconds\":[1.00,2.25],\"remaining_bytes\":[900,800],"
        "\"dirty_rate_bytes_per_second\":[null,50],\"transfer_rate_bytes_per_second\":[200,200],"
        "\"switchover_bytes\":[100,100],\"cpu_limit_ratio\":[1.00,1.00]}");
    AUTO_JSON struct json_object *later = recent_course_to_json(recent, UUID, 1);
    assert_int_equal(json_object_array_length(column(later, "remaining_bytes")), 1);
    AUTO_JSON struct json_object *none = recent_course_to_json(recent, "other", -1);
    assert_int_equal(json_object_array_length(column(none, "remaining_bytes")), 0);
}

static void a_long_course_keeps_its_beginning_and_the_tops_and_bottoms_of_its_passes(void **state)
{
    (void)state;
    saw(20, 500);

    AUTO_JSON struct json_object *course = recent_course_to_json(recent, UUID, -1);
    struct json_object *remaining = column(course, "remaining_bytes");
    struct json_object *elapsed = column(course, "elapsed_seconds");
    assert_in_range(json_object_array_length(remaining), RECENT_POINTS / 2, RECENT_POINTS);
    assert_int_equal(count_of(remaining, 1000), 20);
    assert_int_equal(count_of(remaining, 100), 20);
    assert_true(at(elapsed, 0) == 0);
    assert_true(at(elapsed, json_object_array_length(elapsed) - 1) == 20 * 500 - 1);
}

static void of_many_short_passes_whole_ones_are_left_out(void **state)
{
    (void)state;
    saw(5000, 3);

    AUTO_JSON struct json_object *course = recent_course_to_json(recent, UUID, -1);
    struct json_object *remaining = column(course, "remaining_bytes");
    size_t n = json_object_array_length(remaining);
    assert_in_range(n, RECENT_POINTS / 2, RECENT_POINTS);
    /* Tops and bottoms still alternate, but where a point is still between them. */
    assert_in_range(count_of(remaining, 1000), n / 4, n / 2 + 1);
    assert_in_range(count_of(remaining, 100), n / 4, n / 2 + 1);
    struct json_object *elapsed = column(course, "elapsed_seconds");
    for (size_t i = 1; i < n; i++)
        assert_true(at(elapsed, i) > at(elapsed, i - 1));
}

static void another_migration_of_the_vm_begins_a_new_course(void **state)
{
    (void)state;
    look(5, 3, 700);
    look(0.5, 1, 900);

    AUTO_JSON struct json_object *course = recent_course_to_json(recent, UUID, -1);
    assert_int_equal(json_object_array_length(column(course, "remaining_bytes")), 1);
    assert_true(at(column(course, "remaining_bytes"), 0) == 900);
}

static void courses_of_more_vms_than_there_is_room_for_push_out_the_oldest(void **state)
{
    char uuid[HV_UUID_MAX];

    (void)state;
    for (unsigned i = 0; i <= RECENT_VMS; i++) {
        snprintf(m.domain.uuid, sizeof(m.domain.uuid), "vm-%u", i);
        look(1, 1, i + 1);
    }
    AUTO_JSON struct json_object *first = recent_course_to_json(recent, "vm-0", -1);
    assert_int_equal(json_object_array_length(column(first, "remaining_bytes")), 0);
    assert_null(recent_policy_to_json(recent, "vm-0"));
    snprintf(uuid, sizeof(uuid), "vm-%u", (unsigned)RECENT_VMS);
    AUTO_JSON struct json_object *last = recent_course_to_json(recent, uuid, -1);
    assert_true(at(column(last, "remaining_bytes"), 0) == RECENT_VMS + 1);
}

static void the_policy_is_the_one_it_was_judged_by_last(void **state)
{
    (void)state;
    snprintf(policy.source[POLICY_MODE], POLICY_SOURCE_MAX, "uid 7");
    look(1, 1, 1);

    AUTO_JSON struct json_object *fields = recent_policy_to_json(recent, UUID);
    assert_int_equal(json_object_array_length(fields), POLICY_FIELDS);
    assert_non_null(strstr(json_object_to_json_string(fields), "uid 7"));
}

static void what_ended_is_listed_newest_first_with_its_course_and_bounded(void **state)
{
    (void)state;
    saw(10, 50);
    m.outcome = OUTCOME_COMPLETED;
    m.duration_s = 600;
    m.downtime_s = NAN;
    migration_add_event(&m, &(struct migration_event){.result = EVENT_APPLIED});
    migration_add_event(&m, &(struct migration_event){.result = EVENT_PROPOSED});
    for (unsigned i = 0; i < RECENT_ENDED + 5; i++) {
        snprintf(m.domain.name, sizeof(m.domain.name), "vm%u", i);
        recent_end(recent, &m);
    }

    AUTO_JSON struct json_object *list = recent_ended_to_json(recent);
    struct json_object *first = json_object_array_get_idx(list, 0);
    assert_int_equal(json_object_array_length(list), RECENT_ENDED);
    assert_string_equal(json_object_get_string(column(first, "vm")), "vm104");
    assert_string_equal(json_object_get_string(column(first, "result")), "completed");
    assert_null(column(first, "downtime_seconds"));
    assert_int_equal(json_object_get_int(column(first, "actions_applied")), 1);
    struct json_object *spark = column(first, "remaining_bytes");
    assert_int_equal(json_object_array_length(spark), RECENT_SPARK);
    assert_true(at(spark, 0) == 1000);
    assert_true(at(spark, RECENT_SPARK - 1) == 0);
}

static void what_the_record_tells_of_earlier_ones_is_taken_whatever_it_is(void **state)
{
    AUTO_JSON struct json_object *history = json_tokener_parse(
        "[{\"vm\":\"new\",\"uuid\":\"u\",\"result\":\"failed\",\"iteration\":7,"
        "\"elapsed_seconds\":3.5,\"events\":[{\"result\":\"applied\"},{\"result\":3},5]},"
        "{\"vm\":[],\"uuid\":null,\"iteration\":-4,\"elapsed_seconds\":\"x\",\"events\":{}}]");

    (void)state;
    assert_non_null(history);
    recent_load(recent, history);
    AUTO_JSON struct json_object *list = recent_ended_to_json(recent);
    struct json_object *first = json_object_array_get_idx(list, 0);
    struct json_object *second = json_object_array_get_idx(list, 1);
    assert_string_equal(json_object_get_string(column(first, "vm")), "new");
    assert_int_equal(json_object_get_int(column(first, "actions_applied")), 1);
    assert_string_equal(json_object_get_string(column(second, "vm")), "");
    assert_null(column(second, "elapsed_seconds"));
    assert_int_equal(json_object_get_int(column(second, "iteration")), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_course_tells_what_was_seen_and_only_what_is_new),
        TEST(a_long_course_keeps_its_beginning_and_the_tops_and_bottoms_of_its_passes),
        TEST(of_many_short_passes_whole_ones_are_left_out),
        TEST(another_migration_of_the_vm_begins_a_new_course),
        TEST(courses_of_more_vms_than_there_is_room_for_push_out_the_oldest),
        TEST(the_policy_is_the_one_it_was_judged_by_last),
        TEST(what_ended_is_listed_newest_first_with_its_course_and_bounded),
        TEST(what_the_record_tells_of_earlier_ones_is_taken_whatever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
