/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/sim/scenario.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/json_strict.h"
#include "common/units.h"

/* Where the reading is, and the first thing that was wrong. After it, reading goes on to no harm.
 */
struct reader {
    char pointer[128];
    struct error wrong; /* text "": nothing */
};

__attribute__((format(printf, 3, 4))) static void complain(struct reader *r, const char *key,
                                                           const char *format, ...)
{
    va_list args;

    if (r->wrong.text[0])
        return;
    va_start(args, format);
    error_set_list(&r->wrong, -EINVAL, format, args);
    va_end(args);
    snprintf(r->wrong.where, sizeof(r->wrong.where), "%s%s%s", r->pointer, *key ? "/" : "", key);
}

/* Steps into a member; returns what step_out() needs. */
static size_t step_in(struct reader *r, const char *key, int index)
{
    size_t len = strlen(r->pointer);

    if (index < 0)
        snprintf(r->pointer + len, sizeof(r->pointer) - len, "/%s", key);
    else
        snprintf(r->pointer + len, sizeof(r->pointer) - len, "/%s/%d", key, index);
    return len;
}

static void step_out(struct reader *r, size_t len)
{
    r->pointer[len] = '\0';
}

/* `keys` is a text of all keys that may be there, each with a space before and behind it. */
static bool is_object(struct reader *r, struct json_object *object, const char *keys)
{
    if (!json_object_is_type(object, json_type_object)) {
        complain(r, "", "must be an object");
        return false;
    }
    json_object_object_foreach(object, key, value)
    {
        char word[34];

        (void)value;
        if (snprintf(word, sizeof(word), " %s ", key) >= (int)sizeof(word) || strchr(key, ' ') ||
            !*key || !strstr(keys, word)) {
            complain(r, "", "has an unknown key; known are%s", keys);
            return false;
        }
    }
    return true;
}

/* A quantity as a number of base units; `absent` if it is not there, NAN: it must be. */
static double quantity(struct reader *r, struct json_object *object, const char *key,
                       enum unit unit, double absent)
{
    struct json_object *value;
    int64_t n;

    if (!json_object_object_get_ex(object, key, &value)) {
        if (isnan(absent))
            complain(r, "", "\"%s\" is missing", key);
        return absent;
    }
    if (!json_object_is_type(value, json_type_string) ||
        units_parse(unit, json_object_get_string(value), &n) < 0) {
        complain(r, key, "must be %s", units_expected(unit, ""));
        return absent;
    }
    return unit == UNIT_DURATION ? (double)n / 1e9
           : unit == UNIT_SHARE  ? (double)n / 1e6
                                 : (double)n;
}

static double number(struct reader *r, struct json_object *object, const char *key, double min,
                     double max, double absent)
{
    struct json_object *value;
    double n;

    if (!json_object_object_get_ex(object, key, &value)) {
        if (isnan(absent))
            complain(r, "", "\"%s\" is missing", key);
        return absent;
    }
    n = json_object_get_double(value);
    if (!(json_object_is_type(value, json_type_int) ||
          json_object_is_type(value, json_type_double)) ||
        !(n >= min && n <= max)) {
        complain(r, key, "must be a number from %g to %g", min, max);
        return absent;
    }
    return n;
}

static const char *string(struct reader *r, struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value))
        return NULL;
    if (!json_object_is_type(value, json_type_string) || json_object_get_string_len(value) == 0) {
        complain(r, key, "must be a text");
        return NULL;
    }
    return json_object_get_string(value);
}

/* An array with up to `max` elements, or NULL. */
static struct json_object *array(struct reader *r, struct json_object *object, const char *key,
                                 size_t max, size_t *ret_count)
{
    struct json_object *value;

    *ret_count = 0;
    if (!json_object_object_get_ex(object, key, &value))
        return NULL;
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) > max) {
        complain(r, key, "must be an array of up to %zu elements", max);
        return NULL;
    }
    *ret_count = json_object_array_length(value);
    return value;
}

static bool boolean(struct reader *r, struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value))
        return false;
    if (!json_object_is_type(value, json_type_boolean))
        complain(r, key, "must be true or false");
    return json_object_get_boolean(value);
}

