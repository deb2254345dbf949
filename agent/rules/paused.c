/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/paused.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/rules/store.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/textfile.h"

#define STORE_NAME "paused.json"
enum { STORE_BYTES_MAX = 1024 * 1024, UUID_SIZE = 37 };

/* One that is paused; the host has the UUID "host". */
struct entry {
    char uuid[UUID_SIZE];
    char who[PAUSED_WHO_MAX];
};
static const char host[] = "host";
static const char doubt[] = "migpolicyd: ";

struct paused {
    pthread_mutex_t lock;
    int state_dir;
    size_t count;
    struct entry *entry;
};

static struct entry *find(struct paused *p, const char *uuid)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcasecmp(p->entry[i].uuid, uuid) == 0)
            return &p->entry[i];
    }
    return NULL;
}

static void add(struct paused *p, const char *uuid, const char *who)
{
    struct entry *e = find(p, uuid);

    if (!e) {
        p->entry = alloc_need(realloc(p->entry, (p->count + 1) * sizeof(*p->entry)));
        e = &p->entry[p->count++];
    }
    snprintf(e->uuid, sizeof(e->uuid), "%s", uuid);
    snprintf(e->who, sizeof(e->who), "%s", who);
}

static int save(struct paused *p)
{
    struct json_object *root AUTO_JSON = json_object_new_object();
    struct json_object *by = json_object_new_object();

    json_object_object_add(root, "schema_version", json_object_new_int(STORE_SCHEMA_VERSION));
    json_object_object_add(root, "paused_by", by);
    for (size_t i = 0; i < p->count; i++)
        json_object_object_add(by, p->entry[i].uuid, json_object_new_string(p->entry[i].who));
    return textfile_replace(p->state_dir, STORE_NAME, 0600,
                            json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
}

static int load(struct paused *p, struct error *why)
{
    struct json_object *root AUTO_JSON = NULL;
    struct json_object *by;
    int r = store_load(p->state_dir, STORE_NAME, STORE_BYTES_MAX, &root, why);

    if (r < 0)
        return r;
    error_set(why, 0, "no object \"paused_by\" of UUIDs");
    if (!json_object_object_get_ex(root, "paused_by", &by) ||
        !json_object_is_type(by, json_type_object))
        return -EINVAL;
    json_object_object_foreach(by, uuid, who)
    {
        if ((strlen(uuid) != UUID_SIZE - 1 && strcmp(uuid, host) != 0) ||
            !json_object_is_type(who, json_type_string))
            return -EINVAL;
        add(p, uuid, json_object_get_string(who));
    }
    return 0;
}

int paused_new(const char *state_dir, struct paused **ret, struct error *ret_warning)
{
    struct paused *p = alloc_need(calloc(1, sizeof(*p)));
    struct error why;
    char aside[NAME_MAX + 1] = "";
    int r;

    ret_warning->text[0] = '\0';
    pthread_mutex_init(&p->lock, NULL);
    p->state_dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = p->state_dir < 0 ? -errno : load(p, &why);
    if (p->state_dir < 0) {
        paused_free(p);
        return r;
    }
    if (r < 0 && r != -ENOENT) {
        /* Should the next start find nothing there, it would not be paused. */
        r = textfile_set_aside(p->state_dir, STORE_NAME, aside);
        r = paused_in_doubt(p, STORE_NAME);
        error_set(ret_warning, 0,
                  "%s/" STORE_NAME ": %.200s; kept as %.40s; the host is paused, until migpolicy "
                  "resume%s",
                  state_dir, why.text, *aside ? aside : STORE_NAME,
                  r < 0 ? " (and this cannot be stored)" : "");
    }
    *ret = p;
    return 0;
}

void paused_free(struct paused *p)
{
    if (!p)
        return;
    free(p->entry);
    if (p->state_dir >= 0)
        close(p->state_dir);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int paused_set(struct paused *p, const char *uuid, const char *who)
{
    int r;

    pthread_mutex_lock(&p->lock);
    add(p, uuid ? uuid : host, who);
    r = save(p);
    pthread_mutex_unlock(&p->lock);
    return r;
}

int paused_unset(struct paused *p, const char *uuid)
{
    struct entry *e;
    int r = 0;

    pthread_mutex_lock(&p->lock);
    e = find(p, uuid ? uuid : host);
    if (e) {
        struct entry gone = *e;

        *e = p->entry[--p->count];
        r = save(p);
        if (r < 0) {
            p->entry[p->count++] = *e;
            *e = gone;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

bool paused_is(struct paused *p, const char *uuid, char ret_who[PAUSED_WHO_MAX])
{
    const struct entry *e;

    pthread_mutex_lock(&p->lock);
    e = find(p, uuid ? uuid : host);
    if (e && ret_who)
        memcpy(ret_who, e->who, PAUSED_WHO_MAX);
    pthread_mutex_unlock(&p->lock);
    return e;
}

int paused_in_doubt(struct paused *p, const char *file)
{
    char who[PAUSED_WHO_MAX];

    snprintf(who, sizeof(who), "%s%s could not be read", doubt, file);
    return paused_set(p, NULL, who);
}

bool paused_by_doubt(const char *who)
{
    return strncmp(who, doubt, strlen(doubt)) == 0;
}

size_t paused_count(struct paused *p)
{
    size_t n;

    pthread_mutex_lock(&p->lock);
    n = p->count - !!find(p, host);
    pthread_mutex_unlock(&p->lock);
    return n;
}

bool paused_overlay(struct paused *p, const char *uuid, struct policy *policy)
{
    char who[PAUSED_WHO_MAX];
    bool is_host = paused_is(p, NULL, who);

    if (!is_host && !paused_is(p, uuid, who))
        return false;
    policy->values.v[POLICY_MODE] = MODE_OBSERVE;
    snprintf(policy->source[POLICY_MODE], POLICY_SOURCE_MAX, "%spaused by %s",
             is_host ? "host " : "", who);
    return true;
}
