/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy status */
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

/* Figures older than this say so. Looks are a second apart at most. */
#define OLD_S 5

enum { ALL };
static const struct cli_option status_options[] = {
    [ALL] = {"all", NULL, "those that have ended as well", .letter = 'a'},
    {NULL},
};

bool cli_is_pattern(const char *vm)
{
    return strpbrk(vm, "*?[") != NULL;
}

void cli_keep_matching(struct json_object *migrations, const char *pattern)
{
    for (size_t i = cli_array_length(migrations); i-- > 0;) {
        const char *vm = cli_string(json_object_array_get_idx(migrations, i), "vm");

        if (!vm || (strcmp(vm, pattern) != 0 && fnmatch(pattern, vm, 0) != 0))
            json_object_array_del_idx(migrations, i, 1);
    }
}

/* How soon somebody should look at it: less is sooner. */
static unsigned urgency(struct json_object *m)
{
    static const char *const verdicts[] = {"stalled",    "hopeless",  "needs-help", "plateau",
                                           "helped",     "post-copy", "switchover", "starting",
                                           "converging", NULL};
    const char *verdict = cli_string(m, "verdict");
    const char *reason = cli_string(m, "reason");
    unsigned i = 0;

    /* Somebody is waited for. */
    if (cli_is(m, "active", true) && reason && strcmp(reason, "asked") == 0 &&
        !cli_string(m, "paused"))
        return 0;
    while (verdicts[i] && (!verdict || strcmp(verdicts[i], verdict) != 0))
        i++;
    return 1 + (cli_is(m, "active", true) ? i : i + sizeof(verdicts) / sizeof(verdicts[0]));
}

static int compare_urgency(const void *a, const void *b)
{
    struct json_object *x = *(struct json_object *const *)a;
    struct json_object *y = *(struct json_object *const *)b;
    double ago = cli_number(x, "ended_seconds_ago") - cli_number(y, "ended_seconds_ago");
    const char *name = cli_string(x, "vm");
    const char *other = cli_string(y, "vm");

    if (urgency(x) != urgency(y))
        return urgency(x) < urgency(y) ? -1 : 1;
    if (ago < 0 || ago > 0)
        return ago < 0 ? -1 : 1;
    return strcmp(name ? name : "", other ? other : "");
}

void cli_sort_by_urgency(struct json_object *migrations)
{
    json_object_array_sort(migrations, compare_urgency);
}

struct json_object *cli_status_parameters(const char *vm, bool include_ended)
{
    struct json_object *parameters = json_object_new_object();

    if (vm && !cli_is_pattern(vm))
        json_object_object_add(parameters, "vm", json_object_new_string(vm));
    json_object_object_add(parameters, "include_ended", json_object_new_boolean(include_ended));
    return parameters;
}

/* Asks for one VM, or for all of which a pattern then picks some. NULL: for all. */
static int ask(const struct cli *cli, const char *vm, struct json_object **ret_reply)
{
    int code = cli_call(cli, "io.migpolicy.Status", cli_status_parameters(vm, cli->option[ALL]),
                        ret_reply);

    if (code == CLI_OK && vm && cli_is_pattern(vm)) {
        cli_keep_matching(cli_array(*ret_reply, "migrations"), vm);
        cli_keep_matching(cli_array(*ret_reply, "leftovers"), vm);
    }
    return code;
}

static void append(struct json_object *all, struct json_object *more)
{
    for (size_t k = 0; all && k < cli_array_length(more); k++)
        json_object_array_add(all, json_object_get(json_object_array_get_idx(more, k)));
}

/* Asks for all VMs named on the command line; the answers become one. */
static int ask_all(const struct cli *cli, struct json_object **ret_reply)
{
    AUTO_JSON struct json_object *reply = NULL;
    int code = ask(cli, cli->n_args > 0 ? cli->args[0] : NULL, &reply);

    for (int i = 1; code == CLI_OK && i < cli->n_args; i++) {
        AUTO_JSON struct json_object *next = NULL;

        code = ask(cli, cli->args[i], &next);
        append(cli_array(reply, "migrations"), cli_array(next, "migrations"));
        append(cli_array(reply, "leftovers"), cli_array(next, "leftovers"));
    }
    if (code == CLI_OK)
        *ret_reply = STEAL(reply);
    return code;
}

/* What is done next, or how old all figures are where nobody answers. */
static const char *next_or_age(struct json_object *m, char buf[2 * CLI_TEXT_MAX])
{
    double age = cli_number(m, "age_seconds");
    char text[CLI_TEXT_MAX];

    if (cli_is(m, "active", false)) {
        const char *result = cli_string(m, "result");

        snprintf(buf, (size_t)2 * CLI_TEXT_MAX, "%.20s %s ago", result ? result : "ended",
                 cli_seconds(cli_number(m, "ended_seconds_ago"), text));
    } else if (age > OLD_S) {
        snprintf(buf, (size_t)2 * CLI_TEXT_MAX, "figures %s old", cli_seconds(age, text));
    } else {
        return cli_string(m, "next_action");
    }
    return buf;
}

