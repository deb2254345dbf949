/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of hypervisor.h, answered by the simulated host. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/sim/host.h"
#include "agent/virt/hypervisor.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json_strict.h"
#include "common/textfile.h"
#include "common/units.h"
#include "common/wakeup.h"

struct hv_watch {
    struct sim_domain *domain;
    double opened_s;
};

/* ---- the connection for events ---- */

int hv_link_open(const char *uri, hv_event_fn event, hv_closed_fn closed, void *opaque,
                 struct hv_link **ret)
{
    struct hv_link *link;

    (void)uri;
    if (sim_is_down())
        return sim_failure(-ENOTCONN, "the scenario has the connection down");
    link = alloc_need(calloc(1, sizeof(*link)));
    *link = (struct hv_link){event, closed, opaque, sim_now_s()};
    pthread_mutex_lock(&sim_host.lock);
    sim_host.link = link;
    pthread_mutex_unlock(&sim_host.lock);
    *ret = link;
    return 0;
}

void hv_link_close(struct hv_link *link)
{
    pthread_mutex_lock(&sim_host.lock);
    if (sim_host.link == link)
        sim_host.link = NULL;
    pthread_mutex_unlock(&sim_host.lock);
    free(link);
}

/* As a transient domain is by libvirt, which tells nothing of it. */
static bool is_forgotten(const struct sim_domain *d)
{
    return d->state == GONE && sim_now_s() >= d->left_s + d->script->forgotten_s;
}

int hv_link_list(struct hv_link *link, struct hv_domain **ret_domains, size_t *ret_count)
{
    struct hv_domain *list;
    size_t n = 0;

    if (sim_is_cut(link->opened_s))
        return sim_failure(-ENOTCONN, "the scenario has cut the connection");
    list = alloc_need(calloc(sim_host.scenario.n_domains + 1, sizeof(*list)));
    for (size_t i = 0; i < sim_host.scenario.n_domains; i++) {
        pthread_mutex_lock(&sim_host.domain[i].lock);
        if (!is_forgotten(&sim_host.domain[i]))
            list[n++] = sim_host.domain[i].id;
        pthread_mutex_unlock(&sim_host.domain[i].lock);
    }
    *ret_domains = list;
    *ret_count = n;
    return 0;
}

/* ---- one domain ---- */

static bool is_migrating(const struct sim_domain *d)
{
    return d->state == MIGRATING || d->state == SWITCHOVER || d->state == POST_COPY;
}

int hv_link_probe(struct hv_link *link, const struct hv_domain *domain, bool *ret_migrating)
{
    struct sim_domain *d = sim_find(domain->uuid);
    int r;

    if (!d)
        return sim_failure(-ENOENT, "no such domain");
    r = sim_enter(d, link->opened_s, SIM_CALL_OTHER);
    if (r < 0)
        return r;
    *ret_migrating = is_migrating(d);
    return sim_leave(d, 0);
}

/* As with libvirt this neither hangs nor fails with a domain's monitor. */
static int read_metadata(struct sim_domain *d, double opened_s, char **ret_xml)
{
    if (sim_is_cut(opened_s))
        return sim_failure(-ENOTCONN, "the scenario has cut the connection");
    pthread_mutex_lock(&d->lock);
    *ret_xml = d->metadata ? alloc_need(strdup(d->metadata)) : NULL;
    return sim_leave(d, 0);
}

int hv_link_metadata(struct hv_link *link, const char *uuid, char **ret_xml)
{
    struct sim_domain *d = sim_find(uuid);

    return d ? read_metadata(d, link->opened_s, ret_xml) : sim_failure(-ENOENT, "no such domain");
}

int hv_watch_metadata(struct hv_watch *watch, char **ret_xml)
{
    return read_metadata(watch->domain, watch->opened_s, ret_xml);
}

static int describe(struct sim_domain *d, double opened_s, char **ret_xml)
{
    if (sim_is_cut(opened_s))
        return sim_failure(-ENOTCONN, "the scenario has cut the connection");
    *ret_xml = d->script->description ? alloc_need(strdup(d->script->description)) : NULL;
    return 0;
}

int hv_link_description(struct hv_link *link, const char *uuid, char **ret_xml)
{
    struct sim_domain *d = sim_find(uuid);

    return d ? describe(d, link->opened_s, ret_xml) : sim_failure(-ENOENT, "no such domain");
}

int hv_watch_description(struct hv_watch *watch, char **ret_xml)
{
    return describe(watch->domain, watch->opened_s, ret_xml);
}

