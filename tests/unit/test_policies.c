/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/policies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/units.h"

#define UUID_A "aaaaaaaa-1111-1111-1111-111111111111"
#define UUID_B "bbbbbbbb-2222-2222-2222-222222222222"

static char dir[64];
static struct policies *p;
static struct paused *paused;

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static struct config config_of(const char *text)
{
    struct config config = {0};
    struct config_error err;

    if (config_parse(text, strlen(text), "FILE", &config, &err) < 0)
        fail_msg("%s", err.text);
    return config;
}

/* What a restarted daemon sees. */
static void start(const char *config_text, const char *warning)
{
    struct config config = config_of(config_text);
    struct config_error told;

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

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    policies_free(p);
    paused_free(paused);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int set(const char *name, const char *uuid, enum policy_field field, const char *text)
{
    struct policy_layer layer = {0};

    assert_int_equal(policy_layer_set(&layer, field, text, NULL), 0);
    return policies_set(p, POLICIES_STORED, name, uuid, &layer, 0, "uid 0");
}

static void expect(const char *name, const char *uuid, enum policy_field field, const char *text,
                   const char *source)
{
    struct policy policy;
    char value[64];

    policies_resolve(p, name, uuid, &policy);
    policy_value_format(field, policy.values.v[field], value, sizeof(value));
    assert_string_equal(value, text);
    assert_string_equal(policy.source[field], source);
}

static size_t overrides(void)
{
    size_t rules, count, metadata;

    policies_count(p, &rules, &count, &metadata);
    return count;
}

static void rules_apply_by_glob_and_uuid_and_the_last_wins(void **state)
{
    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\"}, \"rules\": ["
          "{\"name\": \"db-*\", \"policy\": {\"min_cpu\": \"20%\", \"patience\": \"1s\"}},"
          "{\"name\": \"db-[0-9]\", \"policy\": {\"min_cpu\": \"30%\"}},"
          "{\"uuid\": \"AAAAAAAA-1111-1111-1111-111111111111\","
          " \"policy\": {\"min_cpu\": \"40%\"}},"
          "{\"name\": \"web*\", \"uuid\": \"" UUID_B "\","
          " \"policy\": {\"min_cpu\": \"50%\"}}]}",
          "");
    expect("other", UUID_B, POLICY_MIN_CPU, "10%", "FILE");
    expect("db-x", UUID_B, POLICY_MIN_CPU, "20%", "FILE/rules/0, by name db-*");
    expect("db-7", UUID_B, POLICY_MIN_CPU, "30%", "FILE/rules/1, by name db-[0-9]");
    expect("db-7", UUID_B, POLICY_PATIENCE, "1s", "FILE/rules/0, by name db-*");
    expect("db-7", UUID_A, POLICY_MIN_CPU, "40%",
           "FILE/rules/2, by uuid AAAAAAAA-1111-1111-1111-111111111111");
    expect("web1", UUID_B, POLICY_MIN_CPU, "50%", "FILE/rules/3, by name web*, uuid " UUID_B);
    expect("web1", UUID_A, POLICY_MIN_CPU, "40%",
           "FILE/rules/2, by uuid AAAAAAAA-1111-1111-1111-111111111111");
    expect("db-7", UUID_A, POLICY_STALL_TIMEOUT, "1m", "default");
}

static void resolved_policy_is_finished(void **state)
{
    (void)state;
    start("{\"policy\": {\"allow_throttle\": true}}", "");
    expect("vm", UUID_A, POLICY_MODE, "enforce", "default");
    expect("vm", UUID_A, POLICY_DEADLINE, "none", "default");
}

static void override_wins_over_rules_and_names_who_set_it(void **state)
{
    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\", \"patience\": \"1s\"}}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_PATIENCE, "1s", "FILE");
    expect("vm", "AAAAAAAA-1111-1111-1111-111111111111", POLICY_MIN_CPU, "50%",
           "override set by uid 0");
    expect("vm", UUID_B, POLICY_MIN_CPU, "10%", "FILE");
}

