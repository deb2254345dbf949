/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tables of what is exported. Constants, members, names, help and docs/metrics.md are all made
 * from them, so that none can be there without the others.
 */
#ifndef MIGPOLICY_METRICS_TABLES_H
#define MIGPOLICY_METRICS_TABLES_H

/* clang-format off */

/* The label sets owned here: X(constant, name). */
#define METRICS_CALL_TABLE(X) \
    X(METRICS_CALL_JOB_STATS, "job_stats") \
    X(METRICS_CALL_SET_DOWNTIME, "set_downtime") \
    X(METRICS_CALL_SET_SPEED, "set_speed") \
    X(METRICS_CALL_SET_COMPRESSION_CACHE, "set_compression_cache") \
    X(METRICS_CALL_POST_COPY, "post_copy") \
    X(METRICS_CALL_SUSPEND, "suspend") \
    X(METRICS_CALL_ABORT, "abort") \
    X(METRICS_CALL_OPEN, "open") \
    X(METRICS_CALL_LIST, "list")

#define METRICS_SOURCE_TABLE(X) \
    X(METRICS_SOURCE_CONFIG, "config") \
    X(METRICS_SOURCE_OVERRIDE, "override") \
    X(METRICS_SOURCE_METADATA, "metadata")

#define METRICS_FAILURE_TABLE(X) \
    X(METRICS_FAILURE_CANCELLED, "cancelled") \
    X(METRICS_FAILURE_FAILED, "failed") \
    X(METRICS_FAILURE_LOST, "lost")

#define METRICS_ACTION_RESULT_TABLE(X) \
    X(METRICS_ACTION_APPLIED, "applied") \
    X(METRICS_ACTION_FAILED, "failed") \
    X(METRICS_ACTION_DENIED, "denied") \
    X(METRICS_ACTION_PROPOSED, "proposed") \
    X(METRICS_ACTION_APPROVED, "approved")

#define METRICS_OUTCOME_TABLE(X) \
    X(METRICS_OUTCOME_COMPLETED, "completed") \
    X(METRICS_OUTCOME_CANCELLED, "cancelled") \
    X(METRICS_OUTCOME_FAILED, "failed") \
    X(METRICS_OUTCOME_LOST, "lost")

/*
 * The families that are not about one VM: X(constant, type, name, unit, help, labels and the like).
 * A counter starts at zero, a gauge unknown. Those from VMS_OMITTED on, and BUILD_INFO, are kept by
 * the registry.
 */
