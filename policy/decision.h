/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is decided at one look, and the alternatives it was chosen from: plain structs, for all who
 * decide, carry out, record or show it.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_DECISION_H
#define MIGPOLICY_DECISION_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/action.h"
#include "policy/forecast.h"
#include "policy/reason.h"

/* X(constant, name) */
/* clang-format off */
#define ALTERNATIVE_TABLE(X) \
    X(WAIT, "wait") \
    X(BANDWIDTH, "bandwidth") \
    X(COMPRESSION_CACHE, "compression-cache") \
    X(DOWNTIME, "downtime") \
    X(THROTTLE, "throttle") \
    X(BOTH, "downtime+throttle") \
    X(POST_COPY, "post-copy") \
    X(SUSPEND, "suspend")
/* clang-format on */

enum alternative_kind {
#define X(constant, name) ALT_##constant,
    ALTERNATIVE_TABLE(X)
#undef X
        ALTERNATIVES
};

/* One way to go on, and what it would cost. */
struct alternative {
    bool approved;            /* the policy allows it, as far as it goes here */
    bool ask;                 /* not approved, but to be asked about */
    bool works;               /* the forecast ends in time, or it is worth a try */
    enum reason reason;       /* why it would do, or why not */
    double share;             /* 1: no throttle */
    int64_t downtime_ns;      /* downtime limit */
    int64_t ceiling_ns;       /* ALT_DOWNTIME: the least max_downtime that allows that limit */
    int64_t speed_limit_bps;  /* ALT_BANDWIDTH; 0: none */
    int64_t cache_bytes;      /* ALT_COMPRESSION_CACHE */
    struct forecast forecast; /* may not end where it is only worth a try */
};

/* A release, and a downtime with a throttle. */
enum { DECISION_ACTIONS_MAX = 3 };

struct decision {
    enum verdict verdict;
    enum reason reason;
    bool apply; /* false: observe only */
    unsigned n_actions;
    struct action action[DECISION_ACTIONS_MAX];
    unsigned n_proposed; /* what an administrator is to be asked about */
    struct action proposed[DECISION_ACTIONS_MAX];
    enum alternative_kind asked; /* what these carry out; ALTERNATIVES: a cancel */
    struct forecast course;      /* on the present course */
    double earliest_s; /* not before that, whatever the guest does; INFINITY: not at all */
    bool chance_known; /* there is evidence for a probability */
    double chance;     /* that it ends in time as things are */
    double latest_s;   /* on the worst curve; INFINITY: it does not end on it */
    bool close; /* no plateau: so little was found that QEMU's measurement of the link may let it
                   through, or less and less under a throttle */
    bool held;  /* with what is in force, the end has come nearer from sync to sync */
    bool late;  /* a deadline that was stated has passed */
    bool alternatives_known;
    enum alternative_kind chosen; /* ALTERNATIVES: none */
    struct alternative alternative[ALTERNATIVES];
};

/* What a decision says about the end, as things are. */
enum end { END_UNKNOWN, END_COMES, END_NEVER };

/* The probability that it ends in time as things are; NAN: too early, or too late, to say. */
double decision_chance(const struct decision *d);

/*
 * What is said: what is likely enough (SAY), or, before there is evidence for a probability, what
 * the curves say.
 */
enum end decision_end(const struct decision *d);

/*
 * It comes when that is likely and the date has held for a pass, or when all curves agree, and does
 * not move away. Unknown: before two passes are complete; a plateau that is not confirmed, that
 * patience waits for or that is just above the switchover; while the evidence allows both. One of
 * the facts the probability goes by.
 */
enum end decision_end_by_curves(const struct decision *d);

/* Is that action to be carried out? In observe mode none is, but a throttle left over is released.
 */
static inline bool decision_applies(const struct decision *d, unsigned action)
{
    return d->apply || d->action[action].kind == ACTION_RELEASE;
}

/* Adds an action, for the reason of which the decision is taken now. At most DECISION_ACTIONS_MAX.
 */
static inline void decision_add(struct decision *d, struct action action)
{
    d->action[d->n_actions++] = action;
    d->reason = action.reason;
}

/* The name of an alternative in JSON. Static, never NULL. */
const char *alternative_name(enum alternative_kind kind);

#endif
