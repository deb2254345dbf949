/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of the control socket by which an administrator answers what the agent asks. */
#include "agent/control/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/units.h"
#include "common/wakeup.h"

struct json_object *control_proposals(const struct migration *list, size_t count, const char *uuid,
                                      int64_t now_ns)
{
    struct json_object *proposals = json_object_new_array();

    for (size_t i = 0; i < count; i++) {
        if (list[i].proposal.id > 0 && (!uuid || strcmp(list[i].domain.uuid, uuid) == 0))
            json_object_array_add(proposals, proposal_to_json(&list[i], now_ns));
    }
    return proposals;
}

int control_pending(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    struct migration *list AUTO_FREE = NULL;
    struct json_object *o;
    size_t count;

    (void)parameters;
    watchers_list(c->env.watchers, &list, &count);
    o = json_object_new_object();
    json_add(o, "proposals", control_proposals(list, count, NULL, monotonic_ns()));
    return control_answer(c, call, METHOD_PENDING, o);
}

/* The ceiling of a yes; 0: none. As control_take_fields(). */
static int take_ceiling(struct control *c, struct varlink_call *call, enum method method,
                        struct json_object *parameters, int64_t *ret_ns)
{
    const char *text = control_text(parameters, "max_work_lost");

    *ret_ns = 0;
    if (!text || (units_parse(UNIT_DURATION, text, ret_ns) == 0 && *ret_ns > 0))
        return 0;
    return control_refuse_value(c, call, method, "max_work_lost", text, "a duration, such as 2s");
}

static int refuse_answer(struct control *c, struct varlink_call *call, enum method method,
                         int64_t id, const struct migration *m, int error)
{
    struct json_object *o;
    char why[256];

    if (error == -ENOENT) {
        o = json_object_new_object();
        json_add(o, "id", json_object_new_int64(id));
        return control_refuse(c, call, method, "io.migpolicy.NoSuchProposal", o);
    }
    snprintf(why, sizeof(why), "it would lose more than --max-work-lost: %s", m->proposal.text);
    return control_refuse_why(c, call, method, "io.migpolicy.Refused", "why", why);
}

static int answer(struct control *c, struct varlink_call *call, enum method method,
                  struct json_object *parameters, bool yes)
{
    struct migration *list AUTO_FREE = NULL;
    struct json_object *o;
    size_t count;
    size_t i = 0;
    int64_t ceiling_ns;
    int64_t id;
    int r = -ENOENT;
    char who[32];

    if (control_check_admin(c, call, method, parameters) < 0 ||
        take_ceiling(c, call, method, parameters, &ceiling_ns) < 0)
        return 0;
    if (!json_object_object_get_ex(parameters, "id", &o) ||
        !json_object_is_type(o, json_type_int)) {
        control_refuse_parameter(c, call, method, "id");
        return 0;
    }
    id = json_object_get_int64(o);
    watchers_list(c->env.watchers, &list, &count);
    while (i < count && !(list[i].proposal.id > 0 && list[i].proposal.id == id))
        i++;
    snprintf(who, sizeof(who), "uid %u", varlink_call_peer(call)->uid);
    if (i < count)
        r = watchers_answer(c->env.watchers, list[i].proposal.id, yes, ceiling_ns, who);
    if (r < 0)
        return refuse_answer(c, call, method, id, &list[i], r);
    o = json_object_new_object();
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
