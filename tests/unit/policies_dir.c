/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policies_dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char dir[64];
struct policies *p;
struct paused *paused;

const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

struct config config_of(const char *text)
{
    struct config config = {0};
    struct error err;

    if (config_parse(text, strlen(text), "FILE", &config, &err) < 0)
        fail_msg("%s", err.text);
    return config;
}

void start(const char *config_text, const char *warning)
{
    struct config config = config_of(config_text);
    struct error told;

    policies_free(p);
    paused_free(paused);
    p = NULL;
    paused = NULL;
    assert_int_equal(paused_new(dir, &paused, &told), 0);
    assert_int_equal(policies_new(&config, dir, paused, &p, &told), 0);
    assert_null(config.rule);
    if (*warning ? !strstr(told.text, warning) : *told.text)
        fail_msg("\"%s\" instead of \"%s\"", told.text, warning);
}

int set_up(void **state)
{
    (void)state;
    p = NULL;
    paused = NULL;
    strcpy(dir, P_tmpdir "/test-policies-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int tear_down(void **state)
{
    (void)state;
    policies_free(p);
    paused_free(paused);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int set(const char *name, const char *uuid, enum policy_field field, const char *text)
{
    struct policy_layer layer = {0};

    assert_int_equal(policy_layer_set(&layer, field, text, NULL), 0);
    return policies_set(p, POLICIES_STORED, name, uuid, &layer, 0, "uid 0", NULL);
}

void expect(const char *name, const char *uuid, enum policy_field field, const char *text,
            const char *source)
{
    struct policy policy;
    char value[64];

    policies_resolve(p, name, uuid, &policy);
    policy_value_format(field, policy.values.v[field], value, sizeof(value));
    assert_string_equal(value, text);
    assert_string_equal(policy.source[field], source);
}

size_t overrides(void)
{
    size_t rules, count, metadata;

    policies_count(p, &rules, &count, &metadata);
    return count;
}

void block_store(void)
{
    assert_int_equal(mkdir(in_dir("overrides.json.tmp"), 0700), 0);
}
