/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The method History of the control socket. */
#include "agent/control/internal.h"

#include <string.h>

#include "agent/record/migration_json.h"
#include "common/json.h"

enum { LIMIT_DEFAULT = 20, LIMIT_MAX = 1000 };

int control_history(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct control *c = userdata;
    const char *vm = control_text(parameters, "vm");
    const char *uuid = NULL;
    struct json_object *list;
    struct json_object *o;
    struct hv_domain domain;
    int64_t limit = LIMIT_DEFAULT;
    int r;

    if (json_object_object_get_ex(parameters, "limit", &o) && o) {
        limit = json_object_is_type(o, json_type_int) ? json_object_get_int64(o) : 0;
        if (limit < 1 || limit > LIMIT_MAX) {
            varlink_error_invalid_parameter(call, "limit");
            return 0;
        }
    }
    /* A name or UUID need not be known any more; a number means nothing once the VM is gone. */
    if (vm && strncmp(vm, "uuid:", 5) == 0) {
        uuid = vm + 5;
        vm = NULL;
    } else if (vm && strncmp(vm, "id:", 3) == 0) {
        if (control_take_vm(c, call, METHOD_HISTORY, parameters, &domain) < 0)
            return 0;
        uuid = domain.uuid;
        vm = NULL;
    }
    r = record_history(c->env.record, vm, uuid, (size_t)limit, &list);
    if (r < 0)
        return control_refuse_why(c, call, METHOD_HISTORY, "io.migpolicy.Failed", "why",
                                  strerror(-r));
    o = json_object_new_object();
    json_add(o, "migrations", list);
    return control_answer(c, call, METHOD_HISTORY, o);
}
