/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/rules/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"
#include "common/units.h"
#include "policy/json/policy_json.h"

/* Where in which file we are, for error lines. */
struct place {
    const char *path;
    const char *text;
    size_t len;
    struct error *err;
};

/* A hostile key may be cut or replaced in the pointer: then what is around it has a line. */
static int find_line(const struct place *place, const char *pointer)
{
    char at[512], *last;
    int line;

    snprintf(at, sizeof(at), "%s", pointer);
    while ((line = json_strict_line(place->text, place->len, at)) == 0 && (last = strrchr(at, '/')))
        *last = '\0';
    return line;
}

__attribute__((format(printf, 3, 4))) static int fail(const struct place *place,
                                                      const char *pointer, const char *format, ...)
{
    char reason[256];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    return error_set(place->err, -EINVAL, "%s:%d: %s: %s", place->path, find_line(place, pointer),
                     *pointer ? pointer : "/", reason);
}

/* The RFC 6901 pointer of a member, cut if too long. */
static void join(char *to, size_t size, const char *pointer, const char *key)
{
    size_t len = (size_t)snprintf(to, size, "%s/", pointer);

    for (; *key && len + 2 < size; key++) {
        if (*key == '~' || *key == '/') {
            to[len++] = '~';
            to[len++] = *key == '~' ? '0' : '1';
        } else {
            to[len++] = *key;
        }
    }
    to[len] = '\0';
}

static int take_string(const struct place *place, const char *pointer, struct json_object *value,
                       char **target)
{
    if (!json_object_is_type(value, json_type_string))
        return fail(place, pointer, "must be a text");
    free(*target);
    *target = alloc_need(strdup(json_object_get_string(value)));
    return 0;
}

static int take_path(const struct place *place, const char *pointer, struct json_object *value,
                     char **target)
{
    int r = take_string(place, pointer, value, target);

    return r == 0 && (*target)[0] != '/' ? fail(place, pointer, "must be an absolute path") : r;
}

int config_parse_expires(const char *text, int64_t *ret_s)
{
    int64_t ns;

    if (!text || units_parse(UNIT_DURATION, text, &ns) < 0 || ns < NS_PER_S ||
        ns > INT64_C(365) * 86400 * NS_PER_S)
        return -EINVAL;
    *ret_s = (ns + NS_PER_S - 1) / NS_PER_S;
    return 0;
}

static int take_layer(const struct place *place, const char *pointer, struct json_object *value,
                      struct policy_layer *ret)
{
    struct error err;
    char where[512];

    if (policy_layer_from_json(value, ret, &err) == 0)
        return 0;
    if (!err.where[0])
        return fail(place, pointer, "%s", err.text);
    join(where, sizeof(where), pointer, err.where);
    return fail(place, where, "%s", err.text);
}

#define SELECTOR_KEY(constant, key, ...) key ", "
#define RULE_KEYS                                                                                  \
    SELECTOR_TABLE(SELECTOR_KEY)                                                                   \
    "min_memory, max_memory, min_vcpus or max_vcpus"

static int take_member(const struct place *place, const char *pointer, const char *key,
                       struct json_object *value, const struct config *config,
                       struct selector *select)
{
    const char *expected;
    int r = selector_take(select, key, value, config->namespace, config->namespaces, &expected);

    if (r == -ENOENT)
        return fail(place, pointer, "unknown key; a rule has policy, and " RULE_KEYS);
    return r < 0 ? fail(place, pointer, "%s", expected) : 0;
}

static void add_rule(const struct place *place, const char *pointer, struct config_rule *rule,
                     struct config *config)
{
    snprintf(rule->source, sizeof(rule->source), "%s%s", place->path, pointer);
    config->rule = alloc_need(reallocarray(config->rule, config->rules + 1, sizeof(*config->rule)));
    config->rule[config->rules++] = *rule;
}

static int take_rule(const struct place *place, const char *pointer, struct json_object *value,
                     struct config *config)
{
    struct config_rule rule = {0};
    bool has_policy = false;
    int r = 0;

