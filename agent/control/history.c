/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method History of the control socket. Reading and searching the record takes its time, so it
 * has a thread of its own; one, however many ask: they are answered one after the other.
 */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 1000 };

struct reading {
    struct control_work work; /* first */
    struct reading *next;
    struct control *control;
    struct varlink_call *call;
    struct record *record;
    char *name, *uuid; /* NULL: any */
    size_t limit;
    int result;
    struct json_object *list;
};

static void free_reading(struct reading *r)
{
    json_object_put(r->list);
    free(r->name);
    free(r->uuid);
    free(r);
}

/* The list as text in place of the list, so that nothing is left to do but to send it. */
static struct json_object *render(struct json_object *list)
{
    const char *plain = json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);
    struct json_object *o = json_object_new_object();

    json_object_set_serializer(o, json_object_userdata_to_json_string, alloc_need(strdup(plain)),
                               json_object_free_userdata);
    return o;
}

static void run_reading(struct control_work *work)
{
    struct reading *r = (struct reading *)work;
    struct json_object *list;

    r->result = record_history(r->record, r->name, r->uuid, r->limit, &list);
    if (r->result < 0)
        return;
    r->list = render(list);
    json_object_put(list);
}

static void end_reading(struct control_work *work);

static int start_first(struct control *c)
{
    struct reading *r = c->readings;

    r->work = (struct control_work){.run = run_reading, .done = end_reading};
    return control_work_start(c, &r->work);
}

static void answer(struct reading *r)
{
    struct control *c = r->control;
    AUTO_FREE char *traces = NULL;
    struct json_object *o;

    if (r->result < 0) {
        control_refuse_why(c, r->call, METHOD_HISTORY, "io.migpolicy.Failed", "why",
                           strerror(-r->result));
    } else {
        o = json_object_new_object();
        alloc_need_length(asprintf(&traces, "%s/traces", c->env.state_dir));
        json_add_text(o, "traces", traces);
        json_add(o, "migrations", STEAL(r->list));
        control_answer(c, r->call, METHOD_HISTORY, o);
    }
    free_reading(r);
}

static void end_reading(struct control_work *work)
{
    struct reading *r = (struct reading *)work;
    struct control *c = r->control;

    c->readings = r->next;
    answer(r);
    while ((r = c->readings) && (r->result = start_first(c)) < 0) {
        c->readings = r->next;
        answer(r);
    }
}

/* Who is gone does not wait any more; the one that is being read for ends by itself. */
static void leave(struct varlink_call *call, void *userdata)
{
    struct control *c = userdata;
    struct reading **at = &c->readings;
    struct reading *r;

    while ((r = *at)->call != call)
        at = &r->next;
    if (at == &c->readings)
        return;
    *at = r->next;
    r->result = -ECANCELED;
    answer(r);
}

static int enqueue(struct reading *r)
{
    struct control *c = r->control;
    struct reading **last = &c->readings;
    int e;

    while (*last)
        last = &(*last)->next;
    *last = r;
    if (last == &c->readings && (e = start_first(c)) < 0) {
        c->readings = NULL;
        return e;
    }
    varlink_call_on_disconnect(r->call, leave, c);
    return 0;
}

static int take_limit(struct varlink_call *call, struct json_object *parameters, size_t *ret)
{
    struct json_object *o;
    int64_t limit = LIMIT_DEFAULT;

    if (json_object_object_get_ex(parameters, "limit", &o) && o)
        limit = json_object_is_type(o, json_type_int) ? json_object_get_int64(o) : 0;
    if (limit < 1 || limit > LIMIT_MAX) {
        varlink_error_invalid_parameter(call, "limit");
        return -EINVAL;
    }
    *ret = (size_t)limit;
    return 0;
}

int control_history(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    const char *vm = control_text(parameters, "vm");
    struct hv_domain domain;
    struct reading *r;
    size_t limit;
    bool by_id = vm && strncmp(vm, "id:", 3) == 0;
    bool by_uuid = vm && strncmp(vm, "uuid:", 5) == 0;
    int e;

    if (take_limit(call, parameters, &limit) < 0)
        return 0;
    /* Nobody would read it, nor tell us by going away that it is not wanted any more. */
    if (varlink_call_is_oneway(call))
        return control_answer(c, call, METHOD_HISTORY, NULL);
    /* A name or UUID need not be known any more; a number means nothing once the VM is gone. */
    if (by_id && control_take_vm(c, call, METHOD_HISTORY, parameters, &domain) < 0)
        return 0;
    r = alloc_need(calloc(1, sizeof(*r)));
    r->control = c;
    r->record = c->env.record;
    r->call = call;
    r->limit = limit;
    if (by_id || by_uuid)
        r->uuid = alloc_need(strdup(by_id ? domain.uuid : vm + 5));
    else if (vm)
        r->name = alloc_need(strdup(vm));
    e = enqueue(r);
    if (e < 0)
        free_reading(r);
    return e;
}
