/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decisions of the engine, shown: by replay and simulate, which make them here. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

void cli_describe(const struct action *a, bool done, char text[CLI_DOING_MAX])
{
    size_t len = strlen(text);
    char what[64];

    snprintf(what, sizeof(what), "%s", action_name(a->kind));
    if (a->kind == ACTION_DOWNTIME)
        snprintf(what, sizeof(what), "downtime %.3g s", (double)a->downtime_ns / 1e9);
    else if (a->kind == ACTION_THROTTLE)
        snprintf(what, sizeof(what), "throttle %.3g%%", a->share * 100);
    else if (a->kind == ACTION_BANDWIDTH)
        snprintf(what, sizeof(what), "bandwidth %.4g MB/s", (double)a->speed_limit_bps / 1e6);
    snprintf(text + len, CLI_DOING_MAX - len, "%s%s%s%s", len > 0 ? ", " : "", done ? "" : "(",
             what, done ? "" : ")");
}

void cli_add_number(struct json_object *object, const char *key, double value)
{
    json_object_object_add(object, key, isfinite(value) ? json_new_rounded(value) : NULL);
}

struct json_object *cli_action_to_json(const struct action *a, const char *result)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "action", json_object_new_string(action_name(a->kind)));
    json_object_object_add(object, "reason", json_object_new_string(reason_name(a->reason)));
    if (a->kind == ACTION_DOWNTIME)
        cli_add_number(object, "downtime_limit_seconds", (double)a->downtime_ns / 1e9);
    if (a->kind == ACTION_THROTTLE)
        cli_add_number(object, "cpu_limit_ratio", a->share);
    if (a->kind == ACTION_BANDWIDTH)
        cli_add_number(object, "speed_limit_bytes_per_second", (double)a->speed_limit_bps);
    if (a->kind == ACTION_COMPRESSION_CACHE)
        cli_add_number(object, "compression_cache_bytes", (double)a->cache_bytes);
    json_object_object_add(object, "result", json_object_new_string(result));
    return object;
}

struct json_object *cli_decision_to_json(enum verdict verdict, enum reason reason,
                                         struct json_object *actions)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "verdict", json_object_new_string(verdict_name(verdict)));
    json_object_object_add(object, "reason", json_object_new_string(reason_name(reason)));
    json_object_object_add(object, "reason_text", json_object_new_string(reason_text(reason)));
    json_object_object_add(object, "actions", actions);
    return object;
}
