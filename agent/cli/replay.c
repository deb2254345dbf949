/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy replay: the engine once more, on what was recorded.
 *
 * The controller gets the samples of a trace, by its name or as the last of a VM, and decides anew.
 * As long as what it would do is what was done, the next sample is what it would have seen. At the
 * first difference that ends: how the migration would have gone on from there, the trace cannot
 * tell.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "common/units.h"
#include "policy/json/decision_json.h"
#include "policy/json/trace_json.h"

#define TRACE_BYTES_MAX ((size_t)64 * 1024 * 1024)
/* A trace's times are relative, the engine's are not: 0 means "never" there. */
#define CLOCK_START_NS (3600 * NS_PER_S)

enum { ALL, POLICY_FILE };
static const struct cli_option replay_options[] = {
    [ALL] = {"all", NULL, "every sample", .letter = 'a'},
    [POLICY_FILE] = {"policy", "FILE", "under this policy, a JSON object"},
    {NULL},
};

struct replay {
    const struct cli *cli;
    const char *path;
    const struct policy *other; /* NULL: the one that was recorded */
    struct controller controller;
    struct policy policy; /* recorded, in force at this line */
    struct trace_header header;
    bool started;
    bool ended;
    struct trace_end end;
    unsigned samples;
    unsigned differing;
    double diverged_s; /* NAN: it would do what was done */
    char would[CLI_DOING_MAX];
    char was[CLI_DOING_MAX];

    /* Output. */
    struct cli_table *table;
    struct json_object *steps;    /* with --json */
    char shown[4][CLI_DOING_MAX]; /* of the row before: repeated rows are left out */
};

/* ---- comparing ---- */

static bool same_action(const struct action *a, const struct action *b)
{
    return a->kind == b->kind && (a->kind != ACTION_DOWNTIME || a->downtime_ns == b->downtime_ns) &&
           (a->kind != ACTION_THROTTLE ||
            (fabs(a->share - b->share) < 1e-9 && a->period_us == b->period_us));
}

/* Would the engine do to the migration just what was done? */
static bool does_the_same(const struct decision *d, const struct trace_step *step)
{
    unsigned k = 0;

    for (unsigned i = 0; i < d->n_actions; i++) {
        if (!decision_applies(d, i))
            continue;
        while (k < step->n_actions && step->result[k] == TRACE_NOT_APPLIED)
            k++;
        if (k >= step->n_actions || !same_action(&d->action[i], &step->action[k++]))
            return false;
    }
    while (k < step->n_actions && step->result[k] == TRACE_NOT_APPLIED)
        k++;
    return k >= step->n_actions;
}

/* ---- showing ---- */

static void add_step(struct replay *r, const struct trace_step *step, const struct decision *d,
                     bool differs)
{
    struct json_object *object = json_object_new_object();
    struct json_object *now = json_object_new_array();
    struct json_object *then = json_object_new_array();

    for (unsigned i = 0; i < d->n_actions; i++)
        json_object_array_add(now, cli_action_to_json(&d->action[i], decision_applies(d, i)
                                                                         ? "would-apply"
                                                                         : "would-not-apply"));
    for (unsigned i = 0; i < step->n_actions; i++)
        json_object_array_add(
            then, cli_action_to_json(&step->action[i], trace_result_name(step->result[i])));
    cli_add_number(object, "elapsed_seconds", (double)step->sample.elapsed_ns / 1e9);
    json_object_object_add(object, "iteration",
                           json_object_new_int64((int64_t)step->sample.iteration));
    json_object_object_add(object, "memory_remaining_bytes",
                           json_object_new_int64((int64_t)step->sample.remaining_bytes));
    cli_add_number(object, "forecast_remaining_seconds", d->course.ends ? d->course.seconds : NAN);
    cli_add_number(object, "earliest_seconds", isfinite(d->earliest_s) ? d->earliest_s : NAN);
    cli_add_number(object, "latest_seconds", isfinite(d->latest_s) ? d->latest_s : NAN);
    json_object_object_add(object, "forecast_ends", decision_end_to_json(d));
    cli_add_number(object, "forecast_probability", decision_chance(d));
    json_object_object_add(object, "decision", cli_decision_to_json(d->verdict, d->reason, now));
    json_object_object_add(object, "recorded",
                           cli_decision_to_json(step->verdict, step->reason, then));
    json_object_object_add(object, "differs", json_object_new_boolean(differs));
    json_object_array_add(r->steps, object);
}

