/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/watchers.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "agent/watch/job.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/units.h"

/* Ended migrations remembered, one per VM. */
enum { ENDED_MAX = 64 };
/* How long watchers_free() waits for what hangs in the hypervisor. */
#define JOIN_TIMEOUT_S 3
/* How often the keeper looks for watchers that have gone silent. */
#define KEEPER_INTERVAL_NS (500 * NS_PER_MS)
/* One that is not through with it for so long hangs. */
#define KEEPER_SILENT_NS (5 * NS_PER_S)

struct watchers {
    struct watchers_env env;
    pthread_mutex_t lock; /* of the lists */
    struct watcher *first;
    struct migration *ended[ENDED_MAX];
    size_t n_ended;
    pthread_t keeper;
    struct wakeup wake_keeper;
    atomic_llong kept_ns;      /* when the keeper last was through */
    atomic_size_t outstanding; /* journals nobody's throttle needs */
};

static void keep(struct watchers *ws)
{
    struct watcher *held[64];
    size_t n = 0;
    int64_t now = monotonic_ns();
    size_t asking = 0;
    size_t throttled = 0;
    size_t journals;

    pthread_mutex_lock(&ws->lock);
    for (struct watcher *w = ws->first; w; w = w->next) {
        asking += !watcher_asks(w, 0);
        throttled += watcher_is_throttled(w);
        if (n < sizeof(held) / sizeof(held[0]) && watcher_wants_restore(w, now)) {
            watcher_ref(w);
            held[n++] = w;
        }
    }
    pthread_mutex_unlock(&ws->lock);

    /* Without the lock: whatever a restore waits for, events and the socket do not. */
    for (size_t i = 0; i < n; i++) {
        watcher_restore_marked(held[i]);
        watcher_unref(held[i]);
    }
    journals = leftovers_try(ws->env.leftovers, now);
    atomic_store(&ws->outstanding, journals > throttled ? journals - throttled : 0);
    metrics_set(ws->env.metrics, METRIC_THROTTLED_DOMAINS, METRICS_SINGLE, (double)journals);
    metrics_set(ws->env.metrics, METRIC_UNDO_JOURNALS_OUTSTANDING, METRICS_SINGLE,
                (double)atomic_load(&ws->outstanding));
    metrics_set(ws->env.metrics, METRIC_PENDING_PROPOSALS, METRICS_SINGLE, (double)asking);
    atomic_store(&ws->kept_ns, monotonic_ns());
}

bool watchers_are_kept(struct watchers *ws, int64_t now_ns)
{
    return now_ns - atomic_load(&ws->kept_ns) < KEEPER_SILENT_NS;
}

static void *keeper_main(void *arg)
{
    struct watchers *ws = arg;

    while (wakeup_wait(&ws->wake_keeper, monotonic_ns() + KEEPER_INTERVAL_NS) == 0)
        keep(ws);
    return NULL;
}

int watchers_new(const struct watchers_env *env, struct watchers **ret)
{
    struct watchers *ws = alloc_need(calloc(1, sizeof(*ws)));
    int r;

    ws->env = *env;
    pthread_mutex_init(&ws->lock, NULL);
    wakeup_init(&ws->wake_keeper);
    atomic_store(&ws->kept_ns, monotonic_ns());
    r = pthread_create(&ws->keeper, NULL, keeper_main, ws);
    if (r != 0) {
        free(ws);
        return -r;
    }
    *ret = ws;
    return 0;
}

static void remember(struct watchers *ws, struct migration *m)
{
    size_t i;

    for (i = 0; i < ws->n_ended; i++) {
        if (strcmp(ws->ended[i]->domain.uuid, m->domain.uuid) == 0)
            break;
    }
    if (i == ws->n_ended && i < ENDED_MAX) {
        ws->n_ended++;
    } else {
        /* The same VM's, or the oldest of all, makes room: what is left is in order of ending. */
        if (i == ENDED_MAX)
            i = 0;
        free(ws->ended[i]);
        memmove(&ws->ended[i], &ws->ended[i + 1], (ws->n_ended - i - 1) * sizeof(ws->ended[0]));
    }
    ws->ended[ws->n_ended - 1] = m;
}

static struct watcher *find(struct watchers *ws, const char *uuid)
{
    for (struct watcher *w = ws->first; w; w = w->next) {
        if (strcmp(w->domain.uuid, uuid) == 0 && !watcher_has_ended(w))
            return w;
    }
    return NULL;
}

static void start_locked(struct watchers *ws, const struct hv_domain *domain, int64_t sync_ns)
{
    struct watcher *w = watcher_new(&ws->env, domain, sync_ns);
    int r = job_start(w);

    if (r < 0) {
        watcher_unref(w);
        log_error("%s: cannot watch its migration: %s", domain->name, strerror(-r));
        return;
    }
    w->next = ws->first;
    ws->first = w;
}

/* Returns how many had to be left behind. */
static unsigned reap(struct watchers *ws, bool wait)
{
    struct timespec until;
    unsigned hung = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_TIMEOUT_S;
    for (;;) {
        struct watcher **at;
        struct watcher *w;

        pthread_mutex_lock(&ws->lock);
        for (at = &ws->first; *at && !wait && !watcher_has_ended(*at);)
            at = &(*at)->next;
        w = *at;
        if (w)
            *at = w->next;
        pthread_mutex_unlock(&ws->lock);
        if (!w)
            return hung;
        if (pthread_timedjoin_np(w->thread, NULL, &until) != 0) {
            log_warning("%s: its connection to libvirt does not answer; not waiting for it",
                        w->domain.name);
            hung++;
            continue;
        }
        pthread_mutex_lock(&ws->lock);
        if (w->was_migration) {
            struct migration *m = alloc_need(malloc(sizeof(*m)));

            watcher_view(w, m);
            remember(ws, m);
        }
        /* It was tried again before the end of this one was told. */
        if (!wait && watcher_is_succeeded(w) && !find(ws, w->domain.uuid))
            start_locked(ws, &w->domain, watcher_take_sync(w));
        pthread_mutex_unlock(&ws->lock);
        watcher_unref(w);
    }
}

