/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/log.h"
#include "common/printable.h"

/* One of each kind that a terminal obeys, or that deceives who reads. */
static const char *const hostile[] = {
    "\x07",   "\x1b[31m", "\x7f",   "\xc2\x80", "\xc2\x9b;m", "\xc2\x9d;x", "\u00ad", "\u061c",
    "\u200b", "\u200e",   "\u2028", "\u202e",   "\u2066",     "\ufeff",     "\ufffa", "\U000e0041",
};
static const char harmless[] = "plain caf\u00e9 \u6f22\u5b57 \U0001f600";

static void assert_harmless(const char *text)
{
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        uint32_t c = 0;

        n = printable_decode(text, left, &c);
        if (n == 0 || !printable_is(c))
            fail_msg("U+%04X at %s", c, text);
    }
}

static void what_a_terminal_obeys_is_replaced_and_nothing_else(void **state)
{
    char text[100];

    (void)state;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        snprintf(text, sizeof(text), "a%sb", hostile[i]);
        printable_replace(text);
        assert_harmless(text);
        assert_memory_equal(text, "a?", 2);
        assert_int_equal(text[strlen(text) - 1], 'b');
    }
    strcpy(text, harmless);
    printable_replace(text);
    assert_string_equal(text, harmless);
    strcpy(text, "\xff\xc3 \x9b\xe2\x80");
    printable_replace(text);
    assert_string_equal(text, "?? ???");
}

static void json_is_escaped_and_means_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        AUTO_JSON struct json_object *o = json_object_new_object();
        AUTO_JSON struct json_object *back = NULL;
        AUTO_FREE char *text = NULL;
        const char *raw;
        size_t len;

        json_object_object_add(o, hostile[i], json_object_new_string(harmless));
        json_object_object_add(o, harmless, json_object_new_string(hostile[i]));
        raw = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &len);
        text = printable_json(raw, len, &len);
        assert_int_equal(len, strlen(text));
        assert_harmless(text);
        assert_int_equal(json_strict_parse(text, len, &back, NULL), 0);
        assert_true(json_object_equal(o, back));
    }
}

static void json_keeps_its_lines_and_loses_bytes_that_are_no_utf8(void **state)
{
    AUTO_FREE char *text = printable_json("{\n  \"a\": \"\x9b\"\n}", 14, NULL);

    (void)state;
    assert_string_equal(text, "{\n  \"a\": \"\\ufffd\"\n}");
}

static void a_line_of_the_log_obeys_nobody(void **state)
{
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    int before = dup(STDERR_FILENO);
    char said[200] = "";

    (void)state;
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    log_error("%s\n", "\xc2\x9b"
                      "2J\u202eevil caf\u00e9");
    dup2(before, STDERR_FILENO);
    assert_true(pread(fd, said, sizeof(said) - 1, 0) > 0);
    close(before);
    close(fd);
    assert_string_equal(said, "migpolicyd: ?2J?evil caf\u00e9?\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_terminal_obeys_is_replaced_and_nothing_else),
        cmocka_unit_test(json_is_escaped_and_means_the_same),
        cmocka_unit_test(json_keeps_its_lines_and_loses_bytes_that_are_no_utf8),
        cmocka_unit_test(a_line_of_the_log_obeys_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
