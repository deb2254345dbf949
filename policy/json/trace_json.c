/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/json/trace_json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/json_strict.h"
#include "policy/json/policy_json.h"
#include "policy/json/prior_json.h"

/* So far apart, differences and sums of two cannot overflow: 36 years, or 1 EiB. */
#define NUMBER_MAX (INT64_C(1) << 60)

static const char *const result_names[TRACE_RESULTS + 1] = {
    [TRACE_NOT_APPLIED] = "not-applied",
    [TRACE_APPLIED] = "applied",
    [TRACE_FAILED] = "failed",
};

enum member_kind { MEMBER_INT64, MEMBER_UINT64, MEMBER_UNSIGNED, MEMBER_BOOL };

/* All of struct sample but what needs more than a number. */
static const struct {
    const char *name;
    enum member_kind kind;
    size_t offset;
} members[] = {
#define MEMBER(name, kind)                                                                         \
    {                                                                                              \
#name, kind, offsetof(struct sample, name)                                                 \
    }
    MEMBER(now_ns, MEMBER_INT64),
    MEMBER(sync_ns, MEMBER_INT64),
    MEMBER(at_sync, MEMBER_BOOL),
    MEMBER(elapsed_ns, MEMBER_INT64),
    MEMBER(iteration, MEMBER_UINT64),
    MEMBER(total_bytes, MEMBER_UINT64),
    MEMBER(processed_bytes, MEMBER_UINT64),
    MEMBER(remaining_bytes, MEMBER_UINT64),
    MEMBER(disk_total_bytes, MEMBER_UINT64),
    MEMBER(disk_remaining_bytes, MEMBER_UINT64),
    MEMBER(downtime_limit_ns, MEMBER_INT64),
    MEMBER(expected_downtime_ns, MEMBER_INT64),
    MEMBER(speed_limit_bps, MEMBER_INT64),
    MEMBER(compression_cache_bytes, MEMBER_UINT64),
    MEMBER(flush_ns, MEMBER_INT64),
    MEMBER(auto_converge_percent, MEMBER_UNSIGNED),
    MEMBER(post_copy, MEMBER_BOOL),
#undef MEMBER
};
/* A member that is added to struct sample and not here would make replays wrong without a word. */
_Static_assert(offsetof(struct sample, vcpu_time_ns) == 152,
               "struct sample has changed: adjust members[], then this number");

enum { N_MEMBERS = sizeof(members) / sizeof(members[0]) };

const char *trace_result_name(enum trace_result result)
{
    return result_names[result];
}

/* ---- writing ---- */

static void add_int(struct json_object *object, const char *key, int64_t value)
{
    json_object_object_add(object, key, json_object_new_int64(value));
}

static void add_double(struct json_object *object, const char *key, double value)
{
    char text[32];

    /* 15 digits are enough for what a person wrote, 17 for all there is. */
    snprintf(text, sizeof(text), "%.15g", value);
    if (strtod(text, NULL) != value)
        snprintf(text, sizeof(text), "%.17g", value);
    json_object_object_add(
        object, key, isfinite(value) ? JSON_NEED(json_object_new_double_s(value, text)) : NULL);
}

static void add_name(struct json_object *object, const char *key, const char *name)
{
    json_object_object_add(object, key, json_object_new_string(name));
}

static int64_t bounded(uint64_t value)
{
    return value < (uint64_t)NUMBER_MAX ? (int64_t)value : NUMBER_MAX;
}

static int64_t get_member(const struct sample *s, unsigned i)
{
    const char *at = (const char *)s + members[i].offset;
    int64_t value;

    switch (members[i].kind) {
    case MEMBER_INT64:
        memcpy(&value, at, sizeof(value));
        return value < -NUMBER_MAX ? -NUMBER_MAX : value > NUMBER_MAX ? NUMBER_MAX : value;
    case MEMBER_UINT64:
        memcpy(&value, at, sizeof(value));
        return bounded((uint64_t)value);
    case MEMBER_UNSIGNED:
        return bounded(*(const unsigned *)(const void *)at);
    default:
        return *(const bool *)at;
    }
}

static struct json_object *sample_to_json(const struct sample *s)
{
    struct json_object *object = json_object_new_object();
    struct json_object *list;

