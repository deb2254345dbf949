/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/json/policy_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"

enum { VALUE_TEXT_MAX = 64 };

/* Keys come from files people share: show them, but never let them act on a terminal. */
static void printable(const char *from, char *to, size_t size)
{
    size_t i;

    for (i = 0; i < size - 1 && from[i]; i++)
        to[i] = isprint((unsigned char)from[i]) ? from[i] : '?';
    to[i] = '\0';
}

static const char *value_text(enum policy_field field, struct json_object *value)
{
    const struct policy_field_info *info = policy_field_info(field);

    if (json_object_is_type(value, json_type_string))
        return json_object_get_string(value);
    if (json_object_is_type(value, json_type_boolean) && info->kind == KIND_CHOICE &&
        strcmp(info->choices[0], "no") == 0)
        return json_object_get_boolean(value) ? "yes" : "no";
    return NULL;
}

__attribute__((format(printf, 3, 4))) static int fail(struct error *err, const char *key,
                                                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_set_list(err, -EINVAL, format, args);
    va_end(args);
    printable(key, err->where, sizeof(err->where));
    return -EINVAL;
}

int policy_layer_from_json(struct json_object *object, struct policy_layer *ret_layer,
                           struct error *ret_err)
{
    struct policy_layer layer = {0};

    if (!json_object_is_type(object, json_type_object))
        return fail(ret_err, "", "a policy must be an object");
    json_object_object_foreach(object, key, value)
    {
        enum policy_field field;
        const char *expected = "a text such as \"2s\"";
        const char *text;

        if (policy_field_find(key, &field) < 0 || strchr(key, '-'))
            return fail(ret_err, key, "unknown policy field");
        text = value_text(field, value);
        if (!text ||
            (json_object_is_type(value, json_type_string) &&
             strlen(text) != (size_t)json_object_get_string_len(value)) ||
            policy_layer_set(&layer, field, text, &expected) < 0) {
            if (!text)
                policy_layer_set(&layer, field, "", &expected);
            return fail(ret_err, key, "must be %s", expected);
        }
    }
    *ret_layer = layer;
    return 0;
}

struct json_object *policy_layer_to_json(const struct policy_layer *layer)
{
    struct json_object *object = json_object_new_object();
    char text[VALUE_TEXT_MAX];

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (!(layer->set & (1u << i)))
            continue;
        policy_value_format((enum policy_field)i, layer->values.v[i], text, sizeof(text));
        json_object_object_add(object, policy_field_info((enum policy_field)i)->name,
                               json_object_new_string(text));
    }
    return object;
}