static void add_row(struct replay *r, const struct trace_step *step, const struct decision *d,
                    const char *would, const char *was, bool differs)
{
    char time[CLI_TEXT_MAX], pass[CLI_TEXT_MAX], remaining[CLI_TEXT_MAX];
    char recorded[CLI_DOING_MAX + 64] = "";
    const char *row[4] = {verdict_name(d->verdict), reason_name(d->reason), would, recorded};
    bool repeated = r->samples > 1 && !*would;

    if (differs)
        snprintf(recorded, sizeof(recorded), "%s (%s)%s%s", verdict_name(step->verdict),
                 reason_name(step->reason), *was ? ": " : "", was);
    for (unsigned i = 0; i < 4; i++) {
        repeated &= strncmp(r->shown[i], row[i], sizeof(r->shown[i]) - 1) == 0;
        snprintf(r->shown[i], sizeof(r->shown[i]), "%s", row[i]);
    }
    if (repeated && !r->cli->option[ALL])
        return;
    snprintf(pass, sizeof(pass), "%" PRIu64, step->sample.iteration);
    cli_table_row(r->table, (const char *const[]){
                                cli_seconds((double)step->sample.elapsed_ns / 1e9, time), pass,
                                cli_bytes((double)step->sample.remaining_bytes, remaining), row[0],
                                would, row[1], recorded});
}

static void print_summary(const struct replay *r)
{
    char a[CLI_TEXT_MAX], b[CLI_TEXT_MAX], c[CLI_TEXT_MAX];

    puts("");
    if (!isnan(r->diverged_s)) {
        cli_line("At %s %s would have been done (%s); what was done is: %s.",
                 cli_seconds(r->diverged_s, a), *r->would ? r->would : "nothing",
                 r->other ? "under the other policy" : "by this version",
                 *r->was ? r->was : "nothing");
        cli_line(
            "From there on the migration would have gone another way, so the rest of the trace "
            "is no evidence.");
    } else if (r->other) {
        cli_line("Under the other policy the same would have been done throughout.");
    }
    cli_line("%u samples looked at, %u decided otherwise than recorded.", r->samples, r->differing);
    if (!r->ended)
        cli_line("The trace has no end: it was cut off, or the migration is under way.");
    else
        cli_line("Recorded outcome: %s after %s, downtime %s, guest work lost %s%s.",
                 r->end.outcome, cli_seconds(r->end.duration_s, a),
                 cli_seconds(r->end.downtime_s, b), cli_seconds(r->end.work_lost_s, c),
                 r->end.truncated ? "; samples before the end are missing" : "");
}

static void print_json(struct replay *r)
{
    AUTO_JSON struct json_object *report = json_object_new_object();

    json_object_object_add(report, "trace", json_object_new_string(r->path));
    json_object_object_add(report, "vm", json_object_new_string(r->header.vm));
    json_object_object_add(report, "uuid", json_object_new_string(r->header.uuid));
    json_object_object_add(report, "started", json_object_new_string(r->header.started));
    json_object_object_add(report, "other_policy", json_object_new_boolean(r->other != NULL));
    json_object_object_add(report, "samples", json_object_new_int((int)r->samples));
    json_object_object_add(report, "differing", json_object_new_int((int)r->differing));
    cli_add_number(report, "diverged_seconds", r->diverged_s);
    json_object_object_add(report, "outcome",
                           r->ended ? json_object_new_string(r->end.outcome) : NULL);
    cli_add_number(report, "duration_seconds", r->ended ? r->end.duration_s : NAN);
    cli_add_number(report, "downtime_seconds", r->ended ? r->end.downtime_s : NAN);
    cli_add_number(report, "work_lost_seconds", r->ended ? r->end.work_lost_s : NAN);
    json_object_object_add(report, "steps", STEAL(r->steps));
    cli_print_json(report);
}

/* ---- replaying ---- */

static void replay_step(struct replay *r, const struct trace_step *step)
{
    const struct policy *policy = r->other ? r->other : &r->policy;
    struct sample s = step->sample;
    struct decision d;
    char would[CLI_DOING_MAX] = "";
    char was[CLI_DOING_MAX] = "";
    bool same;
    bool differs;

    s.now_ns += CLOCK_START_NS;
    s.sync_ns += s.at_sync ? CLOCK_START_NS : 0;
    controller_step(&r->controller, &policy->values, &s, &d);
    for (unsigned i = 0; i < step->n_actions; i++) {
        if (step->result[i] == TRACE_FAILED)
            controller_failed(&r->controller, step->action[i].kind, s.now_ns);
        else if (step->result[i] == TRACE_APPLIED)
            controller_done(&r->controller, step->action[i].kind);
    }
    for (unsigned i = 0; i < d.n_actions; i++)
        cli_describe(&d.action[i], decision_applies(&d, i), would);
    for (unsigned i = 0; i < step->n_actions; i++)
        cli_describe(&step->action[i], step->result[i] != TRACE_NOT_APPLIED, was);
    same = does_the_same(&d, step);
    differs = !same || d.verdict != step->verdict || d.reason != step->reason;
    r->samples++;
    r->differing += differs;
    if (!same) {
        r->diverged_s = (double)step->sample.elapsed_ns / 1e9;
        snprintf(r->would, sizeof(r->would), "%s", would);
        snprintf(r->was, sizeof(r->was), "%s", was);
    }
    if (r->steps)
        add_step(r, step, &d, differs);
    else
        add_row(r, step, &d, would, was, differs);
}

