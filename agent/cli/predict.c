/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy predict */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent/cli/cli.h"

/* Measuring takes little more than a minute at most, what the daemon waits for beside it less than
 * another. */
#define ANSWER_MS 180000

enum { ALL, LINK, POLICY_FILE };
static const struct cli_option predict_options[] = {
    [ALL] = {"all", NULL, "every VM that runs, ranked", .letter = 'a'},
    [LINK] = {"link", "RATE", "what the network carries"},
    [POLICY_FILE] = {"policy", "FILE", "under this policy, a JSON object"},
    {NULL},
};

/* ---- asking ---- */

/* The policy given by a file or by flags, as {name: value}. */
static int read_fields(const struct cli *cli, struct json_object *fields)
{
    struct policy_layer file = {0};
    struct policy_layer flags = {0};
    const struct policy_layer *layer = cli->option[POLICY_FILE] ? &file : &flags;
    int code = cli_read_fields(cli, &flags);

    if (code == CLI_OK && cli->option[POLICY_FILE] && flags.set)
        return cli_fail(CLI_USAGE, "--policy and policy flags: leave out one of them");
    if (code == CLI_OK && cli->option[POLICY_FILE])
        code = cli_read_policy(cli->option[POLICY_FILE], &file);
    for (unsigned i = 0; code == CLI_OK && i < POLICY_FIELDS; i++) {
        char value[64];

        if (!(layer->set & 1u << i))
            continue;
        policy_value_format((enum policy_field)i, layer->values.v[i], value, sizeof(value));
        json_object_object_add(fields, policy_field_info((enum policy_field)i)->name,
                               json_object_new_string(value));
    }
    return code;
}

int cli_predict_parameters(const struct cli *cli, const char *vm, struct json_object **ret)
{
    AUTO_JSON struct json_object *fields = json_object_new_object();
    struct json_object *parameters;
    int code = read_fields(cli, fields);

    if (code != CLI_OK)
        return code;
    parameters = json_object_new_object();
    json_object_object_add(parameters, "vm", json_object_new_string(vm));
    if (cli->option[LINK])
        json_object_object_add(parameters, "link", json_object_new_string(cli->option[LINK]));
    if (json_object_object_length(fields) > 0)
        json_object_object_add(parameters, "fields", STEAL(fields));
    json_object_object_add(parameters, "instead",
                           json_object_new_boolean(cli->option[POLICY_FILE] != NULL));
    *ret = parameters;
    return CLI_OK;
}

/* Counts the seconds on the terminal: the answer is waited for in a call. */
static char waiting[] = "measuring, which takes 7 to 77 s:     0 s\r";

static void count_second(int signo)
{
    static unsigned waited_s;
    char *digit = waiting + sizeof(waiting) - sizeof("0 s\r");
    ssize_t written;

    (void)signo;
    waited_s++;
    for (unsigned n = waited_s; n > 0 && *digit != ':'; n /= 10)
        *digit-- = (char)('0' + n % 10);
    written = write(STDERR_FILENO, waiting, sizeof(waiting) - 1);
    (void)written;
}

static void show_seconds(bool on)
{
    const struct sigaction action = {.sa_handler = count_second, .sa_flags = SA_RESTART};
    const struct itimerval second = {.it_interval = {.tv_sec = on}, .it_value = {.tv_sec = on}};

    if (on)
        sigaction(SIGALRM, &action, NULL);
    fputs(on ? waiting : "\033[K", stderr);
    setitimer(ITIMER_REAL, &second, NULL);
}

static int ask(const struct cli *cli, const char *vm, struct json_object **ret_reply)
{
    bool shows = !cli->quiet && isatty(STDERR_FILENO);
    struct json_object *parameters = NULL;
    struct cli patient = *cli;
    int code = cli_predict_parameters(cli, vm, &parameters);

    if (code != CLI_OK)
        return code;
    patient.answer_ms = ANSWER_MS;
    if (shows)
        show_seconds(true);
    code = cli_call(&patient, "io.migpolicy.Predict", parameters, ret_reply);
    if (shows)
        show_seconds(false);
    return code;
}

