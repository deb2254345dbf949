/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy explain */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static const char *text_or_dash(struct json_object *object, const char *key)
{
    const char *text = cli_string(object, key);

    return text && *text ? text : "-";
}

static void print_forecast(struct json_object *m)
{
    double earliest = cli_number(m, "forecast_earliest_seconds");
    double latest = cli_number(m, "forecast_latest_seconds");
    double downtime = cli_number(m, "forecast_downtime_seconds");
    double limit = cli_number(m, "downtime_limit_seconds");
    char a[CLI_TEXT_MAX], b[CLI_TEXT_MAX], c[CLI_TEXT_MAX];

    if (cli_is(m, "forecast_ends", false)) {
        cli_line("Forecast  does not end as things are; the plateau would take a downtime of %s, "
                 "the limit is %s",
                 cli_seconds(downtime, a), cli_seconds(limit, b));
        return;
    }
    if (!cli_is(m, "forecast_ends", true)) {
        if (isnan(earliest))
            cli_line("Forecast  too early to say; the downtime limit is %s", cli_seconds(limit, a));
        else
            cli_line("Forecast  not known yet, in %s at the earliest; the downtime limit is %s",
                     cli_seconds(earliest, a), cli_seconds(limit, b));
        return;
    }
    cli_seconds(cli_number(m, "forecast_remaining_seconds"), a);
    if (isnan(latest))
        cli_line("Forecast  likely ends in %s (in %s at the earliest)", a,
                 cli_seconds(earliest, b));
    else
        cli_line("Forecast  ends in %s (between %s and %s)", a, cli_seconds(earliest, b),
                 cli_seconds(latest, c));
    cli_line("          with a downtime of %s, the limit is %s", cli_seconds(downtime, a),
             cli_seconds(limit, b));
}

static void print_migration(struct json_object *m)
{
    char a[CLI_TEXT_MAX], b[CLI_TEXT_MAX], c[CLI_TEXT_MAX];
    bool active = cli_is(m, "active", true);
    double cpu = cli_number(m, "cpu_limit_ratio");
    double chance = cli_number(m, "forecast_probability");

    cli_line("VM        %s (%s)", text_or_dash(m, "vm"), text_or_dash(m, "uuid"));
    cli_line("Verdict   %s: %s (%s)", text_or_dash(m, "verdict"), text_or_dash(m, "reason_text"),
             text_or_dash(m, "reason"));
    if (active)
        cli_line("Action    %s (mode %s)", text_or_dash(m, "next_action"), text_or_dash(m, "mode"));
    else
        cli_line("Result    %s %s ago after %s, downtime %s (mode %s)", text_or_dash(m, "result"),
                 cli_seconds(cli_number(m, "ended_seconds_ago"), a),
                 cli_seconds(cli_number(m, "elapsed_seconds"), b),
                 cli_seconds(cli_number(m, "downtime_seconds"), c), text_or_dash(m, "mode"));
    if (active)
        print_forecast(m);
    if (active && !isnan(chance))
        cli_line("Chance    %s that it ends in time as things are", cli_percent(chance, a));
    if (active)
        cli_line("Progress  pass %.0f, %s after the start, as of %s ago",
                 cli_number(m, "iteration"), cli_seconds(cli_number(m, "elapsed_seconds"), a),
                 cli_seconds(cli_number(m, "age_seconds"), b));
    else
        cli_line("Progress  %.0f passes", cli_number(m, "iteration"));
    cli_line("Memory    %s remain, %s sent, %s in all",
             cli_bytes(cli_number(m, "memory_remaining_bytes"), a),
             cli_bytes(cli_number(m, "memory_processed_bytes"), b),
             cli_bytes(cli_number(m, "memory_total_bytes"), c));
    if (cli_number(m, "disk_remaining_bytes") > 0)
        cli_line("Disks     %s remain", cli_bytes(cli_number(m, "disk_remaining_bytes"), a));
    cli_line("Rates     dirtied %s, sent %s",
             cli_rate(cli_number(m, "dirty_rate_bytes_per_second"), a),
             cli_rate(cli_number(m, "transfer_rate_bytes_per_second"), b));
    if (cpu < 0.9995)
        cli_line("CPU       limited to %s, the guest runs at %s of its speed", cli_percent(cpu, a),
                 cli_percent(cli_number(m, "guest_speed_ratio"), b));
    cli_line("Impact    throttled for %s, %s of guest work lost",
             cli_seconds(cli_number(m, "throttled_seconds"), a),
             cli_seconds(cli_number(m, "work_lost_seconds"), b));
}

/* A quantity is shown as the unit in its name tells. */
static const char *evidence_text(const char *name, double value, char buf[CLI_TEXT_MAX])
{
    if (ends_with(name, "_bytes"))
        return cli_bytes(value, buf);
    if (ends_with(name, "_bytes_per_second"))
        return cli_rate(value, buf);
    if (ends_with(name, "_seconds"))
        return cli_seconds(value, buf);
    if (ends_with(name, "_ratio"))
        return cli_percent(value, buf);
    snprintf(buf, CLI_TEXT_MAX, "%.6g", value);
    return buf;
}

static void print_evidence(const struct cli *cli, struct json_object *evidence)
{
    static const struct cli_column columns[] = {{"EVIDENCE", CLI_LEFT}, {"VALUE", CLI_RIGHT}};
    struct cli_table *table;

    if (!json_object_is_type(evidence, json_type_object) ||
        json_object_object_length(evidence) == 0)
        return;
    table = cli_table_new(cli, columns, 2);
    json_object_object_foreach(evidence, name, value)
    {
        char buf[CLI_TEXT_MAX];

        cli_table_row(table, (const char *const[]){
                                 name, evidence_text(name, json_object_get_double(value), buf)});
    }
    puts("");
    cli_table_print(table);
}

