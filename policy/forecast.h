/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Will it end, when, and at what price: the migration run forward in the head.
 *
 * From what remains now, passes are played one after another with the dirty curve and the drain
 * rate of the estimate (the map at the top of estimate.h) until what a sync finds fits into the
 * downtime limit, or passes stop shrinking, or the horizon is reached. A few dozen multiplications;
 * no state, pure, thread-safe.
 *
 * QEMU decides the switchover from wire bytes per second times the downtime limit, and syncs as
 * soon as the remainder is below that. It sends in bursts of up to 50 ms and looks between them: a
 * pass is a whole number of bursts.
 */
#ifndef MIGPOLICY_FORECAST_H
#define MIGPOLICY_FORECAST_H

#include "policy/estimate.h"

/* The circumstances a forecast is made for. */
struct forecast_case {
    const struct dirty_curve *curve;
    double speed;            /* guest speed from now on, 0..1 */
    double bandwidth;        /* of what the link carries now; 0: the same */
    double downtime_limit_s; /* limit in force from now on */
    double overhead_s;       /* switchover time beside sending memory: device state, block flush */
    double held_s;           /* part of the limit that something beside memory takes; 0: none */
    double horizon_s;        /* an end after this long is none; INFINITY allowed */
};

struct forecast {
    bool ends;
    double seconds;       /* until the end, blackout included (ends) */
    double downtime_s;    /* the blackout (ends); else what the plateau would take */
    double work_lost_s;   /* (1 - speed) over `seconds` plus the blackout (ends) */
    double plateau_bytes; /* where passes stopped shrinking (not ends) */
    unsigned passes;
};

struct forecast forecast_run(const struct estimate *e, const struct forecast_case *c);

#endif
