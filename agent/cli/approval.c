/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy pending, approve, deny */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"

static void add_row(struct cli_table *table, struct json_object *p)
{
    char text[5][CLI_TEXT_MAX];
    char id[CLI_TEXT_MAX];

    snprintf(id, sizeof(id), "%.0f", cli_number(p, "id"));
    cli_table_row(table, (const char *const[]){
                             id, cli_string(p, "vm"), cli_string(p, "verdict"),
                             cli_bytes(cli_number(p, "plateau_bytes"), text[0]),
                             cli_rate(cli_number(p, "dirty_rate_bytes_per_second"), text[1]),
                             cli_rate(cli_number(p, "transfer_rate_bytes_per_second"), text[2]),
                             cli_seconds(cli_number(p, "expires_seconds"), text[3]),
                             cli_string(p, "detail")});
}

static int pending(const struct cli *cli)
{
    static const struct cli_column columns[] = {
        {"ID", CLI_RIGHT},        {"VM", CLI_LEFT},       {"VERDICT", CLI_LEFT},
        {"PLATEAU", CLI_RIGHT},   {"DIRTY", CLI_RIGHT},   {"TRANSFER", CLI_RIGHT},
        {"TIME LEFT", CLI_RIGHT}, {"PROPOSAL", CLI_LEFT},
    };
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *list;
    int code = cli_no_arguments(cli);

    if (code == CLI_OK)
        code = cli_call(cli, "io.migpolicy.Pending", NULL, &reply);
    if (code != CLI_OK)
        return code;
    list = cli_array(reply, "proposals");
    if (cli->json) {
        cli_print_json(reply);
    } else if (cli_array_length(list) > 0) {
        struct cli_table *table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < cli_array_length(list); i++)
            add_row(table, json_object_array_get_idx(list, i));
        cli_table_print(table);
    } else if (!cli->quiet) {
        cli_line("nothing waits for an answer");
    }
    return CLI_OK;
}

static int answer(const struct cli *cli, const char *method, const char *done)
{
    struct json_object *parameters;
    struct json_object *proposal = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    const char *word = cli->n_args == 1 ? cli->args[0] : "";
    size_t digits = strspn(word, "0123456789");
    const char *verb = cli->verb->name;
    int code;

    if (cli->n_args != 1)
        return cli_fail(CLI_USAGE, "%s needs the ID of one proposal; migpolicy pending lists them",
                        verb);
    if (digits == 0 || digits > 10 || word[digits])
        return cli_fail(CLI_USAGE,
                        "%s: \"%s\" is not the ID of a proposal; migpolicy pending lists them",
                        verb, word);
    parameters = json_object_new_object();
    json_object_object_add(parameters, "id", json_object_new_int64(strtoll(word, NULL, 10)));
    code = cli_call(cli, method, parameters, &reply);
    if (code != CLI_OK)
        return code;
    if (cli->json) {
        cli_print_json(reply);
    } else if (!cli->quiet && json_object_object_get_ex(reply, "proposal", &proposal)) {
        const char *vm = cli_string(proposal, "vm");
        const char *detail = cli_string(proposal, "detail");

        cli_line("%s: %s: %s", vm ? vm : "?", done, detail ? detail : "?");
    }
    return CLI_OK;
}

static int approve(const struct cli *cli)
{
    return answer(cli, "io.migpolicy.Approve", "approved");
}

static int deny(const struct cli *cli)
{
    return answer(cli, "io.migpolicy.Deny", "denied");
}

const struct cli_verb cli_pending = {"pending", pending, "",
                                     "questions that wait for an administrator's answer"};
const struct cli_verb cli_approve = {"approve", approve, "ID",
                                     "say yes to a question, for this migration"};
const struct cli_verb cli_deny = {"deny", deny, "ID", "say no to a question, for this migration"};
