/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Policies as JSON: {"allow_throttle": true, "max_downtime": "2s"}.
 *
 * Quantities are texts with a unit, choices are texts, allow_* may also be true or false. A bare
 * number is refused. Pure; thread-safe as long as the JSON object is not shared.
 */
#ifndef MIGPOLICY_POLICY_JSON_H
#define MIGPOLICY_POLICY_JSON_H

#include "common/error.h"
#include "policy/policy.h"

struct json_object;

/*
 * Reads a layer from an object. Returns 0, or -EINVAL with *ret_layer untouched: unknown key, wrong
 * type, malformed value. ret_err->where is the offending key, printable; "" if the whole is no
 * object.
 */
int policy_layer_from_json(struct json_object *object, struct policy_layer *ret_layer,
                           struct error *ret_err);

/* The layer as a new object, which the caller owns; NULL when out of memory. */
struct json_object *policy_layer_to_json(const struct policy_layer *layer);

#endif
