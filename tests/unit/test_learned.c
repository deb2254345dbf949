/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is remembered of VMs: for how long, of how many, and across a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/record/learned.h"

#define UUID    "11111111-1111-1111-1111-111111111111"
#define DAY_S   (24 * 3600)
#define MONTH_S (30 * DAY_S)

static const struct prior some = {
    .points = 2, .point = {{1, 1e8, 1}, {0.2, 5e7, 0.5}}, .first = {3, 6e7, 1}, .plateau = true};

static void a_point_counts_half_after_a_month_and_not_at_all_after_half_a_year(void **state)
{
    struct learned *l;
    struct prior p;

    (void)state;
    learned_new(NULL, &l);
    assert_false(learned_find(l, UUID, 0, &p));
    learned_take(l, UUID, 1000, &some);
    assert_true(learned_find(l, UUID, 1000, &p));
    assert_memory_equal(&p, &some, sizeof(p));
    assert_true(learned_find(l, UUID, 1000 + MONTH_S, &p));
    assert_true(p.point[0].weight == 0.5 && p.point[1].weight == 0.25);
    assert_false(learned_find(l, UUID, 1000 + 6 * MONTH_S, &p));
    /* A clock that was put back makes nothing count more. */
    assert_true(learned_find(l, UUID, 0, &p));
    assert_true(p.point[0].weight == 1);
    learned_free(l);
}

static void a_migration_without_points_wipes_out_nothing(void **state)
{
    struct learned *l;
    struct prior p;

    (void)state;
    learned_new(NULL, &l);
    learned_take(l, UUID, 1000, &some);
    learned_take(l, UUID, 2000, &(struct prior){0});
    assert_true(learned_find(l, UUID, 1000, &p));
    learned_free(l);
}

static void the_vms_that_migrated_longest_ago_make_room(void **state)
{
    struct learned *l;
    struct prior p;
    char uuid[37];

    (void)state;
    learned_new(NULL, &l);
    for (int i = 0; i <= LEARNED_VMS; i++) {
        snprintf(uuid, sizeof(uuid), "11111111-1111-1111-1111-%012d", i);
        learned_take(l, uuid, i, &some);
    }
    assert_true(learned_find(l, uuid, LEARNED_VMS, &p));
    assert_true(learned_find(l, "11111111-1111-1111-1111-000000000001", LEARNED_VMS, &p));
    assert_false(learned_find(l, "11111111-1111-1111-1111-000000000000", LEARNED_VMS, &p));
    learned_free(l);
}

static void the_newest_line_of_the_history_is_known_after_a_restart(void **state)
{
    struct migration m = {.domain = {.name = "vm", .uuid = UUID}, .learned = some};
    char dir[] = "/tmp/test-learned-XXXXXX";
    struct record *r = NULL;
    struct learned *l;
    struct prior p;
    char file[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(record_new(dir, &record_limits_default, NULL, &r), 0);
    m.learned.point[0].unique_bytes = 7e7;
    record_migration(r, &m, NULL);
    m.learned = some;
    record_migration(r, &m, NULL);
    m.learned.points = 0;
    record_migration(r, &m, NULL); /* it was too short to show anything */
    assert_true(record_stop(r));
    record_free(r);
    assert_int_equal(record_new(dir, &record_limits_default, NULL, &r), 0);
    learned_new(r, &l);
    assert_true(learned_find(l, UUID, time(NULL), &p));
    assert_int_equal(p.points, 2);
    assert_true(p.plateau);
    assert_true(p.point[0].unique_bytes == 1e8 && p.point[0].weight > 0.99);
    learned_free(l);
    assert_true(record_stop(r));
    record_free(r);
    snprintf(file, sizeof(file), "%s/%s", dir, RECORD_HISTORY);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_point_counts_half_after_a_month_and_not_at_all_after_half_a_year),
        cmocka_unit_test(a_migration_without_points_wipes_out_nothing),
        cmocka_unit_test(the_vms_that_migrated_longest_ago_make_room),
        cmocka_unit_test(the_newest_line_of_the_history_is_known_after_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
