/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "policy/units.h"

static void set(struct policy_layer *layer, enum policy_field field, const char *text)
{
    const char *expected = NULL;

    if (policy_layer_set(layer, field, text, &expected) != 0)
        fail_msg("%s: must be %s", text, expected);
}

static void expect_refusal(enum policy_field field, const char *text, int error)
{
    struct policy_layer layer = {0}, before;
    const char *expected = NULL;
    int r;

    set(&layer, POLICY_PATIENCE, "3s");
    before = layer;
    r = policy_layer_set(&layer, field, text, &expected);
    if (r != error || !expected || !*expected)
        fail_msg("%s \"%s\": %d instead of %d", policy_field_info(field)->name, text, r, error);
    assert_memory_equal(&layer, &before, sizeof(layer));
    assert_int_equal(policy_layer_set(&layer, field, text, NULL), error);
}

static void each_field_is_found_by_key_and_by_flag(void **state)
{
    (void)state;
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);
        enum policy_field found = POLICY_FIELDS;
        char flag[64];

        assert_true(strlen(info->help) > 0);
        assert_true(strlen(info->name) < sizeof(flag));
        strcpy(flag, info->name);
        for (char *c = flag; (c = strchr(c, '_'));)
            *c = '-';
        assert_int_equal(policy_field_find(info->name, &found), 0);
        assert_int_equal(found, i);
        found = POLICY_FIELDS;
        assert_int_equal(policy_field_find(flag, &found), 0);
        assert_int_equal(found, i);
    }
}

static void unknown_field_is_not_found(void **state)
{
    static const char *const names[] = {
        "", "max", "max_downtime_", "MAX_DOWNTIME", "max downtime", "-", "max_downtim"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        enum policy_field field = POLICY_FIELDS;

        assert_int_equal(policy_field_find(names[i], &field), -ENOENT);
        assert_int_equal(field, POLICY_FIELDS);
    }
}

static void malformed_values_leave_the_layer_alone(void **state)
{
    (void)state;
    expect_refusal(POLICY_MODE, "", -EINVAL);
    expect_refusal(POLICY_MODE, "Enforce", -EINVAL);
    expect_refusal(POLICY_MODE, "enforce ", -EINVAL);
    expect_refusal(POLICY_ALLOW_THROTTLE, "true", -EINVAL);
    expect_refusal(POLICY_ALLOW_THROTTLE, "1", -EINVAL);
    expect_refusal(POLICY_ALLOW_CANCEL, "maybe", -EINVAL);
    expect_refusal(POLICY_ON_DEADLINE, "suspend", -EINVAL);
    expect_refusal(POLICY_MAX_BANDWIDTH, "100MiB", -EINVAL);
    expect_refusal(POLICY_MAX_COMPRESSION_CACHE, "64", -EINVAL);
    expect_refusal(POLICY_PRECOPY_ITERATIONS, "", -EINVAL);
    expect_refusal(POLICY_PRECOPY_ITERATIONS, "5x", -EINVAL);
    expect_refusal(POLICY_PRECOPY_ITERATIONS, "-5", -EINVAL);
    expect_refusal(POLICY_PRECOPY_ITERATIONS, "99999999999999999999", -ERANGE);
    expect_refusal(POLICY_ORDER, "", -EINVAL);
    expect_refusal(POLICY_ORDER, "throttle,", -EINVAL);
    expect_refusal(POLICY_ORDER, "throttle,throttle", -EINVAL);
    expect_refusal(POLICY_ORDER, "throttle, downtime", -EINVAL);
    expect_refusal(POLICY_OBJECTIVE, "none", -EINVAL);
    expect_refusal(POLICY_MAX_DOWNTIME, "2", -EINVAL);
    expect_refusal(POLICY_PATIENCE, "none", -EINVAL);
    expect_refusal(POLICY_MAX_DOWNTIME, "2MiB", -EINVAL);
    expect_refusal(POLICY_MIN_CPU, "0.2", -EINVAL);
    expect_refusal(POLICY_DEADLINE, "-1s", -ERANGE);
}

