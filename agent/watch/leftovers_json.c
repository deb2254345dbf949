/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/leftovers_json.h"

#include <string.h>

#include "agent/record/migration_json.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/units.h"

static double seconds(int64_t ns)
{
    return ns > 0 ? (double)ns / (double)NS_PER_S : 0;
}

struct json_object *leftovers_to_json(struct leftovers *l, const char *uuid)
{
    struct json_object *array = json_object_new_array();
    AUTO_FREE struct leftover *list = NULL;
    int64_t now = monotonic_ns();
    size_t count;

    leftovers_list(l, &list, &count);
    for (size_t i = 0; i < count; i++) {
        const struct leftover *one = &list[i];
        struct json_object *o;

        if (uuid && strcmp(one->uuid, uuid) != 0)
            continue;
        o = json_object_new_object();
        json_add_text(o, "vm", one->name[0] ? one->name : NULL);
        json_add_text(o, "uuid", one->uuid);
        json_add_number(o, "age_seconds", seconds(now - one->found_ns));
        json_add_count(o, "failures", one->backoff.failures);
        json_add_number(o, "next_try_seconds", seconds(one->backoff.due_ns - now));
        json_add_text(o, "why", throttle_error(one->backoff.error));
        json_object_array_add(array, o);
    }
    return array;
}
