/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup-throttle/claim.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list */
static pthread_cond_t dropped = PTHREAD_COND_INITIALIZER;
static struct claim *first;

static bool is_taken(const char *uuid)
{
    for (const struct claim *c = first; c; c = c->next)
        if (strcasecmp(c->uuid, uuid) == 0)
            return true;
    return false;
}

int claim_take(struct claim *claim, const char *uuid, unsigned int wait_s)
{
    struct timespec until;
    bool taken;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)wait_s;
    pthread_mutex_lock(&lock);
    while ((taken = is_taken(uuid)) && wait_s > 0)
        if (pthread_cond_timedwait(&dropped, &lock, &until) != 0)
            wait_s = 0;
    if (!taken) {
        memcpy(claim->uuid, uuid, sizeof(claim->uuid));
        claim->next = first;
        first = claim;
    }
    pthread_mutex_unlock(&lock);
    return taken ? -EBUSY : 0;
}

void claim_drop(struct claim *claim)
{
    if (!claim->uuid[0])
        return;
    pthread_mutex_lock(&lock);
    for (struct claim **at = &first; *at; at = &(*at)->next) {
        if (*at == claim) {
            *at = claim->next;
            break;
        }
    }
    claim->uuid[0] = '\0';
    pthread_cond_broadcast(&dropped);
    pthread_mutex_unlock(&lock);
}

bool claim_is_taken(const char *uuid)
{
    bool taken;

    pthread_mutex_lock(&lock);
    taken = is_taken(uuid);
    pthread_mutex_unlock(&lock);
    return taken;
}
