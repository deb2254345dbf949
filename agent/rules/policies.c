/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/policies.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"

struct policies {
    atomic_uint_fast64_t version;
    pthread_mutex_t lock; /* guards the rest */
    struct config config;
    struct overrides list;
    void *metadata; /* of the domains that have any: struct domain_metadata, by UUID; tsearch(3) */
    size_t metadata_policies; /* how many of these say more than labels */
};

struct domain_metadata {
    char uuid[OVERRIDES_UUID_SIZE];
    struct metadata metadata;
    struct description description;
};

static void unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}

#define LOCKED(p)                                                                                  \
    pthread_mutex_t *locked_ CLEANUP(unlock) = &(p)->lock;                                         \
    pthread_mutex_lock(locked_)

/* Without a UUID it is the one for any VM of that name. */
static bool is_of(const struct override *o, const char *name, const char *uuid)
{
    return strcasecmp(o->uuid, uuid) == 0 && (*uuid || strcmp(o->name, name) == 0);
}

static struct override *find(const struct policies *p, enum policies_kind kind, const char *name,
                             const char *uuid)
{
    for (size_t i = 0; i < p->list.count; i++) {
        if (p->list.override[i].kind == kind && is_of(&p->list.override[i], name, uuid))
            return &p->list.override[i];
    }
    return NULL;
}

static bool is_over(const struct override *o, unsigned field, int64_t now_s)
{
    return o->expires_s[field] > 0 && o->expires_s[field] <= now_s;
}

/* Forgets what is over, and overrides of which nothing is left. */
static void prune(struct policies *p)
{
    int64_t now_s = time(NULL);

    for (size_t i = p->list.count; i-- > 0;) {
        struct override *o = &p->list.override[i];

        for (unsigned f = 0; f < POLICY_FIELDS; f++) {
            if (is_over(o, f, now_s))
                policy_layer_unset(&o->layer, (enum policy_field)f);
        }
        if (o->layer.set == 0 && !o->unread)
            overrides_drop(&p->list, o);
    }
}

/*
 * A change of several overrides that takes place as a whole: begin, change, end. `before` holds
 * them as they were; names are neither changed nor freed in between.
 */
struct change {
    size_t count;
    struct override *before;
};

static void begin(struct policies *p, struct change *change)
{
    change->count = p->list.count;
    change->before = alloc_need(calloc(p->list.count + 1, sizeof(*change->before)));
    if (p->list.count > 0)
        memcpy(change->before, p->list.override, p->list.count * sizeof(*p->list.override));
}

static void forget_unread(struct override *before)
{
    if (!before->unread)
        return;
    log_warning("domain %s: what was stored for it and could not be read is dropped: %s",
                before->uuid, json_object_to_json_string(before->unread));
    json_object_put(before->unread);
}

/* An administrator has dealt with what of this VM could not be read. Between begin() and end(). */
static void settle(struct policies *p, const char *name, const char *uuid)
{
    for (size_t i = 0; i < p->list.count; i++) {
        if (is_of(&p->list.override[i], name, uuid))
            p->list.override[i].unread = NULL;
    }
}

static void take_back(struct policies *p, const struct change *change)
{
    while (p->list.count > change->count)
        overrides_drop(&p->list, &p->list.override[p->list.count - 1]);
    if (p->list.count > 0)
        memcpy(p->list.override, change->before, p->list.count * sizeof(*p->list.override));
}

static void finish(struct policies *p, struct change *change)
{
    for (size_t i = 0; i < change->count; i++) {
        if (!p->list.override[i].unread)
            forget_unread(&change->before[i]);
    }
    prune(p);
    atomic_fetch_add(&p->version, 1);
    free(change->before);
}

/* Stores what was changed; takes it back if that fails. */
static int end(struct policies *p, struct change *change, bool on_disk)
{
    int r = on_disk ? overrides_save(&p->list) : 0;

    if (r < 0)
        take_back(p, change);
    finish(p, change);
    return r;
}

