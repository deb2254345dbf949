/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lasting record, in JSON lines: STATE_DIR/audit.jsonl, what was decided, changed and refused,
 * and on whose word; STATE_DIR/history.jsonl, a line for each migration that has ended. The same
 * goes to the log, under systemd with fields of their own (log.h).
 *
 * Who records formats a line and leaves it in a queue; one thread writes. So neither a slow disk
 * nor one that hangs delays a decision or the return of a guest's CPU: the queue fills, and what
 * does not fit into it is lost and counted. A line is written whole, by one write, and synced. A
 * file that would grow beyond its bound is renamed to NAME.1 first, in place of the one before.
 * What a crash may leave is half a line at the end: it is closed before the next one is written,
 * and passed over by readers.
 *
 * Thread-safe unless stated. A record that is NULL means that there is only the log.
 */
#ifndef MIGPOLICY_RECORD_H
#define MIGPOLICY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "agent/record/migration.h"
#include "metrics/metrics.h"

#define RECORD_AUDIT   "audit.jsonl"
#define RECORD_HISTORY "history.jsonl"

/* Denials that are recorded in a minute; more are only counted, or they would wash out the rest. */
enum { RECORD_DENIALS_PER_MINUTE = 20 };

struct json_object;
struct record;

/* What each file may hold, twice: it and its predecessor. */
struct record_limits {
    size_t audit_bytes;
    size_t history_bytes;
};

extern const struct record_limits record_limits_default;

/* Something that was asked for on the control socket, or on the page. */
struct record_request {
    const char *method;    /* "Set" */
    const char *vm, *uuid; /* NULL: unknown; of any length */
    const char *detail;
    const char *by; /* who asked: "uid 0" */
    pid_t pid;      /* 0: not on this host */
    enum { REQUEST_APPLIED, REQUEST_FAILED, REQUEST_DENIED } result;
};

/*
 * Starts the writing thread; dir must exist. metrics (borrowed, may be NULL) counts what is lost.
 * Returns 0 or -errno.
 */
int record_new(const char *dir, const struct record_limits *limits, struct metrics *metrics,
               struct record **ret);

/*
 * Writes what is queued and ends the thread, waiting a few seconds at most for the disk; what is
 * recorded afterwards is only logged. Returns false if the thread hangs: the record must then not
 * be freed.
 */
bool record_stop(struct record *r);

/* After record_stop(), when nobody uses it any more. Accepts NULL. */
void record_free(struct record *r);

/* Something that was decided about a migration. */
void record_event(struct record *r, const struct hv_domain *domain,
                  const struct migration_event *event);

/* A migration has ended. trace: the name of its trace's file, NULL if there is none. */
void record_migration(struct record *r, const struct migration *m, const char *trace);

void record_request(struct record *r, const struct record_request *request);

/*
 * The migrations on record, newest first, at most `limit`: those of a VM by name or by UUID
 * (either may be NULL), or all. Reads from the disk. *ret is an array the caller releases.
 * Returns 0 or -errno; that nothing has been recorded yet is no error.
 */
int record_history(struct record *r, const char *name, const char *uuid, size_t limit,
                   struct json_object **ret);

#endif
