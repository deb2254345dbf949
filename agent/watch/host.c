/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/host.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/units.h"

struct kept_speed {
    struct kept_speed *next;
    char uuid[40];
    int64_t bps;
};

struct host {
    pthread_mutex_t lock; /* guards the members */
    struct host_limits limits;
    struct host_member *first;
    struct kept_speed *kept;
    int64_t taken; /* slots */
};

struct host *host_new(const struct host_limits *limits)
{
    struct host *h = alloc_need(calloc(1, sizeof(*h)));

    h->limits = *limits;
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

void host_free(struct host *h)
{
    struct kept_speed *next;

    if (!h)
        return;
    for (struct kept_speed *kept = h->kept; kept; kept = next) {
        next = kept->next;
        free(kept);
    }
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void host_set_limits(struct host *h, const struct host_limits *limits)
{
    pthread_mutex_lock(&h->lock);
    h->limits = *limits;
    pthread_mutex_unlock(&h->lock);
}

static void set_slot(struct host *h, struct host_member *m, bool has)
{
    h->taken += has - m->has_slot;
    m->has_slot = has;
}

void host_join(struct host *h, struct host_member *m)
{
    pthread_mutex_lock(&h->lock);
    m->next = h->first;
    h->first = m;
    pthread_mutex_unlock(&h->lock);
}

void host_leave(struct host *h, struct host_member *m)
{
    struct host_member **at;

    pthread_mutex_lock(&h->lock);
    for (at = &h->first; *at && *at != m;)
        at = &(*at)->next;
    if (*at)
        *at = m->next;
    set_slot(h, m, false);
    pthread_mutex_unlock(&h->lock);
}

static bool may_throttle(const struct host *h, const struct host_member *m)
{
    return m->has_slot || h->limits.throttled_max < 0 || h->taken < h->limits.throttled_max;
}

bool host_take_slot(struct host *h, struct host_member *m)
{
    bool taken;

    pthread_mutex_lock(&h->lock);
    taken = may_throttle(h, m);
    set_slot(h, m, taken);
    pthread_mutex_unlock(&h->lock);
    return taken;
}

void host_give_slot(struct host *h, struct host_member *m)
{
    pthread_mutex_lock(&h->lock);
    set_slot(h, m, false);
    pthread_mutex_unlock(&h->lock);
}

void host_need(struct host *h, struct host_member *m, double bps)
{
    pthread_mutex_lock(&h->lock);
    m->needs_bps = bps;
    pthread_mutex_unlock(&h->lock);
}

/* The place of what is kept, or where it would be. */
static struct kept_speed **find_kept(struct host *h, const char *uuid)
{
    struct kept_speed **at = &h->kept;

    while (*at && strcmp((*at)->uuid, uuid) != 0)
        at = &(*at)->next;
    return at;
}

void host_keep_speed(struct host *h, const char *uuid, int64_t found_bps)
{
    struct kept_speed **at;
    struct kept_speed *kept;

    pthread_mutex_lock(&h->lock);
    at = find_kept(h, uuid);
    kept = *at;
    if (found_bps < 0 && kept) {
        *at = kept->next;
        free(kept);
    } else if (found_bps >= 0 && !kept) {
        kept = alloc_need(calloc(1, sizeof(*kept)));
        snprintf(kept->uuid, sizeof(kept->uuid), "%s", uuid);
        kept->bps = found_bps;
        *at = kept;
    }
    pthread_mutex_unlock(&h->lock);
}

int64_t host_kept_speed(struct host *h, const char *uuid)
{
    int64_t bps = -1;
    struct kept_speed *kept;

    pthread_mutex_lock(&h->lock);
    kept = *find_kept(h, uuid);
    if (kept)
        bps = kept->bps;
    pthread_mutex_unlock(&h->lock);
    return bps;
}

/* Each round leaves those that need less than an equal part of the rest what they need. */
double host_fair_part(double total, const double needs[], size_t n)
{
    double part = total / (double)(n + 1);
    size_t content = 0;

    for (;;) {
        double rest = total;
        size_t now = 0;

        for (size_t i = 0; i < n; i++) {
            if (needs[i] <= part) {
                rest -= needs[i];
                now++;
            }
        }
        part = rest / (double)(n + 1 - now);
        if (now == content)
            return part;
        content = now;
    }
}

/* Whole MiB/s, which is what libvirt counts in. */
static int64_t part_of(const struct host *h, const struct host_member *m)
{
    double *needs AUTO_FREE = NULL;
    size_t n = 0;
    int64_t part;

    for (const struct host_member *other = h->first; other; other = other->next)
        n++;
    needs = alloc_need(calloc(n + 1, sizeof(*needs)));
    n = 0;
    for (const struct host_member *other = h->first; other; other = other->next) {
        if (other != m)
            needs[n++] = other->needs_bps;
    }
    part = (int64_t)host_fair_part((double)h->limits.bandwidth_bps, needs, n);
    return part < MIB_BYTES ? MIB_BYTES : part - part % MIB_BYTES;
}

static void lower(struct policy *policy, enum policy_field field, int64_t value, const char *source)
{
    policy->values.v[field] = value;
    snprintf(policy->source[field], POLICY_SOURCE_MAX, "%s", source);
}

bool host_overlay(struct host *h, const struct host_member *m, struct policy *policy)
{
    const int64_t *v = policy->values.v;
    bool withheld;

    pthread_mutex_lock(&h->lock);
    withheld = v[POLICY_ALLOW_THROTTLE] != ALLOW_NO && !may_throttle(h, m);
    if (withheld)
        lower(policy, POLICY_ALLOW_THROTTLE, ALLOW_NO, "max_throttled_domains of the host");
    if (h->limits.bandwidth_bps > 0) {
        int64_t part = part_of(h, m);

        if (v[POLICY_MAX_BANDWIDTH] == POLICY_NONE || v[POLICY_MAX_BANDWIDTH] > part)
            lower(policy, POLICY_MAX_BANDWIDTH, part, "its part of host_bandwidth");
    }
    pthread_mutex_unlock(&h->lock);
    return withheld;
}
