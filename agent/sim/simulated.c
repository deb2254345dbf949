/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hypervisor that is not there: a host of modelled guests whose migrations run by themselves.
 *
 * Theory of operation
 *
 * The whole program's clock runs time_factor times as fast (clock.h), so that what
 * the model does in virtual seconds and what the agent measures go together; nothing else in the
 * agent knows of it. A thread of the host's own moves the models on every 10 ms of virtual time
 * and sends the events that came of it. A question about a domain moves its model on to the very
 * moment first; what that causes waits for the thread.
 *
 * Faults: a domain may hang or fail, which is to say the calls about it do, while its migration
 * goes on; and the connection may be lost, which ends it for all who were connected.
 *
 * Locks: that of a domain, under which nothing is called; that of the host, under which events are
 * sent, so that none comes after hv_link_close().
 */
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
#include "agent/sim/scenario.h"
#include "agent/virt/hypervisor.h"
#include "agent/virt/throttle_open.h"
#include "common/cleanup.h"
#include "common/json_strict.h"
#include "common/textfile.h"
#include "common/units.h"
#include "common/wakeup.h"

/* Virtual time between two looks at all models, and the least real time. */
#define STEP_NS      (10 * NS_PER_MS)
#define STEP_REAL_NS NS_PER_MS

enum { PENDING_MAX = 8 };

enum domain_state { IDLE, MIGRATING, PAUSED, POST_COPY, GONE, CANCELLED };

struct sim_domain {
    struct hv_domain id;
    const struct scenario_domain *script;
    uint64_t seed;
    pthread_mutex_t lock; /* guards the rest */
    enum domain_state state;
    char *metadata; /* NULL: none */
    int measure_s;  /* how long the dirty rate is measured, and from when; 0: not yet */
    double measured_from_s;
    struct model model;
    double cache_bytes;
    unsigned n_pending;
    struct hv_event pending[PENDING_MAX];
};

struct hv_link {
    hv_event_fn event;
    hv_closed_fn closed;
    void *opaque;
    double opened_s;
};

struct hv_watch {
    struct sim_domain *domain;
    double opened_s;
};

struct throttle {
    struct sim_domain *domain;
    bool final; /* guarded by the domain's lock */
};

