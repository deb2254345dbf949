/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of the control socket that show and change policies. */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/record/migration_json.h"
#include "common/json.h"

int control_answer_policy(struct control *c, struct varlink_call *call, enum method method,
                          const struct hv_domain *domain, struct policy *would)
{
    struct json_object *o = json_object_new_object();
    struct metadata metadata;
    struct policy policy;

    policies_get_metadata(c->env.policies, domain->uuid, &metadata);
    if (would)
        policy = *would;
    else
        policies_resolve(c->env.policies, domain->name, domain->uuid, &policy);
    watchers_overlay(c->env.watchers, domain->uuid, &policy);
    paused_overlay(c->env.paused, domain->uuid, &policy);
    json_add_text(o, "vm", domain->name);
    json_add_text(o, "uuid", domain->uuid[0] ? domain->uuid : NULL);
    json_add(o, "fields", fields_to_json(&policy));
    json_add_text(o, "labels", metadata.labels[0] ? metadata.labels : NULL);
    json_add_text(o, "metadata_error", metadata.error[0] ? metadata.error : NULL);
    return control_answer(c, call, method, o);
}

int control_show(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct hv_domain domain;

    if (control_take_vm(c, call, METHOD_SHOW, parameters, &domain) < 0)
        return 0;
    return control_answer_policy(c, call, METHOD_SHOW, &domain, NULL);
}

int control_overrides(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct json_object *list = policies_list(c->env.policies);
    struct json_object *o = json_object_new_object();

    (void)parameters;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        struct json_object *one = json_object_array_get_idx(list, i);
        const char *uuid = control_text(one, "uuid");
        char vm[HV_UUID_MAX + 8];
        struct hv_domain domain;
        int r;

        snprintf(vm, sizeof(vm), "uuid:%s", uuid ? uuid : "");
        r = monitor_find(c->env.monitor, uuid ? vm : control_text(one, "vm"), &domain);
        if (r == 0)
            json_add_text(one, "vm", domain.name);
        json_add(one, "here", r == -ENOTCONN ? NULL : json_object_new_boolean(r == 0));
    }
    json_add(o, "overrides", list);
    return control_answer(c, call, METHOD_OVERRIDES, o);
}

int control_refuse_value(struct control *c, struct varlink_call *call, enum method method,
                         const char *field, const char *value, const char *expected)
{
    struct json_object *o = json_object_new_object();

    json_add_text(o, "field", field);
    json_add_text(o, "value", value);
    json_add_text(o, "expected", expected);
    control_refuse(c, call, method, "io.migpolicy.BadValue", o);
    return -EINVAL;
}

int control_take_fields(struct control *c, struct varlink_call *call, enum method method,
                        struct json_object *parameters, struct policy_layer *ret)
{
    struct json_object *fields;

    if (!json_object_object_get_ex(parameters, "fields", &fields) ||
        !json_object_is_type(fields, json_type_object) || json_object_object_length(fields) == 0)
        return control_refuse_parameter(c, call, method, "fields");
    json_object_object_foreach(fields, name, value)
    {
        const char *expected = "the name of a policy field";
        const char *text = json_object_get_string(value);
        enum policy_field field;

        if (json_object_is_type(value, json_type_string) && policy_field_find(name, &field) == 0 &&
            policy_layer_set(ret, field, text, &expected) == 0)
            continue;
        return control_refuse_value(c, call, method, name, text, expected);
    }
    return 0;
}

/* Where an override goes, and its end on the wall clock, 0: none. As control_take_fields(). */
static int take_kind(struct control *c, struct varlink_call *call, struct json_object *parameters,
                     enum policies_kind *ret_kind, int64_t *ret_expires_s)
{
    const char *expires = control_text(parameters, "expires");
    struct json_object *runtime;