void watchers_reap(struct watchers *ws)
{
    reap(ws, false);
}

bool watchers_free(struct watchers *ws)
{
    unsigned hung;

    if (!ws)
        return true;
    pthread_mutex_lock(&ws->lock);
    for (struct watcher *w = ws->first; w; w = w->next)
        watcher_stop(w);
    pthread_mutex_unlock(&ws->lock);
    keep(ws);
    hung = reap(ws, true);
    wakeup_end(&ws->wake_keeper);
    pthread_join(ws->keeper, NULL);
    leftovers_try(ws->env.leftovers, INT64_MAX);
    if (hung > 0)
        return false;
    for (size_t i = 0; i < ws->n_ended; i++)
        free(ws->ended[i]);
    wakeup_destroy(&ws->wake_keeper);
    pthread_mutex_destroy(&ws->lock);
    free(ws);
    return true;
}

void watchers_start(struct watchers *ws, const struct hv_domain *domain)
{
    pthread_mutex_lock(&ws->lock);
    if (!find(ws, domain->uuid))
        start_locked(ws, domain, 0);
    pthread_mutex_unlock(&ws->lock);
}

bool watchers_owe(struct watchers *ws, const char *uuid)
{
    return host_kept_speed(ws->env.host, uuid) >= 0;
}

void watchers_event(struct watchers *ws, const struct hv_event *event)
{
    bool restore = event->kind == HV_SWITCHOVER || event->kind == HV_POST_COPY;
    struct watcher *w;

    pthread_mutex_lock(&ws->lock);
    w = find(ws, event->domain.uuid);
    if (w)
        watcher_mark(w, event);
    else if (event->kind == HV_SYNC)
        start_locked(ws, &event->domain, event->now_ns);
    pthread_mutex_unlock(&ws->lock);
    if (w && restore)
        wakeup_signal(&ws->wake_keeper);
}

void watchers_poke(struct watchers *ws, const char *uuid)
{
    struct watcher *w;

    pthread_mutex_lock(&ws->lock);
    for (w = ws->first; w; w = w->next) {
        if (!uuid || strcmp(w->domain.uuid, uuid) == 0)
            wakeup_signal(&w->wake);
    }
    pthread_mutex_unlock(&ws->lock);
}

int watchers_release(struct watchers *ws, const char *uuid, uid_t uid)
{
    struct watcher *w;
    int r = -ESRCH;

    pthread_mutex_lock(&ws->lock);
    w = find(ws, uuid);
    if (w)
        r = watcher_release(w, uid);
    pthread_mutex_unlock(&ws->lock);
    return r;
}

void watchers_overlay(struct watchers *ws, const char *uuid, struct policy *policy)
{
    struct watcher *w;

    pthread_mutex_lock(&ws->lock);
    w = find(ws, uuid);
    if (w)
        watcher_overlay(w, policy);
    pthread_mutex_unlock(&ws->lock);
}

int watchers_answer(struct watchers *ws, unsigned id, bool yes, int64_t ceiling_ns, const char *who)
{
    struct watcher *w;
    int r = -ENOENT;

    pthread_mutex_lock(&ws->lock);
    for (w = ws->first; w && !watcher_asks(w, id);)
        w = w->next;
    if (w)
        watcher_ref(w);
    pthread_mutex_unlock(&ws->lock);
    if (w) {
        r = watcher_answer(w, id, yes, ceiling_ns, who);
        watcher_unref(w);
    }
    return r;
}

void watchers_list(struct watchers *ws, struct migration **ret, size_t *ret_count)
{
    struct migration *list;
    size_t n = 0;

    pthread_mutex_lock(&ws->lock);
    for (struct watcher *w = ws->first; w; w = w->next)
        n++;
    list = alloc_need(calloc(n + ws->n_ended + 1, sizeof(*list)));
    n = 0;
    for (struct watcher *w = ws->first; w; w = w->next) {
        if (w->was_migration)
            watcher_view(w, &list[n++]);
    }
    for (size_t i = 0; i < ws->n_ended; i++) {
        if (!find(ws, ws->ended[i]->domain.uuid))
            list[n++] = *ws->ended[i];
    }
    pthread_mutex_unlock(&ws->lock);
    *ret = list;
    *ret_count = n;
}

int watchers_get(struct watchers *ws, const char *uuid, struct migration *ret)
{
    int r = -ENOENT;

    pthread_mutex_lock(&ws->lock);
    /* The newest comes first; one that has ended may not have been collected yet. */
    for (struct watcher *w = ws->first; w && r < 0; w = w->next) {
        if (w->was_migration && strcmp(w->domain.uuid, uuid) == 0) {
            watcher_view(w, ret);
            r = 0;
        }
    }
    for (size_t i = 0; r < 0 && i < ws->n_ended; i++) {
        if (strcmp(ws->ended[i]->domain.uuid, uuid) == 0) {
            *ret = *ws->ended[i];
            r = 0;
        }
    }
    pthread_mutex_unlock(&ws->lock);
    return r;
}

size_t watchers_outstanding(struct watchers *ws)
{
    return atomic_load(&ws->outstanding);
}
