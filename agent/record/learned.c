/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/record/learned.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "policy/json/prior_json.h"
#include "policy/tuning.h"

/* Guests change as programs are updated: by so much in what time nobody has measured. */
#define HALF_LIFE_S (30 * 24 * 3600.0)

struct vm {
    char uuid[37];
    time_t when;
    struct prior prior;
};

struct learned {
    pthread_mutex_t lock;
    unsigned vms;
    struct vm vm[LEARNED_VMS];
};

static struct vm *find(struct learned *l, const char *uuid)
{
    for (unsigned i = 0; i < l->vms; i++) {
        if (strcmp(l->vm[i].uuid, uuid) == 0)
            return &l->vm[i];
    }
    return NULL;
}

/* Where a VM goes that is new: the place of the one longest ago, if there is no other. */
static struct vm *add(struct learned *l)
{
    struct vm *oldest = &l->vm[0];

    if (l->vms < LEARNED_VMS)
        return &l->vm[l->vms++];
    for (unsigned i = 1; i < LEARNED_VMS; i++) {
        if (l->vm[i].when < oldest->when)
            oldest = &l->vm[i];
    }
    return oldest;
}

static void read_line(struct learned *l, struct json_object *line)
{
    const char *uuid = json_object_get_string(json_object_object_get(line, "uuid"));
    const char *ended = json_object_get_string(json_object_object_get(line, "ended"));
    struct tm tm = {0};
    struct prior prior;

    if (uuid && strlen(uuid) < sizeof(l->vm[0].uuid) && ended && !find(l, uuid) &&
        strptime(ended, "%Y-%m-%dT%H:%M:%S", &tm) &&
        prior_from_json(json_object_object_get(line, "learned"), &prior) == 0)
        learned_take(l, uuid, timegm(&tm), &prior);
}

void learned_new(struct record *record, struct learned **ret)
{
    struct learned *l = alloc_need(calloc(1, sizeof(*l)));
    AUTO_JSON struct json_object *list = NULL;
    int r = record ? record_history(record, NULL, NULL, SIZE_MAX, &list) : 0;

    pthread_mutex_init(&l->lock, NULL);
    if (r < 0)
        log_warning(RECORD_HISTORY ": what is known of VMs cannot be read: %s", strerror(-r));
    for (size_t i = 0; list && i < json_object_array_length(list); i++)
        read_line(l, json_object_array_get_idx(list, i));
    *ret = l;
}

void learned_free(struct learned *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l);
}

bool learned_find(struct learned *l, const char *uuid, time_t now, struct prior *ret)
{
    const struct vm *vm;
    double keep = 0;

    pthread_mutex_lock(&l->lock);
    vm = find(l, uuid);
    if (vm) {
        *ret = vm->prior;
        keep = pow(0.5, fmax(difftime(now, vm->when), 0) / HALF_LIFE_S);
    }
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; vm && i < ret->points; i++)
        ret->point[i].weight *= keep;
    return vm && keep >= FORGOTTEN;
}

void learned_take(struct learned *l, const char *uuid, time_t now, const struct prior *prior)
{
    struct vm *vm;

    if (prior->points == 0)
        return;
    pthread_mutex_lock(&l->lock);
    vm = find(l, uuid);
    if (!vm)
        vm = add(l);
    snprintf(vm->uuid, sizeof(vm->uuid), "%s", uuid);
    vm->when = now;
    vm->prior = *prior;
    pthread_mutex_unlock(&l->lock);
}
