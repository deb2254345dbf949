/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon exports: a registry kept in memory, its renderings, and the HTTP server that
 * hands them out.
 *
 * Every function may be called from any thread, except that metrics_free() and
 * metrics_http_stop() need the last user to be gone. Updates hold one mutex for the time of a
 * copy. A rendering takes a copy under that mutex and formats it afterwards, so that neither a
 * slow reader nor a large page delays whoever records. Numbers are written with the decimal point
 * of the C locale: leave LC_NUMERIC alone in a program that links this.
 */
#ifndef MIGPOLICY_METRICS_H
#define MIGPOLICY_METRICS_H

#include <stddef.h>
#include <stdint.h>

/* Most VMs with series of their own; the others are counted in migpolicy_vms_omitted. */
#define METRICS_VMS_MAX 1000

/* The families that are not about one VM. Their label sets, in order, stand behind the name. */
enum metric {
    METRIC_BUILD_INFO, /* kept by the registry */
    METRIC_LIBVIRT_UP,
    METRIC_LIBVIRT_RECONNECTS,
    METRIC_LIBVIRT_CALL_DURATION, /* enum metrics_call */
    METRIC_LIBVIRT_CALL_FAILURES, /* enum metrics_call */
    METRIC_POLICIES,              /* enum metrics_source */
    METRIC_MIGRATIONS_STARTED,
    METRIC_MIGRATIONS_COMPLETED,
    METRIC_MIGRATIONS_FAILED, /* enum metrics_failure */
    METRIC_MIGRATION_DURATION,
    METRIC_MIGRATION_DOWNTIME,
    METRIC_MIGRATION_WORK_LOST,
    METRIC_ACTIONS, /* labels->actions, enum metrics_action_result, labels->reasons */
    METRIC_PENDING_PROPOSALS,
    METRIC_PAUSED,
    METRIC_PAUSED_VMS,
    METRIC_THROTTLED_DOMAINS,
    METRIC_THROTTLE_RESTORES,
    METRIC_THROTTLE_RESTORE_FAILURES,
    METRIC_THROTTLE_DRIFT,
    METRIC_CONTROL_REQUESTS, /* labels->methods, labels->results */
    METRIC_RECORD_FAILURES,
    METRIC_LOOP_LAG,
    METRIC_VMS_OMITTED, /* kept by the registry, as is all that follows */
    METRIC_PROCESS_CPU_SECONDS,
    METRIC_PROCESS_RESIDENT_MEMORY,
    METRIC_PROCESS_VIRTUAL_MEMORY,
    METRIC_PROCESS_OPEN_FDS,
    METRIC_PROCESS_MAX_FDS,
    METRIC_PROCESS_START_TIME,
    METRIC_HOST_COUNT
};

enum metrics_call {
    METRICS_CALL_JOB_STATS,
    METRICS_CALL_SET_DOWNTIME,
    METRICS_CALL_SET_SPEED,
    METRICS_CALL_SET_COMPRESSION_CACHE,
    METRICS_CALL_POST_COPY,
    METRICS_CALL_SUSPEND,
    METRICS_CALL_ABORT,
    METRICS_CALL_OPEN,
    METRICS_CALL_LIST,
};

enum metrics_source {
    METRICS_SOURCE_CONFIG,
    METRICS_SOURCE_OVERRIDE,
    METRICS_SOURCE_METADATA,
};

enum metrics_failure {
    METRICS_FAILURE_CANCELLED,
    METRICS_FAILURE_FAILED,
    METRICS_FAILURE_LOST,
};

enum metrics_action_result {
    METRICS_ACTION_APPLIED,
    METRICS_ACTION_FAILED,
    METRICS_ACTION_DENIED,
    METRICS_ACTION_PROPOSED,
    METRICS_ACTION_APPROVED,
};

enum metrics_outcome {
    METRICS_OUTCOME_COMPLETED,
    METRICS_OUTCOME_CANCELLED,
    METRICS_OUTCOME_FAILED,
    METRICS_OUTCOME_LOST,
};

/*
 * The closed sets the caller owns. Each is an array of names ended by NULL, indexed by the
 * caller's enum; arrays and strings are borrowed for the life of the registry. None may be NULL.
 */
struct metrics_labels {
    const char *const *phases;
    const char *const *verdicts;
    const char *const *actions;
    const char *const *reasons;
    const char *const *methods; /* of the control protocol */
    const char *const *results; /* of a control request */
};

/* Which series of a family: one index per label. An index outside its set selects nothing. */
struct metrics_at {
    unsigned index[3];
};
#define METRICS_AT(...) ((struct metrics_at){{__VA_ARGS__}})
#define METRICS_SINGLE  METRICS_AT(0)

