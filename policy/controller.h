/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decision: (policy, state, sample) -> verdict, actions, reasons.
 *
 * Theory of operation
 *
 * Every sample updates the estimate. Once the evidence suffices, the alternatives are forecast:
 * leaving the migration alone, more bandwidth, a longer downtime, a throttle, both, post-copy, a
 * pause. If leaving it alone ends in time, nothing is done. Otherwise the first approved
 * alternative that works is taken, in the policy's order. If there is none, the first that works
 * and that the policy wants to be asked about is proposed; if there is none of these either the
 * verdict is hopeless, and cancelling is considered.
 *
 * Evidence comes at syncs. An action that costs the guest is decided only at a sync, for two
 * reasons: the sawtooth between syncs says nothing about convergence, and a quota set midway
 * through a pass is mostly wasted, because the hot set is dirty again already.
 *
 * What it takes to act and to stop acting differ on purpose: acting needs the forecast to fail on
 * every curve the evidence allows (or on the likeliest, while the remainder does not shrink from
 * sync to sync), easing off needs it to succeed on every one. Between the two nothing changes, so
 * nothing flaps.
 *
 * The controller assumes nothing about its actions' success: it reads what is in force from the
 * next sample. In observe mode the same decisions are made and marked as not to be applied.
 *
 * Pure: no I/O, no clock, no globals. One thread per controller.
 */
#ifndef MIGPOLICY_CONTROLLER_H
#define MIGPOLICY_CONTROLLER_H

#include "policy/estimate.h"
#include "policy/forecast.h"
#include "policy/policy.h"
#include "policy/reason.h"

/* Quota period: the shorter, the shorter each stall of a vCPU. */
#define CONTROLLER_PERIOD_US 10000

/* Time the guest is stopped beside sending memory: pause, device state, resume. */
#define CONTROLLER_OVERHEAD_S 0.15

struct action {
    enum action_kind kind;
    enum reason reason;
    int64_t downtime_ns;     /* ACTION_DOWNTIME */
    double share;            /* ACTION_THROTTLE: share of a CPU for each vCPU */
    int64_t period_us;       /* ACTION_THROTTLE */
    int64_t speed_limit_bps; /* ACTION_BANDWIDTH; 0: none */
    int64_t cache_bytes;     /* ACTION_COMPRESSION_CACHE */
};

enum alternative_kind {
    ALT_WAIT,
    ALT_BANDWIDTH,
    ALT_COMPRESSION_CACHE,
    ALT_DOWNTIME,
    ALT_THROTTLE,
    ALT_BOTH,
    ALT_POST_COPY,
    ALT_SUSPEND,
    ALTERNATIVES,
};

/* One way to go on, and what it would cost. */
struct alternative {
    bool approved;            /* the policy allows it, as far as it goes here */
    bool ask;                 /* not approved, but to be asked about */
    bool works;               /* the forecast ends in time, or it is worth a try */
    enum reason reason;       /* why it would do, or why not */
    double share;             /* 1: no throttle */
    int64_t downtime_ns;      /* downtime limit */
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
    double earliest_s;           /* the spread of course.seconds; INFINITY: not at all */
    double latest_s;
    bool close; /* no plateau: so little was found that QEMU's measurement of the link may let it
                   through, or less and less under a throttle */
    bool held;  /* with what is in force, the end has come nearer from sync to sync */
    bool alternatives_known;
    enum alternative_kind chosen; /* ALTERNATIVES: none */
    struct alternative alternative[ALTERNATIVES];
};

/* What a decision says about the end, as things are. */
enum end { END_UNKNOWN, END_COMES, END_NEVER };

/*
 * It comes when that is likely and the date has held for a pass, or when all curves agree, and does
 * not move away. Unknown: before two passes are complete; a plateau that is not confirmed, that
 * patience waits for or that is just above the switchover; while the evidence allows both.
 */
enum end decision_end(const struct decision *d);

/* Is that action to be carried out? In observe mode none is, but a throttle left over is released.
 */
static inline bool decision_applies(const struct decision *d, unsigned action)
{
    return d->apply || d->action[action].kind == ACTION_RELEASE;
}

struct controller {
    struct estimator estimator;
    struct decision last;
    struct policy_values last_policy; /* which that was made by */
    int64_t job_started_ns;           /* monotonic clock */
    int64_t plateau_since_ns;         /* 0: none */
    int64_t hopeless_since_ns;        /* 0: not */
    double hopeless_bytes;            /* remaining after the sync that began with */
    double doubt_bytes;               /* remaining after the sync the doubt began with, and when */
    int64_t doubt_ns;
    unsigned doubtful_syncs; /* in a row that say it would not end */
    int64_t flat_ns;         /* since when the remainder has been flat, and for how many syncs */
    unsigned flat_syncs;
    unsigned hopeless_syncs;
    unsigned throttled_passes;    /* whole passes under the present throttle */
    unsigned floor_passes;        /* of them under the hardest one that is allowed */
    enum reason latched[ACTIONS]; /* why never to do it (again), REASON_NONE: no such reason */
    double latch_bytes;           /* what fitted into the switchover when a throttle was given up */
    bool sure;                    /* at the last sync: no curve ends at full speed */
    bool held;                    /* at the last sync: the end came nearer since the one before */
    bool receding;                /* or it moved away */
    bool downtime_seen;           /* our downtime limit has been in force */
    int64_t downtime_set_ns;      /* downtime limit of ours; 0: none */
    int64_t downtime_before_ns;   /* what it was before we set it */
    int64_t speed_set_bps;        /* speed limit of ours; 0: none */
    int64_t post_copy_ns;         /* post-copy asked for, when; 0: not */
    int64_t suspended_ns;         /* the guest was paused by us; 0: not */
    double end_s;                 /* the end as forecast at the last sync, by the clock; 0: none */
    double end_said_s;            /* and when that was */
    double downtime_margin;       /* grows when the switchover does not come as forecast */
    double low_bytes; /* least ever remaining after a sync, when, and after how many passes */
    int64_t low_ns;
    unsigned low_passes;
    unsigned passes_since_downtime;
    int64_t moved_ns;   /* when the count of bytes sent last moved */
    int64_t cancel_ns;  /* cancel asked for; 0: not */
    double throttled_s; /* time under a throttle of ours */
    double work_lost_s; /* guest work it cost */
    double last_loss_s; /* of it, between the last two samples */
};

void controller_init(struct controller *c);

/*
 * Takes one sample and decides. The decision is also kept in c->last. `policy` must be finished
 * (policy_finish()). A new job (counters restarted) starts a new controller state.
 */
void controller_step(struct controller *c, const struct policy_values *policy,
                     const struct sample *s, struct decision *ret);

/*
 * Never do that to this migration again (somebody else does it, it is not possible, or it failed).
 * The reason shows in the alternatives.
 */
void controller_latch(struct controller *c, enum action_kind action, enum reason reason);

/* The field of the policy that allows an action; POLICY_FIELDS for ACTION_RELEASE, which nothing
 * has to. */
enum policy_field action_allowed_by(enum action_kind action);

/* Does the policy allow an action, want to be asked, or neither? */
enum policy_allow action_allowance(const struct policy_values *policy, enum action_kind action);

const char *alternative_name(enum alternative_kind kind);

#endif