/* Which of `names` a text is; 0 and a complaint if none. */
static unsigned one_of(struct reader *r, struct json_object *object, const char *key,
                       const char *const names[], unsigned n)
{
    const char *text = string(r, object, key);

    for (unsigned i = 0; text && i < n; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
    }
    complain(r, text ? key : "", "needs \"%s\", such as \"%s\"", key, names[0]);
    return 0;
}

static void read_region(struct reader *r, struct json_object *object, unsigned vcpus,
                        struct model_region *ret)
{
    if (!is_object(r, object, " size rate sequential cpu_bound vcpu "))
        return;
    ret->bytes = quantity(r, object, "size", UNIT_SIZE, NAN);
    ret->rate_bps = quantity(r, object, "rate", UNIT_RATE, NAN);
    ret->cpu_bound = quantity(r, object, "cpu_bound", UNIT_SHARE, 1);
    ret->vcpu = (int)number(r, object, "vcpu", 0, vcpus - 1, MODEL_ALL_VCPUS);
    ret->sequential = boolean(r, object, "sequential");
    if (ret->bytes < 4096)
        complain(r, "size", "must be at least 4KiB");
}

static void read_phase(struct reader *r, struct json_object *object, struct model_phase *ret)
{
    if (!is_object(r, object, " lasts rate busy "))
        return;
    ret->seconds = quantity(r, object, "lasts", UNIT_DURATION, NAN);
    ret->rate = number(r, object, "rate", 0, 1000, 1);
    ret->busy = number(r, object, "busy", 0, 1, 1);
    if (ret->seconds < 0.1)
        complain(r, "lasts", "must be at least 100ms");
}

static void read_guest(struct reader *r, struct json_object *object, struct model_guest *ret)
{
    struct json_object *list;
    double used = 0;
    double busy;
    size_t n;
    size_t at;

    if (!is_object(r, object, " ram zero disk flush device vcpus busy shared_cpus regions phases "))
        return;
    ret->ram_bytes = quantity(r, object, "ram", UNIT_SIZE, NAN);
    ret->zero_bytes = quantity(r, object, "zero", UNIT_SIZE, 0);
    ret->disk_bytes = quantity(r, object, "disk", UNIT_SIZE, 0);
    ret->flush_s = quantity(r, object, "flush", UNIT_DURATION, 0);
    ret->device_bytes = quantity(r, object, "device", UNIT_SIZE, 0);
    ret->shared_cpus = number(r, object, "shared_cpus", 0.01, MODEL_VCPUS_MAX, 0);
    ret->vcpus = (unsigned)number(r, object, "vcpus", 1, MODEL_VCPUS_MAX, 1);
    busy = quantity(r, object, "busy", UNIT_SHARE, 1);
    for (unsigned i = 0; i < ret->vcpus; i++)
        ret->vcpu_busy[i] = fmin(busy, 1);
    list = array(r, object, "regions", MODEL_REGIONS_MAX, &n);
    ret->regions = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        at = step_in(r, "regions", (int)i);
        read_region(r, json_object_array_get_idx(list, i), ret->vcpus, &ret->region[i]);
        step_out(r, at);
        used += ret->region[i].bytes;
    }
    list = array(r, object, "phases", MODEL_PHASES_MAX, &n);
    ret->phases = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        at = step_in(r, "phases", (int)i);
        read_phase(r, json_object_array_get_idx(list, i), &ret->phase[i]);
        step_out(r, at);
    }
    if (used + ret->zero_bytes > ret->ram_bytes)
        complain(r, "ram", "is less than its regions and zero pages together");
    if (ret->ram_bytes < (double)MIB_BYTES)
        complain(r, "ram", "must be at least 1MiB");
}

static void read_link(struct reader *r, struct json_object *object, struct model_link *ret)
{
    struct json_object *list;
    double after = 0;
    size_t n;

    if (!is_object(r, object, " rate noise changes "))
        return;
    ret->bps = quantity(r, object, "rate", UNIT_RATE, NAN);
    ret->noise = number(r, object, "noise", 0, 1, 0);
    list = array(r, object, "changes", MODEL_CHANGES_MAX, &n);
    ret->changes = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        struct json_object *change = json_object_array_get_idx(list, i);
        size_t at = step_in(r, "changes", (int)i);

        if (is_object(r, change, " at factor ")) {
            ret->change[i].at_s = quantity(r, change, "at", UNIT_DURATION, NAN);
            ret->change[i].factor = number(r, change, "factor", 0.001, 1000, NAN);
            if (ret->change[i].at_s <= after)
                complain(r, "at", "must be later than the change before");
            after = ret->change[i].at_s;
        }
        step_out(r, at);
    }
    if (ret->bps < 1e3)
        complain(r, "rate", "must be at least 1KB/s");
}