/* One migrating or throttled VM, now. NAN (or a negative index) is "unknown": not exported. */
struct metrics_vm {
    int phase;   /* index into labels->phases */
    int verdict; /* index into labels->verdicts */
    double elapsed_seconds;
    double memory_total_bytes;
    double memory_processed_bytes;
    double memory_remaining_bytes;
    double disk_remaining_bytes;
    double dirty_rate_bytes_per_second;
    double transfer_rate_bytes_per_second;
    double iteration;
    double expected_downtime_seconds;
    double downtime_limit_seconds;
    double forecast_remaining_seconds; /* from now to the forecast end */
    double cpu_limit_ratio;            /* 1 = not limited */
    double throttled_seconds;
    double work_lost_so_far_seconds;
    double pending_proposals;             /* 0 or 1 */
    double last_action_timestamp_seconds; /* Unix time */
};

/* All unknown: the value to start from. */
extern const struct metrics_vm METRICS_VM_UNKNOWN;

/* The last migration of a VM, ended. NAN is "unknown". */
struct metrics_last {
    enum metrics_outcome outcome;
    double duration_seconds;
    double downtime_seconds;
    double work_lost_seconds;
    double end_timestamp_seconds; /* Unix time */
};

struct metrics;

/* New registry; free it with metrics_free(). Errors: -EINVAL (a set is missing), -ENOMEM. */
int metrics_new(const struct metrics_labels *labels, struct metrics **ret_metrics);
void metrics_free(struct metrics *m);

/*
 * Counters: add n. Gauges: set, NAN takes the series out again. Histograms: record one value; NAN,
 * infinite and negative values are dropped. An id of another type, or an index outside its set, is
 * ignored. Gauges start unknown, counters and histograms at zero; METRIC_ACTIONS and
 * METRIC_CONTROL_REQUESTS, whose sets are large, show a series from its first count on.
 */
void metrics_count(struct metrics *m, enum metric id, struct metrics_at at, uint64_t n);
void metrics_set(struct metrics *m, enum metric id, struct metrics_at at, double value);
void metrics_observe(struct metrics *m, enum metric id, struct metrics_at at, double value);

/*
 * metrics_vm_update() replaces what is exported about a VM that migrates or is throttled.
 * metrics_vm_last() keeps the summary of its last migration, which outlives metrics_vm_remove():
 * that one takes out the rest, and does nothing for an unknown uuid.
 * The uuid is the key. The name may hold any bytes: what is not UTF-8 becomes U+FFFD, and it is
 * cut after some 250 bytes. Past METRICS_VMS_MAX the summary of the longest ended migration makes
 * room; without any, the new VM is omitted until there is.
 * Errors: -EINVAL (a uuid longer than 36 bytes), -ENOMEM.
 */
int metrics_vm_update(struct metrics *m, const char *uuid, const char *name,
                      const struct metrics_vm *vm);
int metrics_vm_last(struct metrics *m, const char *uuid, const char *name,
                    const struct metrics_last *last);
void metrics_vm_remove(struct metrics *m, const char *uuid);

/* Growable text, NUL-terminated once anything was written. Start from {0}. */
struct metrics_buf {
    char *data;
    size_t len;
    size_t size;
    int error; /* 0 or -ENOMEM; once set, further writes do nothing */
};
void metrics_buf_free(struct metrics_buf *b);

enum metrics_format {
    METRICS_TEXT,        /* Prometheus text 0.0.4 */
    METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
    METRICS_HTML,        /* the status page */
};

/* Append a whole page to b. Errors: -ENOMEM, and b then holds a part of it. */
int metrics_render(struct metrics *m, enum metrics_format format, struct metrics_buf *b);

/* METRICS_OPENMETRICS if the Accept header (NULL: none) prefers it, or likes both the same. */
enum metrics_format metrics_negotiate(const char *accept);

/* Append docs/metrics.md. Errors: -ENOMEM. */
int metrics_render_doc(struct metrics_buf *b);

struct metrics_http;

/*
 * Serve m at "ADDRESS:PORT" or "[ADDRESS]:PORT": numeric addresses, port 0 takes any free one.
 * Starts one thread, which inherits the signal mask: block the signals you handle elsewhere first.
 * m is borrowed until metrics_http_stop(). Errors: -EINVAL (malformed address), what socket(),
 * bind() and listen() say (-EADDRINUSE, -EADDRNOTAVAIL, -EACCES), -ENOMEM.
 */
int metrics_http_start(struct metrics *m, const char *listen_address,
                       struct metrics_http **ret_http);
uint16_t metrics_http_port(const struct metrics_http *http);
void metrics_http_stop(struct metrics_http *http);

#endif
