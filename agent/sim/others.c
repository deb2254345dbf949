/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a scenario has others do to a migration, and which calls it has fail. */
#include <errno.h>
#include <math.h>

#include "agent/sim/host.h"

double sim_next_other_s(const struct sim_domain *d)
{
    if (d->others_done >= d->script->n_others)
        return INFINITY;
    return d->script->start_s + d->script->other[d->others_done].at_s;
}

void sim_pause(struct sim_domain *d)
{
    if (d->model.paused)
        return;
    d->model.paused = true;
    sim_push(d, HV_SWITCHOVER);
}

static void resume_guest(struct sim_domain *d)
{
    if (!d->model.paused)
        return;
    d->model.paused = false;
    sim_push(d, HV_RESUMED);
}

void sim_do_other(struct sim_domain *d)
{
#define SIM_NAME(constant, name, ...) "other_" name,
    static const char *const names[] = {SIM_DEEDS(SIM_NAME)};
#undef SIM_NAME
    const struct scenario_other *other = &d->script->other[d->others_done++];

    /* In the switchover it is too late for all but a cancel. */
    if (d->state != MIGRATING && !(d->state == SWITCHOVER && other->deed == SIM_DO_CANCEL))
        return;
    sim_note(d, names[other->deed], other->value);
    switch (other->deed) {
    case SIM_DO_PAUSE:
        sim_pause(d);
        break;
    case SIM_DO_RESUME:
        resume_guest(d);
        break;
    case SIM_DO_CANCEL:
        sim_cancel(d);
        break;
    case SIM_DO_DOWNTIME:
        d->model.downtime_limit_s = other->value;
        break;
    case SIM_DO_SPEED:
        model_limit_speed(&d->model, other->value);
        break;
    case SIM_DO_QUOTA:
        d->drifted = true;
        sim_set_share(d, fmin(other->value / model_allowance(&d->model), 1));
        break;
    }
}

int sim_call_fails(struct sim_domain *d, enum sim_call call)
{
#define SIM_ERROR(constant, name, number, text) {-(number), text},
    static const struct {
        int error;
        const char *text;
    } errors[] = {SIM_ERRORS(SIM_ERROR)};
#undef SIM_ERROR
    double t = sim_now_s() - d->script->start_s;

    for (unsigned i = 0; i < d->script->n_failures; i++) {
        const struct scenario_failure *f = &d->script->failure[i];

        if (f->call == call && t >= f->from_s && t < f->until_s && d->failed[i] < f->times) {
            d->failed[i]++;
            sim_note(d, "call_failed", call);
            return sim_failure(errors[f->error].error, errors[f->error].text);
        }
    }
    return 0;
}
