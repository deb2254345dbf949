/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A policy that is accepted is written as JSON that is accepted and states the same fields; one
 * that is refused comes with a printable error and changes nothing.
 */
#include "common/json_strict.h"
#include "policy/json/policy_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_printable(const char *text, size_t size)
{
    check(strnlen(text, size) < size);
    for (; *text; text++)
        check(isprint((unsigned char)*text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_layer layer = {.set = 77}, again;
    struct error err;
    struct json_object *object;

    if (json_strict_parse((const char *)data, size, &object, NULL) < 0)
        return 0;
    if (policy_layer_from_json(object, &layer, &err) == 0) {
        struct json_object *written = policy_layer_to_json(&layer);
        struct policy policy;

        check(policy_layer_from_json(written, &again, &err) == 0);
        check(again.set == layer.set);
        policy_init(&policy);
        policy_merge(&policy, &layer, "fuzz");
        policy_finish(&policy);
        json_object_put(written);
    } else {
        check(layer.set == 77);
        check_printable(err.where, sizeof(err.where));
        check_printable(err.text, sizeof(err.text));
    }
    json_object_put(object);
    return 0;
}
