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

#include "common/cleanup.h"
#include "common/log.h"
#include "common/units.h"

struct leftover {
    struct leftover *next;
    char *uuid;
    int error; /* of the last try */
    int64_t wait_s;
    int64_t due_ns;
    bool seen; /* in this round */
};

struct leftovers {
    struct throttle_roots roots;
    struct record *record;
    struct metrics *metrics;
    pthread_mutex_t lock; /* of what follows, and for a whole round */
    struct leftover *first;
    size_t journals;
    int list_error; /* of the last round */
    int64_t now_ns; /* of this round, as is what follows */
    size_t count;
};

void leftovers_report(struct record *record, struct metrics *metrics, const char *uuid,
                      const char *name, int error, const struct throttle_result *result)
{
    struct hv_domain domain = {.id = -1};
    struct migration_event event = {
        .elapsed_s = NAN,
        .action = ACTION_RELEASE,
        .result = error == 0 ? EVENT_APPLIED : EVENT_FAILED,
        .reason = REASON_LEFT_BEHIND,
    };

    clock_gettime(CLOCK_REALTIME, &event.wall);
    snprintf(domain.name, sizeof(domain.name), "%s", name ? name : uuid);
    snprintf(domain.uuid, sizeof(domain.uuid), "%s", uuid);
    if (error == 0)
        snprintf(event.detail, sizeof(event.detail),
                 "%zu vCPU quotas restored, %zu gone, %zu left to another writer", result->restored,
                 result->gone, result->drifted);
    else
        snprintf(event.detail, sizeof(event.detail), "cannot restore its vCPU quotas: %s",
                 throttle_error(error));
    record_event(record, &domain, &event);
    if (metrics)
        metrics_count(metrics,
                      error == 0 ? METRIC_THROTTLE_RESTORES : METRIC_THROTTLE_RESTORE_FAILURES,
                      METRICS_SINGLE, 1);
}

int leftovers_new(const struct throttle_roots *roots, struct record *record,
                  struct metrics *metrics, struct leftovers **ret)
{
    struct leftovers *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->roots = *roots;
    l->record = record;
    l->metrics = metrics;
    pthread_mutex_init(&l->lock, NULL);
    *ret = l;
    return 0;
}

/* Forget those not seen in this round, or all. */
static void forget(struct leftovers *l, bool all)
{
    for (struct leftover **at = &l->first; *at;) {
        struct leftover *one = *at;

        if (one->seen && !all) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one->uuid);
        free(one);
    }
}

void leftovers_free(struct leftovers *l)
{
    if (!l)
        return;
    forget(l, true);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* NULL: no memory. */
static struct leftover *find(struct leftovers *l, const char *uuid)
{
    struct leftover *one;

    for (one = l->first; one; one = one->next)
        if (strcmp(one->uuid, uuid) == 0)
            return one;
    one = calloc(1, sizeof(*one));
    if (!one || !(one->uuid = strdup(uuid))) {
        free(one);
        return NULL;
    }
    one->next = l->first;
    l->first = one;
    return one;
}

/* Even without the memory to tell how it went, the guest gets its CPU back. */
static void try_one(const char *uuid, bool open, void *opaque)
{
    AUTO_FREE char *name = NULL;
    struct leftovers *l = opaque;
    struct leftover *one = open ? NULL : find(l, uuid);
    struct throttle_result result;
    int r;

    l->count++;
    if (one)
        one->seen = true;
    if (open || (one && one->due_ns > l->now_ns))
        return;
    r = throttle_restore_journal(&l->roots, uuid, &name, &result);
    if (r == -EBUSY)
        return;
    if (r == 0 || r == -ENOENT)
        l->count--;
    if (r != -ENOENT && (!one || r == 0 || r != one->error))
        leftovers_report(l->record, l->metrics, uuid, name, r, &result);
    if (!one)
        return;
    one->seen = r < 0 && r != -ENOENT;
    one->error = r;
    one->wait_s = one->wait_s == 0 ? 1 : one->wait_s * 2;
    if (one->wait_s > LEFTOVER_RETRY_MAX_S)
        one->wait_s = LEFTOVER_RETRY_MAX_S;
    one->due_ns = l->now_ns == INT64_MAX ? 0 : l->now_ns + one->wait_s * NS_PER_S;
}

size_t leftovers_try(struct leftovers *l, int64_t now_ns)
{
    size_t journals;
    int r;

    pthread_mutex_lock(&l->lock);
    for (struct leftover *one = l->first; one; one = one->next)
        one->seen = false;
    l->now_ns = now_ns;
    l->count = 0;
    r = throttle_list_journals(&l->roots, try_one, l);
    if (r == 0) {
        l->journals = l->count;
        forget(l, false);
    } else if (r != l->list_error) {
        log_error("%s/undo: what is left to restore cannot be listed: %s", l->roots.run_dir,
                  throttle_error(r));
    }
    l->list_error = r;
    journals = l->journals;
    pthread_mutex_unlock(&l->lock);
    return journals;
}