static void overrides_add_up_and_survive_a_restart(void **state)
{
    struct stat st;

    (void)state;
    start("{}", "");
    assert_int_equal(set("vm \"\\ \xc3\xa4", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_PATIENCE, "50ns"), 0);
    assert_int_equal(set("b", UUID_B, POLICY_MODE, "enforce"), 0);
    assert_int_equal(stat(in_dir("overrides.json"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    start("{}", "");
    assert_int_equal(overrides(), 2);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_PATIENCE, "50ns", "override set by uid 0");
    expect("b", UUID_B, POLICY_MODE, "enforce", "override set by uid 0");
}

static void unset_takes_fields_out_and_forgets_an_empty_override(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_PATIENCE, "2s"), 0);
    assert_int_equal(policies_unset(p, UUID_A, 1u << POLICY_MIN_CPU | 1u << POLICY_MODE), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "default");
    expect("vm", UUID_A, POLICY_PATIENCE, "2s", "override set by uid 0");
    assert_int_equal(policies_unset(p, UUID_A, ~0u), 0);
    assert_int_equal(overrides(), 0);
    start("{}", "");
    assert_int_equal(overrides(), 0);
    expect("vm", UUID_A, POLICY_PATIENCE, "0s", "default");
}

static void unset_of_an_unknown_vm_changes_nothing(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(policies_unset(p, UUID_A, ~0u), 0);
    assert_int_equal(access(in_dir("overrides.json"), F_OK), -1);
}

static void override_is_found_by_name(void **state)
{
    char uuid[37] = "untouched";

    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(policies_find(p, "v*", uuid, sizeof(uuid)), -ENOENT);
    assert_string_equal(uuid, "untouched");
    assert_int_equal(policies_find(p, "vm", uuid, sizeof(uuid)), 0);
    assert_string_equal(uuid, UUID_A);
}

static void reload_replaces_the_rules_and_keeps_overrides(void **state)
{
    struct config config;
    size_t rules, count, metadata;

    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\", \"patience\": \"1s\"}, \"rules\": []}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    config = config_of("{\"rules\": [{\"name\": \"vm\", \"policy\": {\"patience\": \"3s\"}},"
                       " {\"name\": \"x\", \"policy\": {}}]}");
    policies_reload(p, &config);
    assert_null(config.rule);
    policies_count(p, &rules, &count, &metadata);
    assert_int_equal(rules, 2);
    assert_int_equal(count, 1);
    expect("vm", UUID_A, POLICY_PATIENCE, "3s", "FILE/rules/0, by name vm");
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_B, POLICY_MIN_CPU, "20%", "default");
}

/* Nothing can be stored: a directory stands where the temporary file would be written. */
static void block_store(void)
{
    assert_int_equal(mkdir(in_dir("overrides.json.tmp"), 0700), 0);
}

static void what_cannot_be_stored_does_not_take_effect(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    block_store();
    assert_true(set("vm", UUID_A, POLICY_MIN_CPU, "60%") < 0);
    assert_true(set("vm", UUID_A, POLICY_PATIENCE, "1s") < 0);
    assert_true(set("b", UUID_B, POLICY_MIN_CPU, "60%") < 0);
    assert_true(policies_unset(p, UUID_A, ~0u) < 0);
    assert_int_equal(overrides(), 1);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_PATIENCE, "0s", "default");
    expect("b", UUID_B, POLICY_MIN_CPU, "20%", "default");
    assert_int_equal(rmdir(in_dir("overrides.json.tmp")), 0);
    start("{}", "");
    assert_int_equal(overrides(), 1);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
}

static void missing_state_directory_is_an_error(void **state)
{
    struct config config = config_of("{\"uri\": \"u\"}");
    struct config_error told;

    (void)state;
    assert_int_equal(policies_new(&config, in_dir("nothing"), NULL, &p, &told), -ENOENT);
    assert_null(p);
    assert_string_equal(config.uri, "u");
    config_clear(&config);
}

