/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json-c, which this file alone includes. What it has no memory for ends the process, as everywhere
 * (common/alloc.h): json-c itself would go on with a NULL, which is written as null or left out,
 * and a journal with a hole is worse than none.
 */
#ifndef MIGPOLICY_JSON_H
#define MIGPOLICY_JSON_H

#include <json-c/json.h>

#include "common/alloc.h"
#include "common/cleanup.h"

#define JSON_NEED(object) ((struct json_object *)alloc_need(object))

#define json_object_new_object()         JSON_NEED(json_object_new_object())
#define json_object_new_array()          JSON_NEED(json_object_new_array())
#define json_object_new_boolean(value)   JSON_NEED(json_object_new_boolean(value))
#define json_object_new_int(value)       JSON_NEED(json_object_new_int(value))
#define json_object_new_int64(value)     JSON_NEED(json_object_new_int64(value))
#define json_object_new_uint64(value)    JSON_NEED(json_object_new_uint64(value))
#define json_object_new_double(value)    JSON_NEED(json_object_new_double(value))
#define json_object_new_string(text)     JSON_NEED(json_object_new_string(text))
#define json_object_new_string_len(t, n) JSON_NEED(json_object_new_string_len(t, n))

#define json_object_object_add(object, key, value)                                                 \
    ((void)alloc_need_length(json_object_object_add(object, key, value)))
#define json_object_array_add(array, value)                                                        \
    ((void)alloc_need_length(json_object_array_add(array, value)))

#define json_object_to_json_string_ext(object, flags)                                              \
    ((const char *)alloc_need((void *)json_object_to_json_string_ext(object, flags)))
#define json_object_to_json_string(object)                                                         \
    json_object_to_json_string_ext(object, JSON_C_TO_STRING_SPACED)
#define json_object_to_json_string_length(object, flags, len)                                      \
    ((const char *)alloc_need((void *)json_object_to_json_string_length(object, flags, len)))

/* A variable that gives up its reference when it goes out of scope. */
#define AUTO_JSON CLEANUP(cleanup_json)

static inline void cleanup_json(struct json_object **object)
{
    json_object_put(*object);
}

#endif