/* Why it is what will be done, or why not although it would do. */
static void explain_choice(struct json_object *a, char *text, size_t size)
{
    const char *why = "";

    if (cli_is(a, "works", true) && cli_is(a, "ask", true))
        why = "to be asked about; ";
    else if (cli_is(a, "works", true) && cli_is(a, "approved", false))
        why = "not allowed; ";
    else if (cli_is(a, "works", true) && cli_is(a, "chosen", false))
        why = "not needed beside what is chosen; ";
    snprintf(text, size, "%s%s", why, text_or_dash(a, "reason_text"));
}

static void print_alternatives(const struct cli *cli, struct json_object *alternatives)
{
    static const struct cli_column columns[] = {
        {"ALTERNATIVE", CLI_LEFT}, {"ALLOWED", CLI_LEFT}, {"WORKS", CLI_LEFT},
        {"LIMIT", CLI_RIGHT, 2},   {"CPU", CLI_RIGHT, 1}, {"ENDS IN", CLI_RIGHT},
        {"DOWNTIME", CLI_RIGHT},   {"LOST", CLI_RIGHT},   {"BECAUSE", CLI_WRAP},
    };
    struct cli_table *table;

    if (cli_array_length(alternatives) == 0)
        return;
    table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < cli_array_length(alternatives); i++) {
        struct json_object *a = json_object_array_get_idx(alternatives, i);
        bool works = cli_is(a, "works", true);
        char text[5][CLI_TEXT_MAX];
        char kind[CLI_TEXT_MAX];
        char because[200];

        snprintf(kind, sizeof(kind), "%s%s", cli_is(a, "chosen", true) ? "* " : "  ",
                 cli_string(a, "kind"));
        explain_choice(a, because, sizeof(because));
        cli_table_row(table,
                      (const char *const[]){
                          kind,
                          cli_is(a, "approved", true) ? "yes"
                          : cli_is(a, "ask", true)    ? "ask"
                                                      : "no",
                          works ? "yes" : "no",
                          cli_seconds(cli_number(a, "downtime_limit_seconds"), text[0]),
                          cli_cpu_limit(cli_number(a, "cpu_limit_ratio"), text[1]),
                          cli_eta(cli_number(a, "seconds"), false, text[2]),
                          cli_seconds(cli_number(a, "downtime_seconds"), text[3]),
                          cli_seconds(cli_number(a, "work_lost_seconds"), text[4]), because});
    }
    puts("");
    cli_table_print(table);
}

static void print_events(const struct cli *cli, struct json_object *events)
{
    static const struct cli_column columns[] = {
        {"TIME", CLI_LEFT, 1},      {"AFTER", CLI_RIGHT, 3}, {"PASS", CLI_RIGHT, 4},
        {"REMAINED", CLI_RIGHT, 5}, {"EVENT", CLI_LEFT},     {"RESULT", CLI_LEFT},
        {"DETAIL", CLI_WRAP},       {"BECAUSE", CLI_WRAP},   {"APPROVED BY", CLI_LEFT, 2},
    };
    struct cli_table *table;

    puts("");
    if (cli_array_length(events) == 0) {
        puts("Nothing was decided so far.");
        return;
    }
    table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < cli_array_length(events); i++) {
        struct json_object *e = json_object_array_get_idx(events, i);
        char after[CLI_TEXT_MAX], remained[CLI_TEXT_MAX], pass[CLI_TEXT_MAX] = "";

        if (!isnan(cli_number(e, "iteration")))
            snprintf(pass, sizeof(pass), "%.0f", cli_number(e, "iteration"));
        cli_table_row(
            table, (const char *const[]){
                       cli_string(e, "time"), cli_seconds(cli_number(e, "elapsed_seconds"), after),
                       pass, cli_bytes(cli_number(e, "memory_remaining_bytes"), remained),
                       cli_string(e, "action"), cli_string(e, "result"), cli_string(e, "detail"),
                       cli_string(e, "reason_text"), cli_string(e, "approved_by")});
    }
    cli_table_print(table);
}

static void print(const struct cli *cli, struct json_object *reply)
{
    print_migration(json_object_object_get(reply, "migration"));
    print_evidence(cli, json_object_object_get(reply, "evidence"));
    print_alternatives(cli, cli_array(reply, "alternatives"));
    print_events(cli, cli_array(reply, "events"));
}

static struct json_object *parameters_for(const char *vm)
{
    struct json_object *parameters = json_object_new_object();

    json_object_object_add(parameters, "vm", json_object_new_string(vm));
    return parameters;
}

int cli_try_explain(const struct cli *cli, const char *vm, char **ret_error)
{
    AUTO_JSON struct json_object *reply = NULL;
    int r = cli_try_call(cli, "io.migpolicy.Explain", parameters_for(vm), ret_error, &reply);

    if (r == 0 && !*ret_error)
        print(cli, reply);
    return r;
}

static int explain(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    const char *vm;
    int code = cli_one_vm(cli, &vm);

    if (code == CLI_OK)
        code = cli_call(cli, "io.migpolicy.Explain", parameters_for(vm), &reply);
    if (code != CLI_OK)
        return code;
    if (cli->json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    print(cli, reply);
    return CLI_OK;
}

const struct cli_verb cli_explain = {"explain", explain, "VM",
                                     "evidence, verdict, alternatives and what was done"};
