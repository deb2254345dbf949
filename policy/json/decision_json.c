/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/json/decision_json.h"
#include "common/json.h"

struct json_object *decision_end_to_json(const struct decision *d)
{
    enum end end = decision_end(d);

    return end != END_UNKNOWN ? json_object_new_boolean(end == END_COMES) : NULL;
}
