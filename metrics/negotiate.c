/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads Accept headers: "type/subtype;param=value;q=0.5, ...". */
#include "metrics/internal.h"

#include <string.h>
#include <strings.h>

struct span {
    const char *at;
    size_t len;
};

static struct span span_trim(struct span s)
{
    while (s.len && strchr(" \t", s.at[0])) {
        s.at++;
        s.len--;
    }
    while (s.len && strchr(" \t", s.at[s.len - 1]))
        s.len--;
    return s;
}

/* Take what stands before the separator off *rest. */
static struct span span_next(struct span *rest, char separator)
{
    const char *end = memchr(rest->at, separator, rest->len);
    size_t len = end ? (size_t)(end - rest->at) : rest->len;
    struct span s = {rest->at, len};
    size_t taken = end ? len + 1 : len;

    rest->at += taken;
    rest->len -= taken;
    return span_trim(s);
}

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && strncasecmp(s.at, text, s.len) == 0;
}

/* A weight of 0 to 1 in thousandths ("0.5" → 500); anything else counts as 0. */
static int weight_parse(struct span s)
{
    if (!s.len || (s.at[0] != '0' && s.at[0] != '1') || (s.len > 1 && s.at[1] != '.'))
        return 0;

    int weight = (s.at[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < s.len && i < 5; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return 0;
        weight += (s.at[i] - '0') * unit;
        unit /= 10;
    }
    return weight > 1000 ? 1000 : weight;
}

enum metrics_format metrics_negotiate(const char *accept)
{
    struct span rest = {accept ? accept : "", accept ? strlen(accept) : 0};
    int openmetrics = 0, text = 0;

    while (rest.len) {
        struct span range = span_next(&rest, ',');
        struct span type = span_next(&range, ';');
        bool other_version = false;
        int weight = 1000;

        while (range.len) {
            struct span value = span_next(&range, ';');
            struct span name = span_next(&value, '=');

            if (span_is(name, "q"))
                weight = weight_parse(value);
            else if (span_is(name, "version"))
                other_version = !span_is(value, "1.0.0");
        }
        if (span_is(type, "application/openmetrics-text") && !other_version) {
            if (weight > openmetrics)
                openmetrics = weight;
        } else if (span_is(type, "text/plain") && weight > text) {
            text = weight;
        }
    }
    return openmetrics && openmetrics >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

bool metrics_accepts_gzip(const char *accept_encoding)
{
    struct span rest = {accept_encoding ? accept_encoding : "",
                        accept_encoding ? strlen(accept_encoding) : 0};

    while (rest.len) {
        struct span coding = span_next(&rest, ',');
        struct span name = span_next(&coding, ';');
        struct span key = span_next(&coding, '=');

        if (span_is(name, "gzip"))
            return !span_is(key, "q") || weight_parse(coding) > 0;
    }
    return false;
}
