/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/own_limit.h"

#include <math.h>

#include "policy/limits.h"
#include "policy/tuning.h"

static bool same_limit(int64_t a_ns, int64_t b_ns)
{
    return (a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns) < DOWNTIME_SAME_NS;
}

bool own_limit_notice(struct own_limit *own, const struct tried *tried, const struct outlook *o)
{
    const struct sample *s = o->s;

    own->taken = false;
    if (own->set_ns == 0 || tried->latched[ACTION_DOWNTIME] != REASON_NONE)
        return true;
    if (same_limit(s->downtime_limit_ns, own->set_ns))
        own->in_force = true;
    /* Unless it has just not been possible to set it. */
    else if (own->in_force || !same_limit(s->downtime_limit_ns, own->before_ns))
        own->taken = true;
    return !(own->taken && (o->policy->v[POLICY_ON_OTHER_WRITER] == OTHER_WRITER_YIELD ||
                            own->holds >= HOLDS_MAX));
}

/*
 * Lowers a downtime limit that would break the ceiling, and once, at the start, one that is longer
 * than what the policy aims at.
 */
static void lower(struct own_limit *own, const struct tried *tried, const struct outlook *o,
                  struct decision *d)
{
    const int64_t *p = o->policy->v;
    double now_s = seconds_of(o->s->downtime_limit_ns);
    double most_s = fmax(outlook_kept_s(o), CEILING_PART * o->ceiling_s);
    struct action down = {.kind = ACTION_DOWNTIME};

    if (!d->apply || o->s->total_bytes == 0 || d->n_actions > 0 ||
        action_allowance(o->policy, ACTION_DOWNTIME) != ALLOW_YES ||
        tried->latched[ACTION_DOWNTIME] != REASON_NONE ||
        must_wait(tried, ACTION_DOWNTIME, o->s->now_ns))
        return;
    /* A ceiling that the flush of the disks alone breaks is not to be kept by any limit. */
    if (p[POLICY_MAX_DOWNTIME] != POLICY_NONE && o->ceiling_s > seconds_of(o->s->flush_ns) &&
        now_s > CEILING_DEADBAND * most_s) {
        down.reason = REASON_CEILING;
        down.downtime_ns = ns_of(most_s);
    }
    if (p[POLICY_AIM_DOWNTIME] != POLICY_NONE && !own->aimed) {
        own->aimed = true;
        if (seconds_of(p[POLICY_AIM_DOWNTIME]) < fmin(now_s, most_s)) {
            down.reason = REASON_AIM;
            down.downtime_ns = p[POLICY_AIM_DOWNTIME];
        }
    }
    if (down.reason == REASON_NONE)
        return;
    down.downtime_ns -= down.downtime_ns % NS_PER_MS;
    down.downtime_ns = down.downtime_ns > NS_PER_MS ? down.downtime_ns : NS_PER_MS;
    d->action[d->n_actions++] = down;
}

/* What another program lowered is set again, at most once a pass. */
static void hold(struct own_limit *own, const struct outlook *o, struct decision *d)
{
    double ours_s = seconds_of(own->set_ns);

    for (unsigned i = 0; own->taken && d->apply && i < d->n_actions; i++)
        own->holds += d->action[i].kind == ACTION_DOWNTIME;
    if (!own->taken || !d->apply || !o->s->at_sync || d->n_actions > 0 ||
        seconds_of(o->s->downtime_limit_ns) > ours_s || ours_s > outlook_ceiling_s(o))
        return;
    d->action[d->n_actions++] =
        (struct action){.kind = ACTION_DOWNTIME, .reason = REASON_HOLD, .downtime_ns = own->set_ns};
    own->holds++;
}

void own_limit_step(struct own_limit *own, const struct tried *tried, const struct outlook *o,
                    struct decision *d)
{
    lower(own, tried, o, d);
    hold(own, o, d);
}

void own_limit_set(struct own_limit *own, int64_t found_ns, int64_t set_ns)
{
    own->before_ns = found_ns;
    own->set_ns = set_ns;
    own->in_force = false;
}
