/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/action.h"

const char *const action_names[ACTIONS + 1] = {
#define X(constant, name, field) [ACTION_##constant] = name,
    ACTION_TABLE(X)
#undef X
};

const char *action_name(enum action_kind action)
{
    return action_names[action];
}

enum policy_field action_allowed_by(enum action_kind action)
{
    static const enum policy_field fields[ACTIONS] = {
#define X(constant, name, field) [ACTION_##constant] = field,
        ACTION_TABLE(X)
#undef X
    };

    return fields[action];
}

enum policy_allow action_allowance(const struct policy_values *policy, enum action_kind action)
{
    enum policy_field field = action_allowed_by(action);

    if (field == ACTION_NEEDS_NOTHING)
        return ALLOW_YES;
    if (field == POLICY_MAX_DOWNTIME)
        return policy->v[field] != POLICY_NONE || policy->v[POLICY_AIM_DOWNTIME] != POLICY_NONE
                   ? ALLOW_YES
                   : ALLOW_NO;
    return (enum policy_allow)policy->v[field];
}
