/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/monitor.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/units.h"
#include "common/wakeup.h"

/* First and longest wait between two attempts to connect. */
#define RETRY_MIN_NS   NS_PER_S
#define RETRY_MAX_NS   (10 * NS_PER_S)
#define JOIN_TIMEOUT_S 3

/* First and longest wait before the list of domains is read once more after a change. */
#define REREAD_MIN_NS NS_PER_S
#define REREAD_MAX_NS (3600 * NS_PER_S)

enum { STALE_MAX = 64 };

struct monitor {
    const char *uri;
    struct watchers *watchers;
    struct policies *policies;
    struct metrics *metrics;
    pthread_t thread;
    struct wakeup wake;
    atomic_bool closed;  /* the connection was lost */
    atomic_bool changed; /* the list of domains is out of date */

    /* The thread's own: the domains whose metadata was read, in order. */
    char (*read)[HV_UUID_MAX];
    size_t n_read;

    pthread_mutex_t lock; /* guards the rest */
    bool connected;
    bool known; /* the list was read at least once */
    struct hv_domain *domains;
    size_t count;
    char stale[STALE_MAX][HV_UUID_MAX]; /* the domains whose metadata may have changed; */
    size_t n_stale;                     /* above STALE_MAX: any may */
};

static void add_domain(struct monitor *m, const struct hv_domain *domain)
{
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->count; i++) {
        /* A name is unique on a host: another UUID under it belongs to a domain that is gone. */
        if (strcmp(m->domains[i].uuid, domain->uuid) == 0 ||
            strcmp(m->domains[i].name, domain->name) == 0) {
            m->domains[i] = *domain;
            pthread_mutex_unlock(&m->lock);
            return;
        }
    }
    m->domains = alloc_need(realloc(m->domains, (m->count + 1) * sizeof(*m->domains)));
    m->domains[m->count++] = *domain;
    pthread_mutex_unlock(&m->lock);
}

static void mark_stale(struct monitor *m, const char *uuid)
{
    pthread_mutex_lock(&m->lock);
    if (m->n_stale < STALE_MAX)
        memcpy(m->stale[m->n_stale], uuid, HV_UUID_MAX);
    if (m->n_stale <= STALE_MAX)
        m->n_stale++;
    pthread_mutex_unlock(&m->lock);
}

static void on_event(const struct hv_event *event, void *opaque)
{
    struct monitor *m = opaque;

    if (event->kind == HV_DOMAIN_SEEN)
        add_domain(m, &event->domain);
    if (event->kind == HV_DOMAIN_SEEN || event->kind == HV_METADATA)
        mark_stale(m, event->domain.uuid);
    /* The list is read anew after every change: one read meanwhile may be older than this event. */
    if (event->kind == HV_DOMAIN_SEEN || event->kind == HV_DOMAIN_CHANGED ||
        event->kind == HV_STOPPED || event->kind == HV_METADATA) {
        atomic_store(&m->changed, true);
        wakeup_signal(&m->wake);
    }
    watchers_event(m->watchers, event);
}

static void on_closed(void *opaque)
{
    struct monitor *m = opaque;

    atomic_store(&m->closed, true);
    wakeup_signal(&m->wake);
}

static void set_connected(struct monitor *m, bool connected)
{
    pthread_mutex_lock(&m->lock);
    m->connected = connected;
    pthread_mutex_unlock(&m->lock);
    metrics_set(m->metrics, METRIC_LIBVIRT_UP, METRICS_SINGLE, connected);
}

static int read_list(struct monitor *m, struct hv_link *link)
{
    struct hv_domain *domains;
    int64_t started = monotonic_ns();
    size_t count;
    int r = hv_link_list(link, &domains, &count);

    metrics_observe(m->metrics, METRIC_LIBVIRT_CALL_DURATION, METRICS_AT(METRICS_CALL_LIST),
                    (double)(monotonic_ns() - started) / 1e9);
    if (r < 0) {
        metrics_count(m->metrics, METRIC_LIBVIRT_CALL_FAILURES, METRICS_AT(METRICS_CALL_LIST), 1);
        return r;
    }
    pthread_mutex_lock(&m->lock);
    free(m->domains);
    m->domains = domains;
    m->count = count;
    m->known = true;
    pthread_mutex_unlock(&m->lock);
    return 0;
}

/* Migrations that were under way before we listened for events, and domains that have something to
   be given back. */