    if (!json_object_is_type(value, json_type_object))
        return fail(place, pointer, "a rule must be an object");
    json_object_object_foreach(value, key, member)
    {
        char where[256];

        join(where, sizeof(where), pointer, key);
        if (r == 0 && strcmp(key, "policy") == 0) {
            has_policy = true;
            r = take_layer(place, where, member, &rule.layer);
        } else if (r == 0) {
            r = take_member(place, where, key, member, config, &rule.select);
        }
    }
    if (r == 0 && (!has_policy || selector_is_empty(&rule.select)))
        r = fail(place, pointer, "a rule needs policy, and " RULE_KEYS);
    if (r == 0)
        add_rule(place, pointer, &rule, config);
    else
        selector_clear(&rule.select);
    return r;
}

/* "policy" at the top is a rule for every VM. */
static int take_default_rule(const struct place *place, struct json_object *value,
                             struct config *config)
{
    struct config_rule rule = {0};
    int r = take_layer(place, "/policy", value, &rule.layer);

    if (r == 0)
        add_rule(place, "", &rule, config);
    return r;
}

static int take_namespace(const struct place *place, const char *pointer, const char *prefix,
                          struct json_object *value, struct config *config)
{
    struct description_namespace *n = config->namespace;

    if (!policy_is_label(prefix, strlen(prefix)))
        return fail(place, pointer, "a prefix must be " POLICY_LABEL);
    if (!json_object_is_type(value, json_type_string) || !*json_object_get_string(value))
        return fail(place, pointer, "must be the URI of a namespace");
    for (size_t i = 0; i < config->namespaces; i++) {
        if (strcmp(n[i].prefix, prefix) == 0 &&
            strcmp(n[i].uri, json_object_get_string(value)) != 0)
            return fail(place, pointer, "stands for another namespace already");
    }
    config->namespace = alloc_need(reallocarray(n, config->namespaces + 1, sizeof(*n)));
    config->namespace[config->namespaces++] = (struct description_namespace){
        .prefix = alloc_need(strdup(prefix)),
        .uri = alloc_need(strdup(json_object_get_string(value))),
    };
    return 0;
}

static int take_namespaces(const struct place *place, struct json_object *root,
                           struct config *config)
{
    struct json_object *value;
    int r = 0;

    if (!json_object_object_get_ex(root, "namespaces", &value))
        return 0;
    if (!json_object_is_type(value, json_type_object))
        return fail(place, "/namespaces", "must be an object");
    json_object_object_foreach(value, prefix, uri)
    {
        char where[256];

        join(where, sizeof(where), "/namespaces", prefix);
        if (r == 0)
            r = take_namespace(place, where, prefix, uri, config);
    }
    return r;
}

static int take_poll_interval(const struct place *place, struct json_object *value,
                              struct config *config)
{
    if (!json_object_is_type(value, json_type_string) ||
        units_parse(UNIT_DURATION, json_object_get_string(value), &config->poll_ns) < 0 ||
        config->poll_ns < 20 * NS_PER_MS || config->poll_ns > NS_PER_S) {
        config->poll_ns = 0;
        return fail(place, "/poll_interval", "must be a duration between 20ms and 1s");
    }
    return 0;
}

static int take_max_throttled(const struct place *place, struct json_object *value,
                              struct config *config)
{
    config->max_throttled_domains = json_object_get_int64(value);
    config->limits_throttled = true;
    if (!json_object_is_type(value, json_type_int) || config->max_throttled_domains < 0 ||
        config->max_throttled_domains > INT32_MAX)
        return fail(place, "/max_throttled_domains", "must be a whole number, 0 or more");
    return 0;
}

static int take_host_bandwidth(const struct place *place, struct json_object *value,
                               struct config *config)
{
    if (!json_object_is_type(value, json_type_string) ||
        units_parse(UNIT_RATE, json_object_get_string(value), &config->host_bandwidth_bps) < 0 ||
        config->host_bandwidth_bps < MIB_BYTES)
        return fail(place, "/host_bandwidth", "must be a rate of at least 1MiB/s");
    return 0;
}

static void forget_answerers(struct config *config)
{
    for (size_t i = 0; i < config->web_answerers; i++)
        free(config->web_may_answer[i]);
    free(config->web_may_answer);
    config->web_may_answer = NULL;
    config->web_answerers = 0;
}