    for (unsigned i = 0; i < N_MEMBERS; i++) {
        int64_t value = get_member(s, i);

        if (value != 0 && members[i].kind == MEMBER_BOOL)
            json_object_object_add(object, members[i].name, json_object_new_boolean(true));
        else if (value != 0)
            add_int(object, members[i].name, value);
    }
    if (s->cpu_share != 1)
        add_double(object, "cpu_share", s->cpu_share);
    if (s->cpu_allowance != 1)
        add_double(object, "cpu_allowance", s->cpu_allowance);
    if (s->vcpus > 0) {
        list = json_object_new_array();
        for (unsigned i = 0; i < s->vcpus; i++)
            json_object_array_add(list, json_object_new_int64(s->vcpu_time_ns[i]));
        json_object_object_add(object, "vcpu_time_ns", list);
    }
    return object;
}

static struct json_object *action_to_json(const struct action *a, enum trace_result result)
{
    struct json_object *object = json_object_new_object();

    add_name(object, "kind", action_name(a->kind));
    add_name(object, "reason", reason_name(a->reason));
    if (a->kind == ACTION_DOWNTIME) {
        add_int(object, "downtime_ns", a->downtime_ns);
    } else if (a->kind == ACTION_THROTTLE) {
        add_double(object, "share", a->share);
        add_int(object, "period_us", a->period_us);
    } else if (a->kind == ACTION_BANDWIDTH) {
        add_int(object, "speed_limit_bps", a->speed_limit_bps);
    } else if (a->kind == ACTION_COMPRESSION_CACHE) {
        add_int(object, "cache_bytes", a->cache_bytes);
    }
    add_name(object, "result", result_names[result]);
    return object;
}

static void add_step(struct json_object *object, const struct trace_step *step)
{
    struct json_object *decision = json_object_new_object();
    struct json_object *list;

    json_object_object_add(object, "sample", sample_to_json(&step->sample));
    json_object_object_add(object, "decision", decision);
    add_name(decision, "verdict", verdict_name(step->verdict));
    add_name(decision, "reason", reason_name(step->reason));
    if (step->apply)
        json_object_object_add(decision, "apply", json_object_new_boolean(true));
    if (step->n_actions > 0) {
        list = json_object_new_array();
        for (unsigned i = 0; i < step->n_actions; i++)
            json_object_array_add(list, action_to_json(&step->action[i], step->result[i]));
        json_object_object_add(decision, "actions", list);
    }
}

static struct json_object *end_to_json(const struct trace_end *end)
{
    struct json_object *object = json_object_new_object();

    add_name(object, "outcome", end->outcome);
    add_double(object, "duration_seconds", end->duration_s);
    add_double(object, "downtime_seconds", end->downtime_s);
    add_double(object, "work_lost_seconds", end->work_lost_s);
    if (end->truncated)
        json_object_object_add(object, "truncated", json_object_new_boolean(true));
    return object;
}

static void add_policy(struct json_object *object, const struct policy *policy)
{
    struct policy_layer layer = {.values = policy->values};
    struct json_object *sources = json_object_new_object();

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        /* What a preset stands for is in the other fields. */
        if (i == POLICY_PRESET || policy->values.v[i] == POLICY_NONE)
            continue;
        layer.set |= 1u << i;
        json_object_object_add(sources, policy_field_info((enum policy_field)i)->name,
                               json_object_new_string(policy->source[i]));
    }
    json_object_object_add(object, "policy", policy_layer_to_json(&layer));
    json_object_object_add(object, "sources", sources);
}

static void add_header(struct json_object *object, const struct trace_header *header)
{
    char vm[sizeof(header->vm) + 2];
    struct json_object *parsed;

    /* A name that is not UTF-8, perhaps for having been cut, would make the trace unreadable. */
    snprintf(vm, sizeof(vm), "%s", header->vm);
    for (char *c = vm; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == '"' || *c == '\\' || *c == 0x7f)
            *c = '?';
    }
    memmove(vm + 1, vm, strlen(vm) + 1);
    vm[0] = '"';
    snprintf(vm + strlen(vm), 2, "\"");
    if (json_strict_parse(vm, strlen(vm), &parsed, NULL) < 0) {
        for (char *c = vm; *c; c++) {
            if ((unsigned char)*c >= 0x80)
                *c = '?';
        }
    } else {
        json_object_put(parsed);
    }
    vm[strlen(vm) - 1] = '\0';
    json_object_object_add(object, "trace", json_object_new_int(TRACE_VERSION));
    json_object_object_add(object, "vm", json_object_new_string(vm + 1));
    json_object_object_add(object, "uuid", json_object_new_string(header->uuid));
    json_object_object_add(object, "started", json_object_new_string(header->started));
    json_object_object_add(object, "poll_ns", json_object_new_int64(header->poll_ns));
    add_policy(object, &header->policy);
}