static void put_store(const char *text)
{
    FILE *f = fopen(in_dir("overrides.json"), "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void expect_store(const char *name, const char *text)
{
    char found[256] = "";
    FILE *f = fopen(in_dir(name), "r");

    if (!f)
        fail_msg("no %s", name);
    found[fread(found, 1, sizeof(found) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(found, text);
}

static void store_that_cannot_be_read_as_a_whole_is_kept_aside_and_pauses_the_host(void **state)
{
    static const char *const stores[] = {
        "",
        "{",
        "[]",
        "{\"vms\": {}}",
        "{\"schema_version\": 2, \"vms\": {}}",
        "{\"schema_version\": \"1\", \"vms\": {}}",
        "{\"schema_version\": 1, \"vms\": []}",
        "{\"schema_version\": 1, \"vms\": {}, \"expiring\": []}",
        "{\"schema_version\": 1, \"vms\": {\"short\": {\"policy\": {}}}}",
        "{\"schema_version\": 1, \"vms\": {\"aaaa",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        char who[PAUSED_WHO_MAX];

        put_store(stores[i]);
        start("{}", "kept as overrides.json.bad");
        assert_int_equal(overrides(), 0);
        expect_store("overrides.json.bad", stores[i]);
        assert_int_equal(access(in_dir("overrides.json"), F_OK), -1);
        start("{}", "");
        assert_true(paused_is(paused, NULL, who) && paused_by_doubt(who));
        assert_int_equal(paused_unset(paused, NULL), 0);
        assert_int_equal(remove(in_dir("overrides.json.bad")), 0);
    }
}

static void store_stays_where_it_is_while_the_host_cannot_be_paused(void **state)
{
    struct config config = config_of("{}");
    struct config_error told;

    (void)state;
    put_store("{");
    assert_int_equal(paused_new(dir, &paused, &told), 0);
    assert_int_equal(mkdir(in_dir("paused.json.tmp"), 0700), 0);
    assert_true(policies_new(&config, dir, paused, &p, &told) < 0);
    expect_store("overrides.json", "{");
    config_clear(&config);
}

static void store_kept_aside_is_never_overwritten(void **state)
{
    (void)state;
    put_store("first");
    start("{}", "kept as overrides.json.bad");
    put_store("second");
    start("{}", "kept as overrides.json.bad.1");
    expect_store("overrides.json.bad", "first");
    expect_store("overrides.json.bad.1", "second");
}

#define ALLOWED  "{\"policy\": {\"allow_throttle\": true}}"
#define UNREAD   "stored policy, unreadable"
#define VMS(vms) "{\"schema_version\": 1, \"vms\": {" vms "}, \"expiring\": {}}"

#define EXPIRING(entry)                                                                            \
    "{\"schema_version\": 1, \"vms\": {}, \"expiring\": {\"" UUID_A "\": " entry "}}"

static void vm_whose_entry_cannot_be_read_is_observed_and_the_others_are_not_affected(void **state)
{
    static const char *const entries[] = {
        VMS("\"" UUID_A "\": {\"policy\": {\"mode\": \"observe\", \"new_field\": 1}}"),
        VMS("\"" UUID_A "\": {\"policy\": {\"min_cpu\": 40}}"),
        VMS("\"" UUID_A "\": {}"),
        VMS("\"" UUID_A "\": 1"),
        EXPIRING("{\"policy\": {\"mode\": \"observe\"}}"),
        EXPIRING("{\"policy\": {\"mode\": \"observe\"}, \"expires\": {\"mode\": \"tomorrow\"}}"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        put_store(entries[i]);
        start(ALLOWED, "");
        assert_int_equal(policies_unread(p), 1);
        expect("vm", UUID_A, POLICY_MODE, "observe", UNREAD);
        expect("b", UUID_B, POLICY_MODE, "enforce", "default");
        /* What is stored for others leaves it as it is, whoever reads it next. */
        assert_int_equal(set("b", UUID_B, POLICY_MIN_CPU, "50%"), 0);
        start(ALLOWED, "");
        expect("b", UUID_B, POLICY_MIN_CPU, "50%", "override set by uid 0");
        expect("vm", UUID_A, POLICY_MODE, "observe", UNREAD);
        assert_false(paused_is(paused, NULL, NULL));
    }
}

static void entry_that_cannot_be_read_counts_until_something_else_is_stored(void **state)
{
    static const char entry[] = VMS("\"" UUID_A "\": {\"name\": \"vm\", \"policy\": {\"x\": 1}}");
    struct policies_change change = {.domain = {.name = "vm", .uuid = UUID_A}};
    struct policy_layer layer = {0};

    (void)state;
    put_store(entry);
    start(ALLOWED, "");
    assert_int_equal(policy_layer_set(&layer, POLICY_MIN_CPU, "50%", NULL), 0);
    assert_int_equal(policies_set(p, POLICIES_RUNTIME, "vm", UUID_A, &layer, 0, "uid 0"), 0);
    expect("vm", UUID_A, POLICY_MODE, "observe", UNREAD);
    block_store();
    assert_true(set("vm", UUID_A, POLICY_MIN_CPU, "50%") < 0);
    expect("vm", UUID_A, POLICY_MODE, "observe", UNREAD);
    assert_int_equal(rmdir(in_dir("overrides.json.tmp")), 0);
    assert_int_equal(policies_apply(p, &change, 1, "uid 0", true), 0);
    expect("vm", UUID_A, POLICY_MODE, "observe", UNREAD);

    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    expect("vm", UUID_A, POLICY_MODE, "enforce", "default");
    start(ALLOWED, "");
    assert_int_equal(policies_unread(p), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");

    put_store(entry);
    start(ALLOWED, "");
    assert_int_equal(policies_unset(p, UUID_A, ~0u), 0);
    start(ALLOWED, "");
    expect("vm", UUID_A, POLICY_MODE, "enforce", "default");
    assert_int_equal(overrides(), 0);
}

static void no_more_is_stored_than_would_be_read(void **state)
{
    static char name[1024 * 1024];
    char uuid[] = UUID_A;
    int r = 0;

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    start("{}", "");
    for (int i = 0; i < 8 && r == 0; i++) {
        uuid[0] = (char)('0' + i);
        r = set(name, uuid, POLICY_MIN_CPU, "50%");
    }
    assert_int_equal(r, -EFBIG);
    assert_int_equal(overrides(), 3);
    start("{}", "");
    assert_int_equal(overrides(), 3);
}

static void note(const char *uuid)
{
    char list[1][HV_UUID_MAX] = {""};

    if (uuid)
        snprintf(list[0], sizeof(list[0]), "%s", uuid);
    policies_note_domains(p, list, uuid ? 1 : 0);
}

static void overrides_of_vms_long_gone_expire_and_others_do_not(void **state)
{
    long long long_ago = (long long)time(NULL) - (POLICIES_GONE_DAYS + 1) * 86400LL;
    char store[512];

    (void)state;
    snprintf(store, sizeof(store),
             VMS("\"" UUID_A "\": {\"name\": \"a\", \"policy\": {\"min_cpu\": \"50%%\"},"
                 " \"gone_since\": %lld},"
                 "\"" UUID_B "\": {\"name\": \"b\", \"policy\": {\"x\": 1}, \"gone_since\": %lld}"),
             long_ago, long_ago);
    put_store(store);
    start("{}", "");
    note(UUID_A); /* it is back */
    note(NULL);   /* it has only just gone again */
    start("{}", "");
    note(NULL);
    assert_int_equal(overrides(), 2);

    put_store(store);
    start("{}", "");
    assert_int_equal(overrides(), 2); /* nobody has looked */
    note(NULL);
    assert_int_equal(overrides(), 1);
    start("{}", "");
    assert_int_equal(overrides(), 1);
    assert_int_equal(policies_unread(p), 1); /* nobody knows what it is */
}

static void store_without_names_is_read(void **state)
{
    (void)state;
    put_store(VMS("\"" UUID_A "\": {\"name\": 5, \"policy\": {\"min_cpu\": \"40%\"}}"));
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "40%", "");
}

static int set_until(enum policies_kind kind, enum policy_field field, const char *text,
                     int64_t expires_s)
{
    struct policy_layer layer = {0};

    assert_int_equal(policy_layer_set(&layer, field, text, NULL), 0);
    return policies_set(p, kind, "vm", UUID_A, &layer, expires_s, "uid 0");
}

static void runtime_lies_over_expiring_over_stored(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set_until(POLICIES_RUNTIME, POLICY_MIN_CPU, "70%", 0), 0);
    assert_int_equal(set_until(POLICIES_EXPIRING, POLICY_MIN_CPU, "60%", 4102444800), 0);
    assert_int_equal(set_until(POLICIES_EXPIRING, POLICY_PATIENCE, "2s", 4102444801), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "70%", "runtime override set by uid 0");
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "60%",
           "override set by uid 0, until 2100-01-01T00:00:00Z");
    expect("vm", UUID_A, POLICY_PATIENCE, "2s",
           "override set by uid 0, until 2100-01-01T00:00:01Z");
    assert_int_equal(policies_unset(p, UUID_A, 1u << POLICY_MIN_CPU), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "default");
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "default");
    expect("vm", UUID_A, POLICY_PATIENCE, "2s",
           "override set by uid 0, until 2100-01-01T00:00:01Z");
}

/* In place of libc's, for policies.c as well: the clock of these tests. */
static time_t later_s;

time_t time(time_t *ret)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += later_s;
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}

static void what_has_expired_is_gone_by_itself(void **state)
{
    int64_t past = time(NULL);

    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set_until(POLICIES_RUNTIME, POLICY_MIN_CPU, "60%", past + 20), 0);
    assert_int_equal(set_until(POLICIES_RUNTIME, POLICY_PATIENCE, "3s", past + 1000), 0);
    assert_int_equal(set_until(POLICIES_EXPIRING, POLICY_MAX_DOWNTIME, "2s", past + 20), 0);
    assert_int_equal(overrides(), 3);
    later_s = 20;
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_MAX_DOWNTIME, "none", "default");
    assert_int_equal(overrides(), 2);
    start("{}", "");
    assert_int_equal(overrides(), 1);
    later_s = 0;
}

