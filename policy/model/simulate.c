/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/model/simulate.h"

#include <math.h>

/* How often the daemon looks. */
#define POLL_S 0.25
/* The model takes times closer than a nanosecond for the same: it may stop that short of the end.
 */
#define ENOUGH_S 1e-6

static void apply(struct model *m, const struct action *a)
{
    switch (a->kind) {
    case ACTION_DOWNTIME:
        m->downtime_limit_s = (double)a->downtime_ns / 1e9;
        break;
    case ACTION_THROTTLE:
        m->cpu_share = a->share;
        break;
    case ACTION_BANDWIDTH:
        model_limit_speed(m, (double)a->speed_limit_bps);
        break;
    case ACTION_POST_COPY:
        model_post_copy(m);
        break;
    case ACTION_SUSPEND:
        model_suspend(m);
        break;
    case ACTION_RELEASE:
        m->cpu_share = 1;
        break;
    case ACTION_CANCEL:
        model_cancel(m);
        break;
    default:
        break;
    }
}

void simulate(struct model *m, struct controller *c, const struct policy_values *policy,
              double until_s, const struct simulate_watch *watch)
{
    while (m->state == MODEL_RUNNING && m->time_s < until_s - ENOUGH_S) {
        struct sample s;
        struct decision d;

        model_sample(m, &s);
        if (watch->before)
            watch->before(watch->context, &s);
        controller_step(c, policy, &s, &d);
        if (watch->after)
            watch->after(watch->context, &s, &d);
        for (unsigned i = 0; i < d.n_actions; i++) {
            if (decision_applies(&d, i))
                apply(m, &d.action[i]);
        }
        model_run(m, fmin(POLL_S, until_s - m->time_s));
    }
}

/* Pages of the sample that were found dirty, after so many milliseconds. */
#define SAMPLED_PAGES 16392.0
#define SAMPLED_ZERO  10060.0
#define BYTES         (8392704.0 * 4096)
#define POINT(ms, pages)                                                                           \
    {                                                                                              \
        (ms) / 1000.0, (pages) / SAMPLED_PAGES *BYTES                                              \
    }

static const struct model_point memcached[] = {
    POINT(125, 33),     POINT(250, 78),     POINT(375, 119),    POINT(500, 151),
    POINT(750, 217),    POINT(1000, 236),   POINT(1500, 293),   POINT(2000, 336),
    POINT(3000, 425),   POINT(4001, 505),   POINT(6000, 620),   POINT(8000, 756),
    POINT(10000, 898),  POINT(15000, 1204), POINT(20000, 1457), POINT(25000, 1723),
    POINT(30000, 1934), POINT(35000, 2141), POINT(40000, 2328), POINT(45000, 2522),
    POINT(50000, 2675), POINT(60000, 2958),
};

void simulate_memcached(struct model_guest *ret)
{
    *ret = (struct model_guest){
        .ram_bytes = BYTES,
        .zero_bytes = BYTES * SAMPLED_ZERO / SAMPLED_PAGES,
        .vcpus = 4,
        .vcpu_busy = {0.8, 0.8, 0.8, 0.8},
        .regions = 1,
    };
    ret->region[0] = (struct model_region){
        .bytes = ret->ram_bytes - ret->zero_bytes,
        .cpu_bound = 1,
        .vcpu = MODEL_ALL_VCPUS,
        .curve = memcached,
        .curve_points = sizeof(memcached) / sizeof(memcached[0]),
    };
}