#define SIM_NAME(constant, name, ...) name,
static const char *const call_names[] = {SIM_CALLS(SIM_NAME)};
static const char *const error_names[] = {SIM_ERRORS(SIM_NAME)};
static const char *const deed_names[] = {SIM_DEEDS(SIM_NAME)};
#undef SIM_NAME

enum { NO_VALUE = -1 };
#define SIM_UNIT(constant, name, unit) unit,
static const int deed_units[] = {SIM_DEEDS(SIM_UNIT)};
#undef SIM_UNIT

#define COUNT(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

static void read_failure(struct reader *r, struct json_object *object, struct scenario_failure *ret)
{
    if (!is_object(r, object, " call error after lasts times "))
        return;
    ret->call = (enum sim_call)one_of(r, object, "call", call_names, COUNT(call_names));
    ret->error = (enum sim_error)one_of(r, object, "error", error_names, COUNT(error_names));
    ret->from_s = quantity(r, object, "after", UNIT_DURATION, 0);
    ret->until_s = ret->from_s + quantity(r, object, "lasts", UNIT_DURATION, INFINITY);
    ret->times = (unsigned)number(r, object, "times", 1, 1e6, UINT_MAX);
}

static void read_other(struct reader *r, struct json_object *object, double after_s,
                       struct scenario_other *ret)
{
    if (!is_object(r, object, " at do value "))
        return;
    ret->at_s = quantity(r, object, "at", UNIT_DURATION, NAN);
    ret->deed = (enum sim_deed)one_of(r, object, "do", deed_names, COUNT(deed_names));
    if (deed_units[ret->deed] != NO_VALUE)
        ret->value = quantity(r, object, "value", (enum unit)deed_units[ret->deed], NAN);
    else if (json_object_object_get(object, "value"))
        complain(r, "value", "is not for \"%s\"", deed_names[ret->deed]);
    if (ret->at_s < after_s)
        complain(r, "at", "must not be before what is done before it");
    if (ret->deed == SIM_DO_QUOTA && !(ret->value > 0 && ret->value <= 1))
        complain(r, "value", "must be a share of up to 100%%");
}

static void read_events(struct reader *r, struct json_object *object, struct scenario_domain *ret)
{
    struct json_object *list;
    double after_s = 0;
    size_t at;
    size_t n;

    list = array(r, object, "failures", SCENARIO_FAILURES_MAX, &n);
    ret->n_failures = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        at = step_in(r, "failures", (int)i);
        read_failure(r, json_object_array_get_idx(list, i), &ret->failure[i]);
        step_out(r, at);
    }
    list = array(r, object, "others", SCENARIO_OTHERS_MAX, &n);
    ret->n_others = (unsigned)n;
    for (size_t i = 0; i < n; i++) {
        at = step_in(r, "others", (int)i);
        read_other(r, json_object_array_get_idx(list, i), after_s, &ret->other[i]);
        step_out(r, at);
        after_s = ret->other[i].at_s;
    }
}

static void read_uuid(struct reader *r, struct json_object *object, struct scenario_domain *ret)
{
    const char *uuid = string(r, object, "uuid");

    if (!uuid)
        return;
    if (strlen(uuid) != sizeof(ret->uuid) - 1 || uuid[strspn(uuid, "0123456789abcdef-")])
        complain(r, "uuid", "must be a UUID in lower case");
    else
        memcpy(ret->uuid, uuid, sizeof(ret->uuid));
}