int policies_new(struct config *config, const char *state_dir, struct paused *paused,
                 struct policies **ret, struct error *ret_warning)
{
    struct policies *p = alloc_need(calloc(1, sizeof(*p)));
    int r;

    ret_warning->text[0] = '\0';
    pthread_mutex_init(&p->lock, NULL);
    p->list.state_dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = p->list.state_dir < 0 ? -errno : overrides_load(&p->list, state_dir, paused, ret_warning);
    if (r < 0) {
        policies_free(p);
        return r;
    }
    p->config = *config;
    *config = (struct config){0};
    *ret = p;
    return 0;
}

static void free_domain(void *opaque)
{
    struct domain_metadata *d = opaque;

    description_clear(&d->description);
    free(d);
}

void policies_free(struct policies *p)
{
    if (!p)
        return;
    while (p->list.count > 0)
        overrides_drop(&p->list, &p->list.override[0]);
    free(p->list.override);
    tdestroy(p->metadata, free_domain);
    config_clear(&p->config);
    if (p->list.state_dir >= 0)
        close(p->list.state_dir);
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

static int compare_domains(const void *a, const void *b)
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
    found = tfind(&key, &p->metadata, compare_domains);
    return found ? *found : NULL;
}

/* What is malformed is one, too: to observe. */
static bool has_policy(const struct metadata *metadata)
{
    return metadata->layer.set || metadata->error[0];
}

/* The entry of a domain, made if need be. */
static struct domain_metadata *need_domain(struct policies *p, const char *uuid)
{
    struct domain_metadata *d = find_metadata(p, uuid);

    if (!d) {
        d = alloc_need(calloc(1, sizeof(*d)));
        snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
        alloc_need(tsearch(d, &p->metadata, compare_domains));
    }
    return d;
}

bool policies_set_metadata(struct policies *p, const char *uuid, const struct metadata *metadata)
{
    LOCKED(p);
    struct domain_metadata *d = need_domain(p, uuid);
    bool is_news = !metadata_equal(&d->metadata, metadata);

    p->metadata_policies += (size_t)has_policy(metadata) - (size_t)has_policy(&d->metadata);
    d->metadata = *metadata;
    if (is_news)
        atomic_fetch_add(&p->version, 1);
    return is_news;
}

void policies_set_description(struct policies *p, const char *uuid, struct description *d)
{
    LOCKED(p);
    struct domain_metadata *domain = need_domain(p, uuid);

    if (!description_equal(&domain->description, d))
        atomic_fetch_add(&p->version, 1);
    description_clear(&domain->description);
    domain->description = *d;
    *d = (struct description){0};
}

