/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/forecast.h"

#include <math.h>

/* An end further away than so many passes is none. */
enum { PASSES_MAX = 200 };
/* QEMU sends for up to 50 ms between two looks at what is pending. */
#define BURST_S 0.05
/* The plateau is reached when the remainder has not fallen by this, relatively, for a few passes.
   For more than one, because whole bursts make it go up and down. */
#define SETTLED        0.002
#define SETTLED_PASSES 3

struct forecast forecast_run(const struct estimate *e, const struct forecast_case *c)
{
    struct forecast f = {0};
    double faster = c->bandwidth > 0 ? c->bandwidth : 1;
    double transfer_bps = e->transfer_bps * faster;
    double drain_bps = e->drain_bps * faster;
    double threshold = transfer_bps * c->downtime_limit_s;
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
            f.downtime_s = next / drain_bps + c->overhead_s;
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
    f.downtime_s = x / drain_bps + c->overhead_s;
    return f;
}
