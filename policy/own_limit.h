/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The downtime limit as a value that others write too: what we set, whether it stayed, and when it
 * is lowered or set again. Raising it is an alternative like others (outlook.h).
 *
 * Pure; explicit state; one thread.
 */
#ifndef MIGPOLICY_OWN_LIMIT_H
#define MIGPOLICY_OWN_LIMIT_H

#include "policy/decision.h"
#include "policy/outlook.h"

struct own_limit {
    int64_t set_ns;    /* decided on last; 0: none */
    int64_t before_ns; /* what was there then */
    bool in_force;     /* it has been seen in force */
    bool aimed;        /* the limit has been lowered to aim_downtime */
    bool taken;        /* another program has changed it */
    unsigned holds;    /* how often it was set again after that */
};

/*
 * Has another program changed our limit? False when that is the last word: the policy yields, or it
 * has been set again too often.
 */
bool own_limit_notice(struct own_limit *own, const struct tried *tried, const struct outlook *o);

/*
 * Where nothing else is done: lowers a limit that would break the ceiling, and once, at the start,
 * one that is longer than what the policy aims at; sets again what another program lowered, at most
 * once a pass.
 */
void own_limit_step(struct own_limit *own, const struct tried *tried, const struct outlook *o,
                    struct decision *d);

/* A limit has been decided on, where `found_ns` was in force. */
void own_limit_set(struct own_limit *own, int64_t found_ns, int64_t set_ns);

#endif
