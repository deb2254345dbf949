/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kill switch and its store; what the daemon does about it, tests/faults shows. */
#include "agent/rules/paused.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VM    "11111111-1111-1111-1111-111111111111"
#define OTHER "22222222-2222-2222-2222-222222222222"

static char dir[64];
static struct error warning;

static struct paused *start(void)
{
    struct paused *p;

    assert_int_equal(paused_new(dir, &p, &warning), 0);
    return p;
}

static struct paused *restart(struct paused *p)
{
    paused_free(p);
    return start();
}

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/migpolicy-paused-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = {"paused.json.tmp", "paused.json", "paused.json.bad"};
    char path[128];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        remove(path);
    }
    for (int i = 1; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/paused.json.bad.%d", dir, i);
        remove(path);
    }
    return rmdir(dir);
}

static void expect_mode(struct paused *p, const char *uuid, const char *source)
{
    struct policy policy;

    policy_init(&policy);
    policy.values.v[POLICY_MODE] = MODE_ENFORCE;
    assert_int_equal(paused_overlay(p, uuid, &policy), source != NULL);
    assert_int_equal(policy.values.v[POLICY_MODE], source ? MODE_OBSERVE : MODE_ENFORCE);
    assert_string_equal(policy.source[POLICY_MODE], source ? source : "default");
}

static void a_vm_is_paused_by_itself_or_with_its_host(void **state)
{
    struct paused *p = start();

    (void)state;
    assert_string_equal(warning.text, "");
    expect_mode(p, VM, NULL);
    assert_int_equal(paused_set(p, VM, "uid 7"), 0);
    expect_mode(p, VM, "paused by uid 7");
    expect_mode(p, OTHER, NULL);
    assert_int_equal(paused_set(p, NULL, "uid 0"), 0);
    expect_mode(p, VM, "host paused by uid 0");
    expect_mode(p, OTHER, "host paused by uid 0");
    assert_int_equal(paused_count(p), 1);
    assert_int_equal(paused_unset(p, VM), 0);
    assert_int_equal(paused_count(p), 0);
    expect_mode(p, VM, "host paused by uid 0");
    assert_int_equal(paused_unset(p, NULL), 0);
    assert_int_equal(paused_unset(p, NULL), 0);
    expect_mode(p, VM, NULL);
    paused_free(p);
}

static void it_outlives_a_restart_and_so_does_its_end(void **state)
{
    struct paused *p = start();

    (void)state;
    paused_set(p, VM, "uid 7");
    paused_set(p, VM, "uid 8");
    paused_set(p, NULL, "uid 0");
    p = restart(p);
    assert_string_equal(warning.text, "");
    assert_int_equal(paused_count(p), 1);
    expect_mode(p, VM, "host paused by uid 0");
    paused_unset(p, NULL);
    p = restart(p);
    expect_mode(p, VM, "paused by uid 8");
    paused_unset(p, VM);
    p = restart(p);
    expect_mode(p, VM, NULL);
    paused_free(p);
}

static void what_cannot_be_read_pauses_the_host_also_next_time(void **state)
{
    static const char *const stores[] = {
        "{\"paused_by\": {",
        "{\"paused_by\": {}}",
        "{\"schema_version\": 2, \"paused_by\": {}}",
        "{\"schema_version\": 1}",
    };
    char path[128];
    struct paused *p;

    (void)state;
    snprintf(path, sizeof(path), "%s/paused.json", dir);
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        fputs(stores[i], f);
        fclose(f);
        p = start();
        assert_non_null(strstr(warning.text, "kept as paused.json.bad"));
        expect_mode(p, VM, "host paused by migpolicyd: paused.json could not be read");
        p = restart(p);
        assert_string_equal(warning.text, "");
        assert_true(paused_is(p, NULL, NULL));
        paused_free(p);
    }
}

static void what_cannot_be_stored_is_paused_now_and_not_resumed(void **state)
{
    struct paused *p = start();
    char path[128];

    (void)state;
    paused_set(p, OTHER, "uid 0");
    snprintf(path, sizeof(path), "%s/paused.json.tmp", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(paused_set(p, VM, "uid 7") < 0);
    expect_mode(p, VM, "paused by uid 7");
    assert_true(paused_unset(p, OTHER) < 0);
    expect_mode(p, OTHER, "paused by uid 0");
    expect_mode(p, VM, "paused by uid 7");
    paused_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_vm_is_paused_by_itself_or_with_its_host, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(it_outlives_a_restart_and_so_does_its_end, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_pauses_the_host_also_next_time,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(what_cannot_be_stored_is_paused_now_and_not_resumed,
                                        make_dir, remove_dir),
    };

    return cmocka_run_group_tests_name("paused", tests, NULL, NULL);
}
