/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables of metrics/tables.h as one array of families. */
#include "metrics/internal.h"

#include <math.h>

static const char *const versions[] = {MIGPOLICY_VERSION, NULL};
static const char *const calls[] = {METRICS_CALL_TABLE(METRICS_LABEL) NULL};
static const char *const sources[] = {METRICS_SOURCE_TABLE(METRICS_LABEL) NULL};
static const char *const failures[] = {METRICS_FAILURE_TABLE(METRICS_LABEL) NULL};
static const char *const action_results[] = {METRICS_ACTION_RESULT_TABLE(METRICS_LABEL) NULL};
static const char *const outcomes[] = {METRICS_OUTCOME_TABLE(METRICS_LABEL) NULL};

const char *const *const metrics_fixed_sets[METRICS_SET_COUNT] = {
    [METRICS_SET_VERSION] = versions,
    [METRICS_SET_CALL] = calls,
    [METRICS_SET_SOURCE] = sources,
    [METRICS_SET_FAILURE] = failures,
    [METRICS_SET_ACTION_RESULT] = action_results,
    [METRICS_SET_OUTCOME] = outcomes,
};

const char *const metrics_info_labels[METRICS_INFO_LABELS] = {"flavor", "project", "instance_name"};

static const double call_bounds[] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, INFINITY};
static const double duration_bounds[] = {1,   3,   10,   30,   60,    120,
                                         300, 600, 1800, 3600, 14400, INFINITY};
static const double downtime_bounds[] = {0.01, 0.03, 0.1, 0.2, 0.3, 0.5,     1,
                                         2,    5,    10,  30,  60,  INFINITY};
static const double work_lost_bounds[] = {0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, INFINITY};

/* clang-format off */
const struct metrics_family metrics_families[] = {
#define X(constant, type_, name_, unit_, help_, ...) \
    {.type = METRICS_##type_, .name = name_, .unit = unit_, .help = help_, __VA_ARGS__},
    METRIC_TABLE(X)
#undef X

    {.name = "migpolicy_vm_info", .type = METRICS_INFO, .scope = METRICS_INFO_OF_VM, \
     .help = "Always 1; the labels tell what operators know the VM by, as far as it is told."},

#define X(member, set, help_) \
    {.name = "migpolicy_migration_" #member, .help = help_, .scope = METRICS_STATE, \
     .labels = {{#member, set}}, .offset = offsetof(struct metrics_vm, member)},
    X(phase, METRICS_SET_PHASE, "1 for the phase the migration is in, 0 for the others.")
    X(verdict, METRICS_SET_VERDICT, "1 for the verdict on the migration, 0 for the others.")
#undef X

#define X(member, unit_, help_) \
    {.name = "migpolicy_migration_" #member, .unit = unit_, .help = help_, .scope = METRICS_VM, \
     .offset = offsetof(struct metrics_vm, member)},
    METRICS_VM_TABLE(X)
#undef X

#define X(member, help_) \
    {.name = "migpolicy_last_migration_" #member, .unit = "seconds", .help = help_, \
     .scope = METRICS_LAST, .labels = {{"result", METRICS_SET_OUTCOME}}, \
     .offset = offsetof(struct metrics_last, member)},
    METRICS_LAST_TABLE(X)
#undef X
};
/* clang-format on */
const size_t metrics_family_count = sizeof(metrics_families) / sizeof(metrics_families[0]);

size_t metrics_family_buckets(const struct metrics_family *f)
{
    size_t n = 0;

    if (!f->bounds)
        return 0;
    while (isfinite(f->bounds[n]))
        n++;
    return n + 1;
}
