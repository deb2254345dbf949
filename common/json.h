/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json-c, which this file alone includes. What it has no memory for ends the process, as everywhere
 * (common/alloc.h): json-c itself would go on with a NULL, which is written as null or left out,
 * and a journal with a hole is worse than none.
 */
#ifndef MIGPOLICY_JSON_H
#define MIGPOLICY_JSON_H

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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

/* A finite number in no more digits than it has to a millionth: 0.3, not 0.29999999999999999. */
static inline struct json_object *json_new_rounded(double value)
{
    char text[40];

    value = round(value * 1e6) / 1e6;
    snprintf(text, sizeof(text), "%.15g", value);
    if (!strpbrk(text, ".e"))
        strcat(text, ".0");
    return JSON_NEED(json_object_new_double_s(value, text));
}

/* A variable that gives up its reference when it goes out of scope. */
#define AUTO_JSON CLEANUP(cleanup_json)

static inline void cleanup_json(struct json_object **object)
{
    json_object_put(*object);
}

#endif
