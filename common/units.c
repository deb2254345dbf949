/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct suffix {
    const char *text;
    double factor;
};

/* Within each table the largest factor comes first: units_format() takes the first exact one. */
static const struct suffix durations[] = {
    {"d", 86400e9}, {"h", 3600e9}, {"m", 60e9}, {"min", 60e9}, {"s", 1e9},
    {"ms", 1e6},    {"us", 1e3},   {"ns", 1},   {NULL, 0},
};
static const struct suffix sizes[] = {
    {"TiB", 1099511627776.0},
    {"TB", 1e12},
    {"GiB", 1073741824.0},
    {"GB", 1e9},
    {"MiB", 1048576.0},
    {"MB", 1e6},
    {"KiB", 1024.0},
    {"KB", 1e3},
    {"kB", 1e3},
    {"B", 1},
    {NULL, 0},
};
static const struct suffix rates[] = {
    {"TiB/s", 1099511627776.0},
    {"TB/s", 1e12},
    {"Tbit/s", 125e9},
    {"GiB/s", 1073741824.0},
    {"GB/s", 1e9},
    {"Gbit/s", 125e6},
    {"MiB/s", 1048576.0},
    {"MB/s", 1e6},
    {"Mbit/s", 125e3},
    {"KiB/s", 1024.0},
    {"KB/s", 1e3},
    {"kB/s", 1e3},
    {"kbit/s", 125},
    {"B/s", 1},
    {NULL, 0},
};
static const struct suffix shares[] = {{"%", 1e4}, {NULL, 0}};

static const struct suffix *suffixes(enum unit unit)
{
    switch (unit) {
    case UNIT_DURATION:
        return durations;
    case UNIT_SIZE:
        return sizes;
    case UNIT_RATE:
        return rates;
    case UNIT_SHARE:
        return shares;
    }
    return shares;
}

/* In upper or lower case, which one bit tells apart. */
static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t n = strlen(end);

    if (len < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((text[len - n + i] | 0x20) != (end[i] | 0x20))
            return false;
    }
    return true;
}

/* Bits and bytes per second, the two meanings of G, and upper for lower case are not guessed. */
static const char *meant(enum unit unit, const char *text)
{
    static const struct {
        enum unit unit;
        const char *end, *hint;
    } near[] = {
        {UNIT_SIZE, "i", "a size; the units are KiB, MiB, GiB and TiB"},
        {UNIT_SIZE, "K", "a size; the units are KiB (1024) or KB (1000)"},
        {UNIT_SIZE, "M", "a size; the units are MiB (1024) or MB (1000)"},
        {UNIT_SIZE, "G", "a size; the units are GiB (1024) or GB (1000)"},
        {UNIT_SIZE, "T", "a size; the units are TiB (1024) or TB (1000)"},
        {UNIT_SIZE, "b", "a size; the units are written KiB, MiB, GiB, TiB or KB, MB, GB, TB"},
        {UNIT_RATE, "bps",
         "a rate; bits are kbit/s, Mbit/s, Gbit/s or Tbit/s, bytes MB/s or MiB/s"},
        {UNIT_RATE, "b/s",
         "a rate; bits are kbit/s, Mbit/s, Gbit/s or Tbit/s, bytes MB/s or MiB/s"},
        {UNIT_RATE, "bit", "a rate; bits are kbit/s, Mbit/s, Gbit/s or Tbit/s"},
        {UNIT_RATE, "bit/s", "a rate; bits are kbit/s, Mbit/s, Gbit/s or Tbit/s"},
        {UNIT_RATE, "B", "a rate, which is per second: MB/s or MiB/s"},
    };

    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        if (near[i].unit == unit && ends_with(text, near[i].end))
            return near[i].hint;
    }
    return NULL;
}

const char *units_expected(enum unit unit, const char *text)
{
    const char *hint = meant(unit, text);

    if (hint)
        return hint;
    switch (unit) {
    case UNIT_DURATION:
        return "a duration such as 500ms, 2s or 1m30s";
    case UNIT_SIZE:
        return "a size such as 512MiB or 4GB";
    case UNIT_RATE:
        return "a rate such as 100MiB/s or 1Gbit/s";
    case UNIT_SHARE:
        return "a share such as 20%";
    }
    return "";
}

