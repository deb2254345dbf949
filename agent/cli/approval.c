/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy pending, approve, deny */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"

/* The daemon says something every 10 seconds. */
#define FOLLOW_SILENCE_MS 60000

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

enum { FOLLOW };
static const struct cli_option pending_options[] = {
    [FOLLOW] = {"follow", NULL, "a line for each, as it comes, until interrupted", .letter = 'f'},
    {NULL},
};

/* ---- as they come ---- */

static struct json_object *find_id(struct json_object *proposals, double id)
{
    for (size_t i = 0; i < cli_array_length(proposals); i++) {
        struct json_object *p = json_object_array_get_idx(proposals, i);

        if (cli_number(p, "id") == id)
            return p;
    }
    return NULL;
}

static void tell_new(const struct cli *cli, struct json_object *p)
{
    char left[CLI_TEXT_MAX];

    if (cli->json)
        cli_print_jsonl(p);
    else
        cli_line("%.0f %s: %s (%s left to answer)", cli_number(p, "id"), cli_string(p, "vm"),
                 cli_string(p, "detail"), cli_seconds(cli_number(p, "expires_seconds"), left));
}

static void tell_gone(const struct cli *cli, struct json_object *p)
{
    struct json_object *o;

    if (!cli->json) {
        cli_line("%.0f %s: is not asked any more", cli_number(p, "id"), cli_string(p, "vm"));
        return;
    }
    o = json_object_new_object();
    json_object_object_add(o, "id", json_object_new_int64((int64_t)cli_number(p, "id")));
    json_object_object_add(o, "vm", json_object_get(json_object_object_get(p, "vm")));
    json_object_object_add(o, "uuid", json_object_get(json_object_object_get(p, "uuid")));
    json_object_object_add(o, "gone", json_object_new_boolean(true));
    cli_print_jsonl(o);
    json_object_put(o);
}

static void tell_difference(const struct cli *cli, struct json_object *before,
                            struct json_object *now)
{
    for (size_t i = 0; i < cli_array_length(before); i++) {
        struct json_object *p = json_object_array_get_idx(before, i);

        if (!find_id(now, cli_number(p, "id")))
            tell_gone(cli, p);
    }
    for (size_t i = 0; i < cli_array_length(now); i++) {
        struct json_object *p = json_object_array_get_idx(now, i);

        if (!find_id(before, cli_number(p, "id")))
            tell_new(cli, p);
    }
}

static int follow(const struct cli *cli)
{
    AUTO_JSON struct json_object *before = NULL;
    CLEANUP(cli_cleanup_client) struct varlink_client *client = NULL;
    int code = cli_follow(cli, NULL, &client);

    while (code == CLI_OK) {
        AUTO_JSON struct json_object *reply = NULL;
        struct json_object *now;

        code = cli_next(cli, client, FOLLOW_SILENCE_MS, &reply);
        if (code == CLI_OK && !reply)
            return cli_fail(CLI_TIMEOUT, "migpolicyd has fallen silent; look at its log");
        if (code != CLI_OK)
            return code;
        now = json_object_get(cli_array(reply, "proposals"));
        tell_difference(cli, before, now);
        json_object_put(before);
        before = now;
        if (fflush(stdout) != 0)
            return cli_fail(CLI_ERROR, "cannot write the output: %m");
    }
    return code;
}

