/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls of throttle.h, answered by the simulated host: as with cgroups, this asks nobody and
 * does not hang.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/sim/host.h"
#include "agent/virt/throttle_open.h"
#include "common/alloc.h"

struct throttle {
    struct sim_domain *domain;
    bool final; /* guarded by the domain's lock */
};

void sim_look_at_quotas(struct sim_domain *d)
{
    (void)d; /* the model's share is all there is */
}

/* What is left over is restored first, as by cgroup-throttle/throttle.c. */
static int restore_leftover(struct sim_domain *d)
{
    int r = d->state == GONE || d->model.cpu_share >= 1 ? 0 : sim_call_fails(d, SIM_CALL_RESTORE);

    if (r == 0)
        sim_set_share(d, 1);
    return r;
}

int virt_throttle_open(const struct throttle_place *place, const struct hv_domain *domain,
                       struct throttle **ret)
{
    struct sim_domain *d = sim_find(domain->uuid);
    struct throttle *t;
    int r;

    (void)place;
    pthread_mutex_lock(&d->lock);
    r = d->handle ? -EBUSY : restore_leftover(d);
    if (r < 0)
        return sim_leave(d, r);
    t = alloc_need(calloc(1, sizeof(*t)));
    t->domain = d;
    d->handle = t;
    *ret = t;
    return sim_leave(d, 0);
}

static void let_go(struct throttle *t)
{
    if (t->domain->handle == t)
        t->domain->handle = NULL;
}

void throttle_free(struct throttle *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->domain->lock);
    let_go(t);
    pthread_mutex_unlock(&t->domain->lock);
    free(t);
}

size_t throttle_vcpu_count(const struct throttle *t)
{
    return t->domain->script->guest.vcpus;
}

double throttle_allowance(struct throttle *t, int64_t now_ns)
{
    double cpus;

    (void)now_ns;
    pthread_mutex_lock(&t->domain->lock);
    cpus = model_allowance(&t->domain->model);
    pthread_mutex_unlock(&t->domain->lock);
    return cpus;
}

int throttle_set(struct throttle *t, double share, int64_t period_us)
{
    struct sim_domain *d = t->domain;
    int r;

    (void)period_us;
    pthread_mutex_lock(&d->lock);
    sim_advance(d);
    if (t->final)
        return sim_leave(d, -ESHUTDOWN);
    if (d->state == GONE)
        return sim_leave(d, -ENOENT);
    if (d->drifted)
        return sim_leave(d, -EBUSY);
    r = sim_call_fails(d, SIM_CALL_QUOTA);
    if (r == 0)
        sim_set_share(d, share);
    return sim_leave(d, r);
}

int throttle_restore(struct throttle *t, bool final, struct throttle_result *ret_result)
{
    struct throttle_result result = {0};
    struct sim_domain *d = t->domain;
    int r = 0;

    pthread_mutex_lock(&d->lock);
    t->final |= final;
    sim_advance(d);
    if (d->drifted) {
        result.drifted = throttle_vcpu_count(t);
    } else {
        r = restore_leftover(d);
        *(r == 0 ? &result.restored : &result.failed) = throttle_vcpu_count(t);
    }
    if (t->final && r == 0)
        let_go(t);
    if (ret_result)
        *ret_result = result;
    return sim_leave(d, r);
}

bool throttle_in_force(struct throttle *t)
{
    bool is;

    pthread_mutex_lock(&t->domain->lock);
    is = t->domain->model.cpu_share < 1;
    pthread_mutex_unlock(&t->domain->lock);
    return is;
}

int throttle_check(struct throttle *t, size_t *ret_drifted)
{
    int r;

    pthread_mutex_lock(&t->domain->lock);
    r = sim_call_fails(t->domain, SIM_CALL_CHECK_QUOTA);
    if (r == 0)
        *ret_drifted = t->domain->drifted ? throttle_vcpu_count(t) : 0;
    return sim_leave(t->domain, r);
}

int throttle_usage_ns(struct throttle *t, size_t vcpu, uint64_t *ret_ns)
{
    pthread_mutex_lock(&t->domain->lock);
    *ret_ns = (uint64_t)(t->domain->model.cpu_s[vcpu] * 1e9);
    return sim_leave(t->domain, 0);
}

int throttle_restore_journal(const struct throttle_roots *roots, const char *uuid, char **ret_name,
                             struct throttle_result *ret_result)
{
    struct sim_domain *d = sim_find(uuid);
    int r;

    (void)roots;
    pthread_mutex_lock(&d->lock);
    if (d->handle || d->model.cpu_share >= 1)
        return sim_leave(d, d->handle ? -EBUSY : -ENOENT);
    r = restore_leftover(d);
    *ret_name = alloc_need(strdup(d->id.name));
    *ret_result = (struct throttle_result){0};
    *(r == 0 ? &ret_result->restored : &ret_result->failed) = d->script->guest.vcpus;
    return sim_leave(d, r);
}

/* As long as one is slowed it has, so to say, a journal. */
int throttle_list_journals(const struct throttle_roots *roots, throttle_journal_fn fn, void *opaque)
{
    (void)roots;
    for (size_t i = 0; i < sim_host.scenario.n_domains; i++) {
        struct sim_domain *d = &sim_host.domain[i];
        bool slowed, open;

        pthread_mutex_lock(&d->lock);
        slowed = d->model.cpu_share < 1;
        open = d->handle;
        pthread_mutex_unlock(&d->lock);
        if (slowed)
            fn(d->id.uuid, open, opaque);
    }
    return 0;
}

void throttle_sweep(const struct throttle_roots *roots)
{
    (void)roots;
}

int throttle_journal_written(const struct throttle_roots *roots, const char *uuid,
                             struct timespec *ret)
{
    (void)roots;
    (void)uuid;
    (void)ret;
    return -ENOENT;
}

/* There is no kernel here that would keep a quota when the agent has gone. */
int throttle_restore_all(const struct throttle_roots *roots, throttle_report_fn report,
                         void *opaque)
{
    (void)roots;
    (void)report;
    (void)opaque;
    return 0;
}

const char *throttle_error(int error)
{
    return strerror(-error);
}
