/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is tried again and when, told and how often, where restoring is a matter of this file. */
#include "agent/watch/leftovers.h"
#include "common/alloc.h"
#include "common/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A "6f1c9c1e-3a55-4b6e-9c0d-00000000000a"
#define B "6f1c9c1e-3a55-4b6e-9c0d-00000000000b"

/* ---- what it stands on ---- */

static struct journal {
    const char *uuid;
    bool there, open;
    int error; /* of a restore; 0: it works */
    unsigned tries;
} journals[2];
static int list_error;
static bool swept;
static unsigned told_failed, told_restored;
static char detail[256];

int throttle_list_journals(const struct throttle_roots *roots, throttle_journal_fn fn, void *opaque)
{
    (void)roots;
    for (int i = 0; list_error == 0 && i < 2; i++)
        if (journals[i].there)
            fn(journals[i].uuid, journals[i].open, opaque);
    return list_error;
}

int throttle_restore_journal(const struct throttle_roots *roots, const char *uuid, char **ret_name,
                             struct throttle_result *ret_result)
{
    struct journal *j = strcmp(uuid, A) == 0 ? &journals[0] : &journals[1];

    (void)roots;
    *ret_name = NULL;
    *ret_result = (struct throttle_result){.restored = 2};
    if (j->open || !j->there)
        return j->open ? -EBUSY : -ENOENT;
    j->tries++;
    if (j->error != -EBADMSG)
        *ret_name = alloc_need(strdup(j == journals ? "vm-a" : "vm-b"));
    j->there = j->error < 0;
    return j->error;
}

void throttle_sweep(const struct throttle_roots *roots)
{
    (void)roots;
    swept = true;
}

int throttle_journal_written(const struct throttle_roots *roots, const char *uuid,
                             struct timespec *ret)
{
    (void)roots;
    (void)uuid;
    clock_gettime(CLOCK_REALTIME, ret);
    ret->tv_sec -= 7200;
    return 0;
}

const char *throttle_error(int error)
{
    return strerror(-error);
}

void record_event(struct record *r, const struct hv_domain *domain,
                  const struct migration_event *event)
{
    (void)r;
    (void)domain;
    assert_int_equal(event->reason, REASON_LEFT_BEHIND);
    told_failed += event->result == EVENT_FAILED;
    told_restored += event->result == EVENT_APPLIED;
    snprintf(detail, sizeof(detail), "%s", event->detail);
}

/* ---- the tests ---- */

static struct leftovers *left;

