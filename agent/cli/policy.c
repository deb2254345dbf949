/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy set, unset, show */
#include "agent/cli/cli.h"

#include <string.h>

#include "policy/tuning.h"

/* The downtime limit a migration has unless somebody sets another. */
#define QEMU_LIMIT_S 0.3

/* clang-format off */
#define SCOPE_OPTION \
    {"scope", "host|metadata", "metadata travels with the VM, and only narrows", .one_of = true}
/* clang-format on */

enum { EXPIRES, RUNTIME, SCOPE, LABEL, EXPECTED, DRY_RUN };
static const struct cli_option set_options[] = {
    [EXPIRES] = {"expires", "DURATION", "for so long only"},
    [RUNTIME] = {"runtime", NULL, "until the daemon is restarted"},
    [SCOPE] = SCOPE_OPTION,
    [LABEL] = {"label", "LABELS", "labels in the metadata, for rules to ask for"},
    [EXPECTED] = {"expected", NULL, "the VM need not be on this host yet"},
    [DRY_RUN] = {"dry-run", NULL, "only show what would change"},
    {NULL},
};

enum { UNSET_ALL, UNSET_SCOPE };
static const struct cli_option unset_options[] = {
    [UNSET_ALL] = {"all", NULL, "every field", .letter = 'a'},
    [UNSET_SCOPE] = SCOPE_OPTION,
    {NULL},
};

enum { CHANGED };
static const struct cli_option show_options[] = {
    [CHANGED] = {"changed", NULL, "only what is not the default"},
    {NULL},
};

/* The "value" of a field in a reply, or its "source"; NULL: it is not there. */
static const char *field_text(struct json_object *fields, enum policy_field which, const char *key)
{
    const char *name = policy_field_info(which)->name;

    for (size_t i = 0; i < cli_array_length(fields); i++) {
        struct json_object *field = json_object_array_get_idx(fields, i);
        const char *found = cli_string(field, "name");

        if (found && strcmp(found, name) == 0)
            return cli_string(field, key);
    }
    return NULL;
}

/* Says so where a policy that was just set comes to nothing. */
static void warn_of_nothing(struct json_object *fields)
{
    /* With less the limit QEMU begins with cannot be raised. */
    const double least_s = QEMU_LIMIT_S + OVERHEAD_S;
    struct policy_layer layer = {0};
    struct policy policy;
    const char *source;
    int64_t downtime_ns;

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const char *text = field_text(fields, (enum policy_field)i, "value");

        if (text)
            policy_layer_set(&layer, (enum policy_field)i, text, NULL);
    }
    policy_init(&policy);
    policy_merge(&policy, &layer, "");
    downtime_ns = policy.values.v[POLICY_MAX_DOWNTIME];
    /* Somebody wants it so, unless it follows from that nothing is allowed. */
    source = field_text(fields, POLICY_MODE, "source");
    if (policy.values.v[POLICY_MODE] == MODE_OBSERVE && source && strcmp(source, "default") != 0)
        return;
    if (!policy_allows_anything(&policy.values))
        cli_fail(CLI_OK, "this policy allows nothing, so nothing will be done; see --max-downtime "
                         "and --allow-throttle");
    policy.values.v[POLICY_MAX_DOWNTIME] = POLICY_NONE;
    if (downtime_ns != POLICY_NONE && (double)downtime_ns / 1e9 < least_s &&
        !policy_allows_anything(&policy.values))
        cli_fail(CLI_OK,
                 "a max_downtime below %.2fs allows nothing: QEMU begins with a limit of "
                 "%.0fms, and the switchover takes %.0fms more",
                 least_s, QEMU_LIMIT_S * 1e3, OVERHEAD_S * 1e3);
}

static bool is_default(struct json_object *field)
{
    const char *source = cli_string(field, "source");

    return source && strcmp(source, "default") == 0;
}

