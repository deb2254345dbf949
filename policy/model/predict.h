/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a migration would be like, before it is started.
 *
 * Theory of operation
 *
 * The hypervisor measures the unique bytes the guest dirties in 1, 2, 4 ... seconds: points of the
 * curve that estimate.h fits to the passes of a migration. They are fitted likewise. From them a
 * model of the guest is made (policy/model/model.h), on which migrations are run in virtual time:
 * with nobody acting, with a longer downtime alone, with a throttle alone, and under a policy, by
 * the controller that would decide about the real one.
 *
 * The modelled curve is straight between the points. Within the shortest period, where a throttled
 * guest works and nothing can be measured, it rises at least as fast as that; how much faster, a
 * set that is full by then does not tell. Each migration is run a few times, of which the middle
 * one is told, and on the slow and the fast curve of the estimate, for a spread. The fast one is
 * steeper there too.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_PREDICT_H
#define MIGPOLICY_PREDICT_H

#include "policy/controller.h"
#include "policy/model/model.h"

enum { PREDICT_POINTS = 6, PREDICT_ACTIONS_MAX = 16 };

/* What was measured, and what it is to be sent over. */
struct predict_facts {
    double memory_bytes;
    double used_bytes; /* of it not zero, at most */
    unsigned vcpus;
    double vcpu_busy[MODEL_VCPUS_MAX]; /* CPUs used by each: 0..1 */
    double downtime_limit_s;
    double flush_s;
    double speed_limit_bps; /* of the migration; 0: none */
    double bandwidth_bps;
    unsigned points; /* by length */
    struct model_point point[PREDICT_POINTS];
};

struct predict_action {
    double at_s;
    bool applied; /* false: the policy only observes */
    struct action action;
};

enum predict_kind {
    PREDICT_POLICY,
    PREDICT_WAIT,
    PREDICT_DOWNTIME,
    PREDICT_THROTTLE,
    PREDICT_KINDS,
};

/* One migration, as it would go. */
struct predict_course {
    double seconds;    /* until its end, or for so long it was run */
    double earliest_s; /* the spread; INFINITY: it may not end */
    double latest_s;
    double downtime_s;
    double work_lost_s;
    double throttled_s;
    double least_share; /* of a CPU that a vCPU was left, 1: none was throttled */
    double downtime_limit_s;
    enum model_state state; /* MODEL_RUNNING: it does not end */
    unsigned actions;
    struct predict_action action[PREDICT_ACTIONS_MAX];
};

struct prediction {
    struct estimate estimate; /* its curves */
    double plateau_bytes;     /* where passes stop shrinking */
    struct predict_course course[PREDICT_KINDS];
};

const char *predict_kind_name(enum predict_kind kind);

/*
 * Is another period to be measured, twice as long as the last one? The plateau lies where the guest
 * dirties in a period what the link carries in it: as long as it dirties more.
 */
bool predict_wants_more(const struct predict_facts *facts);

/* `policy` must be finished. Takes up to a second of CPU time. */
void predict(const struct predict_facts *facts, const struct policy_values *policy,
             struct prediction *ret);

#endif
