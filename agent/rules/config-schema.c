/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints etc/migpolicyd.schema.json: a JSON Schema (draft 7) of the configuration and of files for
 * `migpolicy apply`, for editors and for checks before a file comes near a host. The fields of a
 * policy are those of the field table. Bounds of quantities are told in words only: a schema cannot
 * compare texts with units, so migpolicy check has the last word.
 */
#include <stdio.h>
#include <string.h>

#include "agent/rules/config.h"
#include "common/json.h"
#include "policy/policy.h"

#define NUMBER "([0-9]+([.][0-9]*)?|[.][0-9]+) ?"

static const char *const patterns[] = {
    [KIND_DURATION] = "^(" NUMBER "(d|h|m|min|s|ms|us|ns) ?)+$",
    [KIND_SHARE] = "^" NUMBER "%$",
    [KIND_SIZE] = "^" NUMBER "([TGMK]i|[TGMKk])?B$",
    [KIND_RATE] = "^" NUMBER "([TGMK]iB|[GMKk]?B|[GMk]bit)/s$",
    [KIND_COUNT] = "^[0-9]+$",
};

static struct json_object *object(const char *text)
{
    struct json_object *o = json_tokener_parse(text);

    if (!o) {
        fprintf(stderr, "config-schema: malformed: %s\n", text);
        exit(EXIT_FAILURE);
    }
    return o;
}

static void add(struct json_object *to, const char *key, struct json_object *value)
{
    json_object_object_add(to, key, value);
}

static struct json_object *text(const char *value)
{
    return json_object_new_string(value);
}

/* A list of different words, with commas between. */
static char *order_pattern(const char *const *words, char *buf, size_t size)
{
    size_t len = 0;
    char any[256] = "";

    for (unsigned i = 0; words[i]; i++)
        len += (size_t)snprintf(any + len, sizeof(any) - len, "%s%s", i ? "|" : "", words[i]);
    snprintf(buf, size, "^(%s)(,(%s))*$", any, any);
    return buf;
}

static struct json_object *field_schema(const struct policy_field_info *info)
{
    struct json_object *o = json_object_new_object();
    char buf[600];

    snprintf(buf, sizeof(buf), "%s: %s", info->help, info->accepts);
    add(o, "description", text(buf));
    if (info->kind == KIND_CHOICE) {
        struct json_object *values = json_object_new_array();

        for (unsigned i = 0; info->choices[i]; i++)
            json_object_array_add(values, text(info->choices[i]));
        if (info->choices[0] && strcmp(info->choices[0], "no") == 0) {
            json_object_array_add(values, json_object_new_boolean(true));
            json_object_array_add(values, json_object_new_boolean(false));
        }
        add(o, "enum", values);
        return o;
    }
    add(o, "type", text("string"));
    if (info->kind == KIND_ORDER) {
        add(o, "pattern", text(order_pattern(info->choices, buf, sizeof(buf))));
        return o;
    }
    snprintf(buf, sizeof(buf), info->initial == POLICY_NONE ? "^none$|%s" : "%s",
             patterns[info->kind]);
    add(o, "pattern", text(buf));
    return o;
}

static struct json_object *policy_schema(void)
{
    struct json_object *o = object("{'type': 'object', 'additionalProperties': false}");
    struct json_object *properties = json_object_new_object();

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const struct policy_field_info *info = policy_field_info((enum policy_field)i);

        add(properties, info->name, field_schema(info));
    }
    add(o, "properties", properties);
    return o;
}

static struct json_object *quantity_schema(enum policy_kind kind, const char *description)
{
    struct json_object *o = object("{'type': 'string'}");

    add(o, "description", text(description));
    add(o, "pattern", text(patterns[kind]));
    return o;
}

