/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/json/policy_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/json.h"
#include "common/units.h"

static struct json_object *json(const char *text)
{
    struct json_object *object = json_tokener_parse(text);

    if (!object && strcmp(text, "null") != 0)
        fail_msg("not JSON: %s", text);
    return object;
}

static void expect_refusal(struct json_object *object, const char *field, const char *reason)
{
    struct policy_layer layer = {.set = 77}, before = layer;
    struct error err;

    memset(&err, 'x', sizeof(err));
    assert_int_equal(policy_layer_from_json(object, &layer, &err), -EINVAL);
    assert_memory_equal(&layer, &before, sizeof(layer));
    assert_string_equal(err.where, field);
    if (!strstr(err.text, reason))
        fail_msg("%s: \"%s\" does not tell \"%s\"", field, err.text, reason);
    json_object_put(object);
}

static void fields_are_read(void **state)
{
    struct json_object *object =
        json("{\"max_downtime\": \"2s\", \"allow_throttle\": true, \"allow_cancel\": \"no\","
             " \"min_cpu\": \"10%\", \"mode\": \"enforce\"}");
    struct policy_layer layer;
    struct error err;

    (void)state;
    assert_int_equal(policy_layer_from_json(object, &layer, &err), 0);
    assert_int_equal(layer.set, 1u << POLICY_MAX_DOWNTIME | 1u << POLICY_ALLOW_THROTTLE |
                                    1u << POLICY_ALLOW_CANCEL | 1u << POLICY_MIN_CPU |
                                    1u << POLICY_MODE);
    assert_int_equal(layer.values.v[POLICY_MAX_DOWNTIME], 2 * NS_PER_S);
    assert_int_equal(layer.values.v[POLICY_ALLOW_THROTTLE], ALLOW_YES);
    assert_int_equal(layer.values.v[POLICY_ALLOW_CANCEL], ALLOW_NO);
    assert_int_equal(layer.values.v[POLICY_MIN_CPU], PPM_ONE / 10);
    assert_int_equal(layer.values.v[POLICY_MODE], MODE_ENFORCE);
    json_object_put(object);
}

static void empty_object_states_nothing(void **state)
{
    struct json_object *object = json("{}");
    struct policy_layer layer = {.set = 77};
    struct error err;

    (void)state;
    assert_int_equal(policy_layer_from_json(object, &layer, &err), 0);
    assert_int_equal(layer.set, 0);
    json_object_put(object);
}

