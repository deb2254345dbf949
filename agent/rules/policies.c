/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/policies.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/log.h"
#include "common/textfile.h"
#include "policy/json/policy_json.h"

#define STORE_NAME "overrides.json"
enum { STORE_BYTES_MAX = 4 * 1024 * 1024, UUID_SIZE = 37 };

struct override {
    char uuid[UUID_SIZE];
    enum policies_kind kind;
    char *name;
    char who[POLICY_SOURCE_MAX];
    struct policy_layer layer;
    int64_t expires_s[POLICY_FIELDS]; /* 0: never */
};

struct policies {
    atomic_uint_fast64_t version;
    pthread_mutex_t lock; /* guards the rest */
    struct config config;
    int state_dir;
    size_t count;
    struct override *override;
    void *metadata; /* of the domains that have any: struct domain_metadata, by UUID; tsearch(3) */
    size_t metadata_policies; /* how many of these say more than labels */
};

struct domain_metadata {
    char uuid[UUID_SIZE];
    struct metadata metadata;
};

static void unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}

#define LOCKED(p)                                                                                  \
    pthread_mutex_t *locked_ CLEANUP(unlock) = &(p)->lock;                                         \
    pthread_mutex_lock(locked_)

static struct override *find(struct policies *p, enum policies_kind kind, const char *uuid)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->override[i].kind == kind && strcasecmp(p->override[i].uuid, uuid) == 0)
            return &p->override[i];
    }
    return NULL;
}

static struct override *add(struct policies *p, enum policies_kind kind, const char *uuid,
                            const char *name)
{
    struct override *grown = realloc(p->override, (p->count + 1) * sizeof(*grown));
    char *copy = strdup(name);

    if (grown)
        p->override = grown;
    if (!grown || !copy) {
        free(copy);
        return NULL;
    }
    grown[p->count] = (struct override){.name = copy, .kind = kind};
    snprintf(grown[p->count].uuid, UUID_SIZE, "%s", uuid);
    return &grown[p->count++];
}

static void drop(struct policies *p, struct override *o)
{
    free(o->name);
    *o = p->override[--p->count];
}

static bool is_over(const struct override *o, unsigned field, int64_t now_s)
{
    return o->expires_s[field] > 0 && o->expires_s[field] <= now_s;
}

/* Forgets what is over, and overrides of which nothing is left. */
static void prune(struct policies *p)
{
    int64_t now_s = time(NULL);

    for (size_t i = p->count; i-- > 0;) {
        struct override *o = &p->override[i];

        for (unsigned f = 0; f < POLICY_FIELDS; f++) {
            if (is_over(o, f, now_s))
                policy_layer_unset(&o->layer, (enum policy_field)f);
        }
        if (o->layer.set == 0)
            drop(p, o);
    }
}

static struct json_object *ends_to_json(const struct override *o)
{
    struct json_object *ends = json_object_new_object();

    for (unsigned f = 0; f < POLICY_FIELDS; f++) {
        if (o->layer.set & (1u << f))
            json_object_object_add(ends, policy_field_info((enum policy_field)f)->name,
                                   json_object_new_int64(o->expires_s[f]));
    }
    return ends;
}

