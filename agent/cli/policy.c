/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy set, unset, show */
#include "agent/cli/cli.h"

#include <string.h>

/* The reply of all three: the effective policy of one VM. */
static int print_policy(const struct cli *cli, struct json_object *reply)
{
    static const struct cli_column columns[] = {
        {"FIELD", CLI_LEFT}, {"VALUE", CLI_LEFT}, {"SOURCE", CLI_LEFT}};
    struct json_object *fields = cli_array(reply, "fields");
    struct cli_table *table;

    if (cli->json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    table = cli_table_new(cli, columns, 3);
    for (size_t i = 0; i < cli_array_length(fields); i++) {
        struct json_object *field = json_object_array_get_idx(fields, i);

        cli_table_row(table,
                      (const char *const[]){cli_string(field, "name"), cli_string(field, "value"),
                                            cli_string(field, "source")});
    }
    cli_table_print(table);
    if (cli_string(reply, "labels"))
        cli_line("\nLabels: %s", cli_string(reply, "labels"));
    if (cli_string(reply, "metadata_error"))
        cli_line("\nThe policy in its metadata is not understood, so it is observed only: %s",
                 cli_string(reply, "metadata_error"));
    return CLI_OK;
}

/* After a change the policy is printed too: one field may change others (mode, deadline). */
static int call_and_print(const struct cli *cli, const char *method, const char *vm,
                          struct json_object *fields)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *parameters = cli_need(json_object_new_object());
    int code;

    json_object_object_add(parameters, "vm", cli_need(json_object_new_string(vm)));
    if (cli->expires)
        json_object_object_add(parameters, "expires",
                               cli_need(json_object_new_string(cli->expires)));
    if (cli->runtime)
        json_object_object_add(parameters, "runtime", cli_need(json_object_new_boolean(true)));
    if (fields)
        json_object_object_add(parameters, "fields", fields);
    code = cli_call(cli, method, parameters, &reply);
    if (code != CLI_OK || (fields && cli->quiet))
        return code;
    return print_policy(cli, reply);
}

bool cli_in_metadata(const struct cli *cli)
{
    return cli->scope && strcmp(cli->scope, "metadata") == 0;
}

int cli_show(const struct cli *cli)
{
    const char *vm;
    int code = cli_one_vm(cli, "show", &vm);

    return code == CLI_OK ? call_and_print(cli, "io.migpolicy.Show", vm, NULL) : code;
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
    if (layer.set == 0 && !cli->label)
        return cli_fail(CLI_USAGE, "nothing to set; name a field, such as --max-downtime 2s");
    for (unsigned i = 0; i < POLICY_FIELDS; i++) {
        if (cli->field_text[i])
            json_object_object_add(fields, policy_field_info((enum policy_field)i)->name,
                                   cli_need(json_object_new_string(cli->field_text[i])));
    }
    return CLI_OK;
}

int cli_set(const struct cli *cli)
{
    AUTO_JSON struct json_object *fields = cli_need(json_object_new_object());
    const char *vm;
    int code = cli_one_vm(cli, "set", &vm);

    if (code == CLI_OK)
        code = fields_to_json(cli, fields);
    if (code == CLI_OK && cli->label)
        json_object_object_add(fields, "label", cli_need(json_object_new_string(cli->label)));
    if (code != CLI_OK)
        return code;
    return call_and_print(cli,
                          cli_in_metadata(cli) ? "io.migpolicy.ChangeMetadata" : "io.migpolicy.Set",
                          vm, STEAL(fields));
}

int cli_unset(const struct cli *cli)
{
    AUTO_JSON struct json_object *names = cli_need(json_object_new_array());
    AUTO_JSON struct json_object *nulls = cli_need(json_object_new_object());
    bool in_metadata = cli_in_metadata(cli);

    if (cli->n_args == 0)
        return cli_fail(CLI_USAGE, "unset needs a VM; see migpolicy --help");
    if ((cli->n_args > 1) == cli->all)
        return cli_fail(CLI_USAGE, "unset needs either fields to forget or --all");
    for (int i = 1; i < cli->n_args; i++) {
        const char *name = cli->args[i];
        enum policy_field field;

        if (policy_field_find(name, &field) == 0)
            name = policy_field_info(field)->name;
        else if (!in_metadata || strcmp(name, "label") != 0)
            return cli_fail(CLI_USAGE, "\"%s\" is not a policy field; migpolicy show lists them",
                            name);
        json_object_array_add(names, cli_need(json_object_new_string(name)));
        json_object_object_add(nulls, name, NULL);
    }
    if (in_metadata)
        return call_and_print(cli, "io.migpolicy.ChangeMetadata", cli->args[0], STEAL(nulls));
    return call_and_print(cli, "io.migpolicy.Unset", cli->args[0], STEAL(names));
}