static void anything_but_an_object_is_refused(void **state)
{
    static const char *const texts[] = {"null", "[]", "1", "true", "\"2s\"", "1.5"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect_refusal(json(texts[i]), "", "must be an object");
}

static void values_of_a_wrong_type_are_refused_with_what_is_right(void **state)
{
    (void)state;
    expect_refusal(json("{\"max_downtime\": 2}"), "max_downtime", "duration such as");
    expect_refusal(json("{\"max_downtime\": null}"), "max_downtime", "duration such as");
    expect_refusal(json("{\"max_downtime\": true}"), "max_downtime", "duration such as");
    expect_refusal(json("{\"max_downtime\": [\"2s\"]}"), "max_downtime", "duration such as");
    expect_refusal(json("{\"max_downtime\": {}}"), "max_downtime", "duration such as");
    expect_refusal(json("{\"min_cpu\": 0.2}"), "min_cpu", "share such as");
    expect_refusal(json("{\"allow_throttle\": 1}"), "allow_throttle", "yes, ask or no");
    expect_refusal(json("{\"allow_throttle\": null}"), "allow_throttle", "yes, ask or no");
    expect_refusal(json("{\"mode\": true}"), "mode", "observe or enforce");
    expect_refusal(json("{\"objective\": false}"), "objective", "least-loss or gentle");
}

static void malformed_values_are_refused_with_what_is_right(void **state)
{
    (void)state;
    expect_refusal(json("{\"max_downtime\": \"2\"}"), "max_downtime", "duration such as");
    expect_refusal(json("{\"max_downtime\": \"9h\"}"), "max_downtime", "33m20s");
    expect_refusal(json("{\"min_cpu\": \"0%\"}"), "min_cpu", "between 1%");
    expect_refusal(json("{\"allow_cancel\": \"YES\"}"), "allow_cancel", "yes, ask or no");
    expect_refusal(json("{\"allow_cancel\": \"\"}"), "allow_cancel", "yes, ask or no");
}

static void nul_inside_a_value_does_not_hide_the_rest(void **state)
{
    struct json_object *object = json_object_new_object();

    (void)state;
    json_object_object_add(object, "max_downtime", json_object_new_string_len("2s\0x", 4));
    expect_refusal(object, "max_downtime", "must be");
    object = json_object_new_object();
    json_object_object_add(object, "allow_throttle", json_object_new_string_len("yes\0no", 6));
    expect_refusal(object, "allow_throttle", "must be");
}

static void unknown_keys_are_refused(void **state)
{
    (void)state;
    expect_refusal(json("{\"max_downtimes\": \"2s\"}"), "max_downtimes", "unknown");
    expect_refusal(json("{\"max-downtime\": \"2s\"}"), "max-downtime", "unknown");
    expect_refusal(json("{\"Mode\": \"observe\"}"), "Mode", "unknown");
    expect_refusal(json("{\"\": \"2s\"}"), "", "unknown");
    expect_refusal(json("{\"mode\": \"observe\", \"extra\": null}"), "extra", "unknown");
}

static void hostile_keys_are_shown_printable_and_cut(void **state)
{
    struct json_object *object = json_object_new_object();
    struct policy_layer layer;
    struct error err;
    char key[300];

    (void)state;
    memset(key, 'k', sizeof(key));
    memcpy(key, "\x1b[31m\n\xe2\x80\xae", 9);
    key[sizeof(key) - 1] = '\0';
    json_object_object_add(object, key, NULL);
    assert_int_equal(policy_layer_from_json(object, &layer, &err), -EINVAL);
    assert_int_equal(strlen(err.where), sizeof(err.where) - 1);
    for (const char *c = err.where; *c; c++)
        assert_true(isprint((unsigned char)*c));
    json_object_put(object);
}

static void layers_survive_json(void **state)
{
    static const char *const texts[POLICY_FIELDS] = {
        [POLICY_MODE] = "enforce",
        [POLICY_MAX_DOWNTIME] = "1.5s",
        [POLICY_AIM_DOWNTIME] = "50ms",
        [POLICY_ALLOW_THROTTLE] = "yes",
        [POLICY_MIN_CPU] = "12.5%",
        [POLICY_MAX_WORK_LOST] = "30s",
        [POLICY_ALLOW_BANDWIDTH] = "ask",
        [POLICY_MAX_BANDWIDTH] = "100MiB/s",
        [POLICY_ALLOW_COMPRESSION_CACHE] = "no",
        [POLICY_MAX_COMPRESSION_CACHE] = "256MiB",
        [POLICY_ALLOW_POST_COPY] = "yes",
        [POLICY_ALLOW_SUSPEND] = "ask",
        [POLICY_ALLOW_CANCEL] = "yes",
        [POLICY_DEADLINE] = "1h30m",
        [POLICY_DEADLINE_PER_GIB] = "20s",
        [POLICY_PRESET] = "must-finish",
        [POLICY_ON_DEADLINE] = "force",
        [POLICY_PATIENCE] = "50ns",
        [POLICY_STALL_TIMEOUT] = "90s",
        [POLICY_ON_OTHER_WRITER] = "hold",
        [POLICY_ASK_TIMEOUT] = "1m",
        [POLICY_PRECOPY_ITERATIONS] = "30",
        [POLICY_PRECOPY_THRESHOLD] = "200KiB",
        [POLICY_OBJECTIVE] = "gentle",
        [POLICY_ORDER] = "suspend,bandwidth,downtime,throttle,post-copy,cancel",
    };
    struct policy_layer layer = {0}, back = {0};
    struct error err;
    struct json_object *object;

    (void)state;
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        assert_int_equal(policy_layer_set(&layer, (enum policy_field)i, texts[i], NULL), 0);
        object = policy_layer_to_json(&layer);
        assert_int_equal(json_object_object_length(object), i + 1);
        if (policy_layer_from_json(object, &back, &err) < 0)
            fail_msg("%s: %s", err.where, err.text);
        assert_memory_equal(&back, &layer, sizeof(back));
        json_object_put(object);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(empty_object_states_nothing),
        cmocka_unit_test(anything_but_an_object_is_refused),
        cmocka_unit_test(values_of_a_wrong_type_are_refused_with_what_is_right),
        cmocka_unit_test(malformed_values_are_refused_with_what_is_right),
        cmocka_unit_test(nul_inside_a_value_does_not_hide_the_rest),
        cmocka_unit_test(unknown_keys_are_refused),
        cmocka_unit_test(hostile_keys_are_shown_printable_and_cut),
        cmocka_unit_test(layers_survive_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
