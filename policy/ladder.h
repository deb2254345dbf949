/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rungs of the policy's ladder: in which order alternatives are considered, which of them is
 * taken or asked about, and which actions carry it out.
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

/* Decides on what carries out that alternative, but for what failed a moment ago and has to wait.
 */
void ladder_take(const struct tried *tried, const struct outlook *o, struct decision *d,
                 enum alternative_kind kind);

/*
 * Takes the first approved alternative that works, or else proposes the first that works and may
 * be asked about; false when there is neither.
 */
bool ladder_choose(const struct tried *tried, const struct outlook *o, struct decision *d);

/*
 * Takes, or proposes, the first of these `n` ways that works and that the policy allows or wants to
 * be asked about, for that reason; false when there is none.
 */
bool ladder_force(const struct tried *tried, const struct outlook *o, struct decision *d,
                  const enum alternative_kind ways[], unsigned n, enum reason reason);

#endif