static int pending(const struct cli *cli)
{
    static const struct cli_column columns[] = {
        {"ID", CLI_RIGHT},         {"VM", CLI_NAME},        {"VERDICT", CLI_LEFT, 1},
        {"PLATEAU", CLI_RIGHT, 2}, {"DIRTY", CLI_RIGHT, 3}, {"TRANSFER", CLI_RIGHT, 4},
        {"TIME LEFT", CLI_RIGHT},  {"PROPOSAL", CLI_TEXT},
    };
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *list;
    int code = cli_no_arguments(cli);

    if (code == CLI_OK && cli->option[FOLLOW])
        return follow(cli);
    if (code == CLI_OK && cli->jsonl)
        code = cli_fail(CLI_USAGE, "pending writes jsonl with --follow only; use -o json");
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

#define ALL_OPTION                                                                                 \
    {                                                                                              \
        "all", NULL, "whatever is asked now", .letter = 'a'                                        \
    }

enum { ALL, CEILING };
static const struct cli_option approve_options[] = {
    [ALL] = ALL_OPTION,
    [CEILING] = {"max-work-lost", "DURATION", "guest work it may lose; beyond, ask again"},
    {NULL},
};
static const struct cli_option deny_options[] = {[ALL] = ALL_OPTION, {NULL}};

static int answer_one(const struct cli *cli, const char *method, const char *done, int64_t id)
{
    struct json_object *parameters = json_object_new_object();
    struct json_object *proposal = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    int code;

    json_object_object_add(parameters, "id", json_object_new_int64(id));
    if (cli->option[CEILING])
        json_object_object_add(parameters, "max_work_lost",
                               json_object_new_string(cli->option[CEILING]));
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

/* Is that what is asked about the VM of that name, or "uuid:..."? */
static bool is_about(struct json_object *proposal, const char *vm)
{
    const char *text = cli_string(proposal, strncmp(vm, "uuid:", 5) == 0 ? "uuid" : "vm");

    return text && strcmp(text, strncmp(vm, "uuid:", 5) == 0 ? vm + 5 : vm) == 0;
}

/* Each question about the VM, or about any if it is NULL. *ret_count: how many there were. */
static int answer_about(const struct cli *cli, const char *method, const char *done,
                        struct json_object *proposals, const char *vm, size_t *ret_count)
{
    int code = CLI_OK;

    *ret_count = 0;
    for (size_t i = 0; i < cli_array_length(proposals); i++) {
        struct json_object *p = json_object_array_get_idx(proposals, i);
        int one;

        if (vm && !is_about(p, vm))
            continue;
        ++*ret_count;
        one = answer_one(cli, method, done, (int64_t)cli_number(p, "id"));
        if (code == CLI_OK)
            code = one;
    }
    return code;
}

/* An ID, which is asked for as it is, or a VM. */
static int answer_word(const struct cli *cli, const char *method, const char *done,
                       struct json_object *proposals, const char *word)
{
    size_t digits = strspn(word, "0123456789");
    size_t count;
    int code;

    if (digits > 0 && digits <= 10 && !word[digits])
        return answer_one(cli, method, done, strtoll(word, NULL, 10));
    code = answer_about(cli, method, done, proposals, word, &count);
    return count > 0
               ? code
               : cli_fail(CLI_NOT_FOUND,
                          "%s: nothing is asked about \"%s\"; migpolicy pending lists what is",
                          cli->verb->name, word);
}

/* What is answered is what was asked when it began: a question that comes meanwhile is another. */
static int answer(const struct cli *cli, const char *method, const char *done)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *proposals;
    size_t count = 0;
    int code;

    if ((cli->n_args > 0) == (cli->option[ALL] != NULL))
        return cli_fail(CLI_USAGE,
                        "%s needs IDs of proposals, or VMs, or --all; migpolicy pending lists them",
                        cli->verb->name);
    code = cli_call(cli, "io.migpolicy.Pending", NULL, &reply);
    if (code != CLI_OK)
        return code;
    proposals = cli_array(reply, "proposals");
    if (cli->option[ALL])
        code = answer_about(cli, method, done, proposals, NULL, &count);
    if (cli->option[ALL] && count == 0 && !cli->quiet)
        cli_line("nothing waits for an answer");
    for (int i = 0; i < cli->n_args; i++) {
        int one = answer_word(cli, method, done, proposals, cli->args[i]);

        if (code == CLI_OK)
            code = one;
    }
    return code;
}

static int approve(const struct cli *cli)
{
    return answer(cli, "io.migpolicy.Approve", "approved");
}

static int deny(const struct cli *cli)
{
    return answer(cli, "io.migpolicy.Deny", "denied");
}

const struct cli_verb cli_pending = {
    "pending",       pending,       "", "questions that wait for an administrator's answer",
    pending_options, .jsonl = true,
};
const struct cli_verb cli_approve = {"approve", approve, "ID|VM...|--all",
                                     "say yes to a question, for this migration", approve_options};
const struct cli_verb cli_deny = {"deny", deny, "ID|VM...|--all",
                                  "say no to a question, for this migration", deny_options};