static int set_up(void **state)
{
    struct throttle_roots roots = {.proc = "/proc", .run_dir = "/nowhere"};

    (void)state;
    journals[0] = (struct journal){.uuid = A, .there = true, .error = -EROFS};
    journals[1] = (struct journal){.uuid = B, .there = true};
    list_error = 0;
    told_failed = told_restored = 0;
    left = leftovers_new(&roots, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    leftovers_free(left);
    return 0;
}

static size_t list(struct leftover *ret_first)
{
    struct leftover *all;
    size_t count;

    if (ret_first)
        *ret_first = (struct leftover){0};
    leftovers_list(left, &all, &count);
    if (count > 0 && ret_first)
        *ret_first = all[0];
    free(all);
    return count;
}

static void one_that_fails_holds_up_no_other(void **state)
{
    (void)state;
    assert_int_equal(leftovers_try(left, 0), 1);
    assert_true(journals[0].there);
    assert_false(journals[1].there);
    assert_int_equal(told_restored, 1);
}

/* Each half second for ten minutes, as the keeper does. */
static void it_is_tried_at_growing_intervals_and_told_once(void **state)
{
    struct leftover l;

    (void)state;
    journals[1].there = false;
    for (int64_t now = 0; now < 600 * NS_PER_S; now += NS_PER_S / 2)
        assert_int_equal(leftovers_try(left, now), 1);
    /* After 1, 2, 4, 8, 16, then each 30 seconds. */
    assert_in_range(journals[0].tries, 20, 26);
    assert_int_equal(told_failed, 1);
    assert_int_equal(list(&l), 1);
    assert_int_equal(l.backoff.failures, journals[0].tries);

    journals[0].error = -EACCES; /* another cause is news */
    assert_int_equal(leftovers_try(left, INT64_MAX), 1);
    assert_int_equal(told_failed, 2);

    journals[0].error = 0;
    assert_int_equal(leftovers_try(left, INT64_MAX), 0);
    assert_int_equal(told_restored, 1);
    assert_non_null(strstr(detail, "failed tries"));
    assert_int_equal(list(NULL), 0);
}

static void it_is_listed_with_its_age_and_the_cause(void **state)
{
    struct leftover l;

    (void)state;
    assert_int_equal(list(NULL), 0);
    leftovers_try(left, 0);
    assert_int_equal(list(&l), 1);
    assert_string_equal(l.uuid, A);
    assert_string_equal(l.name, "vm-a");
    assert_int_equal(l.backoff.error, -EROFS);
    assert_in_range(-l.found_ns / NS_PER_S, 7199, 7300);
}

static void one_that_cannot_be_read_is_listed_by_its_file(void **state)
{
    struct leftover l;

    (void)state;
    journals[0].error = -EBADMSG;
    leftovers_try(left, 0);
    assert_int_equal(list(&l), 1);
    assert_string_equal(l.name, "");
    assert_string_equal(l.uuid, A);
}

static void release_tries_before_it_is_due(void **state)
{
    struct throttle_result result;

    (void)state;
    leftovers_try(left, 0);
    assert_int_equal(leftovers_release(left, A, 1, &result), -EROFS);
    assert_int_equal(journals[0].tries, 2);
    assert_int_equal(told_failed, 1);
    assert_int_equal(list(NULL), 1);
    journals[0].error = 0;
    assert_int_equal(leftovers_release(left, A, 2, &result), 0);
    assert_int_equal(result.restored, 2);
    assert_int_equal(list(NULL), 0);
    assert_int_equal(leftovers_release(left, A, 3, &result), -ENOENT);
    assert_int_equal(leftovers_try(left, 4), 0);
}

static void release_leaves_an_open_one_to_its_watcher(void **state)
{
    struct throttle_result result;

    (void)state;
    journals[0].open = true;
    assert_int_equal(leftovers_try(left, 0), 1);
    assert_int_equal(list(NULL), 0);
    assert_int_equal(leftovers_release(left, A, 1, &result), -EBUSY);
    assert_int_equal(journals[0].tries, 0);
    assert_int_equal(told_failed, 0);
}

static void those_that_cannot_be_listed_are_not_taken_for_gone(void **state)
{
    (void)state;
    assert_int_equal(leftovers_try(left, 0), 1);
    list_error = -EMFILE;
    assert_int_equal(leftovers_try(left, INT64_MAX), 1);
    assert_int_equal(list(NULL), 1);
    list_error = 0;
    journals[0].error = 0;
    assert_int_equal(leftovers_try(left, INT64_MAX), 0);
}

static void the_start_tells_what_is_restored_and_what_is_left(void **state)
{
    size_t left_over = 0;

    (void)state;
    swept = false;
    assert_int_equal(leftovers_restore_first(left, &left_over), 1);
    assert_true(swept);
    assert_int_equal(left_over, 1);
    list_error = -EPERM;
    assert_int_equal(leftovers_restore_first(left, &left_over), 0);
    assert_int_equal(left_over, 2); /* those that are not seen count */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_fails_holds_up_no_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_is_tried_at_growing_intervals_and_told_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(it_is_listed_with_its_age_and_the_cause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_read_is_listed_by_its_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(release_tries_before_it_is_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(release_leaves_an_open_one_to_its_watcher, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(those_that_cannot_be_listed_are_not_taken_for_gone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_start_tells_what_is_restored_and_what_is_left, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
