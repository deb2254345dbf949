/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Overrides on disk: what cannot be stored, what cannot be read, and what expires. */
#include "policies_dir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void what_cannot_be_stored_does_not_take_effect(void **state)
{
    (void)state;
    start("{}", "");
    assert_int_equal(set("vm", UUID_A, POLICY_MIN_CPU, "50%"), 0);
    block_store();
    assert_true(set("vm", UUID_A, POLICY_MIN_CPU, "60%") < 0);
    assert_true(set("vm", UUID_A, POLICY_PATIENCE, "1s") < 0);
    assert_true(set("b", UUID_B, POLICY_MIN_CPU, "60%") < 0);
    assert_true(policies_unset(p, "vm", UUID_A, ~0u) < 0);
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
    struct error told;

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
    struct error told;

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
    assert_int_equal(policies_set(p, POLICIES_RUNTIME, "vm", UUID_A, &layer, 0, "uid 0", NULL), 0);
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
    assert_int_equal(policies_unset(p, "vm", UUID_A, ~0u), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