/* ---- showing ---- */

struct json_object *cli_find_course(struct json_object *reply, const char *kind)
{
    struct json_object *list = cli_array(reply, "courses");

    for (size_t i = 0; i < cli_array_length(list); i++) {
        struct json_object *course = json_object_array_get_idx(list, i);
        const char *name = cli_string(course, "kind");

        if (name && strcmp(name, kind) == 0)
            return course;
    }
    return NULL;
}

static bool has_outcome(struct json_object *course, const char *outcome)
{
    const char *text = cli_string(course, "outcome");

    return text && strcmp(text, outcome) == 0;
}

static const char *bandwidth_source(struct json_object *reply)
{
    const char *source = cli_string(reply, "bandwidth_source");

    if (source && strcmp(source, "speed-limit") == 0)
        return "its migration speed limit";
    if (source && strcmp(source, "last-migration") == 0)
        return "what the last migration was sent with";
    return "as given";
}

static void print_facts(struct json_object *reply)
{
    struct json_object *measured = cli_array(reply, "measured");
    char dirty[400] = "";
    size_t len = 0;
    char a[CLI_TEXT_MAX], b[CLI_TEXT_MAX];

    for (size_t i = 0; i < cli_array_length(measured) && len < sizeof(dirty); i++) {
        struct json_object *point = json_object_array_get_idx(measured, i);

        len += (size_t)snprintf(dirty + len, sizeof(dirty) - len, "%s%s in %s", i > 0 ? ", " : "",
                                cli_bytes(cli_number(point, "dirty_bytes"), a),
                                cli_seconds(cli_number(point, "seconds"), b));
    }
    cli_line("VM        %s (%s)", cli_string(reply, "vm"), cli_string(reply, "uuid"));
    cli_line("Guest     %s of memory, %s of it in use; %.1f of %.0f vCPUs busy",
             cli_bytes(cli_number(reply, "memory_total_bytes"), a),
             cli_bytes(cli_number(reply, "memory_used_bytes"), b), cli_number(reply, "vcpus_busy"),
             cli_number(reply, "vcpus"));
    cli_line("Dirtied   %s", dirty);
    cli_line("Link      %s, %s", cli_rate(cli_number(reply, "bandwidth_bytes_per_second"), a),
             bandwidth_source(reply));
}

/* What would happen if nobody did anything, and what single thing would help. */
static void print_forecast(struct json_object *reply)
{
    struct json_object *wait = cli_find_course(reply, "wait");
    struct json_object *downtime = cli_find_course(reply, "downtime");
    struct json_object *throttle = cli_find_course(reply, "throttle");
    char text[300];
    char a[CLI_TEXT_MAX], b[CLI_TEXT_MAX];
    int len;

    if (has_outcome(wait, "completed")) {
        cli_line("Forecast  %s after %s, with a downtime of %s",
                 isnan(cli_number(wait, "latest_seconds")) ? "may end by itself, or never; if so,"
                                                           : "would end by itself",
                 cli_seconds(cli_number(wait, "elapsed_seconds"), a),
                 cli_seconds(cli_number(wait, "downtime_seconds"), b));
        return;
    }
    len = snprintf(text, sizeof(text), "would not end by itself; plateau %s",
                   cli_bytes(cli_number(reply, "plateau_bytes"), a));
    if (has_outcome(downtime, "completed"))
        len += snprintf(text + len, sizeof(text) - (size_t)len, "; a downtime of %s ends it",
                        cli_seconds(cli_number(downtime, "downtime_seconds"), a));
    if (has_outcome(throttle, "completed"))
        snprintf(text + len, sizeof(text) - (size_t)len, "%s CPU at %s for %s%s",
                 has_outcome(downtime, "completed") ? ", or" : ";",
                 cli_percent(cli_number(throttle, "cpu_limit_ratio"), a),
                 cli_seconds(cli_number(throttle, "throttled_seconds"), b),
                 has_outcome(downtime, "completed") ? "" : " ends it");
    cli_line("Forecast  %s", text);
}

