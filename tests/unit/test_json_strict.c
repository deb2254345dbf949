/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/json_strict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

struct refusal {
    const char *text;
    unsigned line, column;
    const char *pointer;
    const char *reason;
};

static void expect_refusals(const struct refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct refusal *c = &cases[i];
        struct json_object *obj = (struct json_object *)(uintptr_t)1;
        struct error err = {0};
        int r = json_strict_parse(c->text, strlen(c->text), &obj, &err);

        if (r != -EINVAL)
            fail_msg("%s: got %d", c->text, r);
        assert_ptr_equal(obj, (void *)(uintptr_t)1);
        assert_string_equal(err.text, c->reason);
        assert_string_equal(err.where, c->pointer);
        assert_int_equal(err.line, c->line);
        assert_int_equal(err.column, c->column);
    }
}
#define EXPECT_REFUSALS(cases) expect_refusals(cases, sizeof(cases) / sizeof((cases)[0]))

static struct json_object *parse(const char *text)
{
    struct json_object *obj = NULL;
    struct error err = {.line = 77};

    if (json_strict_parse(text, strlen(text), &obj, &err) != 0)
        fail_msg("%s: %u:%u: %s", text, err.line, err.column, err.text);
    assert_int_equal(err.line, 77);
    return obj;
}

static void grammar_beyond_the_rfc_is_refused(void **state)
{
    static const struct refusal cases[] = {
        {"", 1, 1, "", "unexpected end of text"},
        {" \n ", 2, 2, "", "unexpected end of text"},
        {"{'a':1}", 1, 2, "", "expected a key in double quotes"},
        {"{a:1}", 1, 2, "", "expected a key in double quotes"},
        {"['a']", 1, 2, "/0", "expected a value"},
        {"[1,]", 1, 4, "/1", "expected a value"},
        {"{\"a\":1,}", 1, 8, "", "expected a key in double quotes"},
        {"{\"a\" 1}", 1, 6, "/a", "expected ':' after key"},
        {"{\"a\":}", 1, 6, "/a", "expected a value"},
        {"{\"a\":1 \"b\":2}", 1, 8, "/a", "expected ',' or '}'"},
        {"[1 2]", 1, 4, "/0", "expected ',' or ']'"},
        {"[1}", 1, 3, "/0", "expected ',' or ']'"},
        {"[1", 1, 3, "/0", "unexpected end of text"},
        {"{\"a", 1, 4, "", "unterminated string"},
        {"[1] 2", 1, 5, "", "unexpected text after the value"},
        {"// x\n1", 1, 1, "", "expected a value"},
        {"[1, /* x */ 2]", 1, 5, "/1", "expected a value"},
        {"NaN", 1, 1, "", "expected a value"},
        {"-Infinity", 1, 2, "", "expected a digit"},
        {"[tru]", 1, 2, "/0", "expected a value"},
        {"True", 1, 1, "", "expected a value"},
        {"\xef\xbb\xbf{}", 1, 1, "", "expected a value"},
        {"\f1", 1, 1, "", "expected a value"},
    };

    (void)state;
    EXPECT_REFUSALS(cases);
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
    static const struct refusal cases[] = {
        {"9223372036854775808", 1, 1, "", "integer out of range"},
        {"-9223372036854775809", 1, 1, "", "integer out of range"},
        {"[0, 18446744073709551616]", 1, 5, "/1", "integer out of range"},
        {"1e309", 1, 1, "", "number out of range"},
        {"-1.8e308", 1, 1, "", "number out of range"},
        {"0.0018e311", 1, 1, "", "number out of range"},
        {"1e99999999999999999999", 1, 1, "", "number out of range"},
        {"01", 1, 1, "", "number with a leading zero"},
        {"-01", 1, 2, "", "number with a leading zero"},
        {"1.", 1, 3, "", "expected a digit"},
        {"1.e5", 1, 3, "", "expected a digit"},
        {"1e", 1, 3, "", "expected a digit"},
        {"1e+", 1, 4, "", "expected a digit"},
        {".5", 1, 1, "", "expected a value"},
        {"+1", 1, 1, "", "expected a value"},
        {"-", 1, 2, "", "expected a digit"},
        {"0x10", 1, 2, "", "unexpected text after the value"},
    };

    (void)state;
    EXPECT_REFUSALS(cases);
}

