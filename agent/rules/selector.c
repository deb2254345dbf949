/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/selector.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/alloc.h"
#include "common/json.h"
#include "common/units.h"

static const struct {
    const char *key;
    bool is_owner_s;
} kinds[] = {
#define X(constant, key, is_owner_s, help) [SELECT_##constant] = {key, is_owner_s},
    SELECTOR_TABLE(X)
#undef X
};

const char *selector_key(enum selector_kind kind)
{
    return kinds[kind].key;
}

/* What a text of that kind must be, or NULL: it is. */
static const char *check_text(enum selector_kind kind, const char *text,
                              const struct description_namespace *namespace, size_t namespaces)
{
    if (kind == SELECT_LABEL && !policy_is_label(text, strlen(text)))
        return "must be " POLICY_LABEL;
    if (kind == SELECT_OVIRT && (!strchr(text, '=') || text[strcspn(text, "/=")] == text[0]))
        return "must be PATH=PATTERN, such as \"custom/tier=gold\"";
    return kind == SELECT_XPATH ? description_check_xpath(text, namespace, namespaces) : NULL;
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static int take_texts(struct selector *selector, enum selector_kind kind, struct json_object *value,
                      const struct description_namespace *namespace, size_t namespaces,
                      const char **ret_expected)
{
    bool is_list = json_object_is_type(value, json_type_array);
    size_t count = is_list ? json_object_array_length(value) : 1;
    char **list;

    *ret_expected = count > 0 ? NULL : "must not be empty";
    for (size_t i = 0; i < count && !*ret_expected; i++) {
        struct json_object *one = is_list ? json_object_array_get_idx(value, i) : value;

        *ret_expected = json_object_is_type(one, json_type_string)
                            ? check_text(kind, json_object_get_string(one), namespace, namespaces)
                        : is_list ? "must be texts"
                                  : "must be a text, or a list of texts";
    }
    if (*ret_expected)
        return -EINVAL;
    list = alloc_need(calloc(count + 1, sizeof(*list)));
    for (size_t i = 0; i < count; i++)
        list[i] = alloc_need(
            strdup(json_object_get_string(is_list ? json_object_array_get_idx(value, i) : value)));
    free_list(selector->text[kind]);
    selector->text[kind] = list;
    return 0;
}

static int take_bound(struct selector *selector, const char *key, struct json_object *value,
                      const char **ret_expected)
{
    bool is_min = strncmp(key, "min_", 4) == 0;
    bool is_memory = strcmp(key + 4, "memory") == 0;
    int64_t *bound = is_memory
                         ? (is_min ? &selector->min_memory_bytes : &selector->max_memory_bytes)
                         : (is_min ? &selector->min_vcpus : &selector->max_vcpus);
    int64_t n = json_object_get_int64(value);

    *ret_expected = is_memory ? "must be a size, such as \"64GiB\"" : "must be a number from 1 on";
    if (is_memory && (!json_object_is_type(value, json_type_string) ||
                      units_parse(UNIT_SIZE, json_object_get_string(value), &n) < 0))
        return -EINVAL;
    if ((!is_memory && !json_object_is_type(value, json_type_int)) || n < 1)
        return -EINVAL;
    *bound = n;
    return 0;
}

int selector_take(struct selector *selector, const char *key, struct json_object *value,
                  const struct description_namespace *namespace, size_t namespaces,
                  const char **ret_expected)
{
    for (enum selector_kind kind = 0; kind < SELECTORS; kind++) {
        if (strcmp(key, kinds[kind].key) == 0)
            return take_texts(selector, kind, value, namespace, namespaces, ret_expected);
    }
    if (strcmp(key, "min_memory") == 0 || strcmp(key, "max_memory") == 0 ||
        strcmp(key, "min_vcpus") == 0 || strcmp(key, "max_vcpus") == 0)
        return take_bound(selector, key, value, ret_expected);
    if (strcmp(key, "trust_owner") != 0)
        return -ENOENT;
    *ret_expected = "must be true or false";
    if (!json_object_is_type(value, json_type_boolean))
        return -EINVAL;
    selector->trust_owner = json_object_get_boolean(value);
    return 0;
}

void selector_clear(struct selector *selector)
{
    for (enum selector_kind kind = 0; kind < SELECTORS; kind++)
        free_list(selector->text[kind]);
    *selector = (struct selector){0};
}

bool selector_is_empty(const struct selector *selector)
{
    for (enum selector_kind kind = 0; kind < SELECTORS; kind++) {
        if (selector->text[kind])
            return false;
    }
    return !selector->min_memory_bytes && !selector->max_memory_bytes && !selector->min_vcpus &&
           !selector->max_vcpus;
}

bool selector_narrows(const struct selector *selector)
{
    for (enum selector_kind kind = 0; kind < SELECTORS; kind++) {
        if (selector->text[kind] && kinds[kind].is_owner_s && !selector->trust_owner)
            return true;
    }
    return false;
}

static bool fits_pattern(const char *pattern, const char *text)
{
    return text && fnmatch(pattern, text, 0) == 0;
}

static bool fits(enum selector_kind kind, const char *wanted, const struct selector_subject *s)
{
    const struct description *d = s->description;

    switch (kind) {
    case SELECT_NAME:
        return fits_pattern(wanted, s->name);
    case SELECT_UUID:
        return strcasecmp(wanted, s->uuid) == 0;
    case SELECT_LABEL:
        return metadata_has_label(s->metadata, wanted);
    case SELECT_TITLE:
        return fits_pattern(wanted, d->text[DESCRIPTION_TITLE]);
    case SELECT_FLAVOR:
        return fits_pattern(wanted, d->text[DESCRIPTION_FLAVOR]);
    case SELECT_PROJECT:
        return fits_pattern(wanted, d->text[DESCRIPTION_PROJECT]) ||
               (d->text[DESCRIPTION_PROJECT_UUID] &&
                strcasecmp(wanted, d->text[DESCRIPTION_PROJECT_UUID]) == 0);
    case SELECT_INSTANCE_NAME:
        return fits_pattern(wanted, d->text[DESCRIPTION_INSTANCE_NAME]);
    case SELECT_OVIRT:
        return description_has_ovirt(d, wanted);
    case SELECT_XPATH:
        return description_fits_xpath(d, wanted, s->namespace, s->namespaces);
    case SELECTORS:
        break;
    }
    return false;
}

/* The first of the list that fits, or NULL. */
static const char *find_fitting(char *const *list, enum selector_kind kind,
                                const struct selector_subject *subject)
{
    while (*list && !fits(kind, *list, subject))
        list++;
    return *list;
}

/* A VM whose size is not known is neither large nor small. */
static bool is_within(int64_t min, int64_t max, uint64_t value)
{
    return (!min && !max) ||
           (value > 0 && value >= (uint64_t)min && (!max || value <= (uint64_t)max));
}

bool selector_selects(const struct selector *selector, const struct selector_subject *subject,
                      char *by, size_t size)
{
    const struct description *d = subject->description;
    size_t len = 0;

    by[0] = '\0';
    if (!is_within(selector->min_memory_bytes, selector->max_memory_bytes, d->memory_bytes) ||
        !is_within(selector->min_vcpus, selector->max_vcpus, d->vcpus))
        return false;
    for (enum selector_kind kind = 0; kind < SELECTORS; kind++) {
        const char *found = "";

        if (!selector->text[kind])
            continue;
        found = find_fitting(selector->text[kind], kind, subject);
        if (!found)
            return false;
        if (len < size)
            len += (size_t)snprintf(by + len, size - len, "%s%s %s", len ? ", " : "",
                                    kinds[kind].key, found);
    }
    if (len < size && (selector->min_memory_bytes || selector->max_memory_bytes))
        len += (size_t)snprintf(by + len, size - len, "%smemory", len ? ", " : "");
    if (len < size && (selector->min_vcpus || selector->max_vcpus))
        snprintf(by + len, size - len, "%svcpus", len ? ", " : "");
    return true;
}
