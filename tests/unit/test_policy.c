/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "common/units.h"
#include "policy/action.h"

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
    expect_refusal(POLICY_PRESET, "none", -EINVAL);
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

static void allowing_anything_enforces(void **state)
{
    static const struct {
        enum policy_field field;
        const char *text;
    } cases[] = {{POLICY_MAX_DOWNTIME, "1s"},
                 {POLICY_AIM_DOWNTIME, "50ms"},
                 {POLICY_ALLOW_THROTTLE, "yes"},
                 {POLICY_ALLOW_CANCEL, "yes"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy_layer layer = {0};
        struct policy policy;

        set(&layer, cases[i].field, cases[i].text);
        policy = finish(&layer);
        assert_true(policy_allows_anything(&policy.values));
        assert_int_equal(policy.values.v[POLICY_MODE], MODE_ENFORCE);
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

static void fields_beside_a_preset_override_it_and_both_are_named(void **state)
{
    struct policy_layer layer = {0};
    struct policy policy;

    (void)state;
    set(&layer, POLICY_MIN_CPU, "40%");
    set(&layer, POLICY_PRESET, "balanced");
    policy = finish(&layer);
    assert_int_equal(policy.values.v[POLICY_MIN_CPU], 400000);
    assert_string_equal(policy.source[POLICY_MIN_CPU], "layer");
    assert_int_equal(policy.values.v[POLICY_MAX_DOWNTIME], NS_PER_S);
    assert_string_equal(policy.source[POLICY_MAX_DOWNTIME], "preset balanced, layer");
    assert_string_equal(policy.source[POLICY_PRESET], "layer");
}

/* A preset over another one leaves nothing of it behind. */
static void presets_that_act_state_the_same_fields_each_acceptable(void **state)
{
    struct policy_layer reference, layer, again = {0};
    char text[64];

    (void)state;
    policy_preset_layer(1, &reference);
    for (int64_t preset = 0; policy_preset_names[preset]; preset++) {
        policy_preset_layer(preset, &layer);
        assert_int_equal(layer.set, preset == 0 ? 1u << POLICY_MODE : reference.set);
        for (unsigned i = 0; i < POLICY_FIELDS; i++) {
            if (!(layer.set & (1u << i)))
                continue;
            policy_value_format((enum policy_field)i, layer.values.v[i], text, sizeof(text));
            set(&again, (enum policy_field)i, text);
            assert_int_equal(again.values.v[i], layer.values.v[i]);
        }
    }
}

static void presets_that_act_say_of_each_action_whether_it_may(void **state)
{
    struct policy_layer layer;

    (void)state;
    policy_preset_layer(1, &layer);
    for (int action = 0; action < ACTIONS; action++) {
        enum policy_field field = action_allowed_by((enum action_kind)action);

        if (field != ACTION_NEEDS_NOTHING && !(layer.set & (1u << field)))
            fail_msg("%s", action_name((enum action_kind)action));
    }
}

static void preset_never_slow_neither_throttles_nor_pauses_whatever_is_below_it(void **state)
{
    struct policy_layer below = {0}, above = {0};
    struct policy policy;

    (void)state;
    set(&below, POLICY_PRESET, "must-finish");
    set(&above, POLICY_PRESET, "never-slow");
    policy_init(&policy);
    policy_merge(&policy, &below, "below");
    policy_merge(&policy, &above, "above");
    policy_finish(&policy);
    assert_int_equal(policy.values.v[POLICY_ALLOW_THROTTLE], ALLOW_NO);
    assert_int_equal(policy.values.v[POLICY_ALLOW_SUSPEND], ALLOW_NO);
    assert_int_equal(policy.values.v[POLICY_ALLOW_POST_COPY], ALLOW_YES);
    assert_int_equal(policy.values.v[POLICY_ON_DEADLINE], ON_DEADLINE_REPORT);
}

static void narrowing_takes_only_what_allows_less(void **state)
{
    static const struct {
        enum policy_field field;
        const char *allowed, *wanted, *result; /* NULL: as by default */
    } cases[] = {
        {POLICY_MODE, "enforce", "observe", "observe"},
        {POLICY_MODE, "observe", "enforce", "observe"},
        {POLICY_MAX_DOWNTIME, "2s", "1s", "1s"},
        {POLICY_MAX_DOWNTIME, "2s", "3s", "2s"},
        {POLICY_MAX_DOWNTIME, "2s", "none", "none"},
        {POLICY_MAX_DOWNTIME, NULL, "1s", "none"},
        {POLICY_ALLOW_SUSPEND, "yes", "ask", "ask"},
        {POLICY_ALLOW_SUSPEND, "ask", "yes", "ask"},
        {POLICY_ALLOW_SUSPEND, NULL, "yes", "no"},
        {POLICY_MIN_CPU, "20%", "30%", "30%"},
        {POLICY_MIN_CPU, "20%", "10%", "20%"},
        {POLICY_MAX_WORK_LOST, NULL, "3s", "3s"},
        {POLICY_MAX_WORK_LOST, "3s", "none", "3s"},
        {POLICY_MAX_BANDWIDTH, "1GiB/s", "2GiB/s", "1GiB/s"},
        {POLICY_PATIENCE, "10s", "20s", "20s"},
        {POLICY_PATIENCE, "10s", "5s", "10s"},
        {POLICY_PRECOPY_ITERATIONS, "5", "none", "none"},
        {POLICY_PRECOPY_ITERATIONS, "5", "9", "9"},
        {POLICY_PRECOPY_ITERATIONS, NULL, "9", "none"},
        {POLICY_ON_DEADLINE, "force", "cancel", "force"},
        {POLICY_ON_DEADLINE, "force", "report", "report"},
        {POLICY_DEADLINE, "10m", "1m", "10m"},
        {POLICY_DEADLINE, "10m", "1h", "10m"},
        {POLICY_OBJECTIVE, "gentle", "least-loss", "gentle"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum policy_field field = cases[i].field;
        struct policy_layer host = {0}, wish = {0};
        struct policy policy;
        char text[64];

        set(&wish, field, cases[i].wanted);
        if (cases[i].allowed)
            set(&host, field, cases[i].allowed);
        policy_init(&policy);
        policy_merge(&policy, &host, "host");
        policy_narrow(&policy, &wish, "wish");
        policy_value_format(field, policy.values.v[field], text, sizeof(text));
        if (strcmp(text, cases[i].result) != 0)
            fail_msg("case %zu: %s instead of %s", i, text, cases[i].result);
        if (strcmp(policy.source[field], "wish") == 0)
            assert_string_equal(text, cases[i].wanted);
    }
}

static void narrowing_by_a_preset_narrows_each_of_its_fields(void **state)
{
    struct policy_layer host = {0}, wish = {0};
    struct policy policy;

    (void)state;
    set(&host, POLICY_PRESET, "must-finish");
    set(&wish, POLICY_PRESET, "gentle");
    policy = finish(&host);
    policy_narrow(&policy, &wish, "wish");
    assert_int_equal(policy.values.v[POLICY_ALLOW_SUSPEND], ALLOW_NO);
    assert_int_equal(policy.values.v[POLICY_MAX_DOWNTIME], NS_PER_S / 2);
    assert_int_equal(policy.values.v[POLICY_DEADLINE], POLICY_NONE);
    assert_string_equal(policy.source[POLICY_MIN_CPU], "preset gentle, wish");
    assert_string_equal(policy.source[POLICY_PRESET], "layer");
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
        cmocka_unit_test(allowing_anything_enforces),
        cmocka_unit_test(stated_fields_are_not_filled_in),
        cmocka_unit_test(allowing_nothing_keeps_what_is_stated),
        cmocka_unit_test(fields_beside_a_preset_override_it_and_both_are_named),
        cmocka_unit_test(presets_that_act_state_the_same_fields_each_acceptable),
        cmocka_unit_test(presets_that_act_say_of_each_action_whether_it_may),
        cmocka_unit_test(preset_never_slow_neither_throttles_nor_pauses_whatever_is_below_it),
        cmocka_unit_test(narrowing_takes_only_what_allows_less),
        cmocka_unit_test(narrowing_by_a_preset_narrows_each_of_its_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
