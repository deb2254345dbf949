/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of the control socket that change many policies at once: Apply and Reload. */
#include "agent/control/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "policy/json/policy_json.h"

/* A VM by whatever names one, or by the bare UUID that stored overrides have. */
static int find_vm(struct control *c, const char *vm, struct hv_domain *ret)
{
    char text[HV_UUID_MAX + 8];
    int r = monitor_find(c->env.monitor, vm, ret);

    if (r < 0) {
        snprintf(text, sizeof(text), "uuid:%s", vm);
        r = monitor_find(c->env.monitor, text, ret);
    }
    if (r < 0 && policies_find(c->env.policies, vm, ret->uuid, sizeof(ret->uuid)) == 0) {
        snprintf(ret->name, sizeof(ret->name), "%s", vm);
        r = 0;
    }
    return r;
}

/* When it fails the call has been answered, and -EINVAL is returned. With `missing`, a VM that is
   not here is added to it instead, and -ENOENT returned; if it is expected, it is taken all the
   same. */
static int take_one(struct control *c, struct varlink_call *call, const char *vm,
                    struct json_object *entry, struct policies_change *changes, size_t index,
                    struct json_object *missing, bool expected)
{
    struct policies_change *change = &changes[index];
    struct json_object *policy = NULL;
    struct json_object *expires;
    struct error err;
    int r;

    r = find_vm(c, vm, &change->domain);
    if (r == -ENOENT && expected)
        r = control_expect_vm(vm, &change->domain);
    if (r == -ENOENT && missing) {
        json_object_array_add(missing, json_object_new_string(vm));
        return r;
    }
    if (r < 0) {
        control_refuse_why(c, call, METHOD_APPLY, "io.migpolicy.NoSuchVM", "vm", vm);
        return -EINVAL;
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(changes[i].domain.uuid, change->domain.uuid) == 0 &&
            (change->domain.uuid[0] || strcmp(changes[i].domain.name, change->domain.name) == 0))
            return control_refuse_value(c, call, METHOD_APPLY, "vms", vm,
                                        "a VM that is named once only");
    }
    if (json_object_object_get_ex(entry, "expires", &expires) && expires &&
        config_parse_expires(control_text(entry, "expires"), &change->expires_s) < 0)
        return control_refuse_value(c, call, METHOD_APPLY, "expires",
                                    json_object_get_string(expires), CONFIG_EXPIRES_ACCEPTS);
    json_object_object_get_ex(entry, "policy", &policy);
    if (policy_layer_from_json(policy, &change->layer, &err) < 0)
        return control_refuse_value(c, call, METHOD_APPLY, err.where, vm, err.text);
    return 0;
}

static void add_differences(struct json_object *array, const struct policies_change *change)
{
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const char *until = policies_until(&change->after, (enum policy_field)i);
        const char *before = policies_until(&change->before, (enum policy_field)i);
        struct json_object *o;
        char text[64];

        if (change->before.values.v[i] == change->after.values.v[i] &&
            strcmp(until ? until : "", before ? before : "") == 0)
            continue;
        o = json_object_new_object();
        json_add_text(o, "vm", change->domain.name);
        json_add_text(o, "uuid", change->domain.uuid[0] ? change->domain.uuid : NULL);
        json_add_text(o, "field", policy_field_info((enum policy_field)i)->name);
        json_add_text(o, "before",
                      policy_value_format((enum policy_field)i, change->before.values.v[i], text,
                                          sizeof(text)));
        json_add_text(o, "after",
                      policy_value_format((enum policy_field)i, change->after.values.v[i], text,
                                          sizeof(text)));
        json_add_text(o, "until", until);
        json_object_array_add(array, o);
    }
}

static int apply(struct control *c, struct varlink_call *call, struct policies_change *change,
                 size_t count, bool dry_run, struct json_object *missing)
{
    struct json_object *o = json_object_new_object();
    struct json_object *array = json_object_new_array();
    char detail[1024];
    int64_t now_s = time(NULL);
    size_t len;
    char who[64];
    int r;

    snprintf(who, sizeof(who), "uid %u", varlink_call_peer(call)->uid);
    for (size_t i = 0; i < count; i++) {
        if (change[i].expires_s)
            change[i].expires_s += now_s;
    }
    r = policies_apply(c->env.policies, change, count, who, dry_run);
    for (size_t i = 0; i < count; i++) {
        if (!dry_run && r == 0) {
            control_describe_fields(&change[i].layer, detail, sizeof(detail));
            len = strlen(detail);
            if (change[i].expires_s)
                snprintf(detail + len, sizeof(detail) - len, " for %" PRId64 "s",
                         change[i].expires_s - now_s);
            control_record(c, call, METHOD_APPLY, &change[i].domain, detail);
            watchers_poke(c->env.watchers, change[i].domain.uuid[0] ? change[i].domain.uuid : NULL);
        }
        add_differences(array, &change[i]);
    }
    json_add(o, "changes", array);
    json_add(o, "missing", json_object_get(missing));
    if (r == 0)
        return control_answer(c, call, METHOD_APPLY, o);
    json_object_put(o);
    return control_refuse_why(c, call, METHOD_APPLY, "io.migpolicy.Failed", "why", strerror(-r));
}

int control_apply(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct policies_change *change AUTO_FREE = NULL;
    struct control *c = userdata;
    struct json_object *missing AUTO_JSON = json_object_new_array();
    struct json_object *dry_run = NULL;
    struct json_object *ignore = NULL;
    struct json_object *expected = NULL;
    struct json_object *vms;
    size_t count = 0;

    if (control_check_admin(c, call, METHOD_APPLY, parameters) < 0)
        return 0;
    if (!json_object_object_get_ex(parameters, "vms", &vms) ||
        !json_object_is_type(vms, json_type_object)) {
        control_refuse_parameter(c, call, METHOD_APPLY, "vms");
        return 0;
    }
    json_object_object_get_ex(parameters, "dry_run", &dry_run);
    json_object_object_get_ex(parameters, "ignore_missing", &ignore);
    json_object_object_get_ex(parameters, "expected", &expected);
    change = alloc_need(calloc((size_t)json_object_object_length(vms) + 1, sizeof(*change)));
    json_object_object_foreach(vms, vm, entry)
    {
        int r = take_one(c, call, vm, entry, change, count,
                         json_object_get_boolean(ignore) ? missing : NULL,
                         json_object_get_boolean(expected));

        if (r < 0 && r != -ENOENT)
            return 0;
        count += r == 0;
    }
    return apply(c, call, change, count, json_object_get_boolean(dry_run), missing);
}

int control_reload(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct error text;
    struct json_object *o;
    int r;

    if (control_check_admin(c, call, METHOD_RELOAD, parameters) < 0)
        return 0;
    r = c->env.reload(c->env.reload_opaque, &text);
    if (r < 0)
        return control_refuse_why(c, call, METHOD_RELOAD, "io.migpolicy.BadConfig", "why",
                                  text.text);
    control_record(c, call, METHOD_RELOAD, NULL, "configuration");
    o = json_object_new_object();
    json_add_text(o, "not_in_force", *text.text ? text.text : NULL);
    return control_answer(c, call, METHOD_RELOAD, o);
}
