/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/overrides.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/rules/store.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/log.h"
#include "common/textfile.h"
#include "policy/json/policy_json.h"

#define STORE_NAME "overrides.json"
enum { STORE_BYTES_MAX = 4 * 1024 * 1024 };

struct override *overrides_add(struct overrides *o, enum policies_kind kind, const char *uuid,
                               const char *name)
{
    struct override *added;

    o->override = alloc_need(realloc(o->override, (o->count + 1) * sizeof(*o->override)));
    added = &o->override[o->count++];
    *added = (struct override){.name = alloc_need(strdup(name)), .kind = kind};
    snprintf(added->uuid, OVERRIDES_UUID_SIZE, "%s", uuid);
    return added;
}

void overrides_drop(struct overrides *o, struct override *dropped)
{
    json_object_put(dropped->unread);
    free(dropped->name);
    *dropped = o->override[--o->count];
}

/* ---- writing ---- */

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

static struct json_object *to_json(const struct override *o)
{
    struct json_object *vm = json_object_new_object();

    json_object_object_add(vm, "name", json_object_new_string(o->name));
    json_object_object_add(vm, "set_by", json_object_new_string(o->who));
    json_object_object_add(vm, "policy", policy_layer_to_json(&o->layer));
    if (o->kind == POLICIES_EXPIRING)
        json_object_object_add(vm, "expires", ends_to_json(o));
    if (o->gone_since_s > 0)
        json_object_object_add(vm, "gone_since", json_object_new_int64(o->gone_since_s));
    return vm;
}

/* What is stored where: by UUID, and by name. Earlier versions know the first one alone. */
static const char *const sections[][2] = {
    [POLICIES_STORED] = {"vms", "named"},
    [POLICIES_EXPIRING] = {"expiring", "named_expiring"},
};

int overrides_save(const struct overrides *o)
{
    struct json_object *root AUTO_JSON = json_object_new_object();
    /* By UUID, and by name. */
    struct json_object *vms[][2] = {
        [POLICIES_STORED] = {json_object_new_object(), json_object_new_object()},
        [POLICIES_EXPIRING] = {json_object_new_object(), json_object_new_object()},
    };
    const char *text;
    size_t len;

    json_object_object_add(root, "schema_version", json_object_new_int(STORE_SCHEMA_VERSION));
    for (unsigned kind = POLICIES_STORED; kind <= POLICIES_EXPIRING; kind++) {
        json_object_object_add(root, sections[kind][0], vms[kind][0]);
        json_object_object_add(root, sections[kind][1], vms[kind][1]);
    }
    for (size_t i = 0; i < o->count; i++) {
        const struct override *one = &o->override[i];
        const char *key = one->uuid[0] ? one->uuid : one->name;

        if (one->unread)
            json_object_object_add(vms[one->kind][!one->uuid[0]], key,
                                   json_object_get(one->unread));
        else if (one->layer.set != 0 && one->kind != POLICIES_RUNTIME)
            json_object_object_add(vms[one->kind][!one->uuid[0]], key, to_json(one));
    }
    text = json_object_to_json_string_length(root, JSON_C_TO_STRING_PRETTY, &len);
    if (len > STORE_BYTES_MAX)
        return -EFBIG;
    return textfile_replace(o->state_dir, STORE_NAME, 0600, text);
}

/* ---- telling ---- */

static struct json_object *time_to_json(int64_t seconds)
{
    time_t time = seconds;
    char text[32];
    struct tm tm;

    if (seconds <= 0 || !gmtime_r(&time, &tm))
        return NULL;
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_object_new_string(text);
}

struct json_object *overrides_describe(const struct override *o)
{
    static const char *const kinds[] = {
        [POLICIES_STORED] = "stored",
        [POLICIES_EXPIRING] = "expiring",
        [POLICIES_RUNTIME] = "runtime",
    };
    struct json_object *vm = json_object_new_object();
    struct json_object *fields = json_object_new_array();

    for (unsigned f = 0; f < POLICY_FIELDS; f++) {
        struct json_object *field;
        char value[64];

        if (!(o->layer.set & (1u << f)))
            continue;
        field = json_object_new_object();
        policy_value_format((enum policy_field)f, o->layer.values.v[f], value, sizeof(value));
        json_object_object_add(
            field, "name", json_object_new_string(policy_field_info((enum policy_field)f)->name));
        json_object_object_add(field, "value", json_object_new_string(value));
        json_object_object_add(field, "until", time_to_json(o->expires_s[f]));
        json_object_array_add(fields, field);
    }
    json_object_object_add(vm, "vm", json_object_new_string(o->name));
    json_object_object_add(vm, "uuid", *o->uuid ? json_object_new_string(o->uuid) : NULL);
    json_object_object_add(vm, "kind", json_object_new_string(kinds[o->kind]));
    json_object_object_add(vm, "set_by", *o->who ? json_object_new_string(o->who) : NULL);
    json_object_object_add(vm, "gone_since", time_to_json(o->gone_since_s));
    json_object_object_add(vm, "readable", json_object_new_boolean(!o->unread));
    json_object_object_add(vm, "fields", fields);
    return vm;
}