/* The reply of all three: the effective policy of one VM. */
static int print_policy(const struct cli *cli, struct json_object *reply)
{
    bool only_changed = cli->verb == &cli_show && cli->option[CHANGED];
    static const struct cli_column columns[] = {
        {"FIELD", CLI_LEFT}, {"VALUE", CLI_WRAP}, {"SOURCE", CLI_TEXT}};
    struct json_object *fields = cli_array(reply, "fields");
    struct cli_table *table;
    size_t rows = 0;

    if (cli->json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    table = cli_table_new(cli, columns, 3);
    for (size_t i = 0; i < cli_array_length(fields); i++) {
        struct json_object *field = json_object_array_get_idx(fields, i);

        if (only_changed && is_default(field))
            continue;
        rows++;
        cli_table_row(table,
                      (const char *const[]){cli_string(field, "name"), cli_string(field, "value"),
                                            cli_string(field, "source")});
    }
    cli_table_print(table);
    if (rows == 0 && !cli->quiet)
        cli_line("all fields have their default");
    if (cli_string(reply, "labels"))
        cli_line("\nLabels: %s", cli_string(reply, "labels"));
    if (cli_string(reply, "metadata_error"))
        cli_line("\nThe policy in its metadata is not understood, so it is observed only: %s",
                 cli_string(reply, "metadata_error"));
    return CLI_OK;
}

static struct json_object *parameters_for(const char *vm)
{
    struct json_object *parameters = json_object_new_object();

    json_object_object_add(parameters, "vm", json_object_new_string(vm));
    return parameters;
}

/* After a change the policy is printed too: one field may change others (mode, deadline). */
static int call_and_print(const struct cli *cli, const char *method, struct json_object *parameters)
{
    AUTO_JSON struct json_object *reply = NULL;
    int code = cli_call(cli, method, parameters, &reply);

    if (code != CLI_OK)
        return code;
    if (!cli->quiet || cli->verb == &cli_show)
        print_policy(cli, reply);
    if (!cli->quiet && cli->verb == &cli_set)
        warn_of_nothing(cli_array(reply, "fields"));
    return CLI_OK;
}

static bool is_metadata(const char *scope)
{
    return scope && strcmp(scope, "metadata") == 0;
}

static int show(const struct cli *cli)
{
    const char *vm;
    int code = cli_one_vm(cli, &vm);

    return code == CLI_OK ? call_and_print(cli, "io.migpolicy.Show", parameters_for(vm)) : code;
}

int cli_read_fields(const struct cli *cli, struct policy_layer *ret)
{
    *ret = (struct policy_layer){0};
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const char *name = policy_field_info((enum policy_field)i)->name;
        const char *text = cli->field_text[i];
        const char *expected;
        char flag[CLI_FLAG_MAX];

        if (!text)
            continue;
        if (policy_layer_set(ret, (enum policy_field)i, text, &expected) < 0)
            return cli_fail(CLI_USAGE, "--%s: \"%s\" is not %s", cli_flag(name, flag), text,
                            expected);
    }
    return CLI_OK;
}

/* The same as {name: value}. */
static int fields_to_json(const struct cli *cli, struct json_object *fields)
{
    struct policy_layer layer;
    int code = cli_read_fields(cli, &layer);

    if (code != CLI_OK)
        return code;
    if (layer.set == 0 && !cli->option[LABEL])
        return cli_fail(CLI_USAGE, "nothing to set; name a field, such as --max-downtime 2s");
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (cli->field_text[i])
            json_object_object_add(fields, policy_field_info((enum policy_field)i)->name,
                                   json_object_new_string(cli->field_text[i]));
    }
    return CLI_OK;
}

static int check_scope(const struct cli *cli)
{
    bool in_metadata = is_metadata(cli->option[SCOPE]);

    if (cli->option[LABEL] && !in_metadata)
        return cli_fail(CLI_USAGE, "--label goes with set --scope metadata");
    if ((cli->option[EXPECTED] || cli->option[DRY_RUN]) && in_metadata)
        return cli_fail(CLI_USAGE, "--%s goes with overrides of this host, not with metadata",
                        cli->option[EXPECTED] ? "expected" : "dry-run");
    if ((cli->option[EXPIRES] || cli->option[RUNTIME]) && in_metadata)
        return cli_fail(CLI_USAGE, "--%s goes with overrides of this host, not with metadata",
                        cli->option[EXPIRES] ? "expires" : "runtime");
    return CLI_OK;
}

/* What would change, a line for each field. */
static void print_differences(const struct cli *cli, struct json_object *before,
                              struct json_object *after)
{
    bool any = false;

    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        const char *was = field_text(before, (enum policy_field)i, "value");
        const char *is = field_text(after, (enum policy_field)i, "value");

