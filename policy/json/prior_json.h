/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of a guest from before (struct prior), as JSON, in the history and in traces:
 *
 *   {"plateau":true,"first":POINT,"points":[POINT, ...]}
 *
 * where POINT is {"cpu_seconds":1.5,"dirty_bytes":123456789,"weight":1.0}.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_PRIOR_JSON_H
#define MIGPOLICY_PRIOR_JSON_H

#include "policy/estimate.h"

struct json_object;

/* The caller owns it; NULL, which is null, for no points. */
struct json_object *prior_to_json(const struct prior *prior);

/*
 * Reads what may be hostile: numbers are bounded as estimator_set_prior() wants them. Returns 0; or
 * -EINVAL with *ret untouched. null is no prior, which is an error.
 */
int prior_from_json(struct json_object *object, struct prior *ret);

#endif
