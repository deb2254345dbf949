/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rungs of the policy's ladder: in which order alternatives are considered, and which actions
 * carry one out.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_LADDER_H
#define MIGPOLICY_LADDER_H

#include "policy/outlook.h"

/* Quota period: the shorter, the shorter each stall of a vCPU. */
#define LADDER_PERIOD_US 10000

/*
 * The alternatives in the policy's order; returns how many. Downtime and throttle together come
 * after either alone, and nothing comes after an approved cancel.
 */
unsigned ladder_order(const struct outlook *o, enum alternative_kind out[ALTERNATIVES]);

/* What has to be done to get from what is in force to an alternative; returns how many actions. */
unsigned ladder_steps(const struct outlook *o, enum alternative_kind kind,
                      const struct alternative *a, struct action out[DECISION_ACTIONS_MAX]);

#endif