int hv_watch_set_metadata(struct hv_watch *watch, const char *xml)
{
    struct sim_domain *d = watch->domain;
    int r = sim_enter(d, watch->opened_s, SIM_CALL_OTHER);

    if (r < 0)
        return r;
    if (d->state == MIGRATING || d->state == SWITCHOVER)
        return sim_leave(d, sim_failure(-EBUSY, "the domain is migrating"));
    free(d->metadata);
    d->metadata = xml ? alloc_need(strdup(xml)) : NULL;
    return sim_leave(d, 0);
}

int hv_watch_open(const char *uri, const char *uuid, struct hv_watch **ret)
{
    struct sim_domain *d = sim_find(uuid);
    struct hv_watch *watch;

    (void)uri;
    if (sim_is_down())
        return sim_failure(-ENOTCONN, "the scenario has the connection down");
    if (!d)
        return sim_failure(-ENOENT, "no such domain");
    watch = alloc_need(malloc(sizeof(*watch)));
    *watch = (struct hv_watch){d, sim_now_s()};
    *ret = watch;
    return 0;
}

void hv_watch_close(struct hv_watch *watch)
{
    free(watch);
}

int hv_watch_job(struct hv_watch *watch, struct hv_job *ret)
{
    struct sim_domain *d = watch->domain;
    struct sample s;
    int r = sim_enter(d, watch->opened_s, SIM_CALL_JOB);

    if (r < 0)
        return r;
    if (d->state == GONE)
        return sim_leave(d, sim_failure(-ENOENT, "the domain has left"));
    *ret = (struct hv_job){0};
    if (is_migrating(d)) {
        model_sample(&d->model, &s);
        *ret = (struct hv_job){
            .active = true,
            .outgoing = true,
            .elapsed_ns = s.elapsed_ns,
            .iteration = s.iteration,
            .memory_total_bytes = s.total_bytes,
            .memory_processed_bytes = s.processed_bytes,
            .memory_remaining_bytes = s.remaining_bytes,
            .disk_total_bytes = s.disk_total_bytes,
            .disk_remaining_bytes = s.disk_remaining_bytes,
            .auto_converge_percent = s.auto_converge_percent,
            .expected_downtime_ns = s.expected_downtime_ns,
            .compression_cache_bytes = (uint64_t)d->cache_bytes,
            .post_copy = d->state == POST_COPY,
        };
    }
    return sim_leave(d, 0);
}

int hv_watch_get_downtime(struct hv_watch *watch, int64_t *ret_ns)
{
    int r = sim_enter(watch->domain, watch->opened_s, SIM_CALL_GET_DOWNTIME);

    if (r < 0)
        return r;
    *ret_ns = (int64_t)(watch->domain->model.downtime_limit_s * 1e9);
    return sim_leave(watch->domain, 0);
}

/* Only of a migration that can still be steered. */
static int enter_migration(struct hv_watch *watch, enum sim_call call)
{
    int r = sim_enter(watch->domain, watch->opened_s, call);

    if (r == 0 && watch->domain->state != MIGRATING)
        return sim_leave(watch->domain, sim_failure(-EINVAL, "the domain is not migrating"));
    return r;
}

int hv_watch_set_downtime(struct hv_watch *watch, int64_t ns)
{
    int r = enter_migration(watch, SIM_CALL_SET_DOWNTIME);

    if (r < 0)
        return r;
    /* libvirt keeps milliseconds. */
    watch->domain->model.downtime_limit_s = (double)(ns - ns % NS_PER_MS) / 1e9;
    sim_note(watch->domain, "set_downtime", watch->domain->model.downtime_limit_s);
    return sim_leave(watch->domain, 0);
}

int hv_watch_get_speed(struct hv_watch *watch, int64_t *ret_bps)
{
    int r = sim_enter(watch->domain, watch->opened_s, SIM_CALL_GET_SPEED);

    if (r < 0)
        return r;
    *ret_bps = (int64_t)watch->domain->model.speed_limit_bps;
    return sim_leave(watch->domain, 0);
}

/* Of a later migration, if there is none now. */
int hv_watch_set_speed(struct hv_watch *watch, int64_t bps)
{
    int r = sim_enter(watch->domain, watch->opened_s, SIM_CALL_SET_SPEED);

    if (r < 0)
        return r;
    model_limit_speed(&watch->domain->model, (double)bps);
    sim_note(watch->domain, "set_speed", (double)bps);
    return sim_leave(watch->domain, 0);
}