    *ret_kind = expires ? POLICIES_EXPIRING : POLICIES_STORED;
    *ret_expires_s = 0;
    if (expires) {
        if (config_parse_expires(expires, ret_expires_s) < 0)
            return control_refuse_value(c, call, METHOD_SET, "expires", expires,
                                        CONFIG_EXPIRES_ACCEPTS);
        *ret_expires_s += time(NULL);
    }
    if (json_object_object_get_ex(parameters, "runtime", &runtime) &&
        json_object_get_boolean(runtime))
        *ret_kind = POLICIES_RUNTIME;
    return 0;
}

int control_set(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct policy_layer layer = {0};
    struct hv_domain domain;
    enum policies_kind kind;
    int64_t expires_s;
    struct json_object *dry_run = NULL;
    struct policy would;
    char who[64];
    const char *expires = control_text(parameters, "expires");
    char detail[1024];
    size_t len;
    int r;

    if (control_check_admin(c, call, METHOD_SET, parameters) < 0 ||
        control_take_vm(c, call, METHOD_SET, parameters, &domain) < 0 ||
        control_take_fields(c, call, METHOD_SET, parameters, &layer) < 0 ||
        take_kind(c, call, parameters, &kind, &expires_s) < 0)
        return 0;
    snprintf(who, sizeof(who), "uid %u", varlink_call_peer(call)->uid);
    json_object_object_get_ex(parameters, "dry_run", &dry_run);
    r = policies_set(c->env.policies, kind, domain.name, domain.uuid, &layer, expires_s, who,
                     json_object_get_boolean(dry_run) ? &would : NULL);
    if (r < 0)
        return control_refuse_why(c, call, METHOD_SET, "io.migpolicy.Failed", "why", strerror(-r));
    if (json_object_get_boolean(dry_run))
        return control_answer_policy(c, call, METHOD_SET, &domain, &would);
    control_describe_fields(&layer, detail, sizeof(detail));
    len = strlen(detail);
    snprintf(detail + len, sizeof(detail) - len, "%s%s%s", expires ? " for " : "",
             expires ? expires : "", kind == POLICIES_RUNTIME ? " until the agent stops" : "");
    control_record(c, call, METHOD_SET, &domain, detail);
    watchers_poke(c->env.watchers, domain.uuid[0] ? domain.uuid : NULL);
    return control_answer_policy(c, call, METHOD_SET, &domain, NULL);
}

int control_unset(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct json_object *names;
    struct hv_domain domain;
    unsigned fields = 0;
    int r;

    if (control_check_admin(c, call, METHOD_UNSET, parameters) < 0 ||
        control_take_vm(c, call, METHOD_UNSET, parameters, &domain) < 0)
        return 0;
    if (!json_object_object_get_ex(parameters, "fields", &names) ||
        !json_object_is_type(names, json_type_array)) {
        control_refuse_parameter(c, call, METHOD_UNSET, "fields");
        return 0;
    }
    for (size_t i = 0; i < json_object_array_length(names); i++) {
        struct json_object *name = json_object_array_get_idx(names, i);
        enum policy_field field;

        if (json_object_is_type(name, json_type_string) &&
            policy_field_find(json_object_get_string(name), &field) == 0) {
            fields |= 1u << field;
            continue;
        }
        control_refuse_value(c, call, METHOD_UNSET, json_object_get_string(name), "",
                             "the name of a policy field");
        return 0;
    }
    r = policies_unset(c->env.policies, domain.name, domain.uuid, fields ? fields : ~0u);
    if (r < 0)
        return control_refuse_why(c, call, METHOD_UNSET, "io.migpolicy.Failed", "why",
                                  strerror(-r));
    control_record(c, call, METHOD_UNSET, &domain,
                   fields ? json_object_to_json_string_ext(names, JSON_C_TO_STRING_PLAIN)
                          : "every field");
    watchers_poke(c->env.watchers, domain.uuid[0] ? domain.uuid : NULL);
    return control_answer_policy(c, call, METHOD_UNSET, &domain, NULL);
}
