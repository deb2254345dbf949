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

#include "policy/decision.h"
#include "policy/estimate.h"
#include "policy/outlook.h"
#include "policy/policy.h"
#include "policy/tuning.h"

struct controller {
    struct estimator estimator;
    struct tried tried;
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
    double throttle_low_bytes;  /* least remaining after a sync under the throttle in force */
    unsigned stuck_passes;      /* under it, in a row, that found no less */
    double latch_bytes;         /* what fitted into the switchover when a throttle was given up */
    unsigned sure_syncs;        /* in a row, at which no curve ended at full speed */
    bool held;                  /* at the last sync: the end came nearer since the one before */
    bool receding;              /* or it moved away */
    bool downtime_seen;         /* our downtime limit has been in force */
    int64_t downtime_set_ns;    /* downtime limit of ours; 0: none */
    int64_t downtime_before_ns; /* what it was before we set it */
    int64_t post_copy_ns;       /* post-copy asked for, when; 0: not */
    int64_t suspended_ns;       /* the guest was paused by us; 0: not */
    struct {
        double said_s; /* by the clock, and for when */
        double end_s;
    } date[DATES];      /* the ends forecast at the last syncs, the oldest first */
    unsigned dates;     /* of them, with what is in force now */
    bool storage_first; /* the migration was seen before its memory phase */
    bool memory_known;  /* that phase has begun, and when, by the migration's own clock */
    int64_t memory_ns;
    int64_t found_limit_ns; /* the downtime limit that was found */
    bool aimed;             /* it has been lowered to aim_downtime */
    unsigned due_syncs;     /* in a row, after which the switchover was due, and since when */
    int64_t due_ns;
    double held_s; /* what beside memory is known from that to take part of the limit */
    bool taken;    /* another program changed our downtime limit; how often it was set again */
    unsigned holds;
    unsigned passes_since_downtime;
    int64_t moved_ns;   /* when the count of bytes sent last moved */
    int64_t cancel_ns;  /* cancel asked for; 0: not */
    double throttled_s; /* time under a throttle of ours */
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

/*
 * That action was decided on and failed for a reason that may pass (a lock not acquired, a
 * timeout). It is decided on again after a while that doubles each time; after RETRIES_MAX failures
 * in a row it is latched.
 */
void controller_failed(struct controller *c, enum action_kind action, int64_t now_ns);

/* That action has been carried out. */
void controller_done(struct controller *c, enum action_kind action);

#endif