static void preset_of_an_override_lies_below_its_fields_however_they_were_set(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    assert_int_equal(set("vm", UUID_A, POLICY_PRESET, "balanced"), 0);
    start("{}", "");
    expect("vm", UUID_A, POLICY_MIN_CPU, "50%", "override set by uid 0");
    expect("vm", UUID_A, POLICY_ALLOW_THROTTLE, "yes", "preset balanced, override set by uid 0");
    assert_int_equal(policies_unset(p, UUID_A, 1u << POLICY_PRESET), 0);
    expect("vm", UUID_A, POLICY_ALLOW_THROTTLE, "no", "default");
}

static void applying_is_all_or_nothing_and_a_rehearsal_changes_nothing(void **state)
{
    struct policies_change change[2] = {
        {.domain = {.name = "a", .uuid = UUID_A}},
        {.domain = {.name = "b", .uuid = UUID_B}},
    };

    (void)state;
    assert_int_equal(policy_layer_set(&change[1].layer, POLICY_MIN_CPU, "30%", NULL), 0);
    start("{}", "");
    assert_int_equal(set("a", UUID_A, POLICY_PATIENCE, "2s"), 0);
    for (int i = 0; i < 2; i++) {
        if (i == 0) {
            assert_int_equal(policies_apply(p, change, 2, "uid 0", true), 0);
        } else {
            block_store();
            assert_true(policies_apply(p, change, 2, "uid 0", false) < 0);
            assert_int_equal(rmdir(in_dir("overrides.json.tmp")), 0);
        }
        assert_int_equal(change[0].before.values.v[POLICY_PATIENCE], 2 * NS_PER_S);
        assert_int_equal(change[0].after.values.v[POLICY_PATIENCE], 0);
        assert_int_equal(change[1].after.values.v[POLICY_MIN_CPU], 300000);
        expect("a", UUID_A, POLICY_PATIENCE, "2s", "override set by uid 0");
        expect("b", UUID_B, POLICY_MIN_CPU, "20%", "default");
        assert_int_equal(overrides(), 1);
    }
    assert_int_equal(policies_apply(p, change, 2, "uid 7", false), 0);
    start("{}", "");
    assert_int_equal(overrides(), 1);
    expect("a", UUID_A, POLICY_PATIENCE, "0s", "default");
    expect("b", UUID_B, POLICY_MIN_CPU, "30%", "override set by uid 7");
}

