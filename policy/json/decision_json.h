/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a decision says, as JSON, wherever it is told: by the daemon, by replay and by simulate.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_DECISION_JSON_H
#define MIGPOLICY_DECISION_JSON_H

#include "policy/controller.h"

struct json_object;

/*
 * The value of the member forecast_ends: true, false, or NULL, which is null, where decision_end()
 * says nothing. The caller owns it.
 */
struct json_object *decision_end_to_json(const struct decision *d);

#endif
