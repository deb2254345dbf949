/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy replay: the engine once more, on what was recorded.
 *
 * The controller gets the samples of a trace and decides anew. As long as what it would do is what
 * was done, the next sample is what it would have seen. At the first difference that ends: how the
 * migration would have gone on from there, the trace cannot tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli.h"
#include "cgroup-throttle/textfile.h"
#include "policy/json_strict.h"
#include "policy/policy_json.h"
#include "policy/trace_json.h"
#include "policy/units.h"

#define TRACE_BYTES_MAX  ((size_t)64 * 1024 * 1024)
#define POLICY_BYTES_MAX ((size_t)64 * 1024)
/* A trace's times are relative, the engine's are not: 0 means "never" there. */
#define CLOCK_START_NS (3600 * NS_PER_S)

enum { DOING_MAX = 160 };

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
    char would[DOING_MAX];
    char was[DOING_MAX];

    /* Output. */
    struct cli_table *table;
    struct json_object *steps; /* with --json */
    char shown[4][DOING_MAX];  /* of the row before: repeated rows are left out */
};

/* ---- comparing ---- */

static bool is_done(const struct decision *d, unsigned i)
{
    return d->apply || d->action[i].kind == ACTION_RELEASE;
}

/* One action in words, appended; what is not done in brackets. */
static void describe(const struct action *a, bool done, char text[DOING_MAX])
{
    size_t len = strlen(text);
    char what[64];

    snprintf(what, sizeof(what), "%s", action_name(a->kind));
    if (a->kind == ACTION_DOWNTIME)
        snprintf(what, sizeof(what), "downtime %.3g s", (double)a->downtime_ns / 1e9);
    else if (a->kind == ACTION_THROTTLE)
        snprintf(what, sizeof(what), "throttle %.3g%%", a->share * 100);
    snprintf(text + len, DOING_MAX - len, "%s%s%s%s", len > 0 ? ", " : "", done ? "" : "(", what,
             done ? "" : ")");
}

static bool same_action(const struct action *a, const struct action *b)
{
    return a->kind == b->kind &&
           (a->kind != ACTION_DOWNTIME || a->downtime_ns == b->downtime_ns) &&
           (a->kind != ACTION_THROTTLE ||
            (fabs(a->share - b->share) < 1e-9 && a->period_us == b->period_us));
}

