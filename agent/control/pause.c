/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of the control socket that take the agent's hands off: Pause, Resume. */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/json.h"

/* What is paused now; a VM's own part only if one was named. */
static int answer_paused(struct control *c, struct varlink_call *call, enum method method,
                         const struct hv_domain *vm)
{
    struct json_object *o = json_object_new_object();
    char who[PAUSED_WHO_MAX];

    json_add_text(o, "vm", vm ? vm->name : NULL);
    json_add_text(o, "uuid", vm ? vm->uuid : NULL);
    json_add_text(o, "vm_paused_by", vm && paused_is(c->env.paused, vm->uuid, who) ? who : NULL);
    json_add_text(o, "host_paused_by", paused_is(c->env.paused, NULL, who) ? who : NULL);
    json_add_count(o, "paused_vms", paused_count(c->env.paused));
    return control_answer(c, call, method, o);
}

/*
 * The VM that was named, in *domain; *ret is NULL when none was. One that is gone can still be
 * named by its UUID. When it fails the call has been answered.
 */
static int take_target(struct control *c, struct varlink_call *call, enum method method,
                       struct json_object *parameters, struct hv_domain *domain,
                       const struct hv_domain **ret)
{
    const char *vm = control_text(parameters, "vm");
    struct json_object *o = NULL;

    json_object_object_get_ex(parameters, "vm", &o);
    *ret = o ? domain : NULL;
    if (!o)
        return 0;
    if (vm && strncmp(vm, "uuid:", 5) == 0 && paused_is(c->env.paused, vm + 5, NULL)) {
        snprintf(domain->name, sizeof(domain->name), "%s", vm);
        snprintf(domain->uuid, sizeof(domain->uuid), "%s", vm + 5);
        return 0;
    }
    return control_take_vm(c, call, method, parameters, domain);
}

int control_pause(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct hv_domain domain = {0};
    const struct hv_domain *vm;
    char who[PAUSED_WHO_MAX];
    char why[128];
    int r;

    if (control_check_admin(c, call, METHOD_PAUSE, parameters) < 0 ||
        take_target(c, call, METHOD_PAUSE, parameters, &domain, &vm) < 0)
        return 0;
    snprintf(who, sizeof(who), "uid %u", varlink_call_peer(call)->uid);
    r = paused_set(c->env.paused, vm ? vm->uuid : NULL, who);
    watchers_poke(c->env.watchers, vm ? vm->uuid : NULL);
    if (r == 0) {
        control_record(c, call, METHOD_PAUSE, vm, vm ? "this VM" : "the host");
        return answer_paused(c, call, METHOD_PAUSE, vm);
    }
    snprintf(why, sizeof(why), "it is paused, but only until migpolicyd is restarted: %s",
             strerror(-r));
    return control_refuse_why(c, call, METHOD_PAUSE, "io.migpolicy.Failed", "why", why);
}

int control_resume(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct hv_domain domain = {0};
    const struct hv_domain *vm;
    int r;

    if (control_check_admin(c, call, METHOD_RESUME, parameters) < 0 ||
        take_target(c, call, METHOD_RESUME, parameters, &domain, &vm) < 0)
        return 0;
    r = paused_unset(c->env.paused, vm ? vm->uuid : NULL);
    if (r < 0)
        return control_refuse_why(c, call, METHOD_RESUME, "io.migpolicy.Failed", "why",
                                  strerror(-r));
    control_record(c, call, METHOD_RESUME, vm, vm ? "this VM" : "the host");
    watchers_poke(c->env.watchers, vm ? vm->uuid : NULL);
    return answer_paused(c, call, METHOD_RESUME, vm);
}