int trace_format(const struct trace_line *line, char buf[TRACE_LINE_MAX])
{
    AUTO_JSON struct json_object *object = json_object_new_object();
    const char *text;
    size_t len;

    switch (line->kind) {
    case TRACE_HEADER:
        add_header(object, &line->header);
        break;
    case TRACE_PRIOR:
        json_object_object_add(object, "prior", prior_to_json(&line->prior));
        break;
    case TRACE_STEP:
        add_step(object, &line->step);
        break;
    case TRACE_POLICY:
        add_policy(object, &line->policy);
        break;
    case TRACE_LATCH:
        add_name(object, "latch", reason_name(line->latch.reason));
        add_name(object, "action", action_name(line->latch.action));
        break;
    case TRACE_END:
        json_object_object_add(object, "end", end_to_json(&line->end));
        break;
    }
    text = json_object_to_json_string_length(object, JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    if (len + 2 > TRACE_LINE_MAX)
        return -ENOBUFS;
    memcpy(buf, text, len);
    memcpy(buf + len, "\n", 2);
    return (int)len + 1;
}

/* ---- reading ---- */

struct in {
    struct error *err;
    bool bad;
};

__attribute__((format(printf, 2, 3))) static void complain(struct in *in, const char *format, ...)
{
    va_list args;

    if (in->bad)
        return;
    in->bad = true;
    va_start(args, format);
    error_set_list(in->err, -EINVAL, format, args);
    va_end(args);
}

/* `keys` is a text of all keys that may be there, each with a space before and behind it. */
static bool is_object(struct in *in, struct json_object *object, const char *what, const char *keys)
{
    if (!json_object_is_type(object, json_type_object)) {
        complain(in, "%s must be an object", what);
        return false;
    }
    json_object_object_foreach(object, key, value)
    {
        char word[34];

        (void)value;
        if (snprintf(word, sizeof(word), " %s ", key) >= (int)sizeof(word) || !*key ||
            strchr(key, ' ') || !strstr(keys, word)) {
            complain(in, "%s has an unknown key; known are%s", what, keys);
            return false;
        }
    }
    return true;
}

static int64_t to_int(struct in *in, struct json_object *value, const char *key, int64_t min,
                      int64_t max)
{
    int64_t n = json_object_get_int64(value);

    if (!json_object_is_type(value, json_type_int) || n < min || n > max) {
        complain(in, "\"%s\" must be an integer from %" PRId64 " to %" PRId64, key, min, max);
        return 0;
    }
    return n;
}

/* A number between 0 and max; null is NAN if that may be. */
static double to_double(struct in *in, struct json_object *object, const char *key, double max,
                        bool may_be_null)
{
    struct json_object *value = json_object_object_get(object, key);
    double n = json_object_get_double(value);

    if (!value && may_be_null)
        return NAN;
    if (!(json_object_is_type(value, json_type_double) ||
          json_object_is_type(value, json_type_int)) ||
        !(n >= 0 && n <= max)) {
        complain(in, "\"%s\" must be a number from 0 to %g", key, max);
        return 0;
    }
    return n;
}

static bool to_bool(struct in *in, struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value))
        return false;
    if (!json_object_is_type(value, json_type_boolean))
        complain(in, "\"%s\" must be true or false", key);
    return json_object_get_boolean(value);
}

static void to_text(struct in *in, struct json_object *object, const char *key, char *to,
                    size_t size)
{
    struct json_object *value = json_object_object_get(object, key);

    if (!json_object_is_type(value, json_type_string) ||
        (size_t)json_object_get_string_len(value) >= size) {
        complain(in, "\"%s\" must be a text of less than %zu bytes", key, size);
        return;
    }
    snprintf(to, size, "%s", json_object_get_string(value));
}

/* The index of a name in a list ended by NULL. */
static unsigned to_choice(struct in *in, struct json_object *object, const char *key,
                          const char *const *names)
{
    struct json_object *value = json_object_object_get(object, key);
    const char *text =
        json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";

    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    complain(in, "\"%s\" has an unknown value", key);
    return 0;
}

static void set_member(struct sample *s, unsigned i, int64_t value)
{
    char *at = (char *)s + members[i].offset;

    switch (members[i].kind) {
    case MEMBER_INT64:
    case MEMBER_UINT64:
        memcpy(at, &value, sizeof(value));
        break;
    case MEMBER_UNSIGNED:
        *(unsigned *)(void *)at = (unsigned)value;
        break;
    default:
        *(bool *)at = value;
    }
}

