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

#include "policy/chance.h"
#include "policy/dates.h"
#include "policy/decision.h"
#include "policy/estimate.h"
#include "policy/evidence.h"
#include "policy/outlook.h"
#include "policy/own_limit.h"
#include "policy/policy.h"
#include "policy/tuning.h"
#include "policy/verdict.h"

struct controller {
    struct estimator estimator;
    struct tried tried;
    struct evidence seen;
    struct chance_facts facts; /* of the last decision */
    struct own_limit own;
    struct decision last;
    struct policy_values last_policy; /* which that was made by */
    int64_t job_started_ns;           /* monotonic clock */
    int64_t plateau_since_ns;         /* 0: none */
    int64_t hopeless_since_ns;        /* 0: not */
    double hopeless_bytes;            /* remaining after the sync that began with */
    double doubt_bytes;               /* remaining after the sync the doubt began with, and when */
    int64_t doubt_ns;
    unsigned doubtful_syncs; /* in a row that say it would not end */
    double doubt_s;          /* waited at full speed, with an end not in sight */
    unsigned hopeless_syncs;
    double latch_bytes;  /* what fitted into the switchover when a throttle was given up */
    bool was_sure;       /* that it would not end, while nothing of ours was in force */
    unsigned sure_syncs; /* in a row, at which no curve ended at full speed */
    struct dates dates;
    struct verdict_memory said;
    int64_t post_copy_ns; /* post-copy asked for, when; 0: not */
    int64_t suspended_ns; /* the guest was paused by us; 0: not */
    int64_t cancel_ns;    /* cancel asked for; 0: not */
};

void controller_init(struct controller *c);

/*
 * Tells what is known of the guest from before; after controller_init(), before the first sample.
 * Nothing is decided by it until the first pass has shown that the guest still does the same, and
 * then it counts as one observation.
 */
void controller_set_prior(struct controller *c, const struct prior *prior);

/* What this migration has taught about the guest, to be its next one's prior; no points: nothing.
 */
void controller_learned(const struct controller *c, struct prior *ret);

/*
 * Takes one sample and decides; what is returned says only what has settled. `policy` must be
 * finished (policy_finish()). A new job (counters restarted) starts a new controller state.
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