static void tell(const char *uuid, const char *xml)
{
    policies_learn_metadata(p, uuid, 0, xml);
}

static void metadata_only_narrows_unless_it_is_trusted(void **state)
{
    const char *xml = "<policy min_cpu='40%' max_downtime='3s' allow_cancel='yes' deadline='1h'/>";

    (void)state;
    start("{\"policy\": {\"min_cpu\": \"10%\", \"max_downtime\": \"1s\"}}", "");
    tell(UUID_A, xml);
    expect("vm", UUID_A, POLICY_MIN_CPU, "40%", "domain metadata");
    expect("vm", UUID_A, POLICY_MAX_DOWNTIME, "1s", "FILE");
    expect("vm", UUID_A, POLICY_ALLOW_CANCEL, "no", "default");
    expect("vm", UUID_A, POLICY_DEADLINE, "none", "default");
    expect("vm", UUID_B, POLICY_MIN_CPU, "10%", "FILE");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "20%"), 0);
    expect("vm", UUID_A, POLICY_MIN_CPU, "40%", "domain metadata");

    start("{\"trust_metadata\": true, \"policy\": {\"max_downtime\": \"1s\"}}", "");
    tell(UUID_A, xml);
    expect("vm", UUID_A, POLICY_MAX_DOWNTIME, "3s", "domain metadata");
    expect("vm", UUID_A, POLICY_ALLOW_CANCEL, "yes", "domain metadata");
    expect("vm", UUID_A, POLICY_DEADLINE, "1h", "domain metadata");
    expect("vm", UUID_A, POLICY_MIN_CPU, "20%", "override set by uid 0");
}

