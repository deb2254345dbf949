/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one table of what is exported. docs/metrics.md is generated from it. */
#include "metrics/internal.h"

#include <math.h>

static const char *const versions[] = {MIGPOLICY_VERSION, NULL};
static const char *const calls[] = {
    [METRICS_CALL_JOB_STATS] = "job_stats",
    [METRICS_CALL_SET_DOWNTIME] = "set_downtime",
    [METRICS_CALL_SET_SPEED] = "set_speed",
    [METRICS_CALL_SET_COMPRESSION_CACHE] = "set_compression_cache",
    [METRICS_CALL_POST_COPY] = "post_copy",
    [METRICS_CALL_SUSPEND] = "suspend",
    [METRICS_CALL_ABORT] = "abort",
    [METRICS_CALL_OPEN] = "open",
    [METRICS_CALL_LIST] = "list",
    NULL,
};
static const char *const sources[] = {
    [METRICS_SOURCE_CONFIG] = "config",
    [METRICS_SOURCE_OVERRIDE] = "override",
    [METRICS_SOURCE_METADATA] = "metadata",
    NULL,
};
static const char *const failures[] = {
    [METRICS_FAILURE_CANCELLED] = "cancelled",
    [METRICS_FAILURE_FAILED] = "failed",
    [METRICS_FAILURE_LOST] = "lost",
    NULL,
};
static const char *const action_results[] = {
    [METRICS_ACTION_APPLIED] = "applied",   [METRICS_ACTION_FAILED] = "failed",
    [METRICS_ACTION_DENIED] = "denied",     [METRICS_ACTION_PROPOSED] = "proposed",
    [METRICS_ACTION_APPROVED] = "approved", NULL,
};
static const char *const outcomes[] = {
    [METRICS_OUTCOME_COMPLETED] = "completed",
    [METRICS_OUTCOME_CANCELLED] = "cancelled",
    [METRICS_OUTCOME_FAILED] = "failed",
    [METRICS_OUTCOME_LOST] = "lost",
    NULL,
};

const char *const *const metrics_fixed_sets[METRICS_SET_COUNT] = {
    [METRICS_SET_VERSION] = versions,
    [METRICS_SET_CALL] = calls,
    [METRICS_SET_SOURCE] = sources,
    [METRICS_SET_FAILURE] = failures,
    [METRICS_SET_ACTION_RESULT] = action_results,
    [METRICS_SET_OUTCOME] = outcomes,
};

static const double call_bounds[] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, INFINITY};
static const double duration_bounds[] = {1,   3,   10,   30,   60,    120,
                                         300, 600, 1800, 3600, 14400, INFINITY};
static const double downtime_bounds[] = {0.01, 0.03, 0.1, 0.2, 0.3, 0.5,     1,
                                         2,    5,    10,  30,  60,  INFINITY};
static const double work_lost_bounds[] = {0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, INFINITY};

#define HOST_GAUGE(name_, unit_, help_, ...)                                                       \
    {                                                                                              \
        .name = name_, .unit = unit_, .help = help_, .type = METRICS_GAUGE, __VA_ARGS__            \
    }
#define HOST_COUNTER(name_, unit_, help_, ...)                                                     \
    {                                                                                              \
        .name = name_, .unit = unit_, .help = help_, .type = METRICS_COUNTER, __VA_ARGS__          \
    }
#define HOST_HISTOGRAM(name_, bounds_, help_, ...)                                                 \
    {                                                                                              \
        .name = name_, .unit = "seconds", .help = help_, .type = METRICS_HISTOGRAM,                \
        .bounds = bounds_, __VA_ARGS__                                                             \
    }
