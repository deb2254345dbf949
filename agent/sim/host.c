/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sim/host.h"

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

#include "agent/sim/clock.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json_strict.h"
#include "common/textfile.h"
#include "common/units.h"
#include "common/wakeup.h"

/* Virtual time between two looks at all models, and the least real time. */
#define STEP_NS      (10 * NS_PER_MS)
#define STEP_REAL_NS NS_PER_MS

struct sim_host sim_host = {.log_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct error last = {"no error"};

int sim_failure(int error, const char *text)
{
    return error_set(&last, error, "%s", text);
}

const char *hypervisor_error(void)
{
    return last.text;
}

double sim_now_s(void)
{
    return (double)(monotonic_ns() - sim_host.start_ns) / 1e9;
}

bool sim_is_cut(double opened_s)
{
    return opened_s < sim_host.scenario.disconnect_s &&
           sim_now_s() >= sim_host.scenario.disconnect_s;
}

/* One line of the host's own record. Names need no escaping here: uuid only. */
void sim_note(const struct sim_domain *d, const char *what, double value)
{
    char line[160];
    int len = snprintf(line, sizeof(line),
                       "{\"seconds\":%.3f,\"uuid\":\"%s\",\"what\":\"%s\",\"value\":%.6g}\n",
                       sim_now_s(), d ? d->id.uuid : "", what, value);

    if (sim_host.log_fd >= 0 && write(sim_host.log_fd, line, (size_t)len) != len)
        sim_host.log_fd = -1;
}

/* ---- domains in time; the domain is locked ---- */

void sim_push(struct sim_domain *d, enum hv_event_kind kind)
{
    d->pending[d->n_pending++] = (struct hv_event){.kind = kind, .domain = d->id};
}

static void end_migration(struct sim_domain *d)
{
    const struct model *m = &d->model;

    d->state = GONE;
    d->left_s = sim_now_s();
    sim_push(d, HV_COMPLETED);
    d->pending[d->n_pending - 1].result = (struct hv_result){
        .elapsed_ms = (int64_t)(m->time_s * 1e3),
        .downtime_ms = (int64_t)(m->downtime_s * 1e3),
        .memory_processed_bytes = (int64_t)m->sent_bytes,
    };
    sim_push(d, HV_STOPPED);
    d->pending[d->n_pending - 1].migrated = true;
    d->id.id = -1;
    sim_note(d, "completed", m->time_s);
    sim_note(d, "downtime", m->downtime_s);
    sim_note(d, "work_lost", m->work_lost_s);
}

void sim_cancel(struct sim_domain *d)
{
    if (d->state == SWITCHOVER || d->model.paused)
        sim_push(d, HV_RESUMED);
    model_cancel(&d->model);
    d->state = CANCELLED;
    sim_note(d, "cancelled", d->model.time_s);
    d->began_s = d->tries <= d->script->retries ? sim_now_s() + d->script->retry_s : INFINITY;
}

void sim_set_share(struct sim_domain *d, double share)
{
    if (d->model.cpu_share != share)
        sim_note(d, "cpu_share", share);
    d->model.cpu_share = share;
}

/* The speed limit outlives a migration, and so does a quota; the downtime limit does not. */
static void begin_migration(struct sim_domain *d)
{
    double speed_bps = d->tries > 0 ? d->model.speed_limit_bps : d->script->speed_limit_bps;
    double share = d->model.cpu_share;

    model_start(&d->model, &d->script->guest, &d->script->link, d->seed + d->tries);
    model_limit_speed(&d->model, speed_bps);
    d->model.cpu_share = share;
    d->model.auto_converge = d->model.forced_syncs = d->script->auto_converge;
    d->cache_bytes = d->script->compression_cache_bytes;
    d->state = MIGRATING;
    if (d->tries++ > 0)
        sim_note(d, "retried", d->tries);
    if (d->model.iteration > 0)
        sim_push(d, HV_SYNC);
}

/* Lets the model run until then; false if there is too much to tell first. */
static bool run_until(struct sim_domain *d, double until_s)
{
    double t = until_s - d->began_s;
    struct model *m = &d->model;

    if ((d->state == IDLE || d->state == CANCELLED) && t >= 0)
        begin_migration(d);
    while (d->state == MIGRATING && m->time_s < t) {
        double before_s = m->time_s;
        uint64_t iteration = m->iteration;

        if (d->n_pending >= PENDING_MAX - 3)
            return false;
        model_run(m, t - m->time_s);
        if (m->iteration != iteration)
            sim_push(d, HV_SYNC);
        if (m->state == MODEL_COMPLETED) {
            d->state = SWITCHOVER;
            if (!m->paused)
                sim_push(d, HV_SWITCHOVER);
            sim_note(d, "switchover", m->cpu_share);
        }
        if (m->time_s <= before_s)
            break;
    }
    return d->n_pending < PENDING_MAX - 3;
}

void sim_advance(struct sim_domain *d)
{
    double now = sim_now_s();

    while (sim_next_other_s(d) <= now) {
        if (!run_until(d, sim_next_other_s(d)))
            return;
        sim_do_other(d);
    }
    /* The model runs through the blackout at once; the world has to wait for it. */
    if (run_until(d, now) && (d->state == SWITCHOVER || d->state == POST_COPY) &&
        now >= d->began_s + d->model.time_s + d->script->switchover_s)
        end_migration(d);
}

static void tell(struct sim_domain *d)
{
    struct hv_event events[PENDING_MAX];
    unsigned n;

    pthread_mutex_lock(&d->lock);
    sim_advance(d);
    sim_look_at_quotas(d);
    n = d->n_pending;
    memcpy(events, d->pending, n * sizeof(events[0]));
    d->n_pending = 0;
    pthread_mutex_unlock(&d->lock);
    for (unsigned i = 0; i < n && sim_host.link && !sim_is_cut(sim_host.link->opened_s); i++) {
        events[i].now_ns = monotonic_ns();
        sim_host.link->event(&events[i], sim_host.link->opaque);
    }
}

static void *host_main(void *arg)
{
    int64_t step_ns = (int64_t)(STEP_NS / sim_host.scenario.time_factor);
    struct timespec step = {.tv_nsec = step_ns > STEP_REAL_NS ? step_ns : STEP_REAL_NS};
    bool told = false;

    (void)arg;
    for (;;) {
        pthread_mutex_lock(&sim_host.lock);
        for (size_t i = 0; i < sim_host.scenario.n_domains; i++)
            tell(&sim_host.domain[i]);
        if (sim_host.link && sim_is_cut(sim_host.link->opened_s) && !told) {
            sim_note(NULL, "disconnected", 0);
            sim_host.link->closed(sim_host.link->opaque);
            told = true;
        }
        pthread_mutex_unlock(&sim_host.lock);
        nanosleep(&step, NULL);
    }
    return NULL;
}

/* ---- start ---- */

static int load(const char *path)
{
    char *text AUTO_FREE = NULL;
    struct error err;
    size_t len;
    int r = textfile_read(AT_FDCWD, path, JSON_STRICT_MAX_BYTES, &text, &len);

    if (r < 0)
        return sim_failure(r, strerror(-r));
    r = scenario_parse(text, len, &sim_host.scenario, &err);
    return r < 0 ? sim_failure(r, err.text) : 0;
}

int hypervisor_init(const char *uri)
{
    pthread_t thread;
    int r = load(uri + strlen("sim:"));

    if (r < 0)
        return r;
    sim_host.domain =
        alloc_need(calloc(sim_host.scenario.n_domains + 1, sizeof(sim_host.domain[0])));
    if (sim_host.scenario.log) {
        sim_host.log_fd =
            open(sim_host.scenario.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (sim_host.log_fd < 0)
            return sim_failure(-errno, sim_host.scenario.log);
    }
    for (size_t i = 0; i < sim_host.scenario.n_domains; i++) {
        struct sim_domain *d = &sim_host.domain[i];

        d->script = &sim_host.scenario.domain[i];
        d->seed = i + 1;
        d->metadata = d->script->metadata ? alloc_need(strdup(d->script->metadata)) : NULL;
        snprintf(d->id.name, sizeof(d->id.name), "%s", d->script->name);
        snprintf(d->id.uuid, sizeof(d->id.uuid), "51310000-0000-4000-8000-%012x", (unsigned)i + 1);
        if (d->script->uuid[0])
            memcpy(d->id.uuid, d->script->uuid, sizeof(d->id.uuid));
        d->id.id = (int)i + 1;
        pthread_mutex_init(&d->lock, NULL);
        d->began_s = d->script->start_s;
        model_start(&d->model, &d->script->guest, &d->script->link, d->seed);
        model_limit_speed(&d->model, d->script->speed_limit_bps);
    }
    sim_clock_start(sim_host.scenario.time_factor);
    sim_host.start_ns = monotonic_ns();
    r = pthread_create(&thread, NULL, host_main, NULL);
    if (r != 0)
        return sim_failure(-r, strerror(r));
    pthread_setname_np(thread, "simulation");
    return pthread_detach(thread);
}

/* ---- calls from outside ---- */

bool sim_is_down(void)
{
    double now = sim_now_s();

    return now >= sim_host.scenario.disconnect_s && now < sim_host.scenario.reconnect_s;
}

struct sim_domain *sim_find(const char *uuid)
{
    for (size_t i = 0; i < sim_host.scenario.n_domains; i++) {
        if (strcmp(sim_host.domain[i].id.uuid, uuid) == 0)
            return &sim_host.domain[i];
    }
    return NULL;
}

int sim_enter(struct sim_domain *d, double opened_s, enum sim_call call)
{
    double t = sim_now_s() - d->script->start_s;
    int r;

    if (sim_is_cut(opened_s))
        return sim_failure(-ENOTCONN, "the scenario has cut the connection");
    if (t >= d->script->hang_s) {
        for (;;)
            pause();
    }
    if (t >= d->script->fail_s)
        return sim_failure(-EIO, "the scenario has this call fail");
    pthread_mutex_lock(&d->lock);
    r = sim_call_fails(d, call);
    if (r < 0)
        return sim_leave(d, r);
    sim_advance(d);
    return 0;
}

int sim_leave(struct sim_domain *d, int r)
{
    pthread_mutex_unlock(&d->lock);
    return r;
}