static void find_running(struct monitor *m, struct hv_link *link)
{
    struct hv_domain domain;
    bool migrating;

    for (size_t i = 0;; i++) {
        pthread_mutex_lock(&m->lock);
        if (i >= m->count) {
            pthread_mutex_unlock(&m->lock);
            return;
        }
        domain = m->domains[i];
        pthread_mutex_unlock(&m->lock);
        if (domain.id >= 0 && hv_link_probe(link, &domain, &migrating) == 0 &&
            (migrating || watchers_owe(m->watchers, domain.uuid)))
            watchers_start(m->watchers, &domain);
    }
}

static int compare_uuid(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool is_in(const char *uuid, char (*list)[HV_UUID_MAX], size_t count)
{
    return count > 0 && bsearch(uuid, list, count, sizeof(list[0]), compare_uuid);
}

static void learn(struct monitor *m, struct hv_link *link, const char *uuid)
{
    char *metadata AUTO_FREE = NULL;
    char *xml AUTO_FREE = NULL;
    struct description description;

    if (hv_link_metadata(link, uuid, &metadata) == 0)
        policies_learn_metadata(m->policies, uuid, 0, metadata);
    if (hv_link_description(link, uuid, &xml) == 0 && description_parse(xml, &description) == 0)
        policies_set_description(m->policies, uuid, &description);
}

/*
 * Reads the metadata of domains not yet known and of those where it may have changed. What cannot
 * be read now is when the domain migrates, by its watcher.
 */
static void read_metadata(struct monitor *m, struct hv_link *link)
{
    char stale[STALE_MAX][HV_UUID_MAX];
    char(*list)[HV_UUID_MAX];
    size_t n_stale;
    size_t count;

    pthread_mutex_lock(&m->lock);
    n_stale = m->n_stale;
    m->n_stale = 0;
    memcpy(stale, m->stale, sizeof(stale));
    count = m->count;
    list = alloc_need(calloc(count + 1, sizeof(list[0])));
    for (size_t i = 0; i < count; i++)
        memcpy(list[i], m->domains[i].uuid, sizeof(list[0]));
    pthread_mutex_unlock(&m->lock);
    qsort(list, count, sizeof(list[0]), compare_uuid);
    policies_note_domains(m->policies, list, count);
    if (n_stale <= STALE_MAX)
        qsort(stale, n_stale, sizeof(stale[0]), compare_uuid);
    for (size_t i = 0; i < count && !atomic_load(&m->closed); i++) {
        if (n_stale <= STALE_MAX && is_in(list[i], m->read, m->n_read) &&
            !is_in(list[i], stale, n_stale))
            continue;
        learn(m, link, list[i]);
    }
    for (size_t i = 0; i < m->n_read; i++) {
        if (!is_in(m->read[i], list, count))
            policies_forget_domain(m->policies, m->read[i]);
    }
    free(m->read);
    m->read = list;
    m->n_read = count;
}

/*
 * Serves one connection until it is lost (0) or we are to stop (-ESHUTDOWN). A transient domain is
 * still listed for a while after libvirt has told that it stopped, and of its going nothing is
 * told: so the list is read again, at growing intervals.
 */
static int serve(struct monitor *m, struct hv_link *link)
{
    int64_t wait_ns = REREAD_MIN_NS;
    int r = 0;

    /* What changed while there was no connection nobody told. */
    pthread_mutex_lock(&m->lock);
    m->n_stale = STALE_MAX + 1;
    pthread_mutex_unlock(&m->lock);
    if (read_list(m, link) == 0) {
        find_running(m, link);
        read_metadata(m, link);
    }
    while (r == 0 && !atomic_load(&m->closed)) {
        int64_t until = monotonic_ns() + wait_ns;

        r = wakeup_wait(&m->wake, until);
        if (atomic_exchange(&m->changed, false))
            wait_ns = REREAD_MIN_NS;
        else if (monotonic_ns() >= until)
            wait_ns = wait_ns * 2 < REREAD_MAX_NS ? wait_ns * 2 : REREAD_MAX_NS;
        else
            continue;
        if (r == 0 && !atomic_load(&m->closed) && read_list(m, link) == 0)
            read_metadata(m, link);
    }
    return r;
}

static void *monitor_main(void *arg)
{
    struct monitor *m = arg;
    int64_t retry_ns = RETRY_MIN_NS;
    bool complained = false;
    bool was_up = false;
    int r = 0;

    while (r == 0) {
        struct hv_link *link;
        int64_t started = monotonic_ns();

        atomic_store(&m->closed, false);
        r = hv_link_open(m->uri, on_event, on_closed, m, &link);
        metrics_observe(m->metrics, METRIC_LIBVIRT_CALL_DURATION, METRICS_AT(METRICS_CALL_OPEN),
                        (double)(monotonic_ns() - started) / 1e9);
        if (r < 0) {
            metrics_count(m->metrics, METRIC_LIBVIRT_CALL_FAILURES, METRICS_AT(METRICS_CALL_OPEN),
                          1);
            if (!complained)
                log_warning("cannot connect to libvirt at %s: %s; retrying", m->uri,
                            hypervisor_error());
            complained = true;
            r = wakeup_wait(&m->wake, monotonic_ns() + retry_ns);
            retry_ns = retry_ns * 2 < RETRY_MAX_NS ? retry_ns * 2 : RETRY_MAX_NS;
            continue;
        }
        log_info("connected to libvirt at %s", m->uri);
        metrics_count(m->metrics, METRIC_LIBVIRT_RECONNECTS, METRICS_SINGLE, was_up);
        set_connected(m, true);
        was_up = true;
        complained = false;
        retry_ns = RETRY_MIN_NS;
        r = serve(m, link);
        set_connected(m, false);
        hv_link_close(link);
        if (r == 0)
            log_warning("lost the connection to libvirt at %s; reconnecting", m->uri);
    }
    return NULL;
}

int monitor_new(const char *uri, struct watchers *watchers, struct policies *policies,
                struct metrics *metrics, struct monitor **ret)
{
    struct monitor *m = alloc_need(calloc(1, sizeof(*m)));
    int r;

    m->uri = uri;
    m->watchers = watchers;
    m->policies = policies;
    m->metrics = metrics;
    pthread_mutex_init(&m->lock, NULL);
    wakeup_init(&m->wake);
    set_connected(m, false);
    r = pthread_create(&m->thread, NULL, monitor_main, m);
    if (r != 0) {
        free(m);
        return -r;
    }
    *ret = m;
    return 0;
}

bool monitor_free(struct monitor *m)
{
    struct timespec until;

    if (!m)
        return true;
    wakeup_end(&m->wake);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_TIMEOUT_S;
    if (pthread_timedjoin_np(m->thread, NULL, &until) != 0)
        return false;
    wakeup_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    free(m->domains);
    free(m->read);
    free(m);
    return true;
}

bool monitor_connected(struct monitor *m)
{
    bool connected;

    pthread_mutex_lock(&m->lock);
    connected = m->connected;
    pthread_mutex_unlock(&m->lock);
    return connected;
}

/* A UUID by itself, too, unless it is the name of a domain. */
static bool matches(const struct hv_domain *domain, const char *vm, bool bare_uuid)
{
    char id[16];

    if (bare_uuid)
        return strcasecmp(domain->uuid, vm) == 0;

    if (strncmp(vm, "uuid:", 5) == 0)
        return strcasecmp(domain->uuid, vm + 5) == 0;
    if (strncmp(vm, "id:", 3) == 0) {
        snprintf(id, sizeof(id), "%d", domain->id);
        return domain->id >= 0 && strcmp(id, vm + 3) == 0;
    }
    return strcmp(domain->name, vm) == 0;
}

/* -ENOENT if there is none. The lock is held. */
static int find_locked(const struct monitor *m, const char *vm, bool bare_uuid,
                       struct hv_domain *ret)
{
    int r = -ENOENT;

    for (size_t i = 0; i < m->count; i++) {
        /* One that runs before one that is just going. */
        if (matches(&m->domains[i], vm, bare_uuid) && (r < 0 || m->domains[i].id >= 0)) {
            *ret = m->domains[i];
            r = 0;
        }
    }
    return r;
}

int monitor_find(struct monitor *m, const char *vm, struct hv_domain *ret)
{
    int r;

    pthread_mutex_lock(&m->lock);
    r = find_locked(m, vm, false, ret);
    if (r < 0)
        r = find_locked(m, vm, true, ret);
    if (r < 0 && !m->known)
        r = -ENOTCONN;
    pthread_mutex_unlock(&m->lock);
    return r;
}

int monitor_list(struct monitor *m, struct hv_domain **ret, size_t *ret_count)
{
    struct hv_domain *list = NULL;
    bool known;

    pthread_mutex_lock(&m->lock);
    known = m->known;
    if (known) {
        list = alloc_need(calloc(m->count + 1, sizeof(*list)));
        if (m->count > 0)
            memcpy(list, m->domains, m->count * sizeof(*list));
        *ret_count = m->count;
        *ret = list;
    }
    pthread_mutex_unlock(&m->lock);
    return known ? 0 : -ENOTCONN;
}