#define VM_STATE(member, set_, help_)                                                              \
    {                                                                                              \
        .name = "migpolicy_migration_" #member, .help = help_, .scope = METRICS_STATE,             \
        .labels = {{#member, set_}}, .offset = offsetof(struct metrics_vm, member)                 \
    }
#define VM_GAUGE(member, unit_, help_)                                                             \
    {                                                                                              \
        .name = "migpolicy_migration_" #member, .unit = unit_, .help = help_, .scope = METRICS_VM, \
        .offset = offsetof(struct metrics_vm, member)                                              \
    }
#define LAST_GAUGE(member, help_)                                                                  \
    {                                                                                              \
        .name = "migpolicy_last_migration_" #member, .unit = "seconds", .help = help_,             \
        .scope = METRICS_LAST, .labels = {{"result", METRICS_SET_OUTCOME}},                        \
        .offset = offsetof(struct metrics_last, member)                                            \
    }

const struct metrics_family metrics_families[] = {
    [METRIC_BUILD_INFO] = {.name = "migpolicy_build_info",
                           .help = "Always 1; the label tells the version that runs.",
                           .type = METRICS_INFO,
                           .labels = {{"version", METRICS_SET_VERSION}}},
    [METRIC_LIBVIRT_UP] = HOST_GAUGE("migpolicy_libvirt_up", NULL,
                                     "1 while the connection to libvirt is open, else 0."),
    [METRIC_LIBVIRT_RECONNECTS] =
        HOST_COUNTER("migpolicy_libvirt_reconnects_total", NULL,
                     "Times the connection to libvirt was opened again after a loss."),
    [METRIC_LIBVIRT_CALL_DURATION] =
        HOST_HISTOGRAM("migpolicy_libvirt_call_duration_seconds", call_bounds,
                       "Time calls to libvirt took, failed ones included.",
                       .labels = {{"call", METRICS_SET_CALL}}),
    [METRIC_LIBVIRT_CALL_FAILURES] =
        HOST_COUNTER("migpolicy_libvirt_call_failures_total", NULL, "Calls to libvirt that failed.",
                     .labels = {{"call", METRICS_SET_CALL}}),
    [METRIC_POLICIES] =
        HOST_GAUGE("migpolicy_policies", NULL,
                   "Policies in force, by where they come from: rules, overrides of VMs, domains.",
                   .labels = {{"source", METRICS_SET_SOURCE}}),
    [METRIC_MIGRATIONS_STARTED] =
        HOST_COUNTER("migpolicy_migrations_started_total", NULL,
                     "Outgoing migrations seen to start, or found running."),
    [METRIC_MIGRATIONS_COMPLETED] =
        HOST_COUNTER("migpolicy_migrations_completed_total", NULL,
                     "Outgoing migrations that ended with the guest at the destination."),
    [METRIC_MIGRATIONS_FAILED] =
        HOST_COUNTER("migpolicy_migrations_failed_total", NULL,
                     "Outgoing migrations that ended otherwise: cancelled by someone, failed by "
                     "themselves, or lost from sight.",
                     .labels = {{"reason", METRICS_SET_FAILURE}}),
    [METRIC_MIGRATION_DURATION] =
        HOST_HISTOGRAM("migpolicy_migration_duration_seconds", duration_bounds,
                       "Length of ended migrations, from start to end."),
    [METRIC_MIGRATION_DOWNTIME] =
        HOST_HISTOGRAM("migpolicy_migration_downtime_seconds", downtime_bounds,
                       "Time guests stood still at switchover."),
    [METRIC_MIGRATION_WORK_LOST] =
        HOST_HISTOGRAM("migpolicy_migration_work_lost_seconds", work_lost_bounds,
                       "Guest work lost to migrations: the time at full speed that was missing, "
                       "downtime included."),
    [METRIC_ACTIONS] =
        HOST_COUNTER("migpolicy_actions_total", NULL,
                     "Actions on migrations, by what came of them and why.", .sparse = true,
                     .labels = {{"action", METRICS_SET_ACTION},
                                {"result", METRICS_SET_ACTION_RESULT},
                                {"reason", METRICS_SET_REASON}}),
    [METRIC_PENDING_PROPOSALS] = HOST_GAUGE("migpolicy_pending_proposals", NULL,
                                            "Migrations that wait for an administrator's answer."),
    [METRIC_PAUSED] = HOST_GAUGE("migpolicy_paused", NULL,
                                 "1 while an administrator has paused the whole host, else 0."),
    [METRIC_PAUSED_VMS] =
        HOST_GAUGE("migpolicy_paused_vms", NULL, "VMs that are paused by themselves."),
    [METRIC_THROTTLED_DOMAINS] = HOST_GAUGE("migpolicy_throttled_domains", NULL,
                                            "VMs whose vCPUs are limited by migpolicy now."),
    [METRIC_THROTTLE_RESTORES] =
        HOST_COUNTER("migpolicy_throttle_restores_total", NULL,
                     "Times the CPU limits of a VM were put back as they were found."),
    [METRIC_THROTTLE_RESTORE_FAILURES] =
        HOST_COUNTER("migpolicy_throttle_restore_failures_total", NULL,
                     "Times putting the CPU limits of a VM back failed."),
    [METRIC_THROTTLE_DRIFT] =
        HOST_COUNTER("migpolicy_throttle_drift_total", NULL,
                     "Times a CPU limit in force was found changed by someone else."),
    [METRIC_CONTROL_REQUESTS] = HOST_COUNTER(
        "migpolicy_control_requests_total", NULL, "Requests on the control socket.", .sparse = true,
        .labels = {{"method", METRICS_SET_METHOD}, {"result", METRICS_SET_RESULT}}),
    [METRIC_RECORD_FAILURES] =
        HOST_COUNTER("migpolicy_record_failures_total", NULL,
                     "Lines of the audit log and the history that could not be written."),
    [METRIC_LOOP_LAG] = HOST_GAUGE("migpolicy_loop_lag_seconds", "seconds",
                                   "How late the last timer of the main loop fired."),
    [METRIC_VMS_OMITTED] = HOST_GAUGE(
        "migpolicy_vms_omitted", NULL,
        "VMs that migrate or are throttled but have no series, because there are too many."),
    [METRIC_PROCESS_CPU_SECONDS] = HOST_COUNTER("process_cpu_seconds_total", "seconds",
                                                "User and system CPU time of the daemon."),
    [METRIC_PROCESS_RESIDENT_MEMORY] =
        HOST_GAUGE("process_resident_memory_bytes", "bytes", "Resident memory of the daemon."),
    [METRIC_PROCESS_VIRTUAL_MEMORY] =
        HOST_GAUGE("process_virtual_memory_bytes", "bytes", "Virtual memory of the daemon."),
    [METRIC_PROCESS_OPEN_FDS] =
        HOST_GAUGE("process_open_fds", NULL, "File descriptors the daemon has open."),
    [METRIC_PROCESS_MAX_FDS] =
        HOST_GAUGE("process_max_fds", NULL, "File descriptors the daemon may have open."),
    [METRIC_PROCESS_START_TIME] = HOST_GAUGE("process_start_time_seconds", "seconds",
                                             "Unix time at which the daemon started."),

    VM_STATE(phase, METRICS_SET_PHASE, "1 for the phase the migration is in, 0 for the others."),
    VM_STATE(verdict, METRICS_SET_VERDICT, "1 for the verdict on the migration, 0 for the others."),
    VM_GAUGE(elapsed_seconds, "seconds", "Time since the migration started."),
    VM_GAUGE(memory_total_bytes, "bytes", "Guest memory the migration has to deal with."),
    VM_GAUGE(memory_processed_bytes, "bytes", "Memory sent so far, repeats included."),
    VM_GAUGE(memory_remaining_bytes, "bytes", "Memory left to send in this pass."),
    VM_GAUGE(disk_remaining_bytes, "bytes", "Storage left to copy."),
    VM_GAUGE(dirty_rate_bytes_per_second, "bytes_per_second",
             "Unique memory the guest dirties per second."),
    VM_GAUGE(transfer_rate_bytes_per_second, "bytes_per_second", "Memory sent per second."),
    VM_GAUGE(iteration, NULL, "Pass over the memory, counted from 1."),
    VM_GAUGE(expected_downtime_seconds, "seconds", "Downtime if it switched over now."),
    VM_GAUGE(downtime_limit_seconds, "seconds", "Downtime below which it will switch over."),
    VM_GAUGE(forecast_remaining_seconds, "seconds", "Forecast time from now to the end."),
    VM_GAUGE(cpu_limit_ratio, "ratio", "Share of its CPU time the guest may use; 1 = no limit."),
    VM_GAUGE(throttled_seconds, "seconds", "Time under a CPU limit in this migration."),
    VM_GAUGE(work_lost_so_far_seconds, "seconds", "Guest work lost so far in this migration."),
    VM_GAUGE(pending_proposals, NULL, "1 while an administrator is asked about it, else 0."),
    VM_GAUGE(last_action_timestamp_seconds, "seconds", "Unix time of the last action on it."),

    LAST_GAUGE(duration_seconds, "Length of the last migration."),
    LAST_GAUGE(downtime_seconds, "Time the guest stood still in the last migration."),
    LAST_GAUGE(work_lost_seconds, "Guest work lost in the last migration, downtime included."),
    LAST_GAUGE(end_timestamp_seconds, "Unix time at which the last migration ended."),
};
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
