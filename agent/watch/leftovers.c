/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/leftovers.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"

struct entry {
    struct entry *next;
    struct leftover view;
    bool seen; /* in this round */
};

struct leftovers {
    struct throttle_roots roots;
    struct record *record;
    struct metrics *metrics;
    pthread_mutex_t trying; /* for a whole round, or a try; guards what is not in the list */
    pthread_mutex_t lock;   /* of the list, for copies; it is changed under both */
    struct entry *first;
    size_t journals;
    int list_error; /* of the last round */
    int64_t now_ns; /* of this round, as is what follows */
    bool all;
    size_t count;
    size_t restored;
};

void leftovers_describe(const struct throttle_result *result, unsigned failures, char *text,
                        size_t size)
{
    int len = snprintf(text, size, "%zu vCPU quotas restored, %zu gone, %zu left to another writer",
                       result->restored, result->gone, result->drifted);

    if (failures > 0 && (size_t)len < size)
        snprintf(text + len, size - (size_t)len, ", after %u failed tries", failures);
}

static void report(struct record *record, const char *uuid, const char *name, int error,
                   const struct throttle_result *result, unsigned failures)
{
    struct hv_domain domain = {.id = -1};
    struct migration_event event = {
        .elapsed_s = NAN,
        .action = ACTION_RELEASE,
        .result = error == 0 ? EVENT_APPLIED : EVENT_FAILED,
        .reason = REASON_LEFT_BEHIND,
    };

    clock_gettime(CLOCK_REALTIME, &event.wall);
    snprintf(domain.name, sizeof(domain.name), "%s", name && *name ? name : uuid);
    snprintf(domain.uuid, sizeof(domain.uuid), "%s", uuid);
    if (error == 0)
        leftovers_describe(result, failures, event.detail, sizeof(event.detail));
    else
        snprintf(event.detail, sizeof(event.detail), "cannot restore its vCPU quotas: %s",
                 throttle_error(error));
    record_event(record, &domain, &event);
}

static void count(struct metrics *metrics, int error)
{
    if (metrics)
        metrics_count(metrics,
                      error == 0 ? METRIC_THROTTLE_RESTORES : METRIC_THROTTLE_RESTORE_FAILURES,
                      METRICS_SINGLE, 1);
}

void leftovers_report(struct record *record, struct metrics *metrics, const char *uuid,
                      const char *name, int error, const struct throttle_result *result)
{
    report(record, uuid, name, error, result, 0);
    count(metrics, error);
}

struct leftovers *leftovers_new(const struct throttle_roots *roots, struct record *record,
                                struct metrics *metrics)
{
    struct leftovers *l = alloc_need(calloc(1, sizeof(*l)));