void policies_forget_domain(struct policies *p, const char *uuid)
{
    LOCKED(p);
    struct domain_metadata *d = find_metadata(p, uuid);

    if (!d)
        return;
    p->metadata_policies -= has_policy(&d->metadata);
    tdelete(d, &p->metadata, compare_domains);
    free_domain(d);
    atomic_fetch_add(&p->version, 1);
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

/* Nobody knows what it forbade, so it is taken to have forbidden everything. */
static void observe_unread(const struct policies *p, const char *name, const char *uuid,
                           struct policy *policy)
{
    for (size_t i = 0; i < p->list.count; i++) {
        const struct override *o = &p->list.override[i];

        if (!o->unread || !(is_of(o, name, uuid) || is_of(o, name, "")))
            continue;
        policy->values.v[POLICY_MODE] = MODE_OBSERVE;
        snprintf(policy->source[POLICY_MODE], POLICY_SOURCE_MAX, "stored policy, unreadable");
    }
}

/* Lays the rules that select the VM one over the other, or narrows by those that only do that. */
static void apply_rules(const struct config *config, const struct selector_subject *subject,
                        bool narrow, struct policy *policy)
{
    for (size_t i = 0; i < config->rules; i++) {
        const struct config_rule *rule = &config->rule[i];
        char by[POLICY_SOURCE_MAX];
        char source[POLICY_SOURCE_MAX * 3];

        if (selector_narrows(&rule->select) != narrow ||
            !selector_selects(&rule->select, subject, by, sizeof(by)))
            continue;
        snprintf(source, sizeof(source), "%s%s%s%s", rule->source, *by ? ", by " : "", by,
                 narrow ? " (its owner's to write)" : "");
        if (narrow)
            policy_narrow(policy, &rule->layer, source);
        else
            policy_merge(policy, &rule->layer, source);
    }
}

static void resolve(struct policies *p, const char *name, const char *uuid, struct policy *ret)
{
    static const struct domain_metadata nothing;
    const struct domain_metadata *found = find_metadata(p, uuid);
    const struct domain_metadata *own = found ? found : &nothing;
    bool is_trusted = p->config.trust_metadata && !own->metadata.error[0];
    const struct selector_subject subject = {
        .name = name,
        .uuid = uuid,
        .metadata = &own->metadata,
        .description = &own->description,
        .namespace = p->config.namespace,
        .namespaces = p->config.namespaces,
    };

    policy_init(ret);
    apply_rules(&p->config, &subject, false, ret);
    if (is_trusted)
        policy_merge(ret, &own->metadata.layer, "domain metadata");
    for (enum policies_kind kind = 0; kind < POLICIES_KINDS; kind++) {
        const struct override *expected = find(p, kind, name, "");
        const struct override *o = *uuid ? find(p, kind, name, uuid) : NULL;

        if (expected)
            merge_override(ret, expected);
        if (o)
            merge_override(ret, o);
    }
    policy_finish(ret);
    apply_rules(&p->config, &subject, true, ret);
    if (!is_trusted)
        policy_narrow(ret, &own->metadata.layer,
                      own->metadata.error[0] ? "malformed domain metadata" : "domain metadata");
    observe_unread(p, name, uuid, ret);
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
                 const struct policy_layer *layer, int64_t expires_s, const char *who,
                 struct policy *ret_after)
{
    LOCKED(p);
    struct change change;
    struct override *o;

    begin(p, &change);
    o = find(p, kind, name, uuid);
    if (!o)
        o = overrides_add(&p->list, kind, uuid, name);
    if (kind != POLICIES_RUNTIME)
        settle(p, name, uuid);
    o->gone_since_s = 0;
    for (unsigned f = 0; f < POLICY_FIELDS; f++) {
        if (!(layer->set & (1u << f)))
            continue;
        o->layer.values.v[f] = layer->values.v[f];
        o->expires_s[f] = expires_s;
    }
    o->layer.set |= layer->set;
    snprintf(o->who, sizeof(o->who), "override set by %s", who);
    if (!ret_after)
        return end(p, &change, kind != POLICIES_RUNTIME);
    resolve(p, name, uuid, ret_after);
    take_back(p, &change);
    finish(p, &change);
    return 0;
}

int policies_unset(struct policies *p, const char *name, const char *uuid, unsigned fields)
{
    LOCKED(p);
    struct change change;
    bool on_disk = false;

    begin(p, &change);
    for (size_t i = 0; i < p->list.count; i++) {
        struct override *o = &p->list.override[i];

        if (!is_of(o, name, uuid) && !is_of(o, name, ""))
            continue;
        on_disk |= o->kind != POLICIES_RUNTIME;
        for (unsigned f = 0; f < POLICY_FIELDS; f++) {
            if (fields & (1u << f))
                policy_layer_unset(&o->layer, (enum policy_field)f);
        }
    }
    settle(p, name, uuid);
    settle(p, name, "");
    return end(p, &change, on_disk);
}

int policies_apply(struct policies *p, struct policies_change *change, size_t count,
                   const char *who, bool dry_run)
{
    LOCKED(p);
    struct change undo;

    begin(p, &undo);
    for (size_t i = 0; i < count; i++) {
        const struct hv_domain *d = &change[i].domain;
        enum policies_kind kind = change[i].expires_s ? POLICIES_EXPIRING : POLICIES_STORED;
        struct override *o;

        resolve(p, d->name, d->uuid, &change[i].before);
        /* It was expected, and is here: what there is for its name has done its work. */
        o = find(p, kind, d->name, "");
        if (o && d->uuid[0]) {
            settle(p, d->name, "");
            o->layer.set = 0;
        }
        o = find(p, kind, d->name, d->uuid);
        if (!o)
            o = overrides_add(&p->list, kind, d->uuid, d->name);
        settle(p, d->name, d->uuid);
        o->gone_since_s = 0;
        o->layer = change[i].layer;
        for (unsigned f = 0; f < POLICY_FIELDS; f++)
            o->expires_s[f] = change[i].expires_s;
        snprintf(o->who, sizeof(o->who), "override set by %s", who);
        resolve(p, d->name, d->uuid, &change[i].after);
    }
    if (!dry_run)
        return end(p, &undo, true);
    take_back(p, &undo);
    finish(p, &undo);
    return 0;
}

int policies_find(struct policies *p, const char *name, char *ret_uuid, size_t size)
{
    LOCKED(p);
    const char *bare = strncmp(name, "uuid:", 5) == 0 ? name + 5 : name;

    for (size_t i = 0; i < p->list.count; i++) {
        const struct override *o = &p->list.override[i];

        if (strcmp(o->name, name) == 0 || (*o->uuid && strcasecmp(o->uuid, bare) == 0)) {
            snprintf(ret_uuid, size, "%s", o->uuid);
            return 0;
        }
    }
    return -ENOENT;
}

struct json_object *policies_list(struct policies *p)
{
    LOCKED(p);
    struct json_object *list = json_object_new_array();

    prune(p);
    for (size_t i = 0; i < p->list.count; i++)
        json_object_array_add(list, overrides_describe(&p->list.override[i]));
    return list;
}

size_t policies_unread(struct policies *p)
{
    LOCKED(p);
    size_t n = 0;

    for (size_t i = 0; i < p->list.count; i++)
        n += !!p->list.override[i].unread;
    return n;
}

/* Whether that is news. */
static bool note_domain(struct override *o, bool is_here, int64_t now_s)
{
    if (is_here == (o->gone_since_s == 0))
        return false;
    o->gone_since_s = is_here ? 0 : now_s;
    return true;
}

static int compare_texts(const void *a, const void *b)
{
    return strcasecmp(a, b);
}

void policies_note_domains(struct policies *p, char (*uuid)[HV_UUID_MAX], size_t count)
{
    LOCKED(p);
    int64_t now_s = time(NULL);
    struct change change;
    bool changed = false;

    begin(p, &change);
    for (size_t i = 0; i < p->list.count; i++) {
        struct override *o = &p->list.override[i];
        bool is_here = !o->uuid[0] ||
                       (count > 0 && bsearch(o->uuid, uuid, count, sizeof(uuid[0]), compare_texts));

        changed |= note_domain(o, is_here, now_s);
        if (o->gone_since_s == 0 || now_s - o->gone_since_s < INT64_C(86400) * POLICIES_GONE_DAYS ||
            o->unread)
            continue;
        log_info("%s: its override is dropped: it has been gone for %d days", o->name,
                 POLICIES_GONE_DAYS);
        o->layer.set = 0;
        changed = true;
    }
    /* What cannot be stored is found out again the next time. */
    end(p, &change, changed);
}

void policies_count(struct policies *p, size_t *ret_rules, size_t *ret_overrides,
                    size_t *ret_metadata)
{
    LOCKED(p);

    prune(p);
    *ret_rules = p->config.rules;
    *ret_overrides = p->list.count;
    *ret_metadata = p->metadata_policies;
}