static void metadata_narrows_what_follows_from_other_layers_too(void **state)
{
    (void)state;
    start("{\"policy\": {\"allow_throttle\": true}}", "");
    tell(UUID_A, "<policy mode='observe'/>");
    expect("vm", UUID_A, POLICY_MODE, "observe", "domain metadata");
}

static void malformed_metadata_means_observe_even_if_metadata_is_trusted(void **state)
{
    static const char *const configs[] = {"{\"policy\": {\"allow_throttle\": true}}",
                                          "{\"policy\": {\"allow_throttle\": true},"
                                          " \"trust_metadata\": true}"};

    (void)state;
    start(configs[0], "");
    policies_learn_metadata(p, UUID_B, -EIO, NULL);
    expect("vm", UUID_B, POLICY_MODE, "observe", "malformed domain metadata");
    for (size_t i = 0; i < 2; i++) {
        start(configs[i], "");
        tell(UUID_A, "<policy allow_cancel='yes' min_cpu='x'/>");
        expect("vm", UUID_A, POLICY_MODE, "observe", "malformed domain metadata");
        expect("vm", UUID_A, POLICY_ALLOW_CANCEL, "no", "default");
        expect("vm", UUID_B, POLICY_MODE, "enforce", "default");
    }
}

static void rules_apply_by_label(void **state)
{
    (void)state;
    start("{\"rules\": [{\"label\": \"db\", \"policy\": {\"patience\": \"1s\"}},"
          "{\"label\": \"db\", \"name\": \"x*\", \"policy\": {\"patience\": \"2s\"}}]}",
          "");
    expect("x1", UUID_A, POLICY_PATIENCE, "0s", "default");
    tell(UUID_A, "<policy label='web db'/>");
    expect("x1", UUID_A, POLICY_PATIENCE, "2s", "FILE/rules/1, by name x*, label db");
    expect("vm", UUID_A, POLICY_PATIENCE, "1s", "FILE/rules/0, by label db");
    expect("x1", UUID_B, POLICY_PATIENCE, "0s", "default");
    tell(UUID_A, "<policy label='db' min_cpu='x'/>");
    expect("vm", UUID_A, POLICY_PATIENCE, "0s", "default");
}

/* As Nova writes it, with both of its namespaces; and what else a domain is known by. */
#define NOVA(version, name)                                                                        \
    "<domain type='kvm' id='7'>\n  <name>instance-0000002a</name>\n  <uuid>" UUID_A "</uuid>\n"    \
    "  <title>shop, front</title>\n  <metadata>\n"                                                 \
    "    <nova:instance xmlns:nova=\"http://openstack.org/xmlns/libvirt/nova/" version "\">\n"     \
    "      <nova:package version=\"26.2.2\"/>\n      <nova:name>" name "</nova:name>\n"            \
    "      <nova:creationTime>2026-11-26 09:15:27</nova:creationTime>\n"                           \
    "      <nova:flavor name=\"m1.large\">\n        <nova:memory>8192</nova:memory>\n"             \
    "        <nova:disk>80</nova:disk>\n        <nova:swap>0</nova:swap>\n"                        \
    "        <nova:ephemeral>0</nova:ephemeral>\n        <nova:vcpus>4</nova:vcpus>\n"             \
    "      </nova:flavor>\n      <nova:owner>\n"                                                   \
    "        <nova:user uuid=\"9d4a5e2c1b7f4c38a6d0e5f1b2c3d4e5\">clerk</nova:user>\n"             \
    "        <nova:project uuid=\"0f1e2d3c4b5a69788796a5b4c3d2e1f0\">shop</nova:project>\n"        \
    "      </nova:owner>\n      <nova:root type=\"image\" uuid=\"" UUID_B "\"/>\n"                 \
    "    </nova:instance>\n"                                                                       \
    "    <a:vm xmlns:a=\"urn:example:vm\"><a:tier>gold</a:tier></a:vm>\n"                          \
    "    <ovirt-vm:vm xmlns:ovirt-vm=\"http://ovirt.org/vm/1.0\">\n"                               \
    "      <ovirt-vm:clusterVersion>4.7</ovirt-vm:clusterVersion>\n"                               \
    "      <ovirt-vm:custom><ovirt-vm:tier>gold</ovirt-vm:tier></ovirt-vm:custom>\n"               \
    "    </ovirt-vm:vm>\n"                                                                         \
    "  </metadata>\n  <memory unit='KiB'>8388608</memory>\n"                                       \
    "  <currentMemory unit='KiB'>8388608</currentMemory>\n"                                        \
    "  <vcpu placement='static'>4</vcpu>\n</domain>\n"

