/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/sim.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "policy/model/simulate.h"

struct model_guest sim_guest(double hot_mb, double rate_mbps)
{
    return (struct model_guest){
        .ram_bytes = 537e6,
        .vcpus = 1,
        .vcpu_busy = {1},
        .regions = 1,
        .region = {{.bytes = hot_mb * 1e6,
                    .rate_bps = rate_mbps * 1e6,
                    .sequential = true,
                    .cpu_bound = true}},
    };
}

struct model_guest busy_guest(void)
{
    return sim_guest(210, 210);
}

void sim_start(struct sim *sim, const struct model_guest *guest, double link_mbps, ...)
{
    struct policy_layer layer = {0};
    enum policy_field field;
    const char *name;
    va_list args;

    memset(sim, 0, sizeof(*sim));
    va_start(args, link_mbps);
    while ((name = va_arg(args, const char *))) {
        int r = policy_field_find(name, &field);

        assert(r == 0);
        r = policy_layer_set(&layer, field, va_arg(args, const char *), NULL);
        assert(r == 0);
    }
    va_end(args);
    policy_init(&sim->policy);
    policy_merge(&sim->policy, &layer, "test");
    policy_finish(&sim->policy);
    model_start(&sim->model, guest, &(struct model_link){.bps = link_mbps * 1e6}, 1);
    controller_init(&sim->controller);
    sim->first_action_s = NAN;
    sim->least_share = 1;
}

static void meddle(void *context, struct sample *s)
{
    struct sim *sim = context;

    if (sim->meddle)
        sim->meddle(sim, s);
}

void sim_grow(struct sim *sim, struct sample *s)
{
    sim->model.guest.region[0].bytes = 210e6 * (1 + 0.05 * (double)s->iteration);
}

static void note(struct sim *sim, const struct action *a)
{
    if (isnan(sim->first_action_s)) {
        sim->first_action_s = sim->model.time_s;
        sim->first_action_iteration = sim->model.iteration;
    }
    sim->count[a->kind]++;
    if (a->kind == ACTION_DOWNTIME)
        sim->greatest_limit_s = fmax(sim->greatest_limit_s, (double)a->downtime_ns / 1e9);
    if (a->kind == ACTION_THROTTLE)
        sim->least_share = fmin(sim->least_share, a->share);
    if (a->kind == ACTION_RELEASE)
        sim->last_release = a->reason;
}

static void note_decision(void *context, const struct sample *s, const struct decision *d)
{
    struct sim *sim = context;

    (void)s;
    sim->last = *d;
    sim->seen[d->verdict] = true;
    for (unsigned i = 0; i < d->n_actions; i++) {
        if (decision_applies(d, i))
            note(sim, &d->action[i]);
        else
            sim->proposed++;
    }
}

void sim_run(struct sim *sim, double seconds)
{
    simulate(&sim->model, &sim->controller, &sim->policy.values, seconds,
             &(struct simulate_watch){meddle, note_decision, sim});
}

unsigned actions(const struct sim *sim)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ACTIONS; i++)
        n += sim->count[i];
    return n;
}