    l->roots = *roots;
    l->record = record;
    l->metrics = metrics;
    pthread_mutex_init(&l->trying, NULL);
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

/* Forget those not seen in this round, or all. */
static void forget(struct leftovers *l, bool all)
{
    pthread_mutex_lock(&l->lock);
    for (struct entry **at = &l->first; *at;) {
        struct entry *one = *at;

        if (one->seen && !all) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
    pthread_mutex_unlock(&l->lock);
}

void leftovers_free(struct leftovers *l)
{
    if (!l)
        return;
    forget(l, true);
    pthread_mutex_destroy(&l->trying);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* What of its time is spent already is known from the journal, unless the clock was set since. */
static int64_t found_ns(const struct leftovers *l, const char *uuid, int64_t now_ns)
{
    struct timespec written, now;
    int64_t age_ns;

    clock_gettime(CLOCK_REALTIME, &now);
    if (throttle_journal_written(&l->roots, uuid, &written) < 0)
        return now_ns;
    age_ns = (now.tv_sec - written.tv_sec) * NS_PER_S + now.tv_nsec - written.tv_nsec;
    return age_ns > 0 ? now_ns - age_ns : now_ns;
}

static struct entry *find(struct leftovers *l, const char *uuid, int64_t now_ns)
{
    struct entry *one;

    for (one = l->first; one; one = one->next)
        if (strcmp(one->view.uuid, uuid) == 0)
            return one;
    one = alloc_need(calloc(1, sizeof(*one)));
    snprintf(one->view.uuid, sizeof(one->view.uuid), "%s", uuid);
    one->view.found_ns = found_ns(l, uuid, now_ns);
    pthread_mutex_lock(&l->lock);
    one->next = l->first;
    l->first = one;
    pthread_mutex_unlock(&l->lock);
    return one;
}

/* one: its entry; NULL: it has not been found before. */
static int try_now(struct leftovers *l, const char *uuid, struct entry *one, int64_t now_ns,
                   struct throttle_result *result)
{
    AUTO_FREE char *name = NULL;
    int r = throttle_restore_journal(&l->roots, uuid, &name, result);
    bool news = true;

    if (r == -EBUSY)
        return r;
    if (one) {
        pthread_mutex_lock(&l->lock);
        one->seen = r < 0 && r != -ENOENT;
        if (name)
            snprintf(one->view.name, sizeof(one->view.name), "%s", name);
        if (one->seen)
            news = backoff_failed(&one->view.backoff, r, now_ns);
        pthread_mutex_unlock(&l->lock);
    }
    if (r == -ENOENT)
        return r;
    count(l->metrics, r);
    if (news)
        report(l->record, uuid, one ? one->view.name : name, r, result,
               one ? one->view.backoff.failures : 0);
    return r;
}

static void try_one(const char *uuid, bool open, void *opaque)
{
    struct leftovers *l = opaque;
    struct throttle_result result;
    struct entry *one;
    int r;

    l->count++;
    if (open)
        return;
    one = find(l, uuid, l->now_ns);
    one->seen = true;
    if (one->view.backoff.due_ns > l->now_ns && !l->all)
        return;
    r = try_now(l, uuid, one, l->now_ns, &result);
    l->restored += r == 0;
    if (r == 0 || r == -ENOENT)
        l->count--;
}

size_t leftovers_try(struct leftovers *l, int64_t now_ns)
{
    size_t journals;
    int r;

    pthread_mutex_lock(&l->trying);
    for (struct entry *one = l->first; one; one = one->next)
        one->seen = false;
    l->all = now_ns == INT64_MAX;
    l->now_ns = l->all ? monotonic_ns() : now_ns;
    l->count = l->restored = 0;
    r = throttle_list_journals(&l->roots, try_one, l);
    if (r == 0) {
        l->journals = l->count;
        forget(l, false);
    } else {
        count(l->metrics, r);
        if (r != l->list_error)
            log_error("%s/undo: what is left to restore cannot be listed: %s", l->roots.run_dir,
                      throttle_error(r));
    }
    l->list_error = r;
    journals = l->journals;
    pthread_mutex_unlock(&l->trying);
    return journals;
}

size_t leftovers_restore_first(struct leftovers *l, size_t *ret_left)
{
    size_t left;

    throttle_sweep(&l->roots);
    left = leftovers_try(l, INT64_MAX);
    *ret_left = l->list_error == 0 ? left : left + 1;
    return l->restored;
}

int leftovers_release(struct leftovers *l, const char *uuid, int64_t now_ns,
                      struct throttle_result *ret_result)
{
    struct entry *one;
    int r;

    pthread_mutex_lock(&l->trying);
    for (one = l->first; one && strcmp(one->view.uuid, uuid) != 0;)
        one = one->next;
    r = try_now(l, uuid, one, now_ns, ret_result);
    if (one && !one->seen) {
        for (struct entry *other = l->first; other; other = other->next)
            other->seen = other != one;
        forget(l, false);
    }
    pthread_mutex_unlock(&l->trying);
    return r;
}

void leftovers_list(struct leftovers *l, struct leftover **ret, size_t *ret_count)
{
    struct leftover *list;
    size_t n = 0;

    pthread_mutex_lock(&l->lock);
    for (struct entry *one = l->first; one; one = one->next)
        n++;
    list = alloc_need(calloc(n + 1, sizeof(*list)));
    n = 0;
    for (struct entry *one = l->first; one; one = one->next)
        if (one->view.backoff.failures > 0)
            list[n++] = one->view;
    pthread_mutex_unlock(&l->lock);
    *ret = list;
    *ret_count = n;
}
