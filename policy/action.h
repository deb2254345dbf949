/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be done to a migration, and which field of the policy has to allow it. Each action is
 * one row of ACTION_TABLE: there is none without a name, or without the field that allows it. How
 * one is carried out is in agent/watch/act.c, whose switch has no default.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_ACTION_H
#define MIGPOLICY_ACTION_H

#include <stdint.h>

#include "policy/policy.h"
#include "policy/reason.h"

/* Nothing has to allow that a guest gets its CPU back. */
#define ACTION_NEEDS_NOTHING POLICY_FIELDS

/* clang-format off */
#define ACTION_TABLE(X) \
    X(BANDWIDTH, "bandwidth", POLICY_ALLOW_BANDWIDTH) \
    X(COMPRESSION_CACHE, "compression-cache", POLICY_ALLOW_COMPRESSION_CACHE) \
    X(DOWNTIME, "downtime", POLICY_MAX_DOWNTIME) \
    X(THROTTLE, "throttle", POLICY_ALLOW_THROTTLE) \
    X(RELEASE, "release", ACTION_NEEDS_NOTHING) \
    X(POST_COPY, "post-copy", POLICY_ALLOW_POST_COPY) \
    X(SUSPEND, "suspend", POLICY_ALLOW_SUSPEND) \
    X(CANCEL, "cancel", POLICY_ALLOW_CANCEL)
/* clang-format on */

enum action_kind {
#define X(constant, name, field) ACTION_##constant,
    ACTION_TABLE(X)
#undef X
        ACTIONS
};

struct action {
    enum action_kind kind;
    enum reason reason;
    int64_t downtime_ns;     /* ACTION_DOWNTIME */
    double share;            /* ACTION_THROTTLE: share of a CPU for each vCPU */
    int64_t period_us;       /* ACTION_THROTTLE */
    int64_t speed_limit_bps; /* ACTION_BANDWIDTH; 0: none */
    int64_t cache_bytes;     /* ACTION_COMPRESSION_CACHE */
};

/* The name as it stands in JSON, metrics and logs. Static, never NULL. */
const char *action_name(enum action_kind action);

/* All names in order, ended by NULL, for closed label sets. */
extern const char *const action_names[ACTIONS + 1];

/* The field of the policy that allows an action, or ACTION_NEEDS_NOTHING. */
enum policy_field action_allowed_by(enum action_kind action);

/* Does the policy allow an action, want to be asked, or neither? */
enum policy_allow action_allowance(const struct policy_values *policy, enum action_kind action);

#endif
