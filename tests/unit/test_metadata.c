/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/virt/metadata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"

static void no_element_says_nothing(void **state)
{
    struct metadata m;

    (void)state;
    metadata_parse(NULL, &m);
    assert_int_equal(m.layer.set, 0);
    assert_string_equal(m.error, "");
    assert_string_equal(m.labels, "");
}

static void element_is_read_with_and_without_its_namespace(void **state)
{
    static const char *const texts[] = {
        "<policy min_cpu=\"50%\" label=\" db\n tier-1 \"/>",
        "<migpolicy:policy xmlns:migpolicy=\"urn:migpolicy:policy:1\" min_cpu='50%' "
        "label='db tier-1'>\n </migpolicy:policy>",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct metadata m;

        metadata_parse(texts[i], &m);
        assert_string_equal(m.error, "");
        assert_int_equal(m.layer.set, 1u << POLICY_MIN_CPU);
        assert_int_equal(m.layer.values.v[POLICY_MIN_CPU], PPM_ONE / 2);
        assert_string_equal(m.labels, "db tier-1");
        assert_true(metadata_has_label(&m, "db"));
        assert_true(metadata_has_label(&m, "tier-1"));
        assert_false(metadata_has_label(&m, "tier"));
        assert_false(metadata_has_label(&m, "d"));
        assert_false(metadata_has_label(&m, "db tier-1"));
        assert_false(metadata_has_label(&m, ""));
    }
}

/* A part of it that is right must not count either. */
static void what_cannot_be_understood_allows_nothing_and_says_why(void **state)
{
    static const struct {
        const char *xml, *why;
    } cases[] = {
        {"", "well-formed"},
        {"<policy", "well-formed"},
        {"<policy min_cpu=50/>", "well-formed"},
        {"<policy mode='enforce' mode='enforce'/>", "well-formed"},
        {"<policy/><policy/>", "well-formed"},
        {"<other/>", "element \"policy\""},
        {"<x:policy xmlns:x='urn:other'/>", "element \"policy\""},
        {"<policy allow_throttle='yes'>text</policy>", "empty"},
        {"<policy><policy/></policy>", "empty"},
        {"<policy><!-- -->  </policy>", "nothing else"},
        {"<?xml version='1.0'?><policy/>", "nothing else"},
        {"<!DOCTYPE policy [<!ENTITY a 'b'>]><policy mode='&a;'/>", "nothing else"},
        {"<!DOCTYPE policy SYSTEM 'file:///etc/passwd'><policy/>", "nothing else"},
        {"<policy mode='&x;'/>", "well-formed"},
        {"<policy min-cpu='50%'/>", "min-cpu: unknown"},
        {"<policy x:mode='enforce' xmlns:x='urn:x'/>", "mode: unknown"},
        {"<policy xml:space='preserve'/>", "space: unknown"},
        {"<policy allow_throttle='yes' min_cpu='50'/>", "min_cpu: must be"},
        {"<policy allow_throttle='true'/>", "allow_throttle: must be"},
        {"<policy allow_throttle=''/>", "allow_throttle: must be"},
        {"<policy preset='none'/>", "preset: must be"},
        {"<policy label='a/b'/>", "label: must be"},
        {"<policy label='a&#10;b\xc3\xa4'/>", "label: must be"},
        {"<policy \xc3\xa4='1'/>", "??: unknown"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct metadata m;

        metadata_parse(cases[i].xml, &m);
        if (!strstr(m.error, cases[i].why))
            fail_msg("%s: \"%s\"", cases[i].xml, m.error);
        assert_int_equal(m.layer.set, 1u << POLICY_MODE);
        assert_int_equal(m.layer.values.v[POLICY_MODE], MODE_OBSERVE);
        assert_string_equal(m.labels, "");
    }
}

static void size_is_bounded(void **state)
{
    char *xml = malloc(METADATA_XML_MAX + 2);
    struct metadata m;

    (void)state;
    assert_non_null(xml);
    memset(xml, ' ', METADATA_XML_MAX + 1);
    xml[METADATA_XML_MAX + 1] = '\0';
    memcpy(xml, "<policy", 7);
    memcpy(xml + METADATA_XML_MAX - 1, "/>", 2);
    metadata_parse(xml, &m);
    assert_string_equal(m.error, "larger than 16 KiB");
    memcpy(xml + METADATA_XML_MAX - 2, "/>", 3);
    metadata_parse(xml, &m);
    assert_string_equal(m.error, "");
    free(xml);
}

static void labels_are_bounded_and_set_as_a_whole(void **state)
{
    struct metadata m = {0};
    char many[METADATA_LABELS_MAX + 3];

    (void)state;
    assert_int_equal(metadata_set_labels(&m, "a b"), 0);
    assert_int_equal(metadata_set_labels(&m, "c \"d\""), -EINVAL);
    assert_string_equal(m.labels, "a b");
    for (size_t i = 0; i < sizeof(many) - 1; i++)
        many[i] = i % 2 ? ' ' : 'x';
    many[sizeof(many) - 1] = '\0';
    assert_int_equal(metadata_set_labels(&m, many), -EINVAL);
    many[sizeof(many) - 3] = '\0';
    assert_int_equal(metadata_set_labels(&m, many), 0);
    assert_int_equal(metadata_set_labels(&m, ""), 0);
    assert_string_equal(m.labels, "");
}

static void what_is_written_is_read_again(void **state)
{
    struct metadata m = {0};
    struct metadata again;
    char *xml;

    (void)state;
    assert_int_equal(metadata_format(&m, &xml), 0);
    assert_null(xml);
    assert_int_equal(metadata_set_labels(&m, "db web"), 0);
    /* The longest values there are; "none" where there is such a thing. */
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);

        m.layer.set |= 1u << i;
        m.layer.values.v[i] = info->kind == KIND_CHOICE || info->kind == KIND_ORDER
                                  ? (i == POLICY_PRESET ? 2 : info->initial)
                                  : info->max;
    }
    assert_int_equal(metadata_format(&m, &xml), 0);
    metadata_parse(xml, &again);
    assert_string_equal(again.error, "");
    assert_memory_equal(&again, &m, sizeof(m));
    free(xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_element_says_nothing),
        cmocka_unit_test(element_is_read_with_and_without_its_namespace),
        cmocka_unit_test(what_cannot_be_understood_allows_nothing_and_says_why),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(labels_are_bounded_and_set_as_a_whole),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