static void numbers_that_fit_keep_their_value(void **state)
{
    struct json_object *obj =
        parse(" [9223372036854775807, -9223372036854775808, -0, 1.7976931348623157e308,"
              " 17976931348623157e292, 1e-400, 0e999999, 0.000001e6, 12 ] \r\n");

    (void)state;
    assert_true(json_object_get_int64(json_object_array_get_idx(obj, 0)) == INT64_MAX);
    assert_true(json_object_get_int64(json_object_array_get_idx(obj, 1)) == INT64_MIN);
    assert_int_equal(json_object_get_int64(json_object_array_get_idx(obj, 2)), 0);
    assert_true(json_object_get_double(json_object_array_get_idx(obj, 3)) ==
                1.7976931348623157e308);
    assert_true(json_object_get_double(json_object_array_get_idx(obj, 4)) ==
                1.7976931348623157e308);
    assert_true(json_object_get_double(json_object_array_get_idx(obj, 5)) == 0);
    assert_true(json_object_get_double(json_object_array_get_idx(obj, 6)) == 0);
    assert_true(json_object_get_double(json_object_array_get_idx(obj, 7)) == 1);
    assert_true(json_object_is_type(json_object_array_get_idx(obj, 8), json_type_int));
    json_object_put(obj);
}

static void strings_that_are_not_clean_unicode_are_refused(void **state)
{
    static const struct refusal cases[] = {
        {"\"a\\u0000b\"", 1, 3, "", "\\u0000 is not allowed"},
        {"[\"\\ud800\"]", 1, 3, "/0", "lone surrogate in string"},
        {"[\"\\udc00\\ud800\"]", 1, 3, "/0", "lone surrogate in string"},
        {"[\"\\udc00\\udc00\"]", 1, 3, "/0", "lone surrogate in string"},
        {"[\"\\ud800\\u0041\"]", 1, 3, "/0", "lone surrogate in string"},
        {"\"\\x41\"", 1, 2, "", "invalid escape in string"},
        {"\"\\u12g4\"", 1, 2, "", "invalid escape in string"},
        {"\"\\u12\"", 1, 2, "", "invalid escape in string"},
        {"\"\\", 1, 2, "", "invalid escape in string"},
        {"\"a\tb\"", 1, 3, "", "raw control character in string"},
        {"\"a\nb\"", 1, 3, "", "raw control character in string"},
        {"\"\xff\"", 1, 2, "", "invalid UTF-8 in string"},
        {"\"\xc0\xaf\"", 1, 2, "", "invalid UTF-8 in string"},
        {"\"\xe0\x80\x80\"", 1, 2, "", "invalid UTF-8 in string"},
        {"\"\xed\xa0\x80\"", 1, 2, "", "invalid UTF-8 in string"},
        {"\"\xf4\x90\x80\x80\"", 1, 2, "", "invalid UTF-8 in string"},
        {"\"\xc3", 1, 2, "", "invalid UTF-8 in string"},
        {"\"\xc3\xa4\xc3\xb6\xff\"", 1, 4, "", "invalid UTF-8 in string"},
    };
    struct json_object *obj = NULL;

    (void)state;
    EXPECT_REFUSALS(cases);
    assert_int_equal(json_strict_parse("\"a\0b\"", 5, &obj, NULL), -EINVAL);
    assert_int_equal(json_strict_parse("1\0", 2, &obj, NULL), -EINVAL);
}

static void unicode_strings_keep_their_value(void **state)
{
    struct json_object *obj =
        parse("\"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\u00e4 \\\"\\\\\\/\\b\\f\\n\\r\\t\"");

    (void)state;
    assert_string_equal(json_object_get_string(obj),
                        "\xf0\x9f\x98\x80 \xf0\x9f\x98\x80 \xc3\xa4 \"\\/\b\f\n\r\t");
    json_object_put(obj);
}

static void duplicate_keys_are_found_however_they_are_written(void **state)
{
    static const struct refusal cases[] = {
        {"{\"a\":1,\"a\":2}", 1, 8, "/a", "duplicate key"},
        {"{\"a\":1,\n \"b\":2,\n \"\\u0061\":2}", 3, 2, "/a", "duplicate key"},
        {"{\"\":1,\"\":2}", 1, 7, "/", "duplicate key"},
        {"{\"x\":[0,{\"b\":1,\"a\":1,\"b\":1,\"a\":1}]}", 1, 22, "/x/1/b", "duplicate key"},
        {"{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", 1, 19, "/\xf0\x9f\x98\x80",
         "duplicate key"},
        {"{\"a\":{\"a\":1},\"a\":{}}", 1, 14, "/a", "duplicate key"},
    };

    (void)state;
    EXPECT_REFUSALS(cases);
    json_object_put(parse("{\"a\":{\"a\":1,\"b\":[{\"a\":1},{\"a\":1}]},\"b\":1,\"aa\":2,\"\":3}"));
}

static void pointer_is_escaped_and_printable(void **state)
{
    static const struct refusal cases[] = {
        {"{\"a/b~c\":x}", 1, 10, "/a~1b~0c", "expected a value"},
        {"{\"\\u001b[31m\\n\\\\\":x}", 1, 19, "/\\u001b[31m\\u000a\\\\", "expected a value"},
        {"{\"\xe2\x80\xae\xc2\x9b\":x}", 1, 7, "/\\u202e\\u009b", "expected a value"},
        {"{\"\xc3\xa4\xe2\x82\xac\":x}", 1, 7, "/\xc3\xa4\xe2\x82\xac", "expected a value"},
    };

    (void)state;
    EXPECT_REFUSALS(cases);
}