static void read_sample(struct in *in, struct json_object *object, struct sample *s)
{
    struct json_object *list;

    s->cpu_share = s->cpu_allowance = 1;
    if (!json_object_is_type(object, json_type_object)) {
        complain(in, "\"sample\" must be an object");
        return;
    }
    json_object_object_foreach(object, key, value)
    {
        unsigned i = 0;

        while (i < N_MEMBERS && strcmp(members[i].name, key) != 0)
            i++;
        if (i < N_MEMBERS && members[i].kind == MEMBER_BOOL)
            set_member(s, i, to_bool(in, object, key));
        else if (i < N_MEMBERS)
            set_member(s, i,
                       to_int(in, value, key, members[i].kind == MEMBER_INT64 ? -NUMBER_MAX : 0,
                              members[i].kind == MEMBER_UNSIGNED ? 1000 : NUMBER_MAX));
        else if (strcmp(key, "cpu_share") == 0)
            s->cpu_share = to_double(in, object, key, 1, false);
        else if (strcmp(key, "cpu_allowance") == 0)
            s->cpu_allowance = to_double(in, object, key, 1, false);
        else if (strcmp(key, "vcpu_time_ns") != 0)
            complain(in, "\"sample\" has an unknown key");
    }
    if (!json_object_object_get_ex(object, "vcpu_time_ns", &list))
        return;
    if (!json_object_is_type(list, json_type_array) ||
        json_object_array_length(list) > SAMPLE_VCPUS_MAX) {
        complain(in, "\"vcpu_time_ns\" must be an array of up to %d integers", SAMPLE_VCPUS_MAX);
        return;
    }
    s->vcpus = (unsigned)json_object_array_length(list);
    for (unsigned i = 0; i < s->vcpus; i++)
        s->vcpu_time_ns[i] =
            to_int(in, json_object_array_get_idx(list, i), "vcpu_time_ns", 0, NUMBER_MAX);
}

static void read_action(struct in *in, struct json_object *object, struct action *a,
                        enum trace_result *result)
{
    if (!is_object(in, object, "an action",
                   " kind reason downtime_ns share period_us speed_limit_bps cache_bytes result "))
        return;
    a->kind = (enum action_kind)to_choice(in, object, "kind", action_names);
    a->reason = (enum reason)to_choice(in, object, "reason", reason_names);
    *result = (enum trace_result)to_choice(in, object, "result", result_names);
    if (a->kind == ACTION_DOWNTIME) {
        a->downtime_ns =
            to_int(in, json_object_object_get(object, "downtime_ns"), "downtime_ns", 0, NUMBER_MAX);
    } else if (a->kind == ACTION_THROTTLE) {
        a->share = to_double(in, object, "share", 1, false);
        a->period_us =
            to_int(in, json_object_object_get(object, "period_us"), "period_us", 0, NUMBER_MAX);
    } else if (a->kind == ACTION_BANDWIDTH) {
        a->speed_limit_bps = to_int(in, json_object_object_get(object, "speed_limit_bps"),
                                    "speed_limit_bps", 0, NUMBER_MAX);
    } else if (a->kind == ACTION_COMPRESSION_CACHE) {
        a->cache_bytes =
            to_int(in, json_object_object_get(object, "cache_bytes"), "cache_bytes", 0, NUMBER_MAX);
    }
}

static void read_step(struct in *in, struct json_object *object, struct trace_step *step)
{
    struct json_object *decision = json_object_object_get(object, "decision");
    struct json_object *list;

    if (!is_object(in, object, "a step", " sample decision ") ||
        !is_object(in, decision, "\"decision\"", " verdict reason apply actions "))
        return;
    read_sample(in, json_object_object_get(object, "sample"), &step->sample);
    step->verdict = (enum verdict)to_choice(in, decision, "verdict", verdict_names);
    step->reason = (enum reason)to_choice(in, decision, "reason", reason_names);
    step->apply = to_bool(in, decision, "apply");
    if (!json_object_object_get_ex(decision, "actions", &list))
        return;
    if (!json_object_is_type(list, json_type_array) ||
        json_object_array_length(list) > TRACE_ACTIONS_MAX) {
        complain(in, "\"actions\" must be an array of up to %d", TRACE_ACTIONS_MAX);
        return;
    }
    step->n_actions = (unsigned)json_object_array_length(list);
    for (unsigned i = 0; i < step->n_actions; i++)
        read_action(in, json_object_array_get_idx(list, i), &step->action[i], &step->result[i]);
}