static struct host {
    struct scenario scenario;
    int64_t start_ns;
    struct sim_domain *domain;
    int log_fd;
    pthread_mutex_t lock; /* guards the rest */
    struct hv_link *link;
} host = {.log_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char error_text[sizeof(struct scenario_error) + 256] = "no error";

static int failure(int error, const char *text)
{
    snprintf(error_text, sizeof(error_text), "%s", text);
    return error;
}

const char *hypervisor_error(void)
{
    return error_text;
}

static double now_s(void)
{
    return (double)(monotonic_ns() - host.start_ns) / 1e9;
}

/* Is whatever was opened at `opened_s` cut off now? */
static bool is_cut(double opened_s)
{
    return opened_s < host.scenario.disconnect_s && now_s() >= host.scenario.disconnect_s;
}

/* One line of the host's own record. Names need no escaping here: uuid only. */
static void note(const struct sim_domain *d, const char *what, double value)
{
    char line[160];
    int len = snprintf(line, sizeof(line),
                       "{\"seconds\":%.3f,\"uuid\":\"%s\",\"what\":\"%s\",\"value\":%.6g}\n",
                       now_s(), d ? d->id.uuid : "", what, value);

    if (host.log_fd >= 0 && write(host.log_fd, line, (size_t)len) != len)
        host.log_fd = -1;
}

/* ---- domains in time; the domain is locked ---- */

static void push(struct sim_domain *d, enum hv_event_kind kind)
{
    d->pending[d->n_pending++] = (struct hv_event){.kind = kind, .domain = d->id};
}

static void end_migration(struct sim_domain *d)
{
    const struct model *m = &d->model;

    d->state = GONE;
    push(d, HV_COMPLETED);
    d->pending[d->n_pending - 1].result = (struct hv_result){
        .elapsed_ms = (int64_t)(m->time_s * 1e3),
        .downtime_ms = (int64_t)(m->downtime_s * 1e3),
        .memory_processed_bytes = (int64_t)m->sent_bytes,
    };
    push(d, HV_STOPPED);
    d->pending[d->n_pending - 1].migrated = true;
    d->id.id = -1;
    note(d, "completed", m->time_s);
    note(d, "downtime", m->downtime_s);
    note(d, "work_lost", m->work_lost_s);
}

/* Lets the domain live until now, or until there is too much to tell. */
static void advance(struct sim_domain *d)
{
    double t = now_s() - d->script->start_s;
    struct model *m = &d->model;

    if (d->state == IDLE && t >= 0) {
        d->cache_bytes = d->script->compression_cache_bytes;
        d->state = MIGRATING;
        push(d, HV_SYNC);
    }
    while (d->state == MIGRATING && m->time_s < t && d->n_pending < PENDING_MAX - 3) {
        double before_s = m->time_s;
        uint64_t iteration = m->iteration;

        model_run(m, t - m->time_s);
        if (m->iteration != iteration)
            push(d, HV_SYNC);
        if (m->state == MODEL_COMPLETED) {
            d->state = PAUSED;
            push(d, HV_SWITCHOVER);
            note(d, "switchover", m->cpu_share);
        }
        if (m->time_s <= before_s)
            break;
    }
    /* The model runs through the blackout at once; the world has to wait for it. */
    if ((d->state == PAUSED || d->state == POST_COPY) && t >= m->time_s + d->script->switchover_s &&
        d->n_pending < PENDING_MAX - 1)
        end_migration(d);
}

static void tell(struct sim_domain *d)
{
    struct hv_event events[PENDING_MAX];
    unsigned n;

    pthread_mutex_lock(&d->lock);
    advance(d);
    n = d->n_pending;
    memcpy(events, d->pending, n * sizeof(events[0]));
    d->n_pending = 0;
    pthread_mutex_unlock(&d->lock);
    for (unsigned i = 0; i < n && host.link && !is_cut(host.link->opened_s); i++) {
        events[i].now_ns = monotonic_ns();
        host.link->event(&events[i], host.link->opaque);
    }
}

static void *host_main(void *arg)
{
    int64_t step_ns = (int64_t)(STEP_NS / host.scenario.time_factor);
    struct timespec step = {.tv_nsec = step_ns > STEP_REAL_NS ? step_ns : STEP_REAL_NS};
    bool told = false;

    (void)arg;
    for (;;) {
        pthread_mutex_lock(&host.lock);
        for (size_t i = 0; i < host.scenario.n_domains; i++)
            tell(&host.domain[i]);
        if (host.link && is_cut(host.link->opened_s) && !told) {
            note(NULL, "disconnected", 0);
            host.link->closed(host.link->opaque);
            told = true;
        }
        pthread_mutex_unlock(&host.lock);
        nanosleep(&step, NULL);
    }
    return NULL;
}

/* ---- start ---- */

static int load(const char *path)
{
    char *text AUTO_FREE = NULL;
    struct scenario_error err;
    size_t len;
    int r = textfile_read(AT_FDCWD, path, JSON_STRICT_MAX_BYTES, &text, &len);

    if (r < 0)
        return failure(r, strerror(-r));
    r = scenario_parse(text, len, &host.scenario, &err);
    return r < 0 ? failure(r, err.text) : 0;
}

int hypervisor_init(const char *uri)
{
    pthread_t thread;
    int r = load(uri + strlen("sim:"));

    if (r < 0)
        return r;
    host.domain = calloc(host.scenario.n_domains + 1, sizeof(host.domain[0]));
    if (!host.domain)
        return failure(-ENOMEM, strerror(ENOMEM));
    if (host.scenario.log) {
        host.log_fd = open(host.scenario.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (host.log_fd < 0)
            return failure(-errno, host.scenario.log);
    }
    for (size_t i = 0; i < host.scenario.n_domains; i++) {
        struct sim_domain *d = &host.domain[i];

        d->script = &host.scenario.domain[i];
        d->seed = i + 1;
        d->metadata = d->script->metadata ? strdup(d->script->metadata) : NULL;
        snprintf(d->id.name, sizeof(d->id.name), "%s", d->script->name);
        snprintf(d->id.uuid, sizeof(d->id.uuid), "51310000-0000-4000-8000-%012x", (unsigned)i + 1);
        d->id.id = (int)i + 1;
        pthread_mutex_init(&d->lock, NULL);
        model_start(&d->model, &d->script->guest, &d->script->link, d->seed);
        model_limit_speed(&d->model, d->script->speed_limit_bps);
    }
    sim_clock_start(host.scenario.time_factor);
    host.start_ns = monotonic_ns();
    r = pthread_create(&thread, NULL, host_main, NULL);
    if (r != 0)
        return failure(-r, strerror(r));
    pthread_setname_np(thread, "simulation");
    return pthread_detach(thread);
}

/* ---- the connection for events ---- */

static bool is_down(void)
{
    double now = now_s();

    return now >= host.scenario.disconnect_s && now < host.scenario.reconnect_s;
}

int hv_link_open(const char *uri, hv_event_fn event, hv_closed_fn closed, void *opaque,
                 struct hv_link **ret)
{
    struct hv_link *link;

    (void)uri;
    if (is_down())
        return failure(-ENOTCONN, "the scenario has the connection down");
    link = calloc(1, sizeof(*link));
    if (!link)
        return failure(-ENOMEM, strerror(ENOMEM));
    *link = (struct hv_link){event, closed, opaque, now_s()};
    pthread_mutex_lock(&host.lock);
    host.link = link;
    pthread_mutex_unlock(&host.lock);
    *ret = link;
    return 0;
}

void hv_link_close(struct hv_link *link)
{
    pthread_mutex_lock(&host.lock);
    if (host.link == link)
        host.link = NULL;
    pthread_mutex_unlock(&host.lock);
    free(link);
}

int hv_link_list(struct hv_link *link, struct hv_domain **ret_domains, size_t *ret_count)
{
    struct hv_domain *list;

    if (is_cut(link->opened_s))
        return failure(-ENOTCONN, "the scenario has cut the connection");
    list = calloc(host.scenario.n_domains + 1, sizeof(*list));
    if (!list)
        return failure(-ENOMEM, strerror(ENOMEM));
    for (size_t i = 0; i < host.scenario.n_domains; i++) {
        pthread_mutex_lock(&host.domain[i].lock);
        list[i] = host.domain[i].id;
        pthread_mutex_unlock(&host.domain[i].lock);
    }
    *ret_domains = list;
    *ret_count = host.scenario.n_domains;
    return 0;
}

static struct sim_domain *find(const char *uuid)
{
    for (size_t i = 0; i < host.scenario.n_domains; i++) {
        if (strcmp(host.domain[i].id.uuid, uuid) == 0)
            return &host.domain[i];
    }
    return NULL;
}

/* ---- one domain ---- */

/* Locks the domain, moved on to now; or does what the scenario has in store for such calls. */
static int enter(struct sim_domain *d, double opened_s)
{
    double t = now_s() - d->script->start_s;

    if (is_cut(opened_s))
        return failure(-ENOTCONN, "the scenario has cut the connection");
    if (t >= d->script->hang_s) {
        for (;;)
            pause();
    }
    if (t >= d->script->fail_s)
        return failure(-EIO, "the scenario has this call fail");
    pthread_mutex_lock(&d->lock);
    advance(d);
    return 0;
}

static int leave(struct sim_domain *d, int r)
{
    pthread_mutex_unlock(&d->lock);
    return r;
}

static bool is_migrating(const struct sim_domain *d)
{
    return d->state == MIGRATING || d->state == PAUSED || d->state == POST_COPY;
}

int hv_link_probe(struct hv_link *link, const struct hv_domain *domain, bool *ret_migrating)
{
    struct sim_domain *d = find(domain->uuid);
    int r = d ? enter(d, link->opened_s) : failure(-ENOENT, "no such domain");

    if (r < 0)
        return r;
    *ret_migrating = is_migrating(d);
    return leave(d, 0);
}

/* As with libvirt this neither hangs nor fails with a domain's monitor. */
static int read_metadata(struct sim_domain *d, double opened_s, char **ret_xml)
{
    if (is_cut(opened_s))
        return failure(-ENOTCONN, "the scenario has cut the connection");
    pthread_mutex_lock(&d->lock);
    *ret_xml = d->metadata ? strdup(d->metadata) : NULL;
    return leave(d, 0);
}

int hv_link_metadata(struct hv_link *link, const char *uuid, char **ret_xml)
{
    struct sim_domain *d = find(uuid);

    return d ? read_metadata(d, link->opened_s, ret_xml) : failure(-ENOENT, "no such domain");
}

int hv_watch_metadata(struct hv_watch *watch, char **ret_xml)
{
    return read_metadata(watch->domain, watch->opened_s, ret_xml);
}

int hv_watch_set_metadata(struct hv_watch *watch, const char *xml)
{
    struct sim_domain *d = watch->domain;
    int r = enter(d, watch->opened_s);

    if (r < 0)
        return r;
    if (d->state == MIGRATING || d->state == PAUSED)
        return leave(d, failure(-EBUSY, "the domain is migrating"));
    free(d->metadata);
    d->metadata = xml ? strdup(xml) : NULL;
    return leave(d, 0);
}

int hv_watch_open(const char *uri, const char *uuid, struct hv_watch **ret)
{
    struct sim_domain *d = find(uuid);
    struct hv_watch *watch;

    (void)uri;
    if (is_down())
        return failure(-ENOTCONN, "the scenario has the connection down");
    if (!d)
        return failure(-ENOENT, "no such domain");
    watch = malloc(sizeof(*watch));
    if (!watch)
        return failure(-ENOMEM, strerror(ENOMEM));
    *watch = (struct hv_watch){d, now_s()};
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
    int r = enter(d, watch->opened_s);

    if (r < 0)
        return r;
    if (d->state == GONE)
        return leave(d, failure(-ENOENT, "the domain has left"));
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
            .expected_downtime_ns = s.expected_downtime_ns,
            .compression_cache_bytes = (uint64_t)d->cache_bytes,
            .post_copy = d->state == POST_COPY,
        };
    }
    return leave(d, 0);
}

