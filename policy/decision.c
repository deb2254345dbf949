/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/decision.h"

#include <math.h>

#include "policy/tuning.h"

const char *alternative_name(enum alternative_kind kind)
{
    static const char *const names[ALTERNATIVES] = {
#define X(constant, name) name,
        ALTERNATIVE_TABLE(X)
#undef X
    };

    return names[kind];
}

/* Has something been done that no forecast speaks for, and no pass shown the effect of? */
static bool is_on_trial(const struct decision *d)
{
    const struct alternative *a = &d->alternative[d->chosen];

    return d->chosen != ALTERNATIVES && a->works && !a->forecast.ends;
}

double decision_chance(const struct decision *d)
{
    switch (d->verdict) {
    case VERDICT_CONVERGING:
    case VERDICT_PLATEAU:
    case VERDICT_HELPED:
    case VERDICT_NEEDS_HELP:
    case VERDICT_HOPELESS:
    case VERDICT_STALLED:
        return d->chance_known ? d->chance : NAN;
    default:
        return NAN;
    }
}

enum end decision_end(const struct decision *d)
{
    double chance = decision_chance(d);

    if (isnan(chance))
        return decision_end_by_curves(d);
    if (chance <= 1 - SAY)
        return END_NEVER;
    return chance >= SAY && d->course.ends ? END_COMES : END_UNKNOWN;
}

enum end decision_end_by_curves(const struct decision *d)
{
    switch (d->verdict) {
    case VERDICT_CONVERGING:
    case VERDICT_HELPED:
        if (d->course.ends)
            return d->held || isfinite(d->latest_s) ? END_COMES : END_UNKNOWN;
        return d->verdict == VERDICT_HELPED && isinf(d->earliest_s) && !d->close && !is_on_trial(d)
                   ? END_NEVER
                   : END_UNKNOWN;
    case VERDICT_NEEDS_HELP:
    case VERDICT_HOPELESS:
    case VERDICT_STALLED:
        return d->course.ends || d->close ? END_UNKNOWN : END_NEVER;
    default:
        return END_UNKNOWN;
    }
}