#define METRIC_TABLE(X) \
    X(BUILD_INFO, INFO, "migpolicy_build_info", NULL, \
      "Always 1; the label tells the version that runs.", \
      .labels = {{"version", METRICS_SET_VERSION}}) \
    X(LIBVIRT_UP, GAUGE, "migpolicy_libvirt_up", NULL, \
      "1 while the connection to libvirt is open, else 0.") \
    X(LIBVIRT_RECONNECTS, COUNTER, "migpolicy_libvirt_reconnects_total", NULL, \
      "Times the connection to libvirt was opened again after a loss.") \
    X(LIBVIRT_CALL_DURATION, HISTOGRAM, "migpolicy_libvirt_call_duration_seconds", "seconds", \
      "Time calls to libvirt took, failed ones included.", .bounds = call_bounds, \
      .labels = {{"call", METRICS_SET_CALL}}) \
    X(LIBVIRT_CALL_FAILURES, COUNTER, "migpolicy_libvirt_call_failures_total", NULL, \
      "Calls to libvirt that failed.", .labels = {{"call", METRICS_SET_CALL}}) \
    X(STATE_UNREADABLE, GAUGE, "migpolicy_state_unreadable", NULL, \
      "VMs that are only observed, and 1 for the whole host, because what was stored about them " \
      "cannot be read.") \
    X(POLICIES, GAUGE, "migpolicy_policies", NULL, \
      "Policies in force, by where they come from: rules, overrides of VMs, domains.", \
      .labels = {{"source", METRICS_SET_SOURCE}}) \
    X(MIGRATIONS_STARTED, COUNTER, "migpolicy_migrations_started_total", NULL, \
      "Outgoing migrations seen to start, or found running.") \
    X(MIGRATIONS_COMPLETED, COUNTER, "migpolicy_migrations_completed_total", NULL, \
      "Outgoing migrations that ended with the guest at the destination.") \
    X(MIGRATIONS_FAILED, COUNTER, "migpolicy_migrations_failed_total", NULL, \
      "Outgoing migrations that ended otherwise: cancelled by someone, failed by " \
      "themselves, or lost from sight.", .labels = {{"reason", METRICS_SET_FAILURE}}) \
    X(MIGRATION_DURATION, HISTOGRAM, "migpolicy_migration_duration_seconds", "seconds", \
      "Length of ended migrations, from start to end.", .bounds = duration_bounds) \
    X(MIGRATION_DOWNTIME, HISTOGRAM, "migpolicy_migration_downtime_seconds", "seconds", \
      "Time guests stood still at switchover.", .bounds = downtime_bounds) \
    X(MIGRATION_WORK_LOST, HISTOGRAM, "migpolicy_migration_work_lost_seconds", "seconds", \
      "Guest work lost to migrations: the time at full speed that was missing, downtime " \
      "included.", .bounds = work_lost_bounds) \
    X(ACTIONS, COUNTER, "migpolicy_actions_total", NULL, \
      "Actions on migrations, by what came of them and why.", .sparse = true, \
      .labels = {{"action", METRICS_SET_ACTION}, {"result", METRICS_SET_ACTION_RESULT}, \
                 {"reason", METRICS_SET_REASON}}) \
    X(PENDING_PROPOSALS, GAUGE, "migpolicy_pending_proposals", NULL, \
      "Migrations that wait for an administrator's answer.") \
    X(PAUSED, GAUGE, "migpolicy_paused", NULL, \
      "1 while an administrator has paused the whole host, else 0.") \
    X(PAUSED_VMS, GAUGE, "migpolicy_paused_vms", NULL, "VMs that are paused by themselves.") \
    X(THROTTLED_DOMAINS, GAUGE, "migpolicy_throttled_domains", NULL, \
      "VMs whose vCPUs are limited by migpolicy now, or could not yet be given back their CPU.") \
    X(UNDO_JOURNALS_OUTSTANDING, GAUGE, "migpolicy_undo_journals_outstanding", NULL, \
      "Undo journals of VMs that no migration under way throttles: what is in them has yet to be " \
      "restored.") \
    X(THROTTLE_RESTORES, COUNTER, "migpolicy_throttle_restores_total", NULL, \
      "Times the CPU limits of a VM were put back as they were found.") \
    X(START_RESTORED, GAUGE, "migpolicy_start_restored_domains", NULL, \
      "VMs whose CPU limits, left by an earlier agent, were put back when this one started.") \
    X(START_LEFT, GAUGE, "migpolicy_start_left_domains", NULL, \
      "VMs for which that failed then; it is tried again.") \
    X(THROTTLE_RESTORE_FAILURES, COUNTER, "migpolicy_throttle_restore_failures_total", NULL, \
      "Times putting the CPU limits of a VM back failed.") \
    X(THROTTLE_DRIFT, COUNTER, "migpolicy_throttle_drift_total", NULL, \
      "Times a CPU limit in force was found changed by someone else.") \
    X(CONTROL_REQUESTS, COUNTER, "migpolicy_control_requests_total", NULL, \
      "Requests on the control socket.", .sparse = true, \
      .labels = {{"method", METRICS_SET_METHOD}, {"result", METRICS_SET_RESULT}}) \
    X(RECORD_FAILURES, COUNTER, "migpolicy_record_failures_total", NULL, \
      "Lines of the audit log and the history that could not be written.") \
    X(LOOP_LAG, GAUGE, "migpolicy_loop_lag_seconds", "seconds", \
      "How late the last timer of the main loop fired.") \
    X(VMS_OMITTED, GAUGE, "migpolicy_vms_omitted", NULL, \
      "VMs that migrate or are throttled but have no series, because there are too many.") \
    X(PROCESS_CPU_SECONDS, COUNTER, "process_cpu_seconds_total", "seconds", \
      "User and system CPU time of the daemon.") \
    X(PROCESS_RESIDENT_MEMORY, GAUGE, "process_resident_memory_bytes", "bytes", \
      "Resident memory of the daemon.") \
    X(PROCESS_VIRTUAL_MEMORY, GAUGE, "process_virtual_memory_bytes", "bytes", \
      "Virtual memory of the daemon.") \
    X(PROCESS_OPEN_FDS, GAUGE, "process_open_fds", NULL, "File descriptors the daemon has open.") \
    X(PROCESS_MAX_FDS, GAUGE, "process_max_fds", NULL, \
      "File descriptors the daemon may have open.") \
    X(PROCESS_START_TIME, GAUGE, "process_start_time_seconds", "seconds", \
      "Unix time at which the daemon started.")