int hv_watch_get_downtime(struct hv_watch *watch, int64_t *ret_ns)
{
    int r = enter(watch->domain, watch->opened_s);

    if (r < 0)
        return r;
    *ret_ns = (int64_t)(watch->domain->model.downtime_limit_s * 1e9);
    return leave(watch->domain, 0);
}

/* Only of a migration that can still be steered. */
static int enter_migration(struct hv_watch *watch)
{
    int r = enter(watch->domain, watch->opened_s);

    if (r == 0 && watch->domain->state != MIGRATING)
        return leave(watch->domain, failure(-EINVAL, "the domain is not migrating"));
    return r;
}

int hv_watch_set_downtime(struct hv_watch *watch, int64_t ns)
{
    int r = enter_migration(watch);

    if (r < 0)
        return r;
    watch->domain->model.downtime_limit_s = (double)ns / 1e9;
    note(watch->domain, "set_downtime", (double)ns / 1e9);
    return leave(watch->domain, 0);
}

int hv_watch_get_speed(struct hv_watch *watch, int64_t *ret_bps)
{
    int r = enter(watch->domain, watch->opened_s);

    if (r < 0)
        return r;
    *ret_bps = (int64_t)watch->domain->model.speed_limit_bps;
    return leave(watch->domain, 0);
}