static int save(struct policies *p)
{
    struct json_object *root AUTO_JSON = json_object_new_object();
    struct json_object *vms[] = {
        [POLICIES_STORED] = json_object_new_object(),
        [POLICIES_EXPIRING] = json_object_new_object(),
    };

    json_object_object_add(root, "schema_version", json_object_new_int(1));
    json_object_object_add(root, "vms", vms[POLICIES_STORED]);
    json_object_object_add(root, "expiring", vms[POLICIES_EXPIRING]);
    for (size_t i = 0; i < p->count; i++) {
        const struct override *o = &p->override[i];
        struct json_object *vm;

        if (o->layer.set == 0 || o->kind == POLICIES_RUNTIME)
            continue;
        vm = json_object_new_object();
        json_object_object_add(vm, "name", json_object_new_string(o->name));
        json_object_object_add(vm, "set_by", json_object_new_string(o->who));
        json_object_object_add(vm, "policy", policy_layer_to_json(&o->layer));
        if (o->kind == POLICIES_EXPIRING)
            json_object_object_add(vm, "expires", ends_to_json(o));
        json_object_object_add(vms[o->kind], o->uuid, vm);
    }
    return textfile_replace(p->state_dir, STORE_NAME, 0600,
                            json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
}

/*
 * A change of several overrides that takes place as a whole: begin, change, end. `before` holds
 * them as they were; names are neither changed nor freed in between.
 */
struct change {
    size_t count;
    struct override *before;
};

static int begin(struct policies *p, struct change *change)
{
    change->count = p->count;
    change->before = calloc(p->count + 1, sizeof(*change->before));
    if (!change->before)
        return -ENOMEM;
    if (p->count > 0)
        memcpy(change->before, p->override, p->count * sizeof(*p->override));
    return 0;
}

/* Stores what was changed if r is 0; undoes it if it is not, or storing fails. */
static int end(struct policies *p, struct change *change, bool on_disk, int r)
{
    if (r == 0 && on_disk)
        r = save(p);
    if (r < 0) {
        while (p->count > change->count)
            drop(p, &p->override[p->count - 1]);
        if (p->count > 0)
            memcpy(p->override, change->before, p->count * sizeof(*p->override));
    }
    prune(p);
    atomic_fetch_add(&p->version, 1);
    free(change->before);
    return r;
}

static const char *text_member(struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return "";
    return json_object_get_string(value);
}

static bool take_ends(struct json_object *vm, struct override *o)
{
    struct json_object *ends;

    json_object_object_get_ex(vm, "expires", &ends);
    for (unsigned f = 0; f < POLICY_FIELDS; f++) {
        struct json_object *value;

        if (!(o->layer.set & (1u << f)))
            continue;
        if (!json_object_is_type(ends, json_type_object) ||
            !json_object_object_get_ex(ends, policy_field_info((enum policy_field)f)->name,
                                       &value) ||
            !json_object_is_type(value, json_type_int) || json_object_get_int64(value) <= 0)
            return false;
        o->expires_s[f] = json_object_get_int64(value);
    }
    return true;
}

static int load_vms(struct policies *p, enum policies_kind kind, struct json_object *vms,
                    struct config_error *warning)
{
    json_object_object_foreach(vms, uuid, vm)
    {
        struct json_object *policy = NULL;
        struct override read = {0};
        struct policy_json_error err;
        struct override *o;

        if (!json_object_is_type(vm, json_type_object) ||
            !json_object_object_get_ex(vm, "policy", &policy) || strlen(uuid) != UUID_SIZE - 1 ||
            policy_layer_from_json(policy, &read.layer, &err) < 0 ||
            (kind == POLICIES_EXPIRING && !take_ends(vm, &read))) {
            snprintf(warning->text, sizeof(warning->text), "a malformed entry");
            return -EINVAL;
        }
        o = add(p, kind, uuid, text_member(vm, "name"));
        if (!o)
            return -ENOMEM;
        o->layer = read.layer;
        memcpy(o->expires_s, read.expires_s, sizeof(o->expires_s));
        snprintf(o->who, sizeof(o->who), "%s", text_member(vm, "set_by"));
    }
    return 0;
}

/* What does not expire has to be there; an earlier version knew nothing else. */
static int load_all(struct policies *p, struct json_object *root, struct config_error *warning)
{
    struct json_object *vms;
    struct json_object *expiring;
    int r;

    if (!json_object_is_type(root, json_type_object) ||
        !json_object_object_get_ex(root, "vms", &vms) ||
        !json_object_is_type(vms, json_type_object)) {
        snprintf(warning->text, sizeof(warning->text), "no \"vms\" object");
        return -EINVAL;
    }
    r = load_vms(p, POLICIES_STORED, vms, warning);
    if (r < 0 || !json_object_object_get_ex(root, "expiring", &expiring))
        return r;
    if (!json_object_is_type(expiring, json_type_object)) {
        snprintf(warning->text, sizeof(warning->text), "\"expiring\" is no object");
        return -EINVAL;
    }
    return load_vms(p, POLICIES_EXPIRING, expiring, warning);
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
    return load_all(p, root, warning);
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
    tdestroy(p->metadata, free);
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
    atomic_fetch_add(&p->version, 1);
}

#define UNTIL ", until "

/* Field by field, since each may have an end of its own; the preset, being the first, lies below.
 */
static void merge_override(struct policy *policy, const struct override *o)
{
    int64_t now_s = time(NULL);

    for (unsigned f = 0; f < POLICY_FIELDS; f++) {
        struct policy_layer one = {.set = o->layer.set & (1u << f), .values = o->layer.values};
        char source[POLICY_SOURCE_MAX];
        char until[32] = "";
        time_t expires_s = o->expires_s[f];
        struct tm tm;

        if (!one.set || is_over(o, f, now_s))
            continue;
        if (expires_s > 0 && gmtime_r(&expires_s, &tm))
            strftime(until, sizeof(until), UNTIL "%Y-%m-%dT%H:%M:%SZ", &tm);
        snprintf(source, sizeof(source), "%s%.64s%s", o->kind == POLICIES_RUNTIME ? "runtime " : "",
                 o->who, until);
        policy_merge(policy, &one, source);
    }
}

const char *policies_until(const struct policy *policy, enum policy_field field)
{
    const char *found = strstr(policy->source[field], UNTIL);

    return found ? found + strlen(UNTIL) : NULL;
}

static int compare_uuid(const void *a, const void *b)
{
    const struct domain_metadata *x = a;
    const struct domain_metadata *y = b;

    return strcasecmp(x->uuid, y->uuid);
}

static struct domain_metadata *find_metadata(struct policies *p, const char *uuid)
{
    struct domain_metadata key;
    struct domain_metadata **found;

    snprintf(key.uuid, sizeof(key.uuid), "%s", uuid);
    found = tfind(&key, &p->metadata, compare_uuid);
    return found ? *found : NULL;
}

/* What is malformed is one, too: to observe. */
static bool has_policy(const struct metadata *metadata)
{
    return metadata->layer.set || metadata->error[0];
}

bool policies_set_metadata(struct policies *p, const char *uuid, const struct metadata *metadata)
{
    LOCKED(p);
    static const struct metadata none;
    struct domain_metadata *d = find_metadata(p, uuid);
    const struct metadata *before = d ? &d->metadata : &none;
    bool is_news;

    if (!metadata)
        metadata = &none;
    is_news = !metadata_equal(before, metadata);
    p->metadata_policies -= has_policy(before);
    if (is_news)
        atomic_fetch_add(&p->version, 1);
    if (metadata_equal(metadata, &none)) {
        if (d)
            tdelete(d, &p->metadata, compare_uuid);
        free(d);
        return is_news;
    }
    if (!d) {
        d = calloc(1, sizeof(*d));
        if (!d)
            return false;
        snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
        if (!tsearch(d, &p->metadata, compare_uuid)) {
            free(d);
            return false;
        }
    }
    d->metadata = *metadata;
    p->metadata_policies += has_policy(metadata);
    return is_news;
}

void policies_learn_metadata(struct policies *p, const char *uuid, int error, const char *xml)
{
    struct metadata metadata;
    char why[64];

    if (error < 0) {
        snprintf(why, sizeof(why), "cannot be read: %s", strerror(-error));
        metadata_refuse(why, &metadata);
    } else {
        metadata_parse(xml, &metadata);
    }
    if (policies_set_metadata(p, uuid, &metadata) && metadata.error[0])
        log_warning("domain %s: the policy in its metadata: %s; it is observed only", uuid,
                    metadata.error);
}

void policies_get_metadata(struct policies *p, const char *uuid, struct metadata *ret)
{
    LOCKED(p);
    const struct domain_metadata *d = find_metadata(p, uuid);

    *ret = d ? d->metadata : (struct metadata){0};
}

static void resolve(struct policies *p, const char *name, const char *uuid, struct policy *ret)
{
    const struct domain_metadata *own = find_metadata(p, uuid);
    bool is_trusted = own && p->config.trust_metadata && !own->metadata.error[0];

    policy_init(ret);
    for (size_t i = 0; i < p->config.rules; i++) {
        const struct config_rule *rule = &p->config.rule[i];

        if ((!rule->name || fnmatch(rule->name, name, 0) == 0) &&
            (!rule->uuid || strcasecmp(rule->uuid, uuid) == 0) &&
            (!rule->label || (own && metadata_has_label(&own->metadata, rule->label))))
            policy_merge(ret, &rule->layer, rule->source);
    }
    if (is_trusted)
        policy_merge(ret, &own->metadata.layer, "domain metadata");
    for (enum policies_kind kind = 0; kind < POLICIES_KINDS; kind++) {
        const struct override *o = find(p, kind, uuid);

        if (o)
            merge_override(ret, o);
    }
    policy_finish(ret);
    if (own && !is_trusted)
        policy_narrow(ret, &own->metadata.layer,
                      own->metadata.error[0] ? "malformed domain metadata" : "domain metadata");
}

void policies_resolve(struct policies *p, const char *name, const char *uuid, struct policy *ret)
{
    LOCKED(p);

    resolve(p, name, uuid, ret);
}

void policies_refresh(struct policies *p, const char *name, const char *uuid,
                      struct policy_kept *kept)
{
    /* Read first: a change in between is then seen the next time. */
    uint64_t version = atomic_load(&p->version);
    int64_t now_s = time(NULL);

    if (kept->resolved_s == now_s && kept->version == version)
        return;
    policies_resolve(p, name, uuid, &kept->policy);
    kept->version = version;
    kept->resolved_s = now_s;
}

int policies_set(struct policies *p, enum policies_kind kind, const char *name, const char *uuid,
                 const struct policy_layer *layer, int64_t expires_s, const char *who)
{
    LOCKED(p);
    struct change change;
    struct override *o;
    int r = begin(p, &change);

    if (r < 0)
        return r;
    o = find(p, kind, uuid);
    if (!o)
        o = add(p, kind, uuid, name);
    if (o) {
        for (unsigned f = 0; f < POLICY_FIELDS; f++) {
            if (!(layer->set & (1u << f)))
                continue;
            o->layer.values.v[f] = layer->values.v[f];
            o->expires_s[f] = expires_s;
        }
        o->layer.set |= layer->set;
        snprintf(o->who, sizeof(o->who), "override set by %s", who);
    }
    return end(p, &change, kind != POLICIES_RUNTIME, o ? 0 : -ENOMEM);
}

int policies_unset(struct policies *p, const char *uuid, unsigned fields)
{
    LOCKED(p);
    struct change change;
    bool on_disk = false;
    int r = begin(p, &change);

    if (r < 0)
        return r;
    for (size_t i = 0; i < p->count; i++) {
        struct override *o = &p->override[i];

        if (strcasecmp(o->uuid, uuid) != 0)
            continue;
        on_disk |= o->kind != POLICIES_RUNTIME;
        for (unsigned f = 0; f < POLICY_FIELDS; f++) {
            if (fields & (1u << f))
                policy_layer_unset(&o->layer, (enum policy_field)f);
        }
    }
    return end(p, &change, on_disk, 0);
}

int policies_apply(struct policies *p, struct policies_change *change, size_t count,
                   const char *who, bool dry_run)
{
    LOCKED(p);
    struct change undo;
    int r = begin(p, &undo);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count && r == 0; i++) {
        const struct hv_domain *d = &change[i].domain;
        enum policies_kind kind = change[i].expires_s ? POLICIES_EXPIRING : POLICIES_STORED;
        struct override *o;

        resolve(p, d->name, d->uuid, &change[i].before);
        o = find(p, kind, d->uuid);
        if (!o)
            o = add(p, kind, d->uuid, d->name);
        if (!o) {
            r = -ENOMEM;
            break;
        }
        o->layer = change[i].layer;
        for (unsigned f = 0; f < POLICY_FIELDS; f++)
            o->expires_s[f] = change[i].expires_s;
        snprintf(o->who, sizeof(o->who), "override set by %s", who);
        resolve(p, d->name, d->uuid, &change[i].after);
    }
    if (dry_run && r == 0) {
        end(p, &undo, false, -ECANCELED);
        return 0;
    }
    return end(p, &undo, true, r);
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

void policies_count(struct policies *p, size_t *ret_rules, size_t *ret_overrides,
                    size_t *ret_metadata)
{
    LOCKED(p);

    prune(p);
    *ret_rules = p->config.rules;
    *ret_overrides = p->count;
    *ret_metadata = p->metadata_policies;
}
