/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const enum unit all_units[] = {UNIT_DURATION, UNIT_SIZE, UNIT_RATE, UNIT_SHARE};

struct value {
    enum unit unit;
    const char *text;
    int64_t value;
};

static void expect_quantity(const struct value *c)
{
    int64_t value = -7;
    int r = units_parse(c->unit, c->text, &value);

    if (r != 0 || value != c->value)
        fail_msg("\"%s\": %d, %" PRId64 " instead of %" PRId64, c->text, r, value, c->value);
}

static void expect_refusal(enum unit unit, const char *text, int error)
{
    int64_t value = -7;
    int r = units_parse(unit, text, &value);

    if (r != error || value != -7)
        fail_msg("unit %d, \"%s\": %d instead of %d, %" PRId64, unit, text, r, error, value);
}

static void quantities_are_read_in_their_smallest_unit(void **state)
{
    static const struct value cases[] = {
        {UNIT_DURATION, "500ms", 500 * NS_PER_MS},
        {UNIT_DURATION, "2s", 2 * NS_PER_S},
        {UNIT_DURATION, "1.5s", 1500 * NS_PER_MS},
        {UNIT_DURATION, "1m30s", 90 * NS_PER_S},
        {UNIT_DURATION, "1min", 60 * NS_PER_S},
        {UNIT_DURATION, "1d2h3m4s5ms6us7ns",
         NS_PER_S * (26 * 3600 + 184) + 5 * NS_PER_MS + 6 * NS_PER_US + 7},
        {UNIT_DURATION, "2 s", 2 * NS_PER_S},
        {UNIT_DURATION, "0s", 0},
        {UNIT_DURATION, "0.0000000004s", 0},
        {UNIT_DURATION, "0.0000000006s", 1},
        {UNIT_DURATION, ".5h", 1800 * NS_PER_S},
        {UNIT_DURATION, "0001s", NS_PER_S},
        {UNIT_SIZE, "1B", 1},
        {UNIT_SIZE, "64KiB", 65536},
        {UNIT_SIZE, "1kB", 1000},
        {UNIT_SIZE, "1KB", 1000},
        {UNIT_SIZE, "1.5GiB", 1536 * MIB_BYTES},
        {UNIT_SIZE, "4GB", INT64_C(4000000000)},
        {UNIT_SIZE, "2TiB", MIB_BYTES * 1024 * 1024 * 2},
        {UNIT_RATE, "100MiB/s", 100 * MIB_BYTES},
        {UNIT_RATE, "1Gbit/s", 125000000},
        {UNIT_RATE, "8kbit/s", 1000},
        {UNIT_RATE, "1B/s", 1},
        {UNIT_SHARE, "20%", 200000},
        {UNIT_SHARE, "12.5%", 125000},
        {UNIT_SHARE, "0.0001%", 1},
        {UNIT_SHARE, "100 %", PPM_ONE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_quantity(&cases[i]);
}

static void text_that_is_no_quantity_is_refused(void **state)
{
    static const char *const nowhere[] = {
        "",      " ",   "s",    "%",      "/s",   ".",      ".s",   "1",      "2.5",      "0",
        "1 ",    " 1s", "+1s",  "1e3s",   "0x1s", "infs",   "nan%", "1.2.3s", "1..5s",    "1,5s",
        "1S",    "1Ms", "1sec", "1s\n",   "1s ",  "1  s",   "1s;",  "1\ts",   "1KiB/s/s", "1mib",
        "1Kb/s", "%20", "20%%", "1bit/s", "1k",   "1GiB/m", "1 %s", "one",    "\xc2\xb5s"};

    (void)state;
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        for (size_t unit = 0; unit < 4; unit++)
            expect_refusal(all_units[unit], nowhere[i], -EINVAL);
    }
}

static void quantity_of_another_kind_is_refused(void **state)
{
    static const char *const of_unit[] = {
        [UNIT_DURATION] = "2s", [UNIT_SIZE] = "2MiB", [UNIT_RATE] = "2MiB/s", [UNIT_SHARE] = "2%"};

    (void)state;
    for (size_t unit = 0; unit < 4; unit++) {
        for (size_t other = 0; other < 4; other++) {
            if (other != unit)
                expect_refusal(all_units[unit], of_unit[all_units[other]], -EINVAL);
        }
    }
}

static void parts_must_get_smaller_and_only_durations_have_them(void **state)
{
    (void)state;
    expect_refusal(UNIT_DURATION, "30s1m", -EINVAL);
    expect_refusal(UNIT_DURATION, "1s1s", -EINVAL);
    expect_refusal(UNIT_DURATION, "1m1min", -EINVAL);
    expect_refusal(UNIT_DURATION, "1m30", -EINVAL);
    expect_refusal(UNIT_DURATION, "1m 30s", -EINVAL);
    expect_refusal(UNIT_DURATION, "1m-30s", -EINVAL);
    expect_refusal(UNIT_SIZE, "1GiB512MiB", -EINVAL);
    expect_refusal(UNIT_RATE, "1GiB/s1MiB/s", -EINVAL);
    expect_refusal(UNIT_SHARE, "20%1%", -EINVAL);
}

static void negative_and_too_large_are_out_of_range(void **state)
{
    char digits[400];

    (void)state;
    memset(digits, '9', sizeof(digits));
    memcpy(digits + sizeof(digits) - 2, "s", 2);
    expect_refusal(UNIT_DURATION, "-1s", -ERANGE);
    expect_refusal(UNIT_DURATION, "-0s", -ERANGE);
    expect_refusal(UNIT_SIZE, "-5MiB", -ERANGE);
    expect_refusal(UNIT_SHARE, "-20%", -ERANGE);
    expect_refusal(UNIT_DURATION, digits, -ERANGE);
    expect_refusal(UNIT_DURATION, "104167d", -ERANGE);
    expect_refusal(UNIT_SIZE, "8388608TiB", -ERANGE);
    expect_refusal(UNIT_SIZE, "9223372036854775808B", -ERANGE);
    expect_refusal(UNIT_RATE, "99999999TiB/s", -ERANGE);
    expect_refusal(UNIT_SHARE, "99999999999999999%", -ERANGE);
    expect_quantity(&(struct value){UNIT_DURATION, "104166d", INT64_C(104166) * 86400 * NS_PER_S});
}

static void quantities_are_written_as_people_write_them(void **state)
{
    static const struct value cases[] = {
        {UNIT_DURATION, "0s", 0},
        {UNIT_DURATION, "50ns", 50},
        {UNIT_DURATION, "0.001ms", NS_PER_US},
        {UNIT_DURATION, "1.5ms", 1500 * NS_PER_US},
        {UNIT_DURATION, "500ms", 500 * NS_PER_MS},
        {UNIT_DURATION, "2.5s", 2500 * NS_PER_MS},
        {UNIT_DURATION, "1m30s", 90 * NS_PER_S},
        {UNIT_DURATION, "10m", 600 * NS_PER_S},
        {UNIT_DURATION, "2h", 7200 * NS_PER_S},
        {UNIT_DURATION, "1h0.5s", 3600 * NS_PER_S + 500 * NS_PER_MS},
        {UNIT_SIZE, "0B", 0},
        {UNIT_SIZE, "512MiB", 512 * MIB_BYTES},
        {UNIT_SIZE, "4GB", INT64_C(4000000000)},
        {UNIT_SIZE, "1234567891234B", INT64_C(1234567891234)},
        {UNIT_RATE, "1GB/s", 1000000000},
        {UNIT_RATE, "1Gbit/s", 125000000},
        {UNIT_SHARE, "20%", 200000},
        {UNIT_SHARE, "12.5%", 125000},
        {UNIT_SHARE, "0.0001%", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[UNITS_TEXT_MAX];

        assert_ptr_equal(units_format(cases[i].unit, cases[i].value, text), text);
        assert_string_equal(text, cases[i].text);
    }
}

/* xorshift: the same numbers on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* How far reading back what was written may be from the value. */
static int64_t tolerance(enum unit unit, int64_t value)
{
    if (unit != UNIT_DURATION)
        return value >> 53 ? value >> 51 : 0;
    return value >= NS_PER_S ? NS_PER_MS : value / 100000;
}

static void what_is_written_is_read_back(void **state)
{
    const uint64_t seed = 20240229;
    uint64_t random = seed;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        enum unit unit = all_units[next_random(&random) % 4];
        int64_t value = (int64_t)(next_random(&random) >> (next_random(&random) % 61 + 1));
        char text[UNITS_TEXT_MAX];
        int64_t back = -7;
        int r;

        if (unit == UNIT_SHARE)
            value %= 100 * PPM_ONE;
        if (value > INT64_C(8900000000000000000))
            continue;
        memset(text, 'x', sizeof(text));
        units_format(unit, value, text);
        assert_true(strlen(text) < sizeof(text));
        r = units_parse(unit, text, &back);
        if (r != 0 || back > value + tolerance(unit, value) ||
            back < value - tolerance(unit, value))
            fail_msg("seed %" PRIu64 ", unit %d: %" PRId64 " -> \"%s\" -> %d, %" PRId64, seed, unit,
                     value, text, r, back);
    }
}

static void every_unit_says_what_would_be_right(void **state)
{
    (void)state;
    for (size_t unit = 0; unit < 4; unit++)
        assert_true(strlen(units_expected(all_units[unit], "")) > 0);
}

static void a_unit_of_others_gets_the_one_that_is_meant(void **state)
{
    static const struct {
        enum unit unit;
        const char *text, *meant;
    } cases[] = {
        {UNIT_SIZE, "64G", "GiB"},         {UNIT_SIZE, "64Gi", "GiB"},
        {UNIT_SIZE, "64", "512MiB"},       {UNIT_RATE, "10Gbps", "Gbit"},
        {UNIT_RATE, "10Gb/s", "Gbit"},     {UNIT_RATE, "1GB", "per second"},
        {UNIT_SIZE, "64g", "GiB"},         {UNIT_SIZE, "64gb", "GB"},
        {UNIT_RATE, "10gbit/s", "Gbit/s"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expect_refusal(cases[i].unit, cases[i].text, -EINVAL);
        assert_non_null(strstr(units_expected(cases[i].unit, cases[i].text), cases[i].meant));
    }
    expect_quantity(&(struct value){UNIT_RATE, "1Tbit/s", INT64_C(125000000000)});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_of_others_gets_the_one_that_is_meant),
        cmocka_unit_test(quantities_are_read_in_their_smallest_unit),
        cmocka_unit_test(text_that_is_no_quantity_is_refused),
        cmocka_unit_test(quantity_of_another_kind_is_refused),
        cmocka_unit_test(parts_must_get_smaller_and_only_durations_have_them),
        cmocka_unit_test(negative_and_too_large_are_out_of_range),
        cmocka_unit_test(quantities_are_written_as_people_write_them),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(every_unit_says_what_would_be_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
