/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy history */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

enum { ALL };
static const struct cli_option history_options[] = {
    [ALL] = {"all", NULL, "not only the last 20", .letter = 'a'},
    {NULL},
};

/* What the daemon answers at most, and without --all. */
enum { LIMIT_MAX = 1000, LIMIT_DEFAULT = 20 };

int cli_ask_history(const struct cli *cli, const char *vm, int limit,
                    struct json_object **ret_reply)
{
    struct json_object *parameters = json_object_new_object();

    if (vm)
        json_object_object_add(parameters, "vm", json_object_new_string(vm));
    json_object_object_add(parameters, "limit", json_object_new_int(limit));
    return cli_call(cli, "io.migpolicy.History", parameters, ret_reply);
}

/* What was done to help, each action once, in order; in brackets what was only proposed. */
static void describe_actions(struct json_object *events, char *text, size_t size)
{
    size_t len = 0;

    text[0] = '\0';
    for (size_t i = 0; i < cli_array_length(events); i++) {
        struct json_object *e = json_object_array_get_idx(events, i);
        const char *action = cli_string(e, "action");
        const char *result = cli_string(e, "result");
        bool denied = result && strcmp(result, "denied") == 0;
        bool proposed = denied || (result && strcmp(result, "proposed") == 0);
        char word[64];

        if (!action || !result || strcmp(action, "release") == 0 || strcmp(result, "approved") == 0)
            continue;
        snprintf(word, sizeof(word), "%s%.20s%s%s", proposed ? "(" : "", action,
                 strcmp(result, "failed") == 0 ? " failed"
                 : denied                      ? " denied"
                                               : "",
                 proposed ? ")" : "");
        if (!strstr(text, word) && len < size)
            len += (size_t)snprintf(text + len, size - len, "%s%s", len ? ", " : "", word);
    }
}

static void add_row(struct cli_table *table, struct json_object *m)
{
    const char *ended = cli_string(m, "ended");
    char text[5][CLI_TEXT_MAX];
    char pass[CLI_TEXT_MAX];
    char when[CLI_TEXT_MAX];
    char actions[160];

    snprintf(when, sizeof(when), "%.10s %.8s", ended ? ended : "",
             ended && strlen(ended) > 11 ? ended + 11 : "");
    snprintf(pass, sizeof(pass), "%.0f", cli_number(m, "iteration"));
    describe_actions(cli_array(m, "events"), actions, sizeof(actions));
    cli_table_row(table, (const char *const[]){
                             when, cli_string(m, "vm"), cli_string(m, "result"),
                             cli_seconds(cli_number(m, "elapsed_seconds"), text[0]),
                             cli_seconds(cli_number(m, "downtime_seconds"), text[1]),
                             cli_seconds(cli_number(m, "throttled_seconds"), text[2]),
                             cli_seconds(cli_number(m, "work_lost_seconds"), text[3]), pass,
                             cli_bytes(cli_number(m, "memory_processed_bytes"), text[4]), actions});
}

static int history(const struct cli *cli)
{
    static const struct cli_column columns[] = {
        {"ENDED (UTC)", CLI_LEFT}, {"VM", CLI_NAME},         {"RESULT", CLI_LEFT},
        {"TOOK", CLI_RIGHT},       {"DOWNTIME", CLI_RIGHT},  {"THROTTLED", CLI_RIGHT, 3},
        {"LOST", CLI_RIGHT, 1},    {"PASSES", CLI_RIGHT, 4}, {"SENT", CLI_RIGHT, 2},
        {"ACTIONS", CLI_TEXT},
    };
    const size_t limit = cli->option[ALL] ? LIMIT_MAX : LIMIT_DEFAULT;
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *list;
    const char *vm = NULL;
    bool is_pattern;
    int code = cli->n_args > 0 ? cli_one_vm(cli, &vm) : CLI_OK;

    if (code != CLI_OK)
        return code;
    is_pattern = vm && cli_is_pattern(vm);
    code =
        cli_ask_history(cli, is_pattern ? NULL : vm, is_pattern ? LIMIT_MAX : (int)limit, &reply);
    if (code != CLI_OK)
        return code;
    list = cli_array(reply, "migrations");
    if (is_pattern) {
        cli_keep_matching(list, vm);
        if (cli_array_length(list) > limit)
            json_object_array_del_idx(list, limit, cli_array_length(list) - limit);
    }
    if (vm && !is_pattern && cli_array_length(list) == 0)
        return cli_fail(CLI_NOT_FOUND,
                        "no migration of \"%s\" is on record; migpolicy history "
                        "lists those of all VMs",
                        vm);
    if (cli->jsonl) {
        for (size_t i = 0; i < cli_array_length(list); i++)
            cli_print_jsonl(json_object_array_get_idx(list, i));
    } else if (cli->json) {
        cli_print_json(reply);
    } else if (cli_array_length(list) > 0) {
        struct cli_table *table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));

        for (size_t i = 0; i < cli_array_length(list); i++)
            add_row(table, json_object_array_get_idx(list, i));
        cli_table_print(table);
    } else if (!cli->quiet) {
        cli_line("no migration is on record");
    }
    return CLI_OK;
}

const struct cli_verb cli_history = {
    "history", history, "[VM]", "migrations that have ended", history_options, .jsonl = true};
