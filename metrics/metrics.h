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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "metrics/tables.h"

/* Most VMs with series of their own; the others are counted in migpolicy_vms_omitted. */
#define METRICS_VMS_MAX 1000

/*
 * The families that are not about one VM. What their labels stand for, in order:
 * LIBVIRT_CALL_…: enum metrics_call; POLICIES: enum metrics_source; MIGRATIONS_FAILED: enum
 * metrics_failure; ACTIONS: labels->actions, enum metrics_action_result, labels->reasons;
 * CONTROL_REQUESTS: labels->methods, labels->results.
 */
enum metric {
#define X(constant, ...) METRIC_##constant,
    METRIC_TABLE(X)
#undef X
        METRIC_HOST_COUNT
};

enum metrics_call { METRICS_CALL_TABLE(METRICS_CONSTANT) };
enum metrics_source { METRICS_SOURCE_TABLE(METRICS_CONSTANT) };
enum metrics_failure { METRICS_FAILURE_TABLE(METRICS_CONSTANT) };
enum metrics_action_result { METRICS_ACTION_RESULT_TABLE(METRICS_CONSTANT) };
enum metrics_outcome { METRICS_OUTCOME_TABLE(METRICS_CONSTANT) };

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
#define X(member, unit, help) double member;
    METRICS_VM_TABLE(X)
#undef X
};

/* All unknown: the value to start from. */
extern const struct metrics_vm METRICS_VM_UNKNOWN;

/* The last migration of a VM, ended. NAN is "unknown". */
struct metrics_last {
    enum metrics_outcome outcome;
#define X(member, help) double member;
    METRICS_LAST_TABLE(X)
#undef X
};

struct metrics;

/* New registry; free it with metrics_free(). Errors: -EINVAL (a set is missing). */
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
 * Errors: -EINVAL (a uuid longer than 36 bytes).
 */
int metrics_vm_update(struct metrics *m, const char *uuid, const char *name,
                      const struct metrics_vm *vm);
int metrics_vm_last(struct metrics *m, const char *uuid, const char *name,
                    const struct metrics_last *last);
void metrics_vm_remove(struct metrics *m, const char *uuid);

/* What else a VM is known by, "" where it is not told; nothing happens unless it has series. */
void metrics_vm_info(struct metrics *m, const char *uuid, const char *flavor, const char *project,
                     const char *instance_name);

/* Growable text, NUL-terminated once anything was written. Start from {0}. */
struct metrics_buf {
    char *data;
    size_t len;
    size_t size;
};
void metrics_buf_free(struct metrics_buf *b);
void metrics_buf_add(struct metrics_buf *b, const char *text, size_t len);

enum metrics_format {
    METRICS_TEXT,        /* Prometheus text 0.0.4 */
    METRICS_OPENMETRICS, /* OpenMetrics 1.0 */
};

/* Append a whole page to b. */
void metrics_render(struct metrics *m, enum metrics_format format, struct metrics_buf *b);

/* METRICS_OPENMETRICS if the Accept header (NULL: none) prefers it, or likes both the same. */
enum metrics_format metrics_negotiate(const char *accept);

/* Append docs/metrics.md, and the manual migpolicy-metrics(7). */
void metrics_render_doc(struct metrics_buf *b);
void metrics_render_manual(struct metrics_buf *b);

/* An answer to a request for something that is not of the metrics. */
struct metrics_reply {
    const char *content_type;    /* static; NULL where there is no such path: the status counts */
    const char *security_policy; /* static: the header Content-Security-Policy */
    struct metrics_buf body;
};

/* The one path that takes a body, by POST, where it can be told who sends it. */
#define METRICS_POST_PATH  "/api/v1/answer"
#define METRICS_BODY_BYTES 512

/* A request for something that is not of the metrics. */
struct metrics_request {
    const char *path;
    const char *since; /* the argument of that name, or NULL */
    /* Who asks, as far as that is certain; both unset: anybody. */
    const char *user; /* whose password was told over TLS, one who may answer (webconfig.h); NULL */
    int peer_fd;      /* the connection, if it is one to a Unix socket; -1 */
    /* What was sent to METRICS_POST_PATH; NULL for all else. */
    const char *body;
    size_t body_len;
    bool is_foreign; /* a browser has sent it for a page of somebody else's */
};

/*
 * Answers with an HTTP status. Called in the server's thread, for which all others who ask wait: it
 * must not block.
 */
typedef unsigned (*metrics_ask_fn)(void *opaque, const struct metrics_request *request,
                                   struct metrics_reply *ret);

struct metrics_http;
struct webconfig;

/*
 * Listens at "ADDRESS:PORT" or "[ADDRESS]:PORT", numeric, where port 0 takes any free one; or at
 * "unix:/PATH", for root and the group ((gid_t)-1: for root alone). The caller owns the descriptor,
 * and removes metrics_http_path() in the end.
 * Errors: -EINVAL (malformed), what socket(), bind() and listen() say (-EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES), what unix_listen() does.
 */
int metrics_http_listen(const char *where, gid_t gid, int *ret_fd);

/* Of "unix:/PATH" that path; of anything else NULL. */
const char *metrics_http_path(const char *where);

/*
 * Serve m at fd, a listening stream socket, which is taken over, even on failure.
 * Starts one thread, which inherits the signal mask: block the signals you handle elsewhere first.
 * What is neither /metrics nor /healthz is for `ask` (NULL: there is nothing else). `web`, or NULL
 * for anybody and no TLS, is taken over on success.
 * m and opaque are borrowed until metrics_http_stop(). Errors: -ENOTSOCK, -EIO.
 */
int metrics_http_start(struct metrics *m, int fd, struct webconfig *web, metrics_ask_fn ask,
                       void *opaque, struct metrics_http **ret_http);

/*
 * Goes on at the same socket with another `web`, which is taken over; open connections end.
 * Returns 0, or -ENOMEM: nothing is served any more.
 */
int metrics_http_replace(struct metrics_http *http, struct webconfig *web);

/*
 * To be called about once a second with a monotonic clock: ends connections that have taken more
 * than 10 s over one request. Accepts NULL.
 */
void metrics_http_tick(struct metrics_http *http, int64_t now_ns);

/* 0: it is no port. */
uint16_t metrics_http_port(const struct metrics_http *http);
void metrics_http_stop(struct metrics_http *http);

#endif