static void values_are_accepted_up_to_their_bounds_only(void **state)
{
    static const struct {
        enum policy_field field;
        const char *below, *least, *most, *above;
    } cases[] = {
        {POLICY_MAX_DOWNTIME, "999us", "1ms", "2000s", "33m20s1ms"},
        {POLICY_MIN_CPU, "0.9999%", "1%", "100%", "100.0001%"},
        {POLICY_MAX_WORK_LOST, "0s", "1ms", "30d", "30d1ns"},
        {POLICY_DEADLINE, "999ms", "1s", "30d", "31d"},
        {POLICY_PATIENCE, "-1ns", "0s", "30d", "9999999h"},
        {POLICY_STALL_TIMEOUT, "0s", "1s", "30d", "99999999999999d"},
        {POLICY_MAX_BANDWIDTH, "1023KiB/s", "1MiB/s", "8796093022208B/s", "9TiB/s"},
        {POLICY_MAX_COMPRESSION_CACHE, "1023KiB", "1MiB", "64TiB", "65TiB"},
        {POLICY_DEADLINE_PER_GIB, "0s", "1ms", "30d", "31d"},
        {POLICY_ASK_TIMEOUT, "0s", "1s", "30d", "31d"},
        {POLICY_PRECOPY_ITERATIONS, "0", "1", "1000000", "1000001"},
        {POLICY_PRECOPY_THRESHOLD, "4095B", "4KiB", "64TiB", "65TiB"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_layer layer = {0};

        expect_refusal(cases[i].field, cases[i].below, -ERANGE);
        expect_refusal(cases[i].field, cases[i].above, -ERANGE);
        set(&layer, cases[i].field, cases[i].least);
        assert_int_equal(layer.values.v[cases[i].field], policy_field_info(cases[i].field)->min);
        set(&layer, cases[i].field, cases[i].most);
        assert_int_equal(layer.values.v[cases[i].field], policy_field_info(cases[i].field)->max);
        assert_int_equal(layer.set, 1u << cases[i].field);
    }
}

static void values_are_written_as_they_are_read(void **state)
{
    static const struct {
        enum policy_field field;
        const char *text;
    } cases[] = {
        {POLICY_MODE, "enforce"},
        {POLICY_MAX_DOWNTIME, "1.5s"},
        {POLICY_ALLOW_THROTTLE, "yes"},
        {POLICY_MIN_CPU, "12.5%"},
        {POLICY_MAX_WORK_LOST, "30s"},
        {POLICY_ALLOW_CANCEL, "no"},
        {POLICY_DEADLINE, "1h30m"},
        {POLICY_ON_DEADLINE, "cancel"},
        {POLICY_PATIENCE, "0s"},
        {POLICY_STALL_TIMEOUT, "1m"},
        {POLICY_OBJECTIVE, "gentle"},
        {POLICY_PATIENCE, "7ns"},
        {POLICY_ALLOW_SUSPEND, "ask"},
        {POLICY_ON_DEADLINE, "force"},
        {POLICY_MAX_BANDWIDTH, "none"},
        {POLICY_MAX_COMPRESSION_CACHE, "512MiB"},
        {POLICY_PRECOPY_ITERATIONS, "5"},
        {POLICY_ORDER, "throttle,downtime,cancel,post-copy,suspend,bandwidth"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_layer layer = {0};
        char text[64];

        set(&layer, cases[i].field, cases[i].text);
        policy_value_format(cases[i].field, layer.values.v[cases[i].field], text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

static void no_limit_is_written_as_none(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(policy_value_format(POLICY_DEADLINE, POLICY_NONE, text, sizeof(text)),
                        "none");
}

static void defaults_allow_nothing_and_observe(void **state)
{
    struct policy policy;

    (void)state;
    memset(&policy, 0xff, sizeof(policy));
    policy_init(&policy);
    policy_finish(&policy);
    assert_int_equal(policy.set, 0);
    assert_false(policy_allows_anything(&policy.values));
    assert_int_equal(policy.values.v[POLICY_MODE], MODE_OBSERVE);
    assert_int_equal(policy.values.v[POLICY_MIN_CPU], PPM_ONE / 5);
    assert_int_equal(policy.values.v[POLICY_DEADLINE], POLICY_NONE);
    assert_int_equal(policy.values.v[POLICY_STALL_TIMEOUT], 60 * NS_PER_S);
    for (unsigned i = 0; i < POLICY_FIELDS; i++)
        assert_string_equal(policy.source[i], "default");
}

static void later_layer_wins_field_by_field_and_is_named(void **state)
{
    struct policy_layer first = {0}, second = {0};
    struct policy policy;

    (void)state;
    set(&first, POLICY_MAX_DOWNTIME, "1s");
    set(&first, POLICY_ALLOW_THROTTLE, "yes");
    set(&second, POLICY_MAX_DOWNTIME, "2s");
    policy_init(&policy);
    policy_merge(&policy, &first, "first");
    policy_merge(&policy, &second, "second");
    assert_int_equal(policy.values.v[POLICY_MAX_DOWNTIME], 2 * NS_PER_S);
    assert_int_equal(policy.values.v[POLICY_ALLOW_THROTTLE], ALLOW_YES);
    assert_string_equal(policy.source[POLICY_MAX_DOWNTIME], "second");
    assert_string_equal(policy.source[POLICY_ALLOW_THROTTLE], "first");
    assert_string_equal(policy.source[POLICY_MIN_CPU], "default");
    assert_int_equal(policy.set, first.set | second.set);
}

static void same_layer_twice_changes_nothing(void **state)
{
    struct policy_layer layer = {0};
    struct policy once, twice;

    (void)state;
    set(&layer, POLICY_MIN_CPU, "30%");
    policy_init(&once);
    policy_merge(&once, &layer, "layer");
    twice = once;
    policy_merge(&twice, &layer, "layer");
    assert_memory_equal(&once.values, &twice.values, sizeof(once.values));
    assert_int_equal(once.set, twice.set);
    assert_string_equal(twice.source[POLICY_MIN_CPU], "layer");
}

static void long_source_is_cut(void **state)
{
    struct policy_layer layer = {0};
    struct policy policy;
    char source[2 * POLICY_SOURCE_MAX];

    (void)state;
    memset(source, 'a', sizeof(source));
    source[sizeof(source) - 1] = '\0';
    set(&layer, POLICY_MODE, "observe");
    policy_init(&policy);
    policy_merge(&policy, &layer, source);
    assert_int_equal(strlen(policy.source[POLICY_MODE]), POLICY_SOURCE_MAX - 1);
}

static void forgotten_field_no_longer_counts(void **state)
{
    struct policy_layer layer = {0}, empty = {0};

    (void)state;
    set(&layer, POLICY_DEADLINE, "5m");
    policy_layer_unset(&layer, POLICY_DEADLINE);
    policy_layer_unset(&layer, POLICY_DEADLINE);
    policy_layer_unset(&layer, POLICY_MODE);
    assert_memory_equal(&layer, &empty, sizeof(layer));
}

static struct policy finish(const struct policy_layer *layer)
{
    struct policy policy;

    policy_init(&policy);
    policy_merge(&policy, layer, "layer");
    policy_finish(&policy);
    return policy;
}

static void allowing_anything_enforces_with_a_deadline(void **state)
{
    static const struct {
        enum policy_field field;
        const char *text;
    } cases[] = {
        {POLICY_MAX_DOWNTIME, "1s"}, {POLICY_ALLOW_THROTTLE, "yes"}, {POLICY_ALLOW_CANCEL, "yes"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_layer layer = {0};
        struct policy policy;

        set(&layer, cases[i].field, cases[i].text);
        policy = finish(&layer);
        assert_true(policy_allows_anything(&policy.values));
        assert_int_equal(policy.values.v[POLICY_MODE], MODE_ENFORCE);
        assert_int_equal(policy.values.v[POLICY_DEADLINE], 600 * NS_PER_S);
        assert_int_equal(policy.values.v[POLICY_ON_DEADLINE], cases[i].field == POLICY_ALLOW_CANCEL
                                                                  ? ON_DEADLINE_CANCEL
                                                                  : ON_DEADLINE_REPORT);
        assert_string_equal(policy.source[POLICY_MODE], "default");
    }
}

static void stated_fields_are_not_filled_in(void **state)
{
    struct policy_layer layer = {0};
    struct policy policy;

    (void)state;
    set(&layer, POLICY_ALLOW_CANCEL, "yes");
    set(&layer, POLICY_MODE, "observe");
    set(&layer, POLICY_DEADLINE, "30s");
    set(&layer, POLICY_ON_DEADLINE, "report");
    policy = finish(&layer);
    assert_int_equal(policy.values.v[POLICY_MODE], MODE_OBSERVE);
    assert_int_equal(policy.values.v[POLICY_DEADLINE], 30 * NS_PER_S);
    assert_int_equal(policy.values.v[POLICY_ON_DEADLINE], ON_DEADLINE_REPORT);
}

static void allowing_nothing_keeps_what_is_stated(void **state)
{
    struct policy_layer layer = {0};
    struct policy policy;

    (void)state;
    set(&layer, POLICY_ALLOW_THROTTLE, "no");
    set(&layer, POLICY_DEADLINE, "30s");
    policy = finish(&layer);
    assert_false(policy_allows_anything(&policy.values));
    assert_int_equal(policy.values.v[POLICY_MODE], MODE_OBSERVE);
    assert_int_equal(policy.values.v[POLICY_DEADLINE], 30 * NS_PER_S);
    assert_int_equal(policy.values.v[POLICY_ON_DEADLINE], ON_DEADLINE_REPORT);
}

static void rungs_left_out_of_the_order_come_last(void **state)
{
    static const enum policy_rung expected[RUNGS] = {RUNG_SUSPEND,  RUNG_BANDWIDTH, RUNG_DOWNTIME,
                                                     RUNG_THROTTLE, RUNG_POST_COPY, RUNG_CANCEL};
    struct policy_layer layer = {0};

    (void)state;
    set(&layer, POLICY_ORDER, "suspend,bandwidth");
    for (unsigned i = 0; i < RUNGS; i++)
        assert_int_equal(policy_rung_at(layer.values.v[POLICY_ORDER], i), expected[i]);
}

static void deadline_grows_with_the_guest(void **state)
{
    struct policy_layer layer = {0};
    struct policy policy;

    (void)state;
    set(&layer, POLICY_DEADLINE_PER_GIB, "10s");
    policy = finish(&layer);
    assert_int_equal(policy_deadline_ns(&policy.values, UINT64_C(8) << 30), 80 * NS_PER_S);
    set(&layer, POLICY_DEADLINE, "2m");
    policy = finish(&layer);
    assert_int_equal(policy_deadline_ns(&policy.values, UINT64_C(8) << 30), 120 * NS_PER_S);
    assert_int_equal(policy_deadline_ns(&policy.values, UINT64_C(16) << 30), 160 * NS_PER_S);
    assert_true(policy_deadline_ns(&policy.values, UINT64_MAX) > 0);
}

static void asking_counts_as_allowing(void **state)
{
    struct policy_layer layer = {0};
    struct policy policy;

    (void)state;
    set(&layer, POLICY_ALLOW_CANCEL, "ask");
    policy = finish(&layer);
    assert_int_equal(policy.values.v[POLICY_MODE], MODE_ENFORCE);
    assert_int_equal(policy.values.v[POLICY_ON_DEADLINE], ON_DEADLINE_REPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rungs_left_out_of_the_order_come_last),
        cmocka_unit_test(deadline_grows_with_the_guest),
        cmocka_unit_test(asking_counts_as_allowing),
        cmocka_unit_test(each_field_is_found_by_key_and_by_flag),
        cmocka_unit_test(unknown_field_is_not_found),
        cmocka_unit_test(malformed_values_leave_the_layer_alone),
        cmocka_unit_test(values_are_accepted_up_to_their_bounds_only),
        cmocka_unit_test(values_are_written_as_they_are_read),
        cmocka_unit_test(no_limit_is_written_as_none),
        cmocka_unit_test(defaults_allow_nothing_and_observe),
        cmocka_unit_test(later_layer_wins_field_by_field_and_is_named),
        cmocka_unit_test(same_layer_twice_changes_nothing),
        cmocka_unit_test(long_source_is_cut),
        cmocka_unit_test(forgotten_field_no_longer_counts),
        cmocka_unit_test(allowing_anything_enforces_with_a_deadline),
        cmocka_unit_test(stated_fields_are_not_filled_in),
        cmocka_unit_test(allowing_nothing_keeps_what_is_stated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