static void read_domain(struct reader *r, struct json_object *object, struct scenario_domain *ret)
{
    const char *name;
    const char *metadata;
    const char *description;
    size_t at;

    if (!is_object(r, object,
                   " name uuid start metadata description link guest speed_limit compression_cache "
                   "post_copy switchover"
                   " auto_converge hang_after fail_after failures others retry_after retries "
                   "forgotten_after "))
        return;
    name = string(r, object, "name");
    if (!name || (size_t)snprintf(ret->name, sizeof(ret->name), "%s", name) >= sizeof(ret->name))
        complain(r, "", "needs a \"name\" of up to %zu bytes", sizeof(ret->name) - 1);
    read_uuid(r, object, ret);
    metadata = string(r, object, "metadata");
    ret->metadata = metadata ? alloc_need(strdup(metadata)) : NULL;
    description = string(r, object, "description");
    ret->description = description ? alloc_need(strdup(description)) : NULL;
    ret->start_s = quantity(r, object, "start", UNIT_DURATION, 0);
    ret->hang_s = quantity(r, object, "hang_after", UNIT_DURATION, INFINITY);
    ret->fail_s = quantity(r, object, "fail_after", UNIT_DURATION, INFINITY);
    ret->switchover_s = quantity(r, object, "switchover", UNIT_DURATION, 0);
    ret->speed_limit_bps = quantity(r, object, "speed_limit", UNIT_RATE, 0);
    ret->compression_cache_bytes = quantity(r, object, "compression_cache", UNIT_SIZE, 0);
    ret->post_copy = boolean(r, object, "post_copy");
    ret->auto_converge = boolean(r, object, "auto_converge");
    ret->retry_s = quantity(r, object, "retry_after", UNIT_DURATION, INFINITY);
    ret->retries = (unsigned)number(r, object, "retries", 0, 1e6, 1);
    ret->forgotten_s = quantity(r, object, "forgotten_after", UNIT_DURATION, INFINITY);
    read_events(r, object, ret);
    at = step_in(r, "guest", -1);
    read_guest(r, json_object_object_get(object, "guest"), &ret->guest);
    step_out(r, at);
    at = step_in(r, "link", -1);
    read_link(r, json_object_object_get(object, "link"), &ret->link);
    step_out(r, at);
}

enum { DOMAINS_MAX = 10000 };

static void read_scenario(struct reader *r, struct json_object *object, struct scenario *ret)
{
    struct json_object *list;
    const char *log;

    if (!is_object(r, object, " time_factor disconnect_after reconnect_after log domains "))
        return;
    ret->time_factor = number(r, object, "time_factor", 0.01, 1000, 1);
    ret->disconnect_s = quantity(r, object, "disconnect_after", UNIT_DURATION, INFINITY);
    ret->reconnect_s =
        ret->disconnect_s + quantity(r, object, "reconnect_after", UNIT_DURATION, INFINITY);
    log = string(r, object, "log");
    ret->log = log ? alloc_need(strdup(log)) : NULL;
    list = array(r, object, "domains", DOMAINS_MAX, &ret->n_domains);
    ret->domain = alloc_need(calloc(ret->n_domains + 1, sizeof(ret->domain[0])));
    for (size_t i = 0; i < ret->n_domains && !r->wrong.text[0]; i++) {
        size_t at = step_in(r, "domains", (int)i);

        read_domain(r, json_object_array_get_idx(list, i), &ret->domain[i]);
        step_out(r, at);
    }
}

int scenario_parse(const char *text, size_t len, struct scenario *ret, struct error *ret_err)
{
    struct reader reader = {0};
    struct scenario scenario = {0};
    struct json_object *object;
    struct error err;
    int r = json_strict_parse(text, len, &object, &err);

    if (r < 0)
        return error_set(ret_err, r, "line %u: %s", err.line, err.text);
    read_scenario(&reader, object, &scenario);
    json_object_put(object);
    if (reader.wrong.text[0]) {
        char place[sizeof(reader.wrong.where)];
        int line;

        memcpy(place, reader.wrong.where, sizeof(place));
        /* What is missing has no line; what it is missing from has. */
        while ((line = json_strict_line(text, len, place)) == 0 && place[0])
            *strrchr(place, '/') = '\0';
        scenario_clear(&scenario);
        return error_set(ret_err, -EINVAL, "line %d: %s%s%s", line, reader.wrong.where,
                         reader.wrong.where[0] ? ": " : "", reader.wrong.text);
    }
    *ret = scenario;
    return 0;
}

void scenario_clear(struct scenario *s)
{
    for (size_t i = 0; s->domain && i < s->n_domains; i++) {
        free(s->domain[i].metadata);
        free(s->domain[i].description);
    }
    free(s->log);
    free(s->domain);
    *s = (struct scenario){0};
}
