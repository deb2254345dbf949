/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the agent tells about one migration: a plain copy, made by its watcher, read by the control
 * socket and the metrics. And the events: what was decided, by whom allowed, how it went.
 */
#ifndef MIGPOLICY_MIGRATION_H
#define MIGPOLICY_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "agent/virt/description.h"
#include "agent/virt/hypervisor.h"
#include "policy/controller.h"

enum { MIGRATION_EVENTS = 32 };

/* X(constant, name) */
/* clang-format off */
#define EVENT_TABLE(X) \
    X(APPLIED, "applied") \
    X(FAILED, "failed") \
    X(PROPOSED, "proposed") \
    X(APPROVED, "approved") \
    X(DENIED, "denied")

#define OUTCOME_TABLE(X) \
    X(COMPLETED, "completed") \
    X(CANCELLED, "cancelled") \
    X(FAILED, "failed") \
    X(LOST, "lost")
/* clang-format on */

#define X(constant, name) EVENT_##constant,
enum event_result { EVENT_TABLE(X) };
#undef X

#define X(constant, name) OUTCOME_##constant,
enum outcome { OUTCOME_TABLE(X) };
#undef X

/* What was known at the decision an event came from. */
struct migration_evidence {
    bool known;
    enum verdict verdict;
    uint64_t iteration;
    uint64_t remaining_bytes;
    double dirty_bps;    /* 0: unknown */
    double transfer_bps; /* 0: unknown */
    double forecast_s;   /* to the end if nothing were done; NAN: unknown, or it does not end */
};

/* What an administrator is being asked. */
struct proposal {
    unsigned id; /* 0: nothing; never used again while the daemon runs */
    struct timespec since;
    int64_t expires_ns;      /* monotonic clock: the answer is no from then on */
    uint32_t fields;         /* of the policy, a bit each: those that want to be asked */
    struct action action;    /* the first that has to be approved */
    struct forecast outcome; /* !ends: none is promised */
    double plateau_bytes;    /* NAN: unknown */
    struct migration_evidence evidence;
    char text[160]; /* what would be done, and what comes of it */
};

struct migration_event {
    uint64_t number; /* migration_add_event() gives it */
    struct timespec wall;
    double elapsed_s;
    struct migration_evidence evidence;
    enum action_kind action;
    enum event_result result;
    enum reason reason;
    char detail[160];
    char approved_by[POLICY_SOURCE_MAX]; /* layer that allowed it; "" if nobody had to */
};

/* What operators know its VM by, printable as it is or not; "": not told. */
struct migration_names {
    char flavor[128], project[128], instance_name[128];
};

struct migration {
    struct hv_domain domain;
    struct migration_names names;
    struct timespec started; /* by the wall clock */
    bool active;
    enum outcome outcome; /* !active */
    int64_t ended_ns;     /* !active: monotonic clock */
    uint64_t end_number;  /* !active: among the numbers of events */
    double duration_s;    /* !active; NAN: unknown */
    double downtime_s;    /* !active; NAN: unknown */
    bool enforce;
    char paused[POLICY_SOURCE_MAX]; /* "paused by uid 0"; "" if it is not */
    struct sample sample;           /* the last one */
    struct estimate estimate;
    struct decision decision;
    struct migration_evidence evidence; /* of the last decision, be it carried out or not yet */
    struct proposal proposal;
    double throttled_s;
    double work_lost_s;   /* to throttling; at the end with the blackout */
    struct prior learned; /* !active: what it has taught about its guest */
    unsigned events;      /* ever; the ring holds the last MIGRATION_EVENTS */
    struct migration_event event[MIGRATION_EVENTS];
};

const char *event_result_name(enum event_result result);
const char *outcome_name(enum outcome outcome);

/* What a decision rests on. */
struct migration_evidence migration_evidence(const struct sample *s, const struct estimate *e,
                                             const struct decision *d);

/* Copies the names out of a description, cut to size. */
void migration_take_names(struct migration *m, const struct description *d);

/*
 * Events and ends of all migrations are numbered, from 1 on: whoever has been told all up to one
 * number is told those after it. migration_last_number() is read before a migration is copied;
 * migration_next_number() is taken, and an event added, under the lock it is copied under.
 */
uint64_t migration_last_number(void);
uint64_t migration_next_number(void);

/* Adds an event to the ring. */
void migration_add_event(struct migration *m, const struct migration_event *event);

/*
 * One line for people: what is in force, what was just done, or what would be done and is not
 * allowed. Empty if there is nothing to say. Returns buf.
 */
const char *migration_next_action(const struct migration *m, char *buf, size_t size);

/* The outcome of one alternative in words: "ends in 4.2 s, downtime 310 ms, ...". Returns buf. */
const char *migration_describe(enum alternative_kind kind, const struct alternative *a, char *buf,
                               size_t size);

#endif
