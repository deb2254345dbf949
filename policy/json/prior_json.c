/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/json/prior_json.h"

#include <errno.h>
#include <math.h>

#include "common/json.h"

/* So much dirtied in so long nobody has seen. */
#define SECONDS_MAX 1e9
#define BYTES_MAX   1e18

static struct json_object *point_to_json(const struct estimate_point *p)
{
    struct json_object *point = json_object_new_object();

    json_object_object_add(point, "cpu_seconds", json_object_new_double(p->tau_s));
    json_object_object_add(point, "dirty_bytes", json_object_new_int64((int64_t)p->unique_bytes));
    json_object_object_add(point, "weight", json_object_new_double(p->weight));
    return point;
}

struct json_object *prior_to_json(const struct prior *prior)
{
    struct json_object *points;
    struct json_object *o;

    if (prior->points == 0)
        return NULL;
    o = json_object_new_object();
    points = json_object_new_array();
    json_object_object_add(o, "plateau", json_object_new_boolean(prior->plateau));
    json_object_object_add(o, "first", point_to_json(&prior->first));
    for (unsigned i = 0; i < prior->points; i++)
        json_object_array_add(points, point_to_json(&prior->point[i]));
    json_object_object_add(o, "points", points);
    return o;
}

static bool read_number(struct json_object *object, const char *key, double max, double *ret)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value) ||
        !(json_object_is_type(value, json_type_double) ||
          json_object_is_type(value, json_type_int)))
        return false;
    *ret = json_object_get_double(value);
    return *ret > 0 && *ret <= max;
}

static bool read_point(struct json_object *object, struct estimate_point *ret)
{
    return json_object_is_type(object, json_type_object) &&
           json_object_object_length(object) == 3 &&
           read_number(object, "cpu_seconds", SECONDS_MAX, &ret->tau_s) &&
           read_number(object, "dirty_bytes", BYTES_MAX, &ret->unique_bytes) &&
           read_number(object, "weight", 1, &ret->weight);
}

int prior_from_json(struct json_object *object, struct prior *ret)
{
    struct json_object *plateau;
    struct json_object *points;
    struct prior prior = {0};

    if (!json_object_is_type(object, json_type_object) || json_object_object_length(object) != 3 ||
        !json_object_object_get_ex(object, "plateau", &plateau) ||
        !json_object_is_type(plateau, json_type_boolean) ||
        !json_object_object_get_ex(object, "points", &points) ||
        !json_object_is_type(points, json_type_array) || json_object_array_length(points) == 0 ||
        json_object_array_length(points) > ESTIMATE_PASSES ||
        !read_point(json_object_object_get(object, "first"), &prior.first))
        return -EINVAL;
    prior.plateau = json_object_get_boolean(plateau);
    for (size_t i = 0; i < json_object_array_length(points); i++) {
        if (!read_point(json_object_array_get_idx(points, i), &prior.point[prior.points++]))
            return -EINVAL;
    }
    *ret = prior;
    return 0;
}