static struct json_object *config_schema(void)
{
    struct json_object *o = object(
        "{'type': 'object', 'additionalProperties': false, 'properties': {"
        "'$schema': {'type': 'string'},"
        "'uri': {'type': 'string', 'description': 'the libvirt to watch'},"
        "'metrics_listen': {'type': 'string', 'description': 'address and port of the metrics, or "
        "unix:/PATH'},"
        "'web_config': {'type': 'string', 'pattern': '^/',"
        " 'description': 'who may read the metrics: TLS and passwords'},"
        "'web_may_answer': {'type': 'array', 'items': {'type': 'string', 'minLength': 1,"
        " 'maxLength': 64}, 'description': 'users of web_config who may answer questions'},"
        "'qemu_run_dir': {'type': 'string', 'pattern': '^/',"
        " 'description': 'where that libvirt keeps the pid files of its guests'},"
        "'admin_group': {'type': 'string', 'description': 'its members may change policies'},"
        "'trust_metadata': {'type': 'boolean',"
        " 'description': 'the metadata of a domain may allow more, too'},"
        "'max_throttled_domains': {'type': 'integer', 'minimum': 0, 'maximum': 2147483647,"
        " 'description': 'how many guests may be throttled at once'},"
        "'namespaces': {'type': 'object', 'additionalProperties': {'type': 'string', 'minLength': "
        "1},"
        " 'description': 'prefixes that XPath expressions use, and what they stand for'},"
        "'policy': {'$ref': '#/definitions/policy'},"
        "'rules': {'type': 'array', 'items': {'$ref': '#/definitions/rule'}}}}");

    add(json_object_object_get(o, "properties"), "poll_interval",
        quantity_schema(KIND_DURATION, "how often statistics are read between syncs: 20ms to 1s"));
    add(json_object_object_get(o, "properties"), "host_bandwidth",
        quantity_schema(KIND_RATE, "what the speed limits that are set may come to: from 1MiB/s"));
    return o;
}

static const char rule_schema[] =
    "{'type': 'object', 'additionalProperties': false, 'required': ['policy'],"
    " 'minProperties': 2, 'properties': {"
    "'min_memory': {'$ref': '#/definitions/size'}, 'max_memory': {'$ref': '#/definitions/size'},"
    "'min_vcpus': {'type': 'integer', 'minimum': 1},"
    "'max_vcpus': {'type': 'integer', 'minimum': 1},"
    "'trust_owner': {'type': 'boolean',"
    " 'description': 'what the owner of the VM may write may allow more, too'},"
    "'policy': {'$ref': '#/definitions/policy'}}}";

/* A text, or a list of which any will do. */
static struct json_object *texts_schema(const char *description, const char *pattern)
{
    struct json_object *o = json_object_new_object();
    struct json_object *any = json_object_new_array();
    struct json_object *list = object("{'type': 'array', 'minItems': 1}");
    struct json_object *one = object("{'type': 'string'}");

    if (pattern)
        add(one, "pattern", text(pattern));
    add(list, "items", json_object_get(one));
    json_object_array_add(any, one);
    json_object_array_add(any, list);
    add(o, "description", text(description));
    add(o, "anyOf", any);
    return o;
}

static struct json_object *rule_object(void)
{
    static const struct {
        const char *key, *help;
    } selectors[] = {
#define X(constant, key, is_owner_s, help) {key, help},
        SELECTOR_TABLE(X)
#undef X
    };
    struct json_object *o = object(rule_schema);

    for (unsigned i = 0; i < SELECTORS; i++)
        add(json_object_object_get(o, "properties"), selectors[i].key,
            texts_schema(selectors[i].help, i == SELECT_LABEL ? "^[A-Za-z0-9._-]{1,63}$" : NULL));
    return o;
}

static const char apply_schema[] =
    "{'type': 'object', 'additionalProperties': false, 'required': ['vms'], 'properties': {"
    "'$schema': {'type': 'string'}, 'schema_version': {'const': 1},"
    "'vms': {'type': 'object', 'additionalProperties': {'type': 'object',"
    " 'additionalProperties': false, 'required': ['policy'], 'properties': {"
    "'name': {}, 'set_by': {}, 'expires': {'$ref': '#/definitions/expires'},"
    "'policy': {'$ref': '#/definitions/policy'}}}}}}";

int main(void)
{
    struct json_object *root = object("{'$schema': 'http://json-schema.org/draft-07/schema#',"
                                      "'title': 'migpolicyd.json, or a file for migpolicy apply',"
                                      "'if': {'required': ['vms']},"
                                      "'then': {'$ref': '#/definitions/apply'},"
                                      "'else': {'$ref': '#/definitions/config'}}");
    struct json_object *definitions = json_object_new_object();
    int r;

    add(definitions, "config", config_schema());
    add(definitions, "rule", rule_object());
    add(definitions, "size", quantity_schema(KIND_SIZE, "a bound for the memory of the VM"));
    add(definitions, "apply", object(apply_schema));
    add(definitions, "expires",
        quantity_schema(KIND_DURATION, "ends by itself after " CONFIG_EXPIRES_ACCEPTS));
    add(definitions, "policy", policy_schema());
    add(root, "definitions", definitions);
    r = puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
                                                      JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(root);
    return r == EOF || fflush(stdout) == EOF;
}