static void describe(const char *uuid, const char *xml)
{
    struct description d;

    assert_int_equal(description_parse(xml, &d), 0);
    policies_set_description(p, uuid, &d);
}

/* Is the VM selected, and by what, as show tells? NULL: it is not. */
static void expect_selected(const char *selectors, const char *by)
{
    char config[512];
    char source[POLICY_SOURCE_MAX];

    snprintf(config, sizeof(config),
             "{\"namespaces\": {\"v\": \"urn:example:vm\"},"
             " \"rules\": [{%s, \"policy\": {\"min_cpu\": \"40%%\"}}]}",
             selectors);
    start(config, "");
    describe(UUID_A, NOVA("1.1", "web"));
    snprintf(source, sizeof(source), "FILE/rules/0, by %s", by ? by : "");
    expect("instance-0000002a", UUID_A, POLICY_MIN_CPU, by ? "40%" : "20%",
           by ? source : "default");
    expect("instance-0000002a", UUID_B, POLICY_MIN_CPU, "20%", "default");
}

static void rules_select_by_what_nova_ovirt_and_libvirt_write(void **state)
{
    (void)state;
    expect_selected("\"flavor\": \"m1.*\"", "flavor m1.*");
    expect_selected("\"flavor\": [\"c1.*\", \"m1.large\"]", "flavor m1.large");
    expect_selected("\"flavor\": \"m1\"", NULL);
    expect_selected("\"project\": \"shop\"", "project shop");
    expect_selected("\"project\": \"0F1E2D3C4B5A69788796A5B4C3D2E1F0\"",
                    "project 0F1E2D3C4B5A69788796A5B4C3D2E1F0");
    expect_selected("\"title\": \"shop*\", \"flavor\": \"m1.*\"", "title shop*, flavor m1.*");
    expect_selected("\"title\": \"shop*\", \"flavor\": \"c1.*\"", NULL);
    expect_selected("\"min_memory\": \"8GiB\", \"max_vcpus\": 4", "memory, vcpus");
    expect_selected("\"max_memory\": \"8GB\"", NULL);
    expect_selected("\"min_vcpus\": 5", NULL);
    expect_selected("\"trust_owner\": true, \"instance_name\": \"web\"", "instance_name web");
    expect_selected("\"trust_owner\": true, \"ovirt\": [\"custom/tier=s*\", \"custom/tier=g*\"]",
                    "ovirt custom/tier=g*");
    expect_selected("\"trust_owner\": true, \"ovirt\": \"tier=gold\"", NULL);
    expect_selected("\"trust_owner\": true, \"xpath\": \"v:vm[v:tier='gold']\"",
                    "xpath v:vm[v:tier='gold']");
    expect_selected("\"trust_owner\": true, \"xpath\": \"v:vm[v:tier='silver']\"", NULL);
}

static void both_namespaces_of_nova_are_read(void **state)
{
    (void)state;
    start("{\"rules\": [{\"flavor\": \"m1.large\", \"project\": \"shop\","
          " \"policy\": {\"patience\": \"1s\"}}]}",
          "");
    describe(UUID_A, NOVA("1.0", "web"));
    expect("x", UUID_A, POLICY_PATIENCE, "1s", "FILE/rules/0, by flavor m1.large, project shop");
    describe(UUID_A, NOVA("2.0", "web"));
    expect("x", UUID_A, POLICY_PATIENCE, "0s", "default");
}