/* ---- reading ---- */

static const char *text_member(struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string))
        return "";
    return json_object_get_string(value);
}

static bool take_time(struct json_object *object, const char *key, int64_t *ret_s)
{
    struct json_object *value;

    if (!json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_int) || json_object_get_int64(value) <= 0)
        return false;
    *ret_s = json_object_get_int64(value);
    return true;
}

static bool take_ends(struct json_object *vm, struct override *o)
{
    struct json_object *ends = NULL;

    json_object_object_get_ex(vm, "expires", &ends);
    for (unsigned f = 0; f < POLICY_FIELDS; f++) {
        if ((o->layer.set & (1u << f)) &&
            !take_time(ends, policy_field_info((enum policy_field)f)->name, &o->expires_s[f]))
            return false;
    }
    return true;
}

static int take_vm(struct json_object *vm, struct override *o, struct error *err)
{
    struct json_object *policy = NULL;

    if (!json_object_is_type(vm, json_type_object) ||
        !json_object_object_get_ex(vm, "policy", &policy))
        return error_set(err, -EINVAL, "no object with a policy");
    if (policy_layer_from_json(policy, &o->layer, err) < 0)
        return -EINVAL;
    if (o->kind == POLICIES_EXPIRING && !take_ends(vm, o))
        return error_set(err, -EINVAL, "a field without the time of its end");
    take_time(vm, "gone_since", &o->gone_since_s);
    return 0;
}

static int load_vms(struct overrides *o, enum policies_kind kind, bool by_name,
                    struct json_object *vms, struct error *why)
{
    json_object_object_foreach(vms, key, vm)
    {
        const char *uuid = by_name ? "" : key;
        struct override *one;
        struct error err;

        if (!by_name && strlen(uuid) != OVERRIDES_UUID_SIZE - 1)
            return error_set(why, -EINVAL, "an entry whose key is no UUID");
        one = overrides_add(o, kind, uuid, by_name ? key : text_member(vm, "name"));
        snprintf(one->who, sizeof(one->who), "%s", text_member(vm, "set_by"));
        if (take_vm(vm, one, &err) == 0)
            continue;
        log_warning(STORE_NAME ": what is stored for %s (%s) cannot be read: %s%s%s; until "
                               "migpolicy set or unset it is observed only",
                    *one->name ? one->name : "a VM", uuid, err.where, *err.where ? ": " : "",
                    err.text);
        one->layer.set = 0;
        one->unread = json_object_get(vm);
    }
    return 0;
}

/* What does not expire has to be there; an earlier version knew nothing else. */
static int load_all(struct overrides *o, struct json_object *root, struct error *why)
{
    struct json_object *value;

    if (!json_object_object_get_ex(root, sections[POLICIES_STORED][0], &value))
        return error_set(why, -EINVAL, "no \"vms\" object");
    for (unsigned i = 0; i < 4; i++) {
        const char *section = sections[i / 2][i % 2];
        int r;

        if (!json_object_object_get_ex(root, section, &value))
            continue;
        if (!json_object_is_type(value, json_type_object))
            return error_set(why, -EINVAL, "\"%s\" is no object", section);
        r = load_vms(o, i / 2, i % 2, value, why);
        if (r < 0)
            return r;
    }
    return 0;
}

int overrides_load(struct overrides *o, const char *dir, struct paused *paused,
                   struct error *ret_warning)
{
    struct json_object *root AUTO_JSON = NULL;
    struct error why;
    char aside[NAME_MAX + 1];
    int r = store_load(o->state_dir, STORE_NAME, STORE_BYTES_MAX, &root, &why);

    if (r == 0)
        r = load_all(o, root, &why);
    if (r == 0 || r == -ENOENT)
        return 0;
    while (o->count > 0)
        overrides_drop(o, &o->override[0]);
    /* First, and stored: once the file is aside the next start misses nothing. */
    r = paused_in_doubt(paused, STORE_NAME);
    if (r == 0)
        r = textfile_set_aside(o->state_dir, STORE_NAME, aside);
    if (r < 0)
        return r;
    return error_set(ret_warning, 0,
                     "%s/" STORE_NAME ": %.200s; kept as %.40s; the host is paused, until "
                     "migpolicy resume",
                     dir, why.text, aside);
}
