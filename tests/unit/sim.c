/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/sim.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#define POLL_S 0.25

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

static void apply(struct sim *sim, const struct action *a)
{
    if (isnan(sim->first_action_s)) {
        sim->first_action_s = sim->model.time_s;
        sim->first_action_iteration = sim->model.iteration;
    }
    sim->count[a->kind]++;
    switch (a->kind) {
    case ACTION_DOWNTIME:
        sim->model.downtime_limit_s = (double)a->downtime_ns / 1e9;
        sim->greatest_limit_s = fmax(sim->greatest_limit_s, sim->model.downtime_limit_s);
        break;
    case ACTION_THROTTLE:
        sim->model.cpu_share = a->share;
        sim->least_share = fmin(sim->least_share, a->share);
        break;
    case ACTION_RELEASE:
        sim->model.cpu_share = 1;
        sim->last_release = a->reason;
        break;
    default:
        sim->model.state = MODEL_CANCELLED;
        break;
    }
}

void sim_run(struct sim *sim, double seconds)
{
    while (sim->model.state == MODEL_RUNNING && sim->model.time_s < seconds) {
        struct sample s;

        model_sample(&sim->model, &s);
        if (sim->meddle)
            sim->meddle(sim, &s);
        controller_step(&sim->controller, &sim->policy.values, &s, &sim->last);
        sim->seen[sim->last.verdict] = true;
        for (unsigned i = 0; i < sim->last.n_actions; i++) {
            if (sim->last.apply)
                apply(sim, &sim->last.action[i]);
            else
                sim->proposed++;
        }
        model_run(&sim->model, POLL_S);
    }
}
