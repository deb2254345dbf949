/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text for people: escaping, error lines, quantities; and reading what the daemon replied. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "agent/cli/cli.h"
#include "common/alloc.h"
#include "common/printable.h"

char *cli_escape(const char *text)
{
    size_t left = strlen(text);
    char *out = alloc_need(malloc(left * 4 + 1));
    char *p = out;
    mbstate_t state = {0};

    while (left > 0) {
        wchar_t c;
        size_t n = mbrtowc(&c, text, left, &state);
        bool printable = n <= left && iswprint((wint_t)c) && printable_is((uint32_t)c);

        if (n > left) {
            n = 1;
            state = (mbstate_t){0};
        }
        for (size_t i = 0; i < n; i++) {
            if (printable)
                *p++ = text[i];
            else
                p += sprintf(p, "\\x%02x", (unsigned char)text[i]);
        }
        text += n;
        left -= n;
    }
    *p = '\0';
    return out;
}

__attribute__((format(printf, 1, 0))) static char *format_safely(const char *format, va_list args)
{
    AUTO_FREE char *text = NULL;

    alloc_need_length(vasprintf(&text, format, args));
    return cli_escape(text);
}

int cli_fail(enum cli_exit code, const char *format, ...)
{
    AUTO_FREE char *safe = NULL;
    va_list args;

    va_start(args, format);
    safe = format_safely(format, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "migpolicy: %s\n", safe);
    return (int)code;
}

void cli_line(const char *format, ...)
{
    AUTO_FREE char *safe = NULL;
    va_list args;

    va_start(args, format);
    safe = format_safely(format, args);
    va_end(args);
    puts(safe);
}

const char *cli_flag(const char *field_name, char buf[CLI_FLAG_MAX])
{
    snprintf(buf, CLI_FLAG_MAX, "%s", field_name);
    for (char *p = buf; *p; p++) {
        if (*p == '_')
            *p = '-';
    }
    return buf;
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(object, key, &value);
    return value;
}

double cli_number(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key);

    if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
        return NAN;
    return json_object_get_double(value);
}

const char *cli_string(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key);

    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

struct json_object *cli_array(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key);

    return json_object_is_type(value, json_type_array) ? value : NULL;
}

bool cli_is(struct json_object *object, const char *key, bool value)
{
    struct json_object *found = member(object, key);

    return json_object_is_type(found, json_type_boolean) &&
           (bool)json_object_get_boolean(found) == value;
}

size_t cli_array_length(struct json_object *array)
{
    return array ? json_object_array_length(array) : 0;
}

const char *cli_bytes(double bytes, char buf[CLI_TEXT_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned i = 0;

    if (isnan(bytes))
        return strcpy(buf, "-");
    for (; bytes >= 1024 && i < 4; i++)
        bytes /= 1024;
    snprintf(buf, CLI_TEXT_MAX, "%.*f %s", i > 0 && bytes < 9.95 ? 1 : 0, bytes, units[i]);
    return buf;
}

const char *cli_rate(double bytes_per_second, char buf[CLI_TEXT_MAX])
{
    char bytes[CLI_TEXT_MAX];

    cli_bytes(bytes_per_second, bytes);
    snprintf(buf, CLI_TEXT_MAX, "%.29s%s", bytes, isnan(bytes_per_second) ? "" : "/s");
    return buf;
}

const char *cli_seconds(double seconds, char buf[CLI_TEXT_MAX])
{
    if (isnan(seconds))
        return strcpy(buf, "-");
    if (seconds < 119.5) {
        int decimals = seconds == 0 || seconds >= 99.95 ? 0 : seconds < 0.995 ? 2 : 1;

        snprintf(buf, CLI_TEXT_MAX, "%.*f s", decimals, seconds);
    } else {
        double s = round(seconds);

        if (s < 7200)
            snprintf(buf, CLI_TEXT_MAX, "%.0fm%02.0fs", floor(s / 60), fmod(s, 60));
        else
            snprintf(buf, CLI_TEXT_MAX, "%.0fh%02.0fm", floor(s / 3600), floor(fmod(s, 3600) / 60));
    }
    return buf;
}

const char *cli_percent(double ratio, char buf[CLI_TEXT_MAX])
{
    if (isnan(ratio))
        return strcpy(buf, "-");
    snprintf(buf, CLI_TEXT_MAX, "%.3g%%", ratio * 100);
    return buf;
}

const char *cli_cpu_limit(double ratio, char buf[CLI_TEXT_MAX])
{
    return cli_percent(ratio < 0.9995 ? ratio : NAN, buf);
}

const char *cli_eta(double seconds, bool never, char buf[CLI_TEXT_MAX])
{
    return never ? strcpy(buf, "never") : cli_seconds(seconds, buf);
}

static void print_json(struct json_object *object, int flags)
{
    AUTO_FREE char *text = NULL;
    const char *raw;
    size_t len;

    json_object_object_add(object, "schema_version", json_object_new_int(1));
    raw = json_object_to_json_string_length(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    text = printable_json(raw, len, NULL);
    puts(text);
}

void cli_print_json(struct json_object *object)
{
    print_json(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
}

void cli_print_jsonl(struct json_object *object)
{
    print_json(object, JSON_C_TO_STRING_PLAIN);
    fflush(stdout);
}
