/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/verdict.h"

#include <math.h>

#include "policy/outlook.h"
#include "policy/tuning.h"

static bool is_word(enum verdict verdict)
{
    return verdict == VERDICT_CONVERGING || verdict == VERDICT_HOPELESS ||
           verdict == VERDICT_NEEDS_HELP;
}

void verdict_settle(struct verdict_memory *w, int64_t now_ns, struct decision *d)
{
    double hold_s = 0;

    if (!is_word(d->verdict) && d->verdict != VERDICT_PLATEAU) {
        *w = (struct verdict_memory){0};
        return;
    }
    if (d->verdict != w->verdict) {
        w->taken_back += w->said && is_word(w->verdict);
        w->verdict = d->verdict;
        w->since_ns = now_ns;
        w->said = false;
    }
    if (w->taken_back > 1)
        hold_s = fmin(ldexp(VERDICT_HOLD_S, (int)w->taken_back - 2), VERDICT_HOLD_MOST_S);
    if (is_word(d->verdict) &&
        (seconds_of(now_ns - w->since_ns) >= hold_s || d->n_actions > 0 || d->n_proposed > 0))
        w->said = true;
    if (w->said || (d->verdict == VERDICT_PLATEAU && d->reason != REASON_UNCONFIRMED) ||
        hold_s == 0)
        return;
    d->verdict = VERDICT_PLATEAU;
    d->reason = REASON_UNSTEADY;
}
