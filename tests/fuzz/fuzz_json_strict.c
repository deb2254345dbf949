/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the scanner accepts json-c must parse, and what json-c then writes must be accepted again
 * and read as the same value. What it refuses must come with an error fit for one line of a
 * terminal. The input is a pointer, a NUL, and the text.
 */
#include "common/json_strict.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_printable(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    struct json_object *obj;
    char quoted[600] = "\"";
    size_t used = 1;

    check(len < size);
    for (size_t i = 0; i < len; i++) {
        check((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
        if (text[i] == '"' || text[i] == '\\')
            quoted[used++] = '\\';
        quoted[used++] = text[i];
    }
    quoted[used++] = '"';
    check(json_strict_parse(quoted, used, &obj, NULL) == 0);
    json_object_put(obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const char *pointer = nul ? (const char *)data : "";
    const char *text = nul ? (const char *)nul + 1 : (const char *)data;
    size_t len = size - (size_t)(text - (const char *)data);
    struct json_object *obj, *again;
    struct error err;
    int line = json_strict_line(text, len, pointer);
    int r = json_strict_parse(text, len, &obj, &err);

    check(line >= 0 && (size_t)line <= len + 1);
    if (r == 0) {
        size_t written_len;
        const char *written =
            json_object_to_json_string_length(obj, JSON_C_TO_STRING_PLAIN, &written_len);

        check(json_strict_line(text, len, "") > 0);
        check(json_strict_parse(written, written_len, &again, &err) == 0);
        check(json_object_equal(obj, again));
        json_object_put(again);
        json_object_put(obj);
        return 0;
    }
    check(r == -EINVAL || r == -E2BIG);
    check(err.line >= 1 && err.column >= 1);
    check_printable(err.where, sizeof(err.where));
    check_printable(err.text, sizeof(err.text));
    return 0;
}