static void long_pointer_is_cut_between_characters(void **state)
{
    struct json_object *obj = NULL;
    struct error err;
    char text[1024] = "{\"";

    (void)state;
    for (size_t i = 0; i < 300; i++)
        strcat(text, "\xc3\xa4");
    strcat(text, "\":x}");
    assert_int_equal(json_strict_parse(text, strlen(text), &obj, &err), -EINVAL);
    assert_int_equal(strlen(err.where), 1 + 2 * 125 + 3);
    assert_string_equal(&err.where[1 + 2 * 124], "\xc3\xa4...");
}

static void depth_is_bounded_exactly(void **state)
{
    struct json_object *obj = NULL;
    struct error err;
    char text[2 * (JSON_STRICT_MAX_DEPTH + 1) + 1] = "";

    (void)state;
    memset(text, '[', JSON_STRICT_MAX_DEPTH);
    memset(text + JSON_STRICT_MAX_DEPTH, ']', JSON_STRICT_MAX_DEPTH);
    json_object_put(parse(text));
    memset(text, '[', JSON_STRICT_MAX_DEPTH + 1);
    assert_int_equal(json_strict_parse(text, strlen(text), &obj, &err), -E2BIG);
    assert_string_equal(err.text, "nested too deeply");
    assert_int_equal(err.column, JSON_STRICT_MAX_DEPTH + 1);
}

static void size_is_bounded_exactly(void **state)
{
    struct json_object *obj = NULL;
    struct error err;
    char *text = malloc(JSON_STRICT_MAX_BYTES + 1);

    (void)state;
    assert_non_null(text);
    memset(text, ' ', JSON_STRICT_MAX_BYTES + 1);
    text[0] = '1';
    assert_int_equal(json_strict_parse(text, JSON_STRICT_MAX_BYTES, &obj, &err), 0);
    json_object_put(obj);
    assert_int_equal(json_strict_parse(text, JSON_STRICT_MAX_BYTES + 1, &obj, &err), -E2BIG);
    assert_string_equal(err.text, "text too long");
    free(text);
}

static void null_document_is_not_an_error(void **state)
{
    struct json_object *obj = (struct json_object *)(uintptr_t)1;

    (void)state;
    assert_int_equal(json_strict_parse("null", 4, &obj, NULL), 0);
    assert_null(obj);
}

static void line_of_a_pointer_is_where_its_value_begins(void **state)
{
    static const char text[] = "\n{\n \"a\": 1,\n \"b\": [\n  10,\n  {\"c~/\":\n   true}\n ],\n"
                               " \"\xc3\xa4\\u0041\": null,\n \"\":\n[[\n1]]}\n";
    static const struct {
        const char *pointer;
        int line;
    } cases[] = {
        {"", 2},
        {"/a", 3},
        {"/b", 4},
        {"/b/0", 5},
        {"/b/1", 6},
        {"/b/1/c~0~1", 7},
        {"/\xc3\xa4"
         "A",
         9},
        {"/", 11},
        {"//0/0", 12},
        {"/b/2", 0},
        {"/b/01", 0},
        {"/c", 0},
        {"/a/0", 0},
        {"a", 0},
        {"/b/", 0},
        {"/aa", 0},
        {"/b/1/c~2~1", 0},
        {"/b/1/c~", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int line = json_strict_line(text, sizeof(text) - 1, cases[i].pointer);

        if (line != cases[i].line)
            fail_msg("%s: line %d, not %d", cases[i].pointer, line, cases[i].line);
    }
    assert_int_equal(json_strict_line("[1,\n2,", 6, "/1"), 2);
    assert_int_equal(json_strict_line("[1,\n2,", 6, "/2"), 2);
    assert_int_equal(json_strict_line("[1,x", 4, "/3"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar_beyond_the_rfc_is_refused),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(numbers_that_fit_keep_their_value),
        cmocka_unit_test(strings_that_are_not_clean_unicode_are_refused),
        cmocka_unit_test(unicode_strings_keep_their_value),
        cmocka_unit_test(duplicate_keys_are_found_however_they_are_written),
        cmocka_unit_test(pointer_is_escaped_and_printable),
        cmocka_unit_test(long_pointer_is_cut_between_characters),
        cmocka_unit_test(depth_is_bounded_exactly),
        cmocka_unit_test(size_is_bounded_exactly),
        cmocka_unit_test(null_document_is_not_an_error),
        cmocka_unit_test(line_of_a_pointer_is_where_its_value_begins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
