/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/forecast.h"

#include <math.h>

#include "policy/limits.h"
#include "policy/tuning.h"

struct forecast forecast_run(const struct estimate *e, const struct forecast_case *c)
{
    struct forecast f = {0};
    double faster = c->bandwidth > 0 ? c->bandwidth : 1;
    double transfer_bps = e->transfer_bps * faster;
    double drain_bps = e->drain_bps * faster;
    double threshold = transfer_bps * fmax(c->downtime_limit_s - c->held_s, 0);
    double burst = drain_bps * BURST_S;
    double x = e->remaining_bytes;
    double tau = e->pass_tau_s;
    double low = INFINITY;
    double t = 0;
    unsigned settled = 0;

    if (drain_bps <= 0 || transfer_bps <= 0) {
        f.plateau_bytes = x;
        f.downtime_s = INFINITY;
        return f;
    }
    while (f.passes < PASSES_MAX && t < c->horizon_s) {
        /* Bursts are counted from the sync; where the one under way began is not known. */
        double bursts =
            f.passes == 0 ? (x - threshold) / burst + 0.5 : ceil((x - threshold) / burst);
        double send = fmax(bursts, f.passes == 0 ? 0 : 1) * BURST_S;
        double rest = fmax(x - send * drain_bps, 0);
        double hot = fmax(e->hot_bytes, rest);
        double next;

        t += send;
        tau += send * c->speed;
        next = rest + dirty_curve_at(c->curve, tau) * (hot > 0 ? 1 - rest / hot : 0);
        tau = 0;
        f.passes++;
        if (next < threshold) {
            f.downtime_s = next / drain_bps + c->overhead_s + c->held_s;
            f.seconds = t + f.downtime_s;
            f.ends = f.seconds <= c->horizon_s;
            f.work_lost_s = t * (1 - c->speed) + f.downtime_s;
            return f;
        }
        /* The first step starts midway through a pass: it says nothing about shrinking. */
        if (f.passes == 1 || next < low * (1 - SETTLED)) {
            low = next;
            settled = 0;
        } else if (++settled >= SETTLED_PASSES) {
            x = next;
            break;
        }
        x = next;
    }
    f.plateau_bytes = x;
    f.downtime_s = x / drain_bps + c->overhead_s + c->held_s;
    return f;
}