static void add_row(struct cli_table *table, struct json_object *m)
{
    bool active = cli_is(m, "active", true);
    double downtime = cli_number(m, active ? "forecast_downtime_seconds" : "downtime_seconds");
    bool never = active && cli_is(m, "forecast_ends", false);
    /* What is not known to end is dated by the earliest end. */
    bool known = never || cli_is(m, "forecast_ends", true);
    double eta = cli_number(m, known ? "forecast_remaining_seconds" : "forecast_earliest_seconds");
    char when[2 * CLI_TEXT_MAX];
    char text[6][CLI_TEXT_MAX];
    char pass[CLI_TEXT_MAX];
    char next[2 * CLI_TEXT_MAX];

    snprintf(pass, sizeof(pass), "%.0f", cli_number(m, "iteration"));
    snprintf(when, sizeof(when), "%s%s", known || isnan(eta) ? "" : ">",
             cli_eta(eta, never, text[3]));
    cli_table_row(table, (const char *const[]){
                             cli_string(m, "vm"), cli_string(m, "verdict"), pass,
                             cli_bytes(cli_number(m, "memory_remaining_bytes"), text[0]),
                             cli_rate(cli_number(m, "dirty_rate_bytes_per_second"), text[1]),
                             cli_rate(cli_number(m, "transfer_rate_bytes_per_second"), text[2]),
                             when, cli_seconds(downtime, text[4]),
                             cli_cpu_limit(cli_number(m, "cpu_limit_ratio"), text[5]),
                             next_or_age(m, next)});
}

struct cli_table *cli_status_table(const struct cli *cli, struct json_object *migrations)
{
    static const struct cli_column columns[] = {
        {"VM", CLI_NAME},        {"VERDICT", CLI_LEFT},
        {"PASS", CLI_RIGHT, 5},  {"REMAINING", CLI_RIGHT, 1},
        {"DIRTY", CLI_RIGHT, 3}, {"TRANSFER", CLI_RIGHT, 4},
        {"ETA", CLI_RIGHT},      {"DOWNTIME", CLI_RIGHT},
        {"CPU", CLI_RIGHT, 2},   {"NEXT", CLI_TEXT},
    };
    struct cli_table *table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < cli_array_length(migrations); i++)
        add_row(table, json_object_array_get_idx(migrations, i));
    return table;
}

/* Guests that may be slow for no reason: on standard error, whatever is listed. */
static void tell_leftovers(const struct cli *cli, struct json_object *leftovers)
{
    for (size_t i = 0; i < cli_array_length(leftovers); i++) {
        struct json_object *l = json_object_array_get_idx(leftovers, i);
        const char *vm = cli_string(l, "vm") ? cli_string(l, "vm") : cli_string(l, "uuid");
        char text[CLI_TEXT_MAX];

        if (!cli->quiet)
            cli_fail(CLI_OK,
                     "%s may still be slowed, for %s now: %s; that is tried again, at once by "
                     "migpolicy release",
                     vm ? vm : "?", cli_seconds(cli_number(l, "age_seconds"), text),
                     cli_string(l, "why") ? cli_string(l, "why") : "it is not known why");
    }
}

static int status(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *migrations;
    int code = ask_all(cli, &reply);

    if (code != CLI_OK)
        return code;
    if (cli->json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    migrations = cli_array(reply, "migrations");
    if (migrations)
        cli_sort_by_urgency(migrations);
    if (cli_array_length(migrations) > 0)
        cli_table_print(cli_status_table(cli, migrations));
    else if (!cli->quiet)
        cli_line(cli->option[ALL] ? "no migrations"
                                  : "no migrations (-a lists those that have ended)");
    tell_leftovers(cli, cli_array(reply, "leftovers"));
    if (cli_string(reply, "host_paused_by") && !cli->quiet)
        cli_fail(CLI_OK, "the host is paused by %s, so nothing is done; migpolicy resume ends it",
                 cli_string(reply, "host_paused_by"));
    if (cli_is(reply, "libvirt_connected", false) && !cli->quiet)
        cli_fail(CLI_OK, "migpolicyd has no connection to libvirt, so this may be incomplete; is "
                         "libvirtd running?");
    return CLI_OK;
}

const struct cli_verb cli_status = {"status", status, "[VM...]", "migrations under way",
                                    status_options};
