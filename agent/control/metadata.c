/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changing the policy in a domain's own metadata. The hypervisor may take its time for that, so
 * each change has a thread and a connection of its own. A few at most are under way.
 */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"

enum { CHANGES_MAX = 8 };

struct change {
    struct control_work work; /* first */
    struct control *control;
    struct varlink_call *call;
    struct hv_domain domain;
    char *uri;
    struct metadata set; /* its fields, and its labels if sets_labels */
    bool sets_labels;
    uint32_t unset;
    bool clear;
    char detail[1024];

    int result;
    char why[256];
    char *xml; /* what is there now */
};

static void free_change(struct change *ch)
{
    free(ch->uri);
    free(ch->xml);
    free(ch);
}

static int fail(struct change *ch, int error, const char *why)
{
    snprintf(ch->why, sizeof(ch->why), "%s", why);
    return error;
}

static int apply(struct change *ch, struct hv_watch *watch)
{
    char *before AUTO_FREE = NULL;
    char *after AUTO_FREE = NULL;
    struct metadata m;
    int r = hv_watch_metadata(watch, &before);

    if (r < 0)
        return fail(ch, r, hypervisor_error());
    metadata_parse(ch->clear ? NULL : before, &m);
    if (m.error[0])
        return fail(ch, -EBADMSG, m.error);
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (ch->unset & (1u << i))
            policy_layer_unset(&m.layer, (enum policy_field)i);
        if (ch->set.layer.set & (1u << i))
            m.layer.values.v[i] = ch->set.layer.values.v[i];
    }
    m.layer.set |= ch->set.layer.set;
    if (ch->sets_labels)
        memcpy(m.labels, ch->set.labels, sizeof(m.labels));
    r = metadata_format(&m, &after);
    if (r == 0 && (before || after) && (r = hv_watch_set_metadata(watch, after)) < 0)
        return fail(ch, r, hypervisor_error());
    if (r == 0)
        ch->xml = STEAL(after);
    return r;
}

static void run_change(struct control_work *work)
{
    struct change *ch = (struct change *)work;
    struct hv_watch *watch;

    ch->result = hv_watch_open(ch->uri, ch->domain.uuid, &watch);
    if (ch->result < 0) {
        fail(ch, ch->result, hypervisor_error());
    } else {
        ch->result = apply(ch, watch);
        hv_watch_close(watch);
    }
}

static int finish(struct change *ch)
{
    struct control *c = ch->control;
    char why[512];

    c->about = ch->domain;
    switch (ch->result) {
    case 0:
        control_record(c, ch->call, METHOD_CHANGE_METADATA, &ch->domain, ch->detail);
        policies_learn_metadata(c->env.policies, ch->domain.uuid, 0, ch->xml);
        watchers_poke(c->env.watchers, ch->domain.uuid);
        return control_answer_policy(c, ch->call, METHOD_CHANGE_METADATA, &ch->domain, NULL);
    case -EBUSY:
        return control_refuse_why(c, ch->call, METHOD_CHANGE_METADATA, "io.migpolicy.Refused",
                                  "why",
                                  "libvirt does not let the metadata of a domain be changed while "
                                  "it has a job such as a migration; wait for its end, or set it "
                                  "without --scope metadata");
    case -EBADMSG:
        snprintf(why, sizeof(why),
                 "what is there is not understood (%s); unset --all --scope metadata removes it",
                 ch->why);
        return control_refuse_why(c, ch->call, METHOD_CHANGE_METADATA, "io.migpolicy.Refused",
                                  "why", why);
    case -ENOENT:
        return control_refuse_why(c, ch->call, METHOD_CHANGE_METADATA, "io.migpolicy.NoSuchVM",
                                  "vm", ch->domain.name);
    default:
        return control_refuse_why(c, ch->call, METHOD_CHANGE_METADATA, "io.migpolicy.Failed", "why",
                                  ch->why);
    }
}

static void end_change(struct control_work *work)
{
    struct change *ch = (struct change *)work;

    ch->control->changes--;
    finish(ch);
    free_change(ch);
}

/* "label" is a name beside those of the policy's fields. Returns what would be right, or NULL. */
static const char *take_one(struct change *ch, const char *name, const char *value)
{
    const char *expected = "the name of a policy field, or label";
    enum policy_field field;

    if (strcmp(name, "label") == 0) {
        ch->sets_labels = true;
        return value && metadata_set_labels(&ch->set, value) < 0 ? POLICY_LABELS : NULL;
    }
    if (policy_field_find(name, &field) < 0)
        return expected;
    if (!value) {
        ch->unset |= 1u << field;
        return NULL;
    }
    return policy_layer_set(&ch->set.layer, field, value, &expected) < 0 ? expected : NULL;
}

static int take_change(struct change *ch, struct json_object *parameters)
{
    struct json_object *fields;

    if (!json_object_object_get_ex(parameters, "fields", &fields) ||
        !json_object_is_type(fields, json_type_object))
        return control_refuse_parameter(ch->control, ch->call, METHOD_CHANGE_METADATA, "fields");
    ch->clear = json_object_object_length(fields) == 0;
    json_object_object_foreach(fields, name, value)
    {
        const char *text = json_object_get_string(value);
        const char *expected = "a text or null";

        if (!value || json_object_is_type(value, json_type_string))
            expected = take_one(ch, name, text);
        if (expected)
            return control_refuse_value(ch->control, ch->call, METHOD_CHANGE_METADATA, name,
                                        text ? text : "", expected);
    }
    snprintf(ch->detail, sizeof(ch->detail), "metadata: %s",
             ch->clear ? "none" : json_object_to_json_string_ext(fields, JSON_C_TO_STRING_PLAIN));
    return 0;
}

static int start(struct change *ch)
{
    struct control *c = ch->control;
    int r;

    ch->uri = alloc_need(strdup(c->env.uri));
    ch->work = (struct control_work){.run = run_change, .done = end_change};
    r = control_work_start(c, &ch->work);
    if (r == 0)
        c->changes++;
    return r;
}

int control_change_metadata(struct varlink_call *call, struct json_object *parameters,
                            void *userdata)
{
    struct control *c = userdata;
    struct change *ch;
    int r;

    if (control_check_admin(c, call, METHOD_CHANGE_METADATA, parameters) < 0)
        return 0;
    if (c->changes >= CHANGES_MAX)
        return control_refuse_why(c, call, METHOD_CHANGE_METADATA, "io.migpolicy.Refused", "why",
                                  "too many changes of metadata are under way; try again");
    ch = alloc_need(calloc(1, sizeof(*ch)));
    ch->control = c;
    ch->call = call;
    r = control_take_vm(c, call, METHOD_CHANGE_METADATA, parameters, &ch->domain);
    if (r == 0)
        r = take_change(ch, parameters);
    if (r < 0) {
        free_change(ch); /* it has been answered */
        return 0;
    }
    r = start(ch);
    if (r < 0)
        free_change(ch);
    return r;
}