int hv_watch_set_compression_cache(struct hv_watch *watch, int64_t bytes)
{
    int r = enter_migration(watch, SIM_CALL_COMPRESSION_CACHE);

    if (r < 0)
        return r;
    watch->domain->cache_bytes = (double)bytes;
    sim_note(watch->domain, "set_compression_cache", (double)bytes);
    return sim_leave(watch->domain, 0);
}

int hv_watch_post_copy(struct hv_watch *watch)
{
    struct sim_domain *d = watch->domain;
    int r = enter_migration(watch, SIM_CALL_POST_COPY);

    if (r < 0)
        return r;
    if (!d->script->post_copy || d->model.iteration == 0)
        return sim_leave(d, sim_failure(-EINVAL, "the migration was not started with post-copy"));
    model_post_copy(&d->model);
    d->state = POST_COPY;
    sim_push(d, HV_POST_COPY);
    sim_note(d, "post_copy", d->model.time_s);
    return sim_leave(d, 0);
}

int hv_watch_suspend(struct hv_watch *watch)
{
    struct sim_domain *d = watch->domain;
    int r = enter_migration(watch, SIM_CALL_SUSPEND);

    if (r < 0)
        return r;
    sim_note(d, "suspend", d->model.time_s);
    sim_pause(d);
    return sim_leave(d, 0);
}

/* In the switchover as well, from which the guest comes back. */
int hv_watch_cancel(struct hv_watch *watch)
{
    struct sim_domain *d = watch->domain;
    int r = sim_enter(d, watch->opened_s, SIM_CALL_CANCEL);

    if (r < 0)
        return r;
    if (d->state != MIGRATING && d->state != SWITCHOVER)
        return sim_leave(d, sim_failure(-EINVAL, "the domain is not migrating"));
    sim_cancel(d);
    return sim_leave(d, 0);
}

int hv_watch_flush(struct hv_watch *watch, int64_t *ret_ns)
{
    int r = sim_enter(watch->domain, watch->opened_s, SIM_CALL_FLUSH);

    if (r < 0)
        return r;
    *ret_ns = (int64_t)(watch->domain->script->guest.flush_s * 1e9);
    return sim_leave(watch->domain, 0);
}

/* Before its migration a guest uses what it states, at a steady rate. */
int hv_watch_facts(struct hv_watch *watch, struct hv_facts *ret)
{
    const struct model_guest *g = &watch->domain->script->guest;
    int r = sim_enter(watch->domain, watch->opened_s, SIM_CALL_OTHER);

    if (r < 0)
        return r;
    *ret = (struct hv_facts){
        .memory_bytes = (uint64_t)g->ram_bytes,
        .resident_bytes = (uint64_t)(g->ram_bytes - g->zero_bytes),
        .vcpus = g->vcpus,
    };
    for (unsigned i = 0; i < g->vcpus; i++)
        ret->vcpu_time_ns[i] = (int64_t)(g->vcpu_busy[i] * sim_now_s() * 1e9);
    return sim_leave(watch->domain, 0);
}

int hv_watch_start_dirty_rate(struct hv_watch *watch, int seconds)
{
    struct sim_domain *d = watch->domain;
    int r = sim_enter(d, watch->opened_s, SIM_CALL_OTHER);

    if (r < 0)
        return r;
    if (d->state != IDLE)
        return sim_leave(d, sim_failure(-EINVAL, "the domain is migrating"));
    d->measure_s = seconds;
    d->measured_from_s = sim_now_s();
    return sim_leave(d, 0);
}

int hv_watch_dirty_rate(struct hv_watch *watch, bool *ret_measured, int64_t *ret_bps)
{
    struct sim_domain *d = watch->domain;
    const struct model_guest *g = &d->script->guest;
    double bytes = 0;
    int r = sim_enter(d, watch->opened_s, SIM_CALL_OTHER);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < g->regions; i++)
        bytes += model_unique_bytes(&g->region[i], d->measure_s);
    *ret_measured = d->measure_s > 0 && sim_now_s() >= d->measured_from_s + d->measure_s;
    *ret_bps = *ret_measured ? (int64_t)(bytes / d->measure_s) / MIB_BYTES * MIB_BYTES : 0;
    return sim_leave(d, 0);
}

int hv_watch_state(struct hv_watch *watch, bool *ret_active, bool *ret_running)
{
    struct sim_domain *d = watch->domain;

    if (sim_is_cut(watch->opened_s))
        return sim_failure(-ENOTCONN, "the scenario has cut the connection");
    pthread_mutex_lock(&d->lock);
    *ret_active = d->state != GONE;
    *ret_running =
        d->state != GONE && d->state != SWITCHOVER && d->state != POST_COPY && !d->model.paused;
    return sim_leave(d, 0);
}