static void a_project_cannot_promote_its_own_instance(void **state)
{
    static const char *const own[] = {"instance_name web", "ovirt custom/tier=gold",
                                      "xpath v:vm[v:tier='gold']"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const char *test = strchr(own[i], ' ') + 1;
        char source[POLICY_SOURCE_MAX];
        char config[512];

        snprintf(config, sizeof(config),
                 "{\"namespaces\": {\"v\": \"urn:example:vm\"}, \"rules\": ["
                 "{\"flavor\": \"m1.*\", \"policy\": {\"allow_suspend\": true}},"
                 "{\"%.*s\": \"%s\","
                 " \"policy\": {\"allow_cancel\": true, \"allow_suspend\": false}}]}",
                 (int)(test - own[i] - 1), own[i], test);
        snprintf(source, sizeof(source), "FILE/rules/1, by %s (its owner's to write)", own[i]);
        start(config, "");
        describe(UUID_A, NOVA("1.1", "web"));
        expect("x", UUID_A, POLICY_ALLOW_CANCEL, "no", "default");
        expect("x", UUID_A, POLICY_ALLOW_SUSPEND, "no", source);
    }
}

static void what_is_no_domain_or_too_large_is_refused(void **state)
{
    char *xml = malloc(200000);
    struct description d = {.vcpus = 7};

    (void)state;
    assert_int_equal(description_parse("<network/>", &d), -EINVAL);
    assert_int_equal(description_parse("<domain>", &d), -EINVAL);
    assert_int_equal(description_parse("<!DOCTYPE domain><domain/>", &d), -EINVAL);
    assert_non_null(xml);
    snprintf(xml, 200000, "<domain><metadata><a>%0100000d</a></metadata></domain>", 0);
    assert_int_equal(description_parse(xml, &d), -E2BIG);
    assert_int_equal(d.vcpus, 7);
    free(xml);
}

static void metadata_is_news_once_and_can_be_forgotten(void **state)
{
    struct metadata m;

    (void)state;
    start("{}", "");
    metadata_parse("<policy mode='nothing'/>", &m);
    policies_forget_domain(p, UUID_A);
    assert_true(policies_set_metadata(p, UUID_A, &m));
    assert_false(policies_set_metadata(p, UUID_A, &m));
    policies_get_metadata(p, "AAAAAAAA-1111-1111-1111-111111111111", &m);
    assert_true(strstr(m.error, "mode"));
    policies_forget_domain(p, UUID_A);
    policies_get_metadata(p, UUID_A, &m);
    assert_string_equal(m.error, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rules_apply_by_glob_and_uuid_and_the_last_wins),
        TEST(resolved_policy_is_finished),
        TEST(override_wins_over_rules_and_names_who_set_it),
        TEST(overrides_add_up_and_survive_a_restart),
        TEST(unset_takes_fields_out_and_forgets_an_empty_override),
        TEST(unset_of_an_unknown_vm_changes_nothing),
        TEST(override_is_found_by_name),
        TEST(reload_replaces_the_rules_and_keeps_overrides),
        TEST(what_cannot_be_stored_does_not_take_effect),
        TEST(missing_state_directory_is_an_error),
        TEST(store_that_cannot_be_read_as_a_whole_is_kept_aside_and_pauses_the_host),
        TEST(store_stays_where_it_is_while_the_host_cannot_be_paused),
        TEST(vm_whose_entry_cannot_be_read_is_observed_and_the_others_are_not_affected),
        TEST(entry_that_cannot_be_read_counts_until_something_else_is_stored),
        TEST(no_more_is_stored_than_would_be_read),
        TEST(overrides_of_vms_long_gone_expire_and_others_do_not),
        TEST(store_kept_aside_is_never_overwritten),
        TEST(store_without_names_is_read),
        TEST(metadata_only_narrows_unless_it_is_trusted),
        TEST(metadata_narrows_what_follows_from_other_layers_too),
        TEST(malformed_metadata_means_observe_even_if_metadata_is_trusted),
        TEST(rules_apply_by_label),
        TEST(rules_select_by_what_nova_ovirt_and_libvirt_write),
        TEST(both_namespaces_of_nova_are_read),
        TEST(a_project_cannot_promote_its_own_instance),
        TEST(what_is_no_domain_or_too_large_is_refused),
        TEST(applying_is_all_or_nothing_and_a_rehearsal_changes_nothing),
        TEST(metadata_is_news_once_and_can_be_forgotten),
        TEST(runtime_lies_over_expiring_over_stored),
        TEST(what_has_expired_is_gone_by_itself),
        TEST(preset_of_an_override_lies_below_its_fields_however_they_were_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