int hv_watch_set_speed(struct hv_watch *watch, int64_t bps)
{
    int r = enter_migration(watch);

    if (r < 0)
        return r;
    model_limit_speed(&watch->domain->model, (double)bps);
    note(watch->domain, "set_speed", (double)bps);
    return leave(watch->domain, 0);
}

int hv_watch_set_compression_cache(struct hv_watch *watch, int64_t bytes)
{
    int r = enter_migration(watch);

    if (r < 0)
        return r;
    watch->domain->cache_bytes = (double)bytes;
    note(watch->domain, "set_compression_cache", (double)bytes);
    return leave(watch->domain, 0);
}

int hv_watch_post_copy(struct hv_watch *watch)
{
    struct sim_domain *d = watch->domain;
    int r = enter_migration(watch);

    if (r < 0)
        return r;
    if (!d->script->post_copy)
        return leave(d, failure(-EINVAL, "the migration was not started with post-copy"));
    model_post_copy(&d->model);
    d->state = POST_COPY;
    push(d, HV_POST_COPY);
    note(d, "post_copy", d->model.time_s);
    return leave(d, 0);
}

int hv_watch_suspend(struct hv_watch *watch)
{
    struct sim_domain *d = watch->domain;
    int r = enter_migration(watch);

    if (r < 0)
        return r;
    note(d, "suspend", d->model.time_s);
    model_suspend(&d->model);
    d->state = PAUSED;
    return leave(d, 0);
}

/* In the switchover as well, from which the guest comes back. */
int hv_watch_cancel(struct hv_watch *watch)
{
    int r = enter(watch->domain, watch->opened_s);

    if (r < 0)
        return r;
    if (watch->domain->state == PAUSED)
        push(watch->domain, HV_RESUMED);
    else if (watch->domain->state != MIGRATING)
        return leave(watch->domain, failure(-EINVAL, "the domain is not migrating"));
    model_cancel(&watch->domain->model);
    watch->domain->state = CANCELLED;
    note(watch->domain, "cancelled", watch->domain->model.time_s);
    return leave(watch->domain, 0);
}

