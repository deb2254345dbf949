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

/* What has to be done to get from what is in force to an alternative; returns how many actions. */
static unsigned steps_to(const struct outlook *o, enum alternative_kind kind,
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

void ladder_take(const struct tried *tried, const struct outlook *o, struct decision *d,
                 enum alternative_kind kind)
{
    struct action steps[DECISION_ACTIONS_MAX];
    unsigned n = steps_to(o, kind, &d->alternative[kind], steps);
    bool waits = false;

    for (unsigned i = 0; i < n; i++) {
        if (must_wait(tried, steps[i].kind, o->s->now_ns)) {
            waits = true;
            continue;
        }
        decision_add(d, steps[i]);
    }
    d->chosen = kind;
    d->verdict = d->n_actions > 0 || waits ? VERDICT_NEEDS_HELP : VERDICT_HELPED;
    if (d->n_actions == 0)
        d->reason = waits ? REASON_RETRY : REASON_IN_FORCE;
}

static void propose(const struct outlook *o, struct decision *d, enum alternative_kind kind)
{
    d->n_proposed = steps_to(o, kind, &d->alternative[kind], d->proposed);
    d->asked = kind;
    d->chosen = ALTERNATIVES;
    d->verdict = VERDICT_NEEDS_HELP;
    d->reason = REASON_ASKED;
}

bool ladder_choose(const struct tried *tried, const struct outlook *o, struct decision *d)
{
    enum alternative_kind order[ALTERNATIVES];
    unsigned n = ladder_order(o, order);

    for (unsigned i = 0; i < n; i++) {
        if (d->alternative[order[i]].approved && d->alternative[order[i]].works) {
            ladder_take(tried, o, d, order[i]);
            return true;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (d->alternative[order[i]].ask && d->alternative[order[i]].works) {
            propose(o, d, order[i]);
            return true;
        }
    }
    return false;
}

bool ladder_force(const struct tried *tried, const struct outlook *o, struct decision *d,
                  const enum alternative_kind ways[], unsigned n, enum reason reason)
{
    for (unsigned i = 0; i < n; i++) {
        struct alternative *a = &d->alternative[ways[i]];

        if (!a->works || !(a->approved || a->ask))
            continue;
        a->reason = reason;
        d->n_actions = 0;
        if (a->approved)
            ladder_take(tried, o, d, ways[i]);
        else
            propose(o, d, ways[i]);
        return true;
    }
    return false;
}