/* Would the engine do to the migration just what was done? */
static bool does_the_same(const struct decision *d, const struct trace_step *step)
{
    unsigned k = 0;

    for (unsigned i = 0; i < d->n_actions; i++) {
        if (!is_done(d, i))
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

static void add(struct json_object *object, const char *key, struct json_object *value)
{
    json_object_object_add(object, key, cli_need(value));
}

static void add_number(struct json_object *object, const char *key, double value)
{
    json_object_object_add(object, key,
                           isfinite(value) ? cli_need(json_object_new_double(value)) : NULL);
}

static struct json_object *action_to_json(const struct action *a, const char *result)
{
    struct json_object *object = cli_need(json_object_new_object());

    add(object, "action", json_object_new_string(action_name(a->kind)));
    add(object, "reason", json_object_new_string(reason_name(a->reason)));
    if (a->kind == ACTION_DOWNTIME)
        add_number(object, "downtime_limit_seconds", (double)a->downtime_ns / 1e9);
    if (a->kind == ACTION_THROTTLE)
        add_number(object, "cpu_limit_ratio", a->share);
    add(object, "result", json_object_new_string(result));
    return object;
}

static struct json_object *decision_to_json(enum verdict verdict, enum reason reason,
                                            struct json_object *actions)
{
    struct json_object *object = cli_need(json_object_new_object());

    add(object, "verdict", json_object_new_string(verdict_name(verdict)));
    add(object, "reason", json_object_new_string(reason_name(reason)));
    add(object, "reason_text", json_object_new_string(reason_text(reason)));
    add(object, "actions", actions);
    return object;
}

static void add_step(struct replay *r, const struct trace_step *step, const struct decision *d,
                     bool differs)
{
    struct json_object *object = cli_need(json_object_new_object());
    struct json_object *now = cli_need(json_object_new_array());
    struct json_object *then = cli_need(json_object_new_array());

    for (unsigned i = 0; i < d->n_actions; i++)
        json_object_array_add(now,
                              action_to_json(&d->action[i], is_done(d, i) ? "would-apply"
                                                                          : "would-not-apply"));
    for (unsigned i = 0; i < step->n_actions; i++)
        json_object_array_add(
            then, action_to_json(&step->action[i], trace_result_name(step->result[i])));
    add_number(object, "elapsed_seconds", (double)step->sample.elapsed_ns / 1e9);
    add(object, "iteration", json_object_new_int64((int64_t)step->sample.iteration));
    add(object, "memory_remaining_bytes",
        json_object_new_int64((int64_t)step->sample.remaining_bytes));
    add(object, "decision", decision_to_json(d->verdict, d->reason, now));
    add(object, "recorded", decision_to_json(step->verdict, step->reason, then));
    add(object, "differs", json_object_new_boolean(differs));
    json_object_array_add(r->steps, object);
}

static void add_row(struct replay *r, const struct trace_step *step, const struct decision *d,
                    const char *would, const char *was, bool differs)
{
    char time[CLI_TEXT_MAX], pass[CLI_TEXT_MAX], remaining[CLI_TEXT_MAX];
    char recorded[DOING_MAX + 64] = "";
    const char *row[4] = {verdict_name(d->verdict), reason_name(d->reason), would, recorded};
    bool repeated = r->samples > 1 && !*would;

    if (differs)
        snprintf(recorded, sizeof(recorded), "%s (%s)%s%s", verdict_name(step->verdict),
                 reason_name(step->reason), *was ? ": " : "", was);
    for (unsigned i = 0; i < 4; i++) {
        repeated &= strncmp(r->shown[i], row[i], sizeof(r->shown[i]) - 1) == 0;
        snprintf(r->shown[i], sizeof(r->shown[i]), "%s", row[i]);
    }
    if (repeated && !r->cli->all)
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
        cli_line("From there on the migration would have gone another way, so the rest of the trace "
                 "is no evidence.");
    } else if (r->other) {
        cli_line("Under the other policy the same would have been done throughout.");
    }
    cli_line("%u samples looked at, %u decided otherwise than recorded.", r->samples,
             r->differing);
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
    AUTO_JSON struct json_object *report = cli_need(json_object_new_object());

    add(report, "trace", json_object_new_string(r->path));
    add(report, "vm", json_object_new_string(r->header.vm));
    add(report, "uuid", json_object_new_string(r->header.uuid));
    add(report, "started", json_object_new_string(r->header.started));
    add(report, "other_policy", json_object_new_boolean(r->other != NULL));
    add(report, "samples", json_object_new_int((int)r->samples));
    add(report, "differing", json_object_new_int((int)r->differing));
    add_number(report, "diverged_seconds", r->diverged_s);
    json_object_object_add(report, "outcome",
                           r->ended ? cli_need(json_object_new_string(r->end.outcome)) : NULL);
    add_number(report, "duration_seconds", r->ended ? r->end.duration_s : NAN);
    add_number(report, "downtime_seconds", r->ended ? r->end.downtime_s : NAN);
    add_number(report, "work_lost_seconds", r->ended ? r->end.work_lost_s : NAN);
    json_object_object_add(report, "steps", STEAL(r->steps));
    cli_print_json(report);
}

/* ---- replaying ---- */

static void replay_step(struct replay *r, const struct trace_step *step)
{
    const struct policy *policy = r->other ? r->other : &r->policy;
    struct sample s = step->sample;
    struct decision d;
    char would[DOING_MAX] = "";
    char was[DOING_MAX] = "";
    bool same;
    bool differs;

    s.now_ns += CLOCK_START_NS;
    s.sync_ns += s.at_sync ? CLOCK_START_NS : 0;
    controller_step(&r->controller, &policy->values, &s, &d);
    for (unsigned i = 0; i < d.n_actions; i++)
        describe(&d.action[i], is_done(&d, i), would);
    for (unsigned i = 0; i < step->n_actions; i++)
        describe(&step->action[i], step->result[i] != TRACE_NOT_APPLIED, was);
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

/* NULL, or why the line has no place here. */
static const char *replay_line(struct replay *r, const struct trace_line *line)
{
    if (r->started != (line->kind != TRACE_HEADER))
        return r->started ? "a second header" : "a trace begins with its header";
    if (r->ended)
        return "something behind the end";
    switch (line->kind) {
    case TRACE_HEADER:
        r->started = true;
        r->header = line->header;
        r->policy = line->header.policy;
        break;
    case TRACE_POLICY:
        r->policy = line->policy;
        break;
    case TRACE_LATCH:
        if (isnan(r->diverged_s))
            controller_latch_throttle(&r->controller, line->latch);
        break;
    case TRACE_STEP:
        if (isnan(r->diverged_s))
            replay_step(r, &line->step);
        break;
    default:
        r->ended = true;
        r->end = line->end;
    }
    return NULL;
}

static int replay(struct replay *r, const char *text, size_t len)
{
    struct trace_line line;
    unsigned number = 0;

    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t n = newline ? (size_t)(newline - text) : len;
        char reason[400];
        const char *why = reason;

        number++;
        if (trace_parse(text, n, &line, reason, sizeof(reason)) == 0)
            why = replay_line(r, &line);
        if (why)
            return cli_fail(CLI_ERROR, "%s:%u: %s", r->path, number, why);
        n += newline != NULL;
        text += n;
        len -= n;
    }
    if (!r->started)
        return cli_fail(CLI_ERROR, "%s:1: empty; a trace begins with its header", r->path);
    return CLI_OK;
}

/* ---- files ---- */

static int read_file(const char *path, size_t max, char **ret_text, size_t *ret_len)
{
    int r = textfile_read(AT_FDCWD, path, max, ret_text, ret_len);

    switch (r) {
    case 0:
        return CLI_OK;
    case -ENOENT:
        return cli_fail(CLI_NOT_FOUND, "%s: there is no such file", path);
    case -EACCES:
    case -EPERM:
        return cli_fail(CLI_PERMISSION, "%s: %s; traces are for root", path, strerror(-r));
    default:
        return cli_fail(CLI_ERROR, "%s: %s", path, strerror(-r));
    }
}

static int read_policy(const char *path, struct policy *ret)
{
    AUTO_FREE char *text = NULL;
    AUTO_JSON struct json_object *object = NULL;
    struct policy_json_error wrong;
    struct policy_layer layer;
    struct json_error err;
    char pointer[80];
    size_t len;
    int r = read_file(path, POLICY_BYTES_MAX, &text, &len);

    if (r != CLI_OK)
        return r;
    if (json_strict_parse(text, len, &object, &err) < 0)
        return cli_fail(CLI_ERROR, "%s:%u: %s", path, err.line, err.reason);
    if (policy_layer_from_json(object, &layer, &wrong) < 0) {
        snprintf(pointer, sizeof(pointer), "%s%s", *wrong.field ? "/" : "", wrong.field);
        return cli_fail(CLI_ERROR, "%s:%d: %s: %s", path, json_strict_line(text, len, pointer),
                        *wrong.field ? wrong.field : "policy", wrong.reason);
    }
    policy_init(ret);
    policy_merge(ret, &layer, path);
    policy_finish(ret);
    return CLI_OK;
}

int cli_replay(const struct cli *cli)
{
    static const struct cli_column columns[] = {
        {"TIME", CLI_RIGHT},     {"PASS", CLI_RIGHT},   {"REMAINING", CLI_RIGHT},
        {"VERDICT", CLI_LEFT},   {"ACTION", CLI_LEFT},  {"REASON", CLI_LEFT},
        {"RECORDED", CLI_LEFT},
    };
    AUTO_FREE char *text = NULL;
    AUTO_FREE struct replay *r = cli_need(calloc(1, sizeof(*r)));
    struct policy other;
    size_t len;
    int code;

    if (cli->n_args != 1)
        return cli_fail(CLI_USAGE, "replay needs one trace; see migpolicy --help");
    if (cli->policy) {
        code = read_policy(cli->policy, &other);
        if (code != CLI_OK)
            return code;
        r->other = &other;
    }
    code = read_file(cli->args[0], TRACE_BYTES_MAX, &text, &len);
    if (code != CLI_OK)
        return code;
    r->cli = cli;
    r->path = cli->args[0];
    r->diverged_s = NAN;
    controller_init(&r->controller);
    if (cli->json)
        r->steps = cli_need(json_object_new_array());
    else
        r->table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
    code = replay(r, text, len);
    if (code == CLI_OK && cli->json) {
        print_json(r);
    } else if (code == CLI_OK) {
        cli_table_print(r->table);
        print_summary(r);
    }
    json_object_put(r->steps);
    return code;
}
