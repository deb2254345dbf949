/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of the control socket by which an administrator answers what the agent asks. */
#include "agent/control/internal.h"

#include <errno.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/wakeup.h"

int control_pending(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    struct json_object *o;
    struct json_object *proposals;
    int64_t now = monotonic_ns();
    size_t count;

    (void)parameters;
    if (watchers_list(c->env.watchers, &list, &count) < 0)
        return -ENOMEM;
    o = json_object_new_object();
    proposals = json_object_new_array();
    for (size_t i = 0; i < count; i++) {
        if (list[i].proposal.id > 0)
            json_object_array_add(proposals, proposal_to_json(&list[i], now));
    }
    json_add(o, "proposals", proposals);
    return control_answer(c, call, METHOD_PENDING, o);
}

static int answer(struct control *c, struct varlink_call *call, enum method method,
                  struct json_object *parameters, bool yes)
{
    struct migration *list AUTO_FREE = NULL;
    struct json_object *o;
    size_t count;
    size_t i = 0;
    int64_t id;

    if (control_check_admin(c, call, method, parameters) < 0)
        return 0;
    if (!json_object_object_get_ex(parameters, "id", &o) ||
        !json_object_is_type(o, json_type_int)) {
        control_refuse_parameter(c, call, method, "id");
        return 0;
    }
    id = json_object_get_int64(o);
    if (watchers_list(c->env.watchers, &list, &count) < 0)
        return -ENOMEM;
    while (i < count && !(list[i].proposal.id > 0 && list[i].proposal.id == id))
        i++;
    o = json_object_new_object();
    if (i == count || watchers_answer(c->env.watchers, list[i].proposal.id, yes,
                                      varlink_call_peer(call)->uid) < 0) {
        json_add(o, "id", json_object_new_int64(id));
        return control_refuse(c, call, method, "io.migpolicy.NoSuchProposal", o);
    }
    json_add(o, "proposal", proposal_to_json(&list[i], monotonic_ns()));
    return control_answer(c, call, method, o);
}

int control_approve(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    return answer(userdata, call, METHOD_APPROVE, parameters, true);
}

int control_deny(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    return answer(userdata, call, METHOD_DENY, parameters, false);
}