/* A later file's takes the place of an earlier one's. */
static int take_web_may_answer(const struct place *place, struct json_object *value,
                               struct config *config)
{
    size_t n = json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;

    forget_answerers(config);
    if (!json_object_is_type(value, json_type_array))
        return fail(place, "/web_may_answer", "must be an array of names");
    config->web_may_answer = alloc_need(calloc(n + 1, sizeof(*config->web_may_answer)));
    for (size_t i = 0; i < n; i++) {
        struct json_object *name = json_object_array_get_idx(value, i);
        int len =
            json_object_is_type(name, json_type_string) ? json_object_get_string_len(name) : 0;

        if (len == 0 || len > CONFIG_ANSWERER_MAX)
            return fail(place, "/web_may_answer", "a name must be a text of 1 to %d bytes",
                        CONFIG_ANSWERER_MAX);
        config->web_may_answer[config->web_answerers++] =
            alloc_need(strdup(json_object_get_string(name)));
    }
    return 0;
}

static int take_all(const struct place *place, struct json_object *root, struct config *config)
{
    int r;

    if (!json_object_is_type(root, json_type_object))
        return fail(place, "", "must be an object");
    r = take_namespaces(place, root, config); /* rules may come before them */
    if (r < 0)
        return r;
    json_object_object_foreach(root, key, value)
    {
        char pointer[256];

        join(pointer, sizeof(pointer), "", key);
        if (strcmp(key, "uri") == 0) {
            r = take_string(place, pointer, value, &config->uri);
        } else if (strcmp(key, "metrics_listen") == 0) {
            r = take_string(place, pointer, value, &config->metrics_listen);
        } else if (strcmp(key, "web_config") == 0) {
            r = take_path(place, pointer, value, &config->web_config);
        } else if (strcmp(key, "web_may_answer") == 0) {
            r = take_web_may_answer(place, value, config);
        } else if (strcmp(key, "qemu_run_dir") == 0) {
            r = take_path(place, pointer, value, &config->qemu_run_dir);
        } else if (strcmp(key, "admin_group") == 0) {
            r = take_string(place, pointer, value, &config->admin_group);
        } else if (strcmp(key, "poll_interval") == 0) {
            r = take_poll_interval(place, value, config);
        } else if (strcmp(key, "max_throttled_domains") == 0) {
            r = take_max_throttled(place, value, config);
        } else if (strcmp(key, "host_bandwidth") == 0) {
            r = take_host_bandwidth(place, value, config);
        } else if (strcmp(key, "trust_metadata") == 0) {
            if (!json_object_is_type(value, json_type_boolean))
                return fail(place, pointer, "must be true or false");
            config->trust_metadata = json_object_get_boolean(value);
        } else if (strcmp(key, "policy") == 0) {
            r = take_default_rule(place, value, config);
        } else if (strcmp(key, "rules") == 0) {
            if (!json_object_is_type(value, json_type_array))
                return fail(place, pointer, "must be an array");
            for (size_t i = 0; r == 0 && i < json_object_array_length(value); i++) {
                snprintf(pointer, sizeof(pointer), "/rules/%zu", i);
                r = take_rule(place, pointer, json_object_array_get_idx(value, i), config);
            }
        } else if (strcmp(key, "$schema") == 0) {
            /* For editors. */
            if (!json_object_is_type(value, json_type_string))
                r = fail(place, pointer, "must be a text");
        } else if (strcmp(key, "namespaces") != 0) {
            r = fail(place, pointer, "unknown key");
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/*
 * Comments become blanks, so that all keeps its line and column. Control characters in them stay,
 * and are refused like any.
 */
static void blank_comments(char *text, size_t len)
{
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        if (quoted && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && i + 1 < len && text[i] == '/' && text[i + 1] == '/') {
            for (; i < len && text[i] != '\n'; i++) {
                if (!iscntrl((unsigned char)text[i]))
                    text[i] = ' ';
            }
        }
    }
}

/* place->text becomes *ret_copy, which the caller frees. */
static int parse(struct place *place, char **ret_copy, struct json_object **ret)
{
    char *copy = alloc_need(malloc(place->len + 1));
    struct error err;
    int r;

    if (place->len > 0)
        memcpy(copy, place->text, place->len);
    blank_comments(copy, place->len);
    *ret_copy = copy;
    place->text = copy;
    r = json_strict_parse(copy, place->len, ret, &err);
    return r < 0 ? error_set(place->err, r, "%s:%u:%u: %s: %s", place->path, err.line, err.column,
                             *err.where ? err.where : "/", err.text)
                 : 0;
}

int config_parse(const char *text, size_t len, const char *path, struct config *config,
                 struct error *ret_err)
{
    struct json_object *root AUTO_JSON = NULL;
    char *copy AUTO_FREE = NULL;
    struct place place = {.path = path, .text = text, .len = len, .err = ret_err};
    int r = parse(&place, &copy, &root);

    return r < 0 ? r : take_all(&place, root, config);
}

static int check_vm(const struct place *place, const char *pointer, struct json_object *vm)
{
    struct json_object *policy = NULL;

    if (!json_object_is_type(vm, json_type_object))
        return fail(place, pointer, "must be an object with policy");
    json_object_object_foreach(vm, key, value)
    {
        struct policy_layer layer;
        int64_t expires_s;
        char where[512];
        int r = 0;

        join(where, sizeof(where), pointer, key);
        if (strcmp(key, "policy") == 0) {
            policy = value;
            r = take_layer(place, where, value, &layer);
        } else if (strcmp(key, "expires") == 0) {
            if (!json_object_is_type(value, json_type_string) ||
                config_parse_expires(json_object_get_string(value), &expires_s) < 0)
                r = fail(place, where, "must be " CONFIG_EXPIRES_ACCEPTS);
        } else if (strcmp(key, "name") != 0 && strcmp(key, "set_by") != 0) {
            r = fail(place, where, "unknown key; a VM has policy, and expires if it is to end");
        }
        if (r < 0)
            return r;
    }
    return policy ? 0 : fail(place, pointer, "needs policy");
}

int config_parse_vms(const char *text, size_t len, const char *path, struct json_object **ret_vms,
                     struct error *ret_err)
{
    struct json_object *root AUTO_JSON = NULL;
    char *copy AUTO_FREE = NULL;
    struct json_object *vms;
    struct place place = {.path = path, .text = text, .len = len, .err = ret_err};
    int r = parse(&place, &copy, &root);

    if (r < 0)
        return r;
    if (!json_object_is_type(root, json_type_object) ||
        !json_object_object_get_ex(root, "vms", &vms)) {
        fail(&place, "", "needs \"vms\"");
        return -ENOENT;
    }
    json_object_object_foreach(root, key, value)
    {
        char where[256];

        join(where, sizeof(where), "", key);
        if (strcmp(key, "schema_version") == 0 && json_object_get_int(value) != 1)
            return fail(&place, where, "must be 1");
        if (strcmp(key, "schema_version") != 0 && strcmp(key, "$schema") != 0 &&
            strcmp(key, "vms") != 0)
            return fail(&place, where, "unknown key");
    }
    if (!json_object_is_type(vms, json_type_object))
        return fail(&place, "/vms", "must be an object");
    json_object_object_foreach(vms, name, vm)
    {
        char where[512];

        join(where, sizeof(where), "/vms", name);
        r = check_vm(&place, where, vm);
        if (r < 0)
            return r;
    }
    *ret_vms = json_object_get(vms);
    return 0;
}

void config_clear(struct config *config)
{
    for (size_t i = 0; i < config->rules; i++)
        selector_clear(&config->rule[i].select);
    for (size_t i = 0; i < config->namespaces; i++) {
        free(config->namespace[i].prefix);
        free(config->namespace[i].uri);
    }
    free(config->namespace);
    free(config->rule);
    free(config->uri);
    free(config->metrics_listen);
    free(config->web_config);
    forget_answerers(config);
    free(config->qemu_run_dir);
    free(config->admin_group);
    free(config->ignored);
    *config = (struct config){0};
}
