/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy overrides */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

enum { PRUNE };
static const struct cli_option overrides_options[] = {
    [PRUNE] = {"prune", NULL, "forget those of VMs that are not on this host"},
    {NULL},
};

static void describe_fields(struct json_object *o, char *text, size_t size)
{
    struct json_object *fields = cli_array(o, "fields");
    size_t len = 0;

    snprintf(text, size, cli_is(o, "readable", false) ? "(cannot be read)" : "");
    for (size_t i = 0; i < cli_array_length(fields) && len < size; i++) {
        struct json_object *field = json_object_array_get_idx(fields, i);
        const char *until = cli_string(field, "until");

        len += (size_t)snprintf(text + len, size - len, "%s%s=%s%s%s", len > 0 ? " " : "",
                                cli_string(field, "name"), cli_string(field, "value"),
                                until ? " until " : "", until ? until : "");
    }
}

static const char *whereabouts(struct json_object *o, char buf[2 * CLI_TEXT_MAX])
{
    const char *since = cli_string(o, "gone_since");

    if (cli_is(o, "here", true))
        return "here";
    if (!since)
        return cli_is(o, "here", false) ? "expected" : "-";
    snprintf(buf, (size_t)2 * CLI_TEXT_MAX, "gone since %.20s", since);
    return buf;
}

static void print_table(const struct cli *cli, struct json_object *list)
{
    static const struct cli_column columns[] = {{"VM", CLI_NAME},        {"KIND", CLI_LEFT, 1},
                                                {"WHERE", CLI_LEFT},     {"FIELDS", CLI_TEXT},
                                                {"SET BY", CLI_LEFT, 2}, {"UUID", CLI_LEFT, 3}};
    struct cli_table *table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < cli_array_length(list); i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        const char *uuid = cli_string(o, "uuid");
        char where[2 * CLI_TEXT_MAX];
        char fields[1024];

        describe_fields(o, fields, sizeof(fields));
        cli_table_row(table,
                      (const char *const[]){cli_string(o, "vm"), cli_string(o, "kind"),
                                            whereabouts(o, where), fields, cli_string(o, "set_by"),
                                            uuid ? uuid : "(any of that name)"});
    }
    cli_table_print(table);
}

/* Forgets all there is of that VM. */
static int forget(const struct cli *cli, struct json_object *o)
{
    struct json_object *parameters = json_object_new_object();
    AUTO_JSON struct json_object *reply = NULL;
    const char *name = cli_string(o, "vm");
    const char *uuid = cli_string(o, "uuid");
    char vm[64];
    int code;

    snprintf(vm, sizeof(vm), "uuid:%s", uuid ? uuid : "");
    json_object_object_add(parameters, "vm", json_object_new_string(uuid ? vm : name ? name : ""));
    json_object_object_add(parameters, "fields", json_object_new_array());
    code = cli_call(cli, "io.migpolicy.Unset", parameters, &reply);
    if (code == CLI_OK && !cli->quiet && !cli->json)
        cli_line("%s: forgotten%s%s", name ? name : "?", uuid ? ", " : "", uuid ? uuid : "");
    return code;
}

/* Was it forgotten with another override of the same VM? */
static bool is_again(struct json_object *list, size_t index)
{
    const char *uuid = cli_string(json_object_array_get_idx(list, index), "uuid");

    for (size_t i = 0; i < index && uuid; i++) {
        const char *other = cli_string(json_object_array_get_idx(list, i), "uuid");

        if (other && strcmp(other, uuid) == 0)
            return true;
    }
    return false;
}

/* Leaves on the list what was forgotten. Where the daemon does not know what is here, that is
 * nothing. */
static int prune(const struct cli *cli, struct json_object *list)
{
    int code = CLI_OK;

    for (size_t i = cli_array_length(list); i-- > 0;) {
        if (!cli_is(json_object_array_get_idx(list, i), "here", false))
            json_object_array_del_idx(list, i, 1);
    }
    for (size_t i = 0; i < cli_array_length(list) && code == CLI_OK; i++) {
        if (!is_again(list, i))
            code = forget(cli, json_object_array_get_idx(list, i));
    }
    return code;
}

static int overrides(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *list;
    int code = cli_no_arguments(cli);

    if (code == CLI_OK)
        code = cli_call(cli, "io.migpolicy.Overrides", NULL, &reply);
    if (code != CLI_OK)
        return code;
    list = cli_array(reply, "overrides");
    if (cli->option[PRUNE])
        code = prune(cli, list);
    if (cli->json)
        cli_print_json(reply);
    else if (cli_array_length(list) == 0 && !cli->quiet)
        cli_line(cli->option[PRUNE] ? "nothing to forget" : "no overrides");
    else if (!cli->option[PRUNE] && cli_array_length(list) > 0)
        print_table(cli, list);
    return code;
}

const struct cli_verb cli_overrides = {"overrides", overrides, "[--prune]",
                                       "what was set, of VMs here and elsewhere",
                                       overrides_options};
