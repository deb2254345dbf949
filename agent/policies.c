/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/policies.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cgroup-throttle/textfile.h"
#include "policy/cleanup.h"
#include "policy/json_cleanup.h"
#include "policy/json_strict.h"
#include "policy/policy_json.h"

#define STORE_NAME "overrides.json"
enum { STORE_BYTES_MAX = 4 * 1024 * 1024, UUID_SIZE = 37 };

struct override {
    char uuid[UUID_SIZE];
    char *name;
    char who[POLICY_SOURCE_MAX];
    struct policy_layer layer;
};

struct policies {
    pthread_mutex_t lock;
    struct config config;
    int state_dir;
    size_t count;
    struct override *override;
};

static void unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}

#define LOCKED(p)                                                                                  \
    pthread_mutex_t *locked_ CLEANUP(unlock) = &(p)->lock;                                         \
    pthread_mutex_lock(locked_)

static struct override *find(struct policies *p, const char *uuid)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcasecmp(p->override[i].uuid, uuid) == 0)
            return &p->override[i];
    }
    return NULL;
}

static struct override *add(struct policies *p, const char *uuid, const char *name)
{
    struct override *grown = realloc(p->override, (p->count + 1) * sizeof(*grown));
    char *copy = strdup(name);

    if (grown)
        p->override = grown;
    if (!grown || !copy) {
        free(copy);
        return NULL;
    }
    grown[p->count] = (struct override){.name = copy};
    snprintf(grown[p->count].uuid, UUID_SIZE, "%s", uuid);
    return &grown[p->count++];
}

static void drop(struct policies *p, struct override *o)
{
    free(o->name);
    *o = p->override[--p->count];
}

static int save(struct policies *p)
{
    struct json_object *root AUTO_JSON = json_object_new_object();
    struct json_object *vms = json_object_new_object();

    json_object_object_add(root, "schema_version", json_object_new_int(1));
    json_object_object_add(root, "vms", vms);
    for (size_t i = 0; i < p->count; i++) {
        struct json_object *vm;

        if (p->override[i].layer.set == 0)
            continue;
        vm = json_object_new_object();
        json_object_object_add(vm, "name", json_object_new_string(p->override[i].name));
        json_object_object_add(vm, "set_by", json_object_new_string(p->override[i].who));
        json_object_object_add(vm, "policy", policy_layer_to_json(&p->override[i].layer));
        json_object_object_add(vms, p->override[i].uuid, vm);
    }
    return textfile_replace(p->state_dir, STORE_NAME, 0600,
                            json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
}

static const char *text_member(struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return "";
    return json_object_get_string(value);
}

static int load_vms(struct policies *p, struct json_object *root, struct config_error *warning)
{
    struct json_object *vms;

    if (!json_object_is_type(root, json_type_object) ||
        !json_object_object_get_ex(root, "vms", &vms) ||
        !json_object_is_type(vms, json_type_object)) {
        snprintf(warning->text, sizeof(warning->text), "no \"vms\" object");
        return -EINVAL;
    }
    json_object_object_foreach(vms, uuid, vm)
    {
        struct json_object *policy = NULL;
        struct policy_layer layer;
        struct policy_json_error err;
        struct override *o;

        if (!json_object_is_type(vm, json_type_object) ||
            !json_object_object_get_ex(vm, "policy", &policy) || strlen(uuid) != UUID_SIZE - 1 ||
            policy_layer_from_json(policy, &layer, &err) < 0) {
            snprintf(warning->text, sizeof(warning->text), "a malformed entry");
            return -EINVAL;
        }
        o = add(p, uuid, text_member(vm, "name"));
        if (!o)
            return -ENOMEM;
        o->layer = layer;
        snprintf(o->who, sizeof(o->who), "%s", text_member(vm, "set_by"));
    }
    return 0;
}

static int load(struct policies *p, struct config_error *warning)
{
    char *text AUTO_FREE = NULL;
    struct json_object *root AUTO_JSON = NULL;
    struct json_error err;
    size_t len;
    int r = textfile_read(p->state_dir, STORE_NAME, STORE_BYTES_MAX, &text, &len);

    if (r < 0) {
        snprintf(warning->text, sizeof(warning->text), "%s", strerror(-r));
        return r;
    }
    r = json_strict_parse(text, len, &root, &err);
    if (r < 0) {
        snprintf(warning->text, sizeof(warning->text), "line %u: %s", err.line, err.reason);
        return r;
    }
    return load_vms(p, root, warning);
}

int policies_new(struct config *config, const char *state_dir, struct policies **ret,
                 struct config_error *ret_warning)
{
    struct policies *p = calloc(1, sizeof(*p));
    struct config_error why;
    char aside[NAME_MAX + 1];
    int r;

    ret_warning->text[0] = '\0';
    if (!p)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    p->state_dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->state_dir < 0) {
        r = -errno;
        policies_free(p);
        return r;
    }
    r = load(p, &why);
    if (r < 0 && r != -ENOENT) {
        while (p->count > 0)
            drop(p, &p->override[0]);
        r = textfile_set_aside(p->state_dir, STORE_NAME, aside);
        if (r < 0) {
            policies_free(p);
            return r;
        }
        snprintf(ret_warning->text, sizeof(ret_warning->text),
                 "%s/" STORE_NAME ": %.200s; kept as %.40s, starting without stored policies",
                 state_dir, why.text, aside);
    }
    p->config = *config;
    *config = (struct config){0};
    *ret = p;
    return 0;
}

