/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/dates.h"

#include <math.h>
#include <string.h>

/* Keeps the date of this sync, and the last ones before it. */
static void keep(struct dates *k, double now_s, double end_s)
{
    if (k->dates == DATES)
        memmove(&k->date[0], &k->date[1], sizeof(k->date[0]) * --k->dates);
    k->date[k->dates].said_s = now_s;
    k->date[k->dates++].end_s = end_s;
}

void dates_judge(struct dates *k, const struct sample *s, const struct before *before,
                 struct decision *d)
{
    double now_s = seconds_of(s->now_ns);
    double end_s = now_s + d->course.seconds;

    if (s->cpu_share != before->cpu_share || s->downtime_limit_ns != before->downtime_limit_ns ||
        (s->at_sync && !d->course.ends)) {
        k->dates = 0;
        k->held = k->receding = false;
    }
    if (s->at_sync && d->course.ends) {
        bool moved_away = false;

        for (unsigned i = 0; i < k->dates; i++)
            moved_away |= end_s - k->date[i].end_s > (now_s - k->date[i].said_s) * MAY_SLIP;
        k->held = k->dates > 0 && !moved_away;
        k->receding = moved_away;
        keep(k, now_s, end_s);
    }
    d->held = k->held;
    /* Passes under a throttle are shorter than all that are known: no curve is sure of them. */
    if (k->receding || (s->cpu_share < 1 && !k->held))
        d->latest_s = INFINITY;
}