int hv_watch_flush(struct hv_watch *watch, int64_t *ret_ns)
{
    int r = enter(watch->domain, watch->opened_s);

    if (r < 0)
        return r;
    *ret_ns = (int64_t)(watch->domain->script->guest.flush_s * 1e9);
    return leave(watch->domain, 0);
}

/* Before its migration a guest uses what it states, at a steady rate. */
int hv_watch_facts(struct hv_watch *watch, struct hv_facts *ret)
{
    const struct model_guest *g = &watch->domain->script->guest;
    int r = enter(watch->domain, watch->opened_s);

    if (r < 0)
        return r;
    *ret = (struct hv_facts){
        .memory_bytes = (uint64_t)g->ram_bytes,
        .resident_bytes = (uint64_t)(g->ram_bytes - g->zero_bytes),
        .vcpus = g->vcpus,
    };
    for (unsigned i = 0; i < g->vcpus; i++)
        ret->vcpu_time_ns[i] = (int64_t)(g->vcpu_busy[i] * now_s() * 1e9);
    return leave(watch->domain, 0);
}

int hv_watch_start_dirty_rate(struct hv_watch *watch, int seconds)
{
    struct sim_domain *d = watch->domain;
    int r = enter(d, watch->opened_s);

    if (r < 0)
        return r;
    if (d->state != IDLE)
        return leave(d, failure(-EINVAL, "the domain is migrating"));
    d->measure_s = seconds;
    d->measured_from_s = now_s();
    return leave(d, 0);
}

int hv_watch_dirty_rate(struct hv_watch *watch, bool *ret_measured, int64_t *ret_bps)
{
    struct sim_domain *d = watch->domain;
    const struct model_guest *g = &d->script->guest;
    double bytes = 0;
    int r = enter(d, watch->opened_s);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < g->regions; i++)
        bytes += model_unique_bytes(&g->region[i], d->measure_s);
    *ret_measured = d->measure_s > 0 && now_s() >= d->measured_from_s + d->measure_s;
    *ret_bps = *ret_measured ? (int64_t)(bytes / d->measure_s) / MIB_BYTES * MIB_BYTES : 0;
    return leave(d, 0);
}

int hv_watch_state(struct hv_watch *watch, bool *ret_active, bool *ret_running)
{
    struct sim_domain *d = watch->domain;

    if (is_cut(watch->opened_s))
        return failure(-ENOTCONN, "the scenario has cut the connection");
    pthread_mutex_lock(&d->lock);
    *ret_active = d->state != GONE;
    *ret_running = d->state != GONE && d->state != PAUSED && d->state != POST_COPY;
    return leave(d, 0);
}

/* ---- slowing it down: as with cgroups, this asks nobody and neither hangs nor fails ---- */

int virt_throttle_open(const struct throttle_place *place, const struct hv_domain *domain,
                       struct throttle **ret)
{
    struct throttle *t = calloc(1, sizeof(*t));

    (void)place;
    if (!t)
        return -ENOMEM;
    t->domain = find(domain->uuid);
    *ret = t;
    return 0;
}

void throttle_free(struct throttle *t)
{
    free(t);
}

size_t throttle_vcpu_count(const struct throttle *t)
{
    return t->domain->script->guest.vcpus;
}

static void set_share(struct sim_domain *d, double share)
{
    if (d->model.cpu_share != share)
        note(d, "cpu_share", share);
    d->model.cpu_share = share;
}

int throttle_set(struct throttle *t, double share, int64_t period_us)
{
    (void)period_us;
    pthread_mutex_lock(&t->domain->lock);
    if (t->final)
        return leave(t->domain, -ESHUTDOWN);
    if (t->domain->state == GONE)
        return leave(t->domain, -ENOENT);
    advance(t->domain);
    set_share(t->domain, share);
    return leave(t->domain, 0);
}

int throttle_restore(struct throttle *t, bool final, struct throttle_result *ret_result)
{
    pthread_mutex_lock(&t->domain->lock);
    t->final |= final;
    advance(t->domain);
    set_share(t->domain, 1);
    if (ret_result)
        *ret_result = (struct throttle_result){.restored = throttle_vcpu_count(t)};
    return leave(t->domain, 0);
}

int throttle_check(struct throttle *t, size_t *ret_drifted)
{
    (void)t;
    *ret_drifted = 0;
    return 0;
}

int throttle_usage_ns(struct throttle *t, size_t vcpu, uint64_t *ret_ns)
{
    pthread_mutex_lock(&t->domain->lock);
    *ret_ns = (uint64_t)(t->domain->model.cpu_s[vcpu] * 1e9);
    return leave(t->domain, 0);
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
