/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cli/simulate_curve.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/json_strict.h"

enum { POINTS_MAX = 1000, POINTER_MAX = 64 };

#define GUEST_BYTES_MIN 1048576.0
#define GUEST_BYTES_MAX 1125899906842624.0
#define SECONDS_MAX     86400.0

__attribute__((format(printf, 3, 4))) static bool complain(struct error *wrong, const char *pointer,
                                                           const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_set_list(wrong, -EINVAL, format, args);
    va_end(args);
    snprintf(wrong->where, sizeof(wrong->where), "%s", pointer);
    return false;
}

/* An object with these two members and no other. */
static bool two_members(struct json_object *object, const char *pointer, const char *const key[2],
                        struct json_object *ret_value[2], struct error *wrong)
{
    if (!json_object_is_type(object, json_type_object) || json_object_object_length(object) != 2 ||
        !json_object_object_get_ex(object, key[0], &ret_value[0]) ||
        !json_object_object_get_ex(object, key[1], &ret_value[1]))
        return complain(wrong, pointer, "must be an object of \"%s\" and \"%s\"", key[0], key[1]);
    return true;
}

static bool number(struct json_object *value, const char *pointer, const char *key, double min,
                   double max, double *ret, struct error *wrong)
{
    bool is_number =
        json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
    double n = is_number ? json_object_get_double(value) : 0;
    char place[POINTER_MAX];

    snprintf(place, sizeof(place), "%s/%s", pointer, key);
    if (!is_number)
        return complain(wrong, place, "must be a number");
    if (n < min)
        return complain(wrong, place, "must be at least %.10g", min);
    if (n > max)
        return complain(wrong, place, "must be at most %.16g", max);
    *ret = n;
    return true;
}

static bool read_points(struct json_object *list, struct simulate_curve *c, struct error *wrong)
{
    static const char *const keys[2] = {"seconds", "dirty_bytes"};
    struct model_point last = {0, 0};

    for (; c->n < json_object_array_length(list); c->n++) {
        struct model_point *p = &c->point[c->n];
        struct json_object *value[2] = {NULL, NULL};
        char pointer[32];

        snprintf(pointer, sizeof(pointer), "/points/%u", c->n);
        if (!two_members(json_object_array_get_idx(list, c->n), pointer, keys, value, wrong) ||
            !number(value[0], pointer, keys[0], 0, SECONDS_MAX, &p->seconds, wrong) ||
            !number(value[1], pointer, keys[1], last.bytes, c->guest_bytes, &p->bytes, wrong))
            return false;
        if (p->seconds <= last.seconds)
            return complain(wrong, pointer, "must be later than %s",
                            c->n > 0 ? "the point before" : "0");
        last = *p;
    }
    return true;
}

static int read_curve(struct json_object *object, struct simulate_curve *ret, struct error *wrong)
{
    static const char *const keys[2] = {"guest_bytes", "points"};
    struct json_object *value[2] = {NULL, NULL};

    if (!two_members(object, "", keys, value, wrong) ||
        !number(value[0], "", keys[0], GUEST_BYTES_MIN, GUEST_BYTES_MAX, &ret->guest_bytes, wrong))
        return -EINVAL;
    if (!json_object_is_type(value[1], json_type_array) || json_object_array_length(value[1]) < 1 ||
        json_object_array_length(value[1]) > POINTS_MAX) {
        complain(wrong, "/points", "must be an array of 1 to %d points", POINTS_MAX);
        return -EINVAL;
    }
    ret->point = alloc_need(calloc(json_object_array_length(value[1]), sizeof(ret->point[0])));
    return read_points(value[1], ret, wrong) ? 0 : -EINVAL;
}

int simulate_curve_parse(const char *text, size_t len, struct simulate_curve *ret,
                         struct error *ret_err)
{
    struct simulate_curve curve = {0};
    struct json_object *object;
    struct error wrong;
    int line;
    int r = json_strict_parse(text, len, &object, ret_err);

    if (r < 0)
        return r;
    r = read_curve(object, &curve, &wrong);
    json_object_put(object);
    if (r == 0) {
        *ret = curve;
        return 0;
    }
    simulate_curve_clear(&curve);
    line = json_strict_line(text, len, wrong.where);
    error_set(ret_err, r, "%s%s%s", wrong.where, *wrong.where ? ": " : "", wrong.text);
    ret_err->line = line > 0 ? (unsigned)line : 1;
    return r;
}

void simulate_curve_clear(struct simulate_curve *curve)
{
    free(curve->point);
    *curve = (struct simulate_curve){0};
}