/* Plain decimal digits with at most one point: strtod() would also take inf, nan, hex and e. */
static int parse_number(const char **text, double *ret)
{
    const char *p = *text;
    double value = 0;
    double place = 1;
    bool digits = false;

    for (; isdigit((unsigned char)*p); p++, digits = true)
        value = value * 10 + (*p - '0');
    if (*p == '.') {
        for (p++; isdigit((unsigned char)*p); p++, digits = true)
            value += (*p - '0') * (place /= 10);
    }
    if (!digits)
        return -EINVAL;
    *text = p;
    *ret = value;
    return 0;
}

int units_parse(enum unit unit, const char *text, int64_t *ret_value)
{
    const char *p = text;
    double total = 0;
    double last_factor = INFINITY;

    if (*p == '-')
        return -ERANGE;
    do {
        const struct suffix *s;
        double number;
        size_t len;

        if (parse_number(&p, &number) < 0)
            return -EINVAL;
        if (*p == ' ')
            p++;
        len = strcspn(p, "0123456789. ");
        for (s = suffixes(unit); s->text; s++) {
            if (strlen(s->text) == len && strncmp(s->text, p, len) == 0)
                break;
        }
        /* Only durations have several parts, each smaller than the one before: 1m30s. */
        if (!s->text || s->factor >= last_factor)
            return -EINVAL;
        p += len;
        total += number * s->factor;
        last_factor = s->factor;
    } while (*p && unit == UNIT_DURATION);

    if (*p)
        return -EINVAL;
    if (total > 9e18)
        return -ERANGE;
    *ret_value = llround(total);
    return 0;
}

static const char *format_duration(int64_t ns, char buf[UNITS_TEXT_MAX])
{
    int64_t ms = ns / NS_PER_MS;

    if (ns > 0 && ns < NS_PER_US) {
        snprintf(buf, UNITS_TEXT_MAX, "%" PRId64 "ns", ns);
    } else if (ns % NS_PER_MS != 0 && ns < NS_PER_S) {
        snprintf(buf, UNITS_TEXT_MAX, "%.6gms", (double)ns / 1e6);
    } else if (ms < 1000 && ms != 0) {
        snprintf(buf, UNITS_TEXT_MAX, "%" PRId64 "ms", ms);
    } else {
        int64_t s = ms / 1000;
        size_t len = 0;

        buf[0] = '\0';
        if (s >= 3600)
            len += (size_t)snprintf(buf + len, UNITS_TEXT_MAX - len, "%" PRId64 "h", s / 3600);
        if (s / 60 % 60)
            len += (size_t)snprintf(buf + len, UNITS_TEXT_MAX - len, "%" PRId64 "m", s / 60 % 60);
        if (s % 60 || ms % 1000 || len == 0)
            snprintf(buf + len, UNITS_TEXT_MAX - len, "%.10gs",
                     (double)(s % 60) + (double)(ms % 1000) / 1e3);
    }
    return buf;
}

const char *units_format(enum unit unit, int64_t value, char buf[UNITS_TEXT_MAX])
{
    const struct suffix *best = NULL;
    double number;

    if (unit == UNIT_DURATION)
        return format_duration(value, buf);
    for (const struct suffix *s = suffixes(unit); s->text; s++) {
        if (!best && (double)value >= s->factor)
            best = s;
        if (fmod((double)value, s->factor) == 0 && (double)value >= s->factor) {
            best = s;
            break;
        }
    }
    if (!best) {
        const struct suffix *s = suffixes(unit);

        while (s[1].text)
            s++;
        best = s;
    }
    number = (double)value / best->factor;
    snprintf(buf, UNITS_TEXT_MAX, number == floor(number) ? "%.0f%s" : "%.10g%s", number,
             best->text);
    return buf;
}
