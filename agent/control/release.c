/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The method Release of the control socket, and what is left over of earlier migrations. To restore
 * a leftover takes files of the kernel and of the disk, so that has a thread of its own.
 */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/json.h"

enum { RELEASES_MAX = 8 };

struct release {
    struct control_work work; /* first */
    struct control *control;
    struct varlink_call *call;
    struct hv_domain domain;
    const char *otherwise; /* why there is nothing to release, if there is no leftover either */
    int result;
    struct throttle_result done;
};

static bool is_called(const struct leftover *l, const char *vm)
{
    if (strncmp(vm, "uuid:", 5) == 0)
        return strcasecmp(l->uuid, vm + 5) == 0;
    return strcmp(l->name, vm) == 0 || strcasecmp(l->uuid, vm) == 0;
}

bool control_find_leftover(struct control *c, const char *vm, struct hv_domain *ret)
{
    struct leftover *list AUTO_FREE = NULL;
    size_t count;

    leftovers_list(c->env.leftovers, &list, &count);
    for (size_t i = 0; i < count; i++) {
        if (!is_called(&list[i], vm))
            continue;
        *ret = (struct hv_domain){.id = -1};
        snprintf(ret->name, sizeof(ret->name), "%s", list[i].name[0] ? list[i].name : list[i].uuid);
        snprintf(ret->uuid, sizeof(ret->uuid), "%.36s", list[i].uuid);
        return true;
    }
    return false;
}

static int answer(struct control *c, struct varlink_call *call, const struct hv_domain *domain,
                  const char *restored)
{
    struct json_object *o = json_object_new_object();

    json_add_text(o, "vm", domain->name);
    json_add_text(o, "uuid", domain->uuid);
    json_add_text(o, "restored", restored);
    return control_answer(c, call, METHOD_RELEASE, o);
}

static void run_release(struct control_work *work)
{
    struct release *r = (struct release *)work;

    r->result =
        leftovers_release(r->control->env.leftovers, r->domain.uuid, monotonic_ns(), &r->done);
}

static void end_release(struct control_work *work)
{
    struct release *r = (struct release *)work;
    struct control *c = r->control;
    char text[512];

    c->releases--;
    c->about = r->domain;
    if (r->result == 0) {
        leftovers_describe(&r->done, 0, text, sizeof(text));
        control_record(c, r->call, METHOD_RELEASE, &r->domain, text);
        answer(c, r->call, &r->domain, text);
    } else if (r->result == -ENOENT || r->result == -EBUSY) {
        control_refuse_why(c, r->call, METHOD_RELEASE, "io.migpolicy.Refused", "why", r->otherwise);
    } else {
        snprintf(text, sizeof(text), "%s could not be restored: %s; it is tried again",
                 r->domain.name, throttle_error(r->result));
        control_refuse_why(c, r->call, METHOD_RELEASE, "io.migpolicy.Failed", "why", text);
    }
    free(r);
}

static int restore_leftover(struct control *c, struct varlink_call *call,
                            const struct hv_domain *domain, const char *otherwise)
{
    struct release *r;
    int e;

    if (c->releases >= RELEASES_MAX)
        return control_refuse_why(c, call, METHOD_RELEASE, "io.migpolicy.Refused", "why",
                                  "too many are being released; try again");
    r = alloc_need(calloc(1, sizeof(*r)));
    *r = (struct release){.work = {.run = run_release, .done = end_release},
                          .control = c,
                          .call = call,
                          .domain = *domain,
                          .otherwise = otherwise};
    e = control_work_start(c, &r->work);
    if (e < 0)
        free(r);
    else
        c->releases++;
    return e;
}

int control_release(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    const char *vm = control_text(parameters, "vm");
    struct hv_domain domain, left;
    const char *why;
    char id[sizeof(domain.uuid) + 5];
    int r;

    if (control_check_admin(c, call, METHOD_RELEASE, parameters) < 0)
        return 0;
    if (!vm || monitor_find(c->env.monitor, vm, &domain) == 0 ||
        !control_find_leftover(c, vm, &domain)) {
        if (control_take_vm(c, call, METHOD_RELEASE, parameters, &domain) < 0)
            return 0;
    }
    c->about = domain;
    r = watchers_release(c->env.watchers, domain.uuid, varlink_call_peer(call)->uid);
    if (r < 0) {
        why = r == -ESRCH ? "the VM is not migrating"
                          : "the VM is not throttled; migpolicy set --allow-throttle=no keeps it "
                            "from being";
        snprintf(id, sizeof(id), "uuid:%s", domain.uuid);
        if (control_find_leftover(c, id, &left))
            return restore_leftover(c, call, &domain, why);
        return control_refuse_why(c, call, METHOD_RELEASE, "io.migpolicy.Refused", "why", why);
    }
    control_record(c, call, METHOD_RELEASE, &domain,
                   "its CPU is given back, and not limited again in this migration");
    return answer(c, call, &domain, NULL);
}