static void read_policy(struct in *in, struct json_object *object, struct policy *policy)
{
    struct json_object *sources = json_object_object_get(object, "sources");
    struct policy_layer layer;
    struct error err;

    policy_init(policy);
    if (policy_layer_from_json(json_object_object_get(object, "policy"), &layer, &err) < 0) {
        complain(in, "policy: %s%s%s", err.where, *err.where ? ": " : "", err.text);
        return;
    }
    if (!json_object_is_type(sources, json_type_object)) {
        complain(in, "\"sources\" must be an object");
        return;
    }
    policy_merge(policy, &layer, "trace");
    json_object_object_foreach(sources, key, value)
    {
        enum policy_field field;

        (void)value;
        if (policy_field_find(key, &field) < 0)
            complain(in, "\"sources\" has an unknown key");
        else
            to_text(in, sources, key, policy->source[field], sizeof(policy->source[field]));
    }
}

static void read_header(struct in *in, struct json_object *object, struct trace_header *header)
{
    if (!is_object(in, object, "a header", " trace vm uuid started poll_ns policy sources "))
        return;
    to_int(in, json_object_object_get(object, "trace"), "trace", TRACE_VERSION, TRACE_VERSION);
    to_text(in, object, "vm", header->vm, sizeof(header->vm));
    to_text(in, object, "uuid", header->uuid, sizeof(header->uuid));
    to_text(in, object, "started", header->started, sizeof(header->started));
    header->poll_ns =
        to_int(in, json_object_object_get(object, "poll_ns"), "poll_ns", 0, NUMBER_MAX);
    read_policy(in, object, &header->policy);
}

static void read_end(struct in *in, struct json_object *object, struct trace_end *end)
{
    if (!is_object(in, object, "\"end\"",
                   " outcome duration_seconds downtime_seconds work_lost_seconds truncated "))
        return;
    to_text(in, object, "outcome", end->outcome, sizeof(end->outcome));
    if (strspn(end->outcome, "abcdefghijklmnopqrstuvwxyz-") != strlen(end->outcome))
        complain(in, "\"outcome\" is not one");
    end->duration_s = to_double(in, object, "duration_seconds", 1e12, true);
    end->downtime_s = to_double(in, object, "downtime_seconds", 1e12, true);
    end->work_lost_s = to_double(in, object, "work_lost_seconds", 1e12, true);
    end->truncated = to_bool(in, object, "truncated");
}

static void read_line(struct in *in, struct json_object *object, struct trace_line *line)
{
    if (!json_object_is_type(object, json_type_object)) {
        complain(in, "must be an object");
    } else if (json_object_object_get_ex(object, "trace", NULL)) {
        line->kind = TRACE_HEADER;
        read_header(in, object, &line->header);
    } else if (json_object_object_get_ex(object, "sample", NULL)) {
        line->kind = TRACE_STEP;
        read_step(in, object, &line->step);
    } else if (json_object_object_get_ex(object, "policy", NULL)) {
        line->kind = TRACE_POLICY;
        if (is_object(in, object, "a policy line", " policy sources "))
            read_policy(in, object, &line->policy);
    } else if (json_object_object_get_ex(object, "prior", NULL)) {
        line->kind = TRACE_PRIOR;
        if (is_object(in, object, "a prior", " prior ") &&
            prior_from_json(json_object_object_get(object, "prior"), &line->prior) < 0)
            complain(in, "\"prior\" is not what is known of a guest");
    } else if (json_object_object_get_ex(object, "latch", NULL)) {
        line->kind = TRACE_LATCH;
        if (is_object(in, object, "a latch", " latch action ")) {
            line->latch.reason = (enum reason)to_choice(in, object, "latch", reason_names);
            line->latch.action = (enum action_kind)to_choice(in, object, "action", action_names);
        }
    } else if (json_object_object_get_ex(object, "end", NULL)) {
        line->kind = TRACE_END;
        if (is_object(in, object, "the last line", " end "))
            read_end(in, json_object_object_get(object, "end"), &line->end);
    } else {
        complain(in, "not a line of a trace");
    }
}

int trace_parse(const char *text, size_t len, struct trace_line *ret, struct error *ret_err)
{
    struct in in = {.err = ret_err};
    struct trace_line line = {0};
    struct json_object *object;
    struct error err;

    if (len >= TRACE_LINE_MAX)
        return error_set(ret_err, -EINVAL, "longer than %d bytes", TRACE_LINE_MAX - 1);
    if (json_strict_parse(text, len, &object, &err) < 0)
        return error_set(ret_err, -EINVAL, "%s", err.text);
    read_line(&in, object, &line);
    json_object_put(object);
    if (in.bad)
        return -EINVAL;
    *ret = line;
    return 0;
}