static void print_courses(const struct cli *cli, struct json_object *reply)
{
    static const struct cli_column columns[] = {
        {"COURSE", CLI_LEFT},  {"ENDS IN", CLI_RIGHT},  {"EARLIEST", CLI_RIGHT, 3},
        {"LATEST", CLI_RIGHT}, {"DOWNTIME", CLI_RIGHT}, {"LOST", CLI_RIGHT},
        {"LIMIT", CLI_RIGHT},  {"CPU", CLI_RIGHT},      {"THROTTLED", CLI_RIGHT, 2},
    };
    struct cli_table *table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
    struct json_object *list = cli_array(reply, "courses");

    for (size_t i = 0; i < cli_array_length(list); i++) {
        struct json_object *c = json_object_array_get_idx(list, i);
        double earliest = cli_number(c, "earliest_seconds");
        double latest = cli_number(c, "latest_seconds");
        char text[8][CLI_TEXT_MAX];

        cli_table_row(table,
                      (const char *const[]){
                          cli_string(c, "kind"),
                          has_outcome(c, "cancelled") ? "cancelled"
                                                      : cli_eta(cli_number(c, "elapsed_seconds"),
                                                                has_outcome(c, "running"), text[0]),
                          cli_eta(earliest, isnan(earliest), text[1]),
                          cli_eta(latest, isnan(latest), text[2]),
                          cli_seconds(cli_number(c, "downtime_seconds"), text[3]),
                          cli_seconds(cli_number(c, "work_lost_seconds"), text[4]),
                          cli_seconds(cli_number(c, "downtime_limit_seconds"), text[5]),
                          cli_cpu_limit(cli_number(c, "cpu_limit_ratio"), text[6]),
                          cli_seconds(cli_number(c, "throttled_seconds"), text[7])});
    }
    puts("");
    cli_table_print(table);
}

static void print_actions(const struct cli *cli, struct json_object *actions)
{
    static const struct cli_column columns[] = {{"AFTER", CLI_RIGHT}, {"ACTION", CLI_LEFT},
                                                {"LIMIT", CLI_RIGHT}, {"CPU", CLI_RIGHT},
                                                {"RESULT", CLI_LEFT}, {"BECAUSE", CLI_WRAP}};
    struct cli_table *table;

    puts("");
    if (cli_array_length(actions) == 0) {
        puts("The policy would do nothing.");
        return;
    }
    table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < cli_array_length(actions); i++) {
        struct json_object *a = json_object_array_get_idx(actions, i);
        char text[3][CLI_TEXT_MAX];

        cli_table_row(table, (const char *const[]){
                                 cli_seconds(cli_number(a, "elapsed_seconds"), text[0]),
                                 cli_string(a, "action"),
                                 cli_seconds(cli_number(a, "downtime_limit_seconds"), text[1]),
                                 cli_percent(cli_number(a, "cpu_limit_ratio"), text[2]),
                                 cli_string(a, "result"), cli_string(a, "reason_text")});
    }
    cli_table_print(table);
}

static int predict(const struct cli *cli)
{
    AUTO_JSON struct json_object *reply = NULL;
    const char *vm;
    int code;

    if (cli->option[ALL] && cli->n_args > 0)
        return cli_fail(CLI_USAGE, "predict takes VMs or --all, not both");
    if (cli->option[ALL] || cli->n_args > 1 || (cli->n_args == 1 && cli_is_pattern(cli->args[0])))
        return cli_rank(cli);
    code = cli_one_vm(cli, &vm);
    if (code == CLI_OK)
        code = ask(cli, vm, &reply);
    if (code != CLI_OK)
        return code;
    if (cli->json) {
        cli_print_json(reply);
        return CLI_OK;
    }
    print_facts(reply);
    print_forecast(reply);
    print_courses(cli, reply);
    print_actions(cli, cli_array(cli_find_course(reply, "policy"), "actions"));
    return CLI_OK;
}

const struct cli_verb cli_predict = {
    "predict",       predict,
    "VM...|--all",   "what migrating it would be like; measures it first",
    predict_options, .fields = true};