        if (was && is && strcmp(was, is) == 0)
            continue;
        any = true;
        cli_line("%s: %s -> %s", policy_field_info((enum policy_field)i)->name, was ? was : "-",
                 is ? is : "-");
    }
    if (!any && !cli->quiet)
        cli_line("Nothing would change in effect.");
}

static int set_dry(const struct cli *cli, struct json_object *parameters)
{
    AUTO_JSON struct json_object *question = json_object_new_object();
    AUTO_JSON struct json_object *before = NULL;
    AUTO_JSON struct json_object *after = NULL;
    int code;

    json_object_object_add(parameters, "dry_run", json_object_new_boolean(true));
    json_object_object_add(question, "vm",
                           json_object_get(json_object_object_get(parameters, "vm")));
    if (cli->option[EXPECTED])
        json_object_object_add(question, "expected", json_object_new_boolean(true));
    code = cli_call(cli, "io.migpolicy.Set", parameters, &after);
    if (code == CLI_OK && !cli->json)
        code = cli_call(cli, "io.migpolicy.Show", STEAL(question), &before);
    if (code != CLI_OK)
        return code;
    if (cli->json)
        return print_policy(cli, after);
    print_differences(cli, cli_array(before, "fields"), cli_array(after, "fields"));
    if (!cli->quiet)
        warn_of_nothing(cli_array(after, "fields"));
    return CLI_OK;
}

static int set(const struct cli *cli)
{
    AUTO_JSON struct json_object *fields = json_object_new_object();
    struct json_object *parameters;
    const char *vm;
    int code = cli_one_vm(cli, &vm);

    if (code == CLI_OK)
        code = check_scope(cli);
    if (code == CLI_OK)
        code = fields_to_json(cli, fields);
    if (code != CLI_OK)
        return code;
    parameters = parameters_for(vm);
    if (cli->option[LABEL])
        json_object_object_add(fields, "label", json_object_new_string(cli->option[LABEL]));
    if (cli->option[EXPIRES])
        json_object_object_add(parameters, "expires", json_object_new_string(cli->option[EXPIRES]));
    if (cli->option[RUNTIME])
        json_object_object_add(parameters, "runtime", json_object_new_boolean(true));
    json_object_object_add(parameters, "fields", STEAL(fields));
    if (cli->option[EXPECTED])
        json_object_object_add(parameters, "expected", json_object_new_boolean(true));
    if (cli->option[DRY_RUN])
        return set_dry(cli, parameters);
    return call_and_print(
        cli, is_metadata(cli->option[SCOPE]) ? "io.migpolicy.ChangeMetadata" : "io.migpolicy.Set",
        parameters);
}

static int unset(const struct cli *cli)
{
    AUTO_JSON struct json_object *names = json_object_new_array();
    AUTO_JSON struct json_object *nulls = json_object_new_object();
    bool in_metadata = is_metadata(cli->option[UNSET_SCOPE]);
    struct json_object *parameters;

    if (cli->n_args == 0)
        return cli_fail(CLI_USAGE, "unset needs a VM; see migpolicy help unset");
    if ((cli->n_args > 1) == (cli->option[UNSET_ALL] != NULL))
        return cli_fail(CLI_USAGE, "unset needs either fields to forget or --all");
    for (int i = 1; i < cli->n_args; i++) {
        const char *name = cli->args[i];
        enum policy_field field;

        if (policy_field_find(name, &field) == 0)
            name = policy_field_info(field)->name;
        else if (!in_metadata || strcmp(name, "label") != 0)
            return cli_fail(CLI_USAGE, "\"%s\" is not a policy field; migpolicy show lists them",
                            name);
        json_object_array_add(names, json_object_new_string(name));
        json_object_object_add(nulls, name, NULL);
    }
    parameters = parameters_for(cli->args[0]);
    json_object_object_add(parameters, "fields", in_metadata ? STEAL(nulls) : STEAL(names));
    return call_and_print(cli, in_metadata ? "io.migpolicy.ChangeMetadata" : "io.migpolicy.Unset",
                          parameters);
}

const struct cli_verb cli_set = {
    "set", set, "VM POLICY-FLAG...", "override policy fields of a VM", set_options, .fields = true};
const struct cli_verb cli_unset = {"unset", unset, "VM FIELD...|--all", "forget overrides of a VM",
                                   unset_options};
const struct cli_verb cli_show = {
    "show", show, "VM", "the policy in effect, and where each field comes from", show_options};