void policies_free(struct policies *p)
{
    if (!p)
        return;
    while (p->count > 0)
        drop(p, &p->override[0]);
    free(p->override);
    config_clear(&p->config);
    if (p->state_dir >= 0)
        close(p->state_dir);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void policies_reload(struct policies *p, struct config *config)
{
    LOCKED(p);

    config_clear(&p->config);
    p->config = *config;
    *config = (struct config){0};
}

void policies_resolve(struct policies *p, const char *name, const char *uuid, struct policy *ret)
{
    LOCKED(p);
    const struct override *o = find(p, uuid);

    policy_init(ret);
    for (size_t i = 0; i < p->config.rules; i++) {
        const struct config_rule *rule = &p->config.rule[i];

        if ((!rule->name || fnmatch(rule->name, name, 0) == 0) &&
            (!rule->uuid || strcasecmp(rule->uuid, uuid) == 0))
            policy_merge(ret, &rule->layer, rule->source);
    }
    if (o)
        policy_merge(ret, &o->layer, o->who);
    policy_finish(ret);
}

int policies_set(struct policies *p, const char *name, const char *uuid,
                 const struct policy_layer *layer, const char *who)
{
    LOCKED(p);
    struct override *o = find(p, uuid);
    struct override before;
    bool fresh = !o;
    int r;

    if (!o)
        o = add(p, uuid, name);
    if (!o)
        return -ENOMEM;
    before = *o;
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (layer->set & (1u << i))
            o->layer.values.v[i] = layer->values.v[i];
    }
    o->layer.set |= layer->set;
    snprintf(o->who, sizeof(o->who), "override set by %s", who);
    r = save(p);
    if (r < 0) {
        *o = before;
        if (fresh)
            drop(p, o);
    }
    return r;
}

int policies_unset(struct policies *p, const char *uuid, unsigned fields)
{
    LOCKED(p);
    struct override *o = find(p, uuid);
    struct override before;
    int r;

    if (!o)
        return 0;
    before = *o;
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (fields & (1u << i))
            policy_layer_unset(&o->layer, (enum policy_field)i);
    }
    r = save(p);
    if (r < 0)
        *o = before;
    else if (o->layer.set == 0)
        drop(p, o);
    return r;
}

int policies_find(struct policies *p, const char *name, char *ret_uuid, size_t size)
{
    LOCKED(p);

    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->override[i].name, name) == 0) {
            snprintf(ret_uuid, size, "%s", p->override[i].uuid);
            return 0;
        }
    }
    return -ENOENT;
}

void policies_count(struct policies *p, size_t *ret_rules, size_t *ret_overrides)
{
    LOCKED(p);

    *ret_rules = p->config.rules;
    *ret_overrides = p->count;
}