/* One migrating or throttled VM, now: X(member, unit, help). */
#define METRICS_VM_TABLE(X) \
    X(elapsed_seconds, "seconds", "Time since the migration started.") \
    X(memory_total_bytes, "bytes", "Guest memory the migration has to deal with.") \
    X(memory_processed_bytes, "bytes", "Memory sent so far, repeats included.") \
    X(memory_remaining_bytes, "bytes", "Memory left to send in this pass.") \
    X(disk_remaining_bytes, "bytes", "Storage left to copy.") \
    X(dirty_rate_bytes_per_second, "bytes_per_second", \
      "Unique memory the guest dirties per second.") \
    X(transfer_rate_bytes_per_second, "bytes_per_second", "Memory sent per second.") \
    X(iteration, NULL, "Pass over the memory, counted from 1.") \
    X(expected_downtime_seconds, "seconds", \
      "Forecast downtime at the end, or what the plateau would take where it does not end.") \
    X(downtime_limit_seconds, "seconds", "Downtime below which it will switch over.") \
    X(forecast_remaining_seconds, "seconds", "Forecast time from now to the end.") \
    X(forecast_earliest_seconds, "seconds", \
      "Time from now before which it does not end, whatever the guest does.") \
    X(forecast_latest_seconds, "seconds", \
      "Time from now to the end on the worst curve; left out where it may not end.") \
    X(forecast_probability_ratio, "ratio", \
      "Probability that it ends in time as things are; left out where it is too early to say.") \
    X(forecast_plateau_bytes, "bytes", \
      "Where passes stop shrinking, of a migration that does not end as things are.") \
    X(cpu_limit_ratio, "ratio", "Share of its CPU time the guest may use; 1 = no limit.") \
    X(throttled_seconds, "seconds", "Time under a CPU limit in this migration.") \
    X(work_lost_so_far_seconds, "seconds", "Guest work lost so far in this migration.") \
    X(paused, NULL, "1 while an administrator has paused it or the host, else 0.") \
    X(pending_proposals, NULL, "1 while an administrator is asked about it, else 0.") \
    X(last_action_timestamp_seconds, "seconds", "Unix time of the last action on it.") \
    X(sample_timestamp_seconds, "seconds", "Unix time at which these figures were read.")

/* The last migration of a VM: X(member, help), in seconds. */
#define METRICS_LAST_TABLE(X) \
    X(duration_seconds, "Length of the last migration.") \
    X(downtime_seconds, "Time the guest stood still in the last migration.") \
    X(work_lost_seconds, "Guest work lost in the last migration, downtime included.") \
    X(end_timestamp_seconds, "Unix time at which the last migration ended.")

/* clang-format on */

#define METRICS_CONSTANT(constant, name) constant,
#define METRICS_LABEL(constant, name)    name,

#endif