/* Returns 0, or -EINVAL: the line has no place here. */
static int replay_line(struct replay *r, const struct trace_line *line, struct error *ret_err)
{
    if (r->started != (line->kind != TRACE_HEADER))
        return error_set(ret_err, -EINVAL, "%s",
                         r->started ? "a second header" : "a trace begins with its header");
    if (r->ended)
        return error_set(ret_err, -EINVAL, "something behind the end");
    switch (line->kind) {
    case TRACE_HEADER:
        r->started = true;
        r->header = line->header;
        r->policy = line->header.policy;
        break;
    case TRACE_PRIOR:
        controller_set_prior(&r->controller, &line->prior);
        break;
    case TRACE_POLICY:
        r->policy = line->policy;
        break;
    case TRACE_LATCH:
        if (isnan(r->diverged_s))
            controller_latch(&r->controller, line->latch.action, line->latch.reason);
        break;
    case TRACE_STEP:
        if (isnan(r->diverged_s))
            replay_step(r, &line->step);
        break;
    default:
        r->ended = true;
        r->end = line->end;
    }
    return 0;
}

/* Returns 0, or -EINVAL with the line in *ret_err. */
static int replay(struct replay *r, const char *text, size_t len, struct error *ret_err)
{
    struct trace_line line;
    unsigned number = 0;

    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t n = newline ? (size_t)(newline - text) : len;
        int error = trace_parse(text, n, &line, ret_err);

        number++;
        if (error == 0)
            error = replay_line(r, &line, ret_err);
        if (error < 0) {
            ret_err->line = number;
            return error;
        }
        n += newline != NULL;
        text += n;
        len -= n;
    }
    if (r->started)
        return 0;
    error_set(ret_err, -EINVAL, "empty; a trace begins with its header");
    ret_err->line = 1;
    return -EINVAL;
}

/* The trace of a VM's last migration, where the daemon says it is; the caller frees it. */
static int find_trace(const struct cli *cli, const char *vm, char **ret_path)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *list;
    const char *file;
    int code;

    if (cli->host)
        return cli_fail(CLI_USAGE, "replay reads a trace on this host; leave out --host");
    code = cli_ask_history(cli, vm, 1, &reply);
    if (code != CLI_OK)
        return code;
    list = cli_array(reply, "migrations");
    if (cli_array_length(list) == 0)
        return cli_fail(CLI_NOT_FOUND,
                        "there is no file \"%s\", and no migration of such a VM on record", vm);
    file = cli_string(json_object_array_get_idx(list, 0), "trace");
    if (!file)
        return cli_fail(CLI_NOT_FOUND, "the last migration of \"%s\" was not recorded", vm);
    alloc_need_length(asprintf(ret_path, "%s/%s", cli_string(reply, "traces"), file));
    return CLI_OK;
}

static int find_file(const struct cli *cli, char **ret_path)
{
    const char *word = cli->args[0];

    if (!strchr(word, '/') && access(word, F_OK) < 0)
        return find_trace(cli, word, ret_path);
    *ret_path = alloc_need(strdup(word));
    return CLI_OK;
}

static int run_replay(const struct cli *cli)
{
    static const struct cli_column columns[] = {
        {"TIME", CLI_RIGHT},  {"PASS", CLI_RIGHT},  {"REMAINING", CLI_RIGHT}, {"VERDICT", CLI_LEFT},
        {"ACTION", CLI_LEFT}, {"REASON", CLI_LEFT}, {"RECORDED", CLI_LEFT},
    };
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *text = NULL;
    AUTO_FREE struct replay *r = alloc_need(calloc(1, sizeof(*r)));
    struct policy other;
    struct error err;
    size_t len;
    int code;
    int error;

    if (cli->n_args != 1)
        return cli_fail(CLI_USAGE, "replay needs one VM or trace; see migpolicy help replay");
    if (cli->option[POLICY_FILE]) {
        struct policy_layer layer;

        code = cli_read_policy(cli->option[POLICY_FILE], &layer);
        if (code != CLI_OK)
            return code;
        policy_init(&other);
        policy_merge(&other, &layer, cli->option[POLICY_FILE]);
        policy_finish(&other);
        r->other = &other;
    }
    code = find_file(cli, &path);
    if (code == CLI_OK)
        code = cli_read_file(path, TRACE_BYTES_MAX, &text, &len);
    if (code != CLI_OK)
        return code;
    r->cli = cli;
    r->path = path;
    r->diverged_s = NAN;
    controller_init(&r->controller);
    if (cli->json)
        r->steps = json_object_new_array();
    else
        r->table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
    error = replay(r, text, len, &err);
    if (!cli->json) {
        cli_table_print(r->table); /* up to a bad line, it is still worth seeing */
        if (error == 0)
            print_summary(r);
    } else if (error == 0) {
        print_json(r);
    }
    json_object_put(r->steps);
    if (error < 0)
        return cli_fail(CLI_ERROR, "%s:%u: %s", r->path, err.line, err.text);
    return CLI_OK;
}

const struct cli_verb cli_replay = {"replay", run_replay, "VM|TRACE",
                                    "decide again on a recorded migration", replay_options};
