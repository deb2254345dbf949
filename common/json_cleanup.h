/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A variable that gives up its reference to a JSON object when it goes out of scope. */
#ifndef MIGPOLICY_JSON_CLEANUP_H
#define MIGPOLICY_JSON_CLEANUP_H

#include <json-c/json.h>

#include "common/cleanup.h"

static inline void cleanup_json(struct json_object **object)
{
    json_object_put(*object);
}

#define AUTO_JSON CLEANUP(cleanup_json)

#endif
