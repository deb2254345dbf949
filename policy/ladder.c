/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/ladder.h"

#include "policy/tuning.h"

unsigned ladder_order(const struct outlook *o, enum alternative_kind out[ALTERNATIVES])
{
    int64_t order = o->policy->v[POLICY_ORDER];
    bool seen[RUNGS] = {false};
    unsigned n = 0;

    for (unsigned place = 0; place < RUNGS; place++) {
        enum policy_rung rung = policy_rung_at(order, place);

        seen[rung] = true;
        if (rung == RUNG_CANCEL && action_allowance(o->policy, ACTION_CANCEL) == ALLOW_YES)
            break;
        if (rung == RUNG_BANDWIDTH) {
            out[n++] = ALT_BANDWIDTH;
            out[n++] = ALT_COMPRESSION_CACHE;
        } else if (rung == RUNG_DOWNTIME) {
            out[n++] = ALT_DOWNTIME;
        } else if (rung == RUNG_THROTTLE) {
            out[n++] = ALT_THROTTLE;
        } else if (rung == RUNG_POST_COPY) {
            out[n++] = ALT_POST_COPY;
        } else if (rung == RUNG_SUSPEND) {
            out[n++] = ALT_SUSPEND;
        }
        if ((rung == RUNG_DOWNTIME || rung == RUNG_THROTTLE) && seen[RUNG_DOWNTIME] &&
            seen[RUNG_THROTTLE])
            out[n++] = ALT_BOTH;
    }
    return n;
}

unsigned ladder_steps(const struct outlook *o, enum alternative_kind kind,
                      const struct alternative *a, struct action out[DECISION_ACTIONS_MAX])
{
    const struct sample *s = o->s;
    bool gentle = o->policy->v[POLICY_OBJECTIVE] == OBJECTIVE_GENTLE;
    unsigned n = 0;

    switch (kind) {
    case ALT_BANDWIDTH:
        out[n++] = (struct action){.kind = ACTION_BANDWIDTH, .speed_limit_bps = a->speed_limit_bps};
        break;
    case ALT_COMPRESSION_CACHE:
        out[n++] = (struct action){.kind = ACTION_COMPRESSION_CACHE, .cache_bytes = a->cache_bytes};
        break;
    case ALT_POST_COPY:
        out[n++] = (struct action){.kind = ACTION_POST_COPY};
        break;
    case ALT_SUSPEND:
        out[n++] = (struct action){.kind = ACTION_SUSPEND};
        break;
    default:
        /* What others set above the ceiling may be left, but is not set by us. */
        if (kind != ALT_THROTTLE && a->downtime_ns <= o->policy->v[POLICY_MAX_DOWNTIME] &&
            a->downtime_ns != s->downtime_limit_ns)
            out[n++] = (struct action){.kind = ACTION_DOWNTIME, .downtime_ns = a->downtime_ns};
        if (a->share < s->cpu_share * (1 - SHARE_DEADBAND) ||
            (gentle && a->share < 1 && a->share > s->cpu_share * (1 + SHARE_DEADBAND)))
            out[n++] = (struct action){
                .kind = ACTION_THROTTLE, .share = a->share, .period_us = LADDER_PERIOD_US};
    }
    for (unsigned i = 0; i < n; i++)
        out[i].reason = a->reason;
    return n;
}
