/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy simulate: a policy tried on a described guest and link.
 *
 * The migration is modelled twice with the same seed, under the policy and with nobody acting. What
 * is shown of the first is kept as it runs: the looks at which something changed as lines of the
 * table or steps of the JSON, all looks for the plot.
 */
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "agent/cli/simulate_plot.h"
#include "agent/cli/simulate_setting.h"
#include "agent/cli/simulate_svg.h"
#include "common/alloc.h"
#include "common/units.h"
#include "policy/json/decision_json.h"
#include "policy/model/simulate.h"

/* How many seeds came out how; the figures are of those that completed. */
struct outcomes {
    size_t n[MODEL_CANCELLED + 1];
    size_t completed;
    double *duration_s;
    double *downtime_s;
    double *work_lost_s;
};

/* More changes than this are not shown in a table, but counted. */
enum { ROWS_MAX = 40 };

struct run {
    const struct cli *cli;
    struct model model;
    struct controller controller;
    struct decision last;
    unsigned looks;
    struct cli_table *table;   /* NULL: not shown */
    unsigned rows;             /* it has, or would have */
    struct json_object *steps; /* likewise */
    size_t n_points;
    struct plot_point *point;
    size_t n_marks;
    struct plot_mark *mark;
};

/* ---- running, and keeping what is to be shown ---- */

/* d: NULL when it has ended, and nothing more is said. */
static void keep_point(struct run *run, const struct sample *s, const struct decision *d)
{
    double bps = run->controller.estimator.now.transfer_bps;
    struct plot_point p = {
        .time_s = run->model.time_s,
        .bytes = (double)s->remaining_bytes,
        .threshold_bytes = bps > 0 ? bps * (double)s->downtime_limit_ns / 1e9 : NAN,
        .cpu_share = s->cpu_share,
        .verdict = run->last.verdict,
        .earliest_s = NAN,
        .latest_s = NAN,
    };

    if (d) {
        p.verdict = d->verdict;
        p.end = decision_end(d);
        p.course_s = d->course.seconds;
        p.earliest_s = d->earliest_s;
        p.latest_s = d->latest_s;
    }
    /* Room doubles whenever the count is a power of two. */
    if ((run->n_points & (run->n_points - 1)) == 0)
        run->point = alloc_need(reallocarray(run->point, run->n_points > 0 ? run->n_points * 2 : 1,
                                             sizeof(run->point[0])));
    run->point[run->n_points++] = p;
}

static void keep_mark(struct run *run, const struct action *a, bool done)
{
    static const char letters[ACTIONS][2] = {
        [ACTION_BANDWIDTH] = "Bb", [ACTION_COMPRESSION_CACHE] = "Xx",
        [ACTION_DOWNTIME] = "Dd",  [ACTION_THROTTLE] = "Tt",
        [ACTION_RELEASE] = "Rr",   [ACTION_POST_COPY] = "Pp",
        [ACTION_SUSPEND] = "Ss",   [ACTION_CANCEL] = "Cc"};

    run->mark = alloc_need(reallocarray(run->mark, run->n_marks + 1, sizeof(run->mark[0])));
    run->mark[run->n_marks++] = (struct plot_mark){
        .time_s = run->model.time_s, .letter = letters[a->kind][!done], .done = done, .action = *a};
}

static double known(double rate)
{
    return rate > 0 ? rate : NAN;
}

static void keep_row(struct run *run, const struct sample *s, const struct decision *d)
{
    const struct estimate *e = &run->controller.estimator.now;
    char time[CLI_TEXT_MAX], pass[CLI_TEXT_MAX], remaining[CLI_TEXT_MAX];
    char dirty[CLI_TEXT_MAX], transfer[CLI_TEXT_MAX];
    char doing[CLI_DOING_MAX] = "";

    for (unsigned i = 0; i < d->n_actions; i++)
        cli_describe(&d->action[i], decision_applies(d, i), doing);
    snprintf(pass, sizeof(pass), "%" PRIu64, s->iteration);
    cli_table_row(run->table,
                  (const char *const[]){cli_seconds((double)s->elapsed_ns / 1e9, time), pass,
                                        cli_bytes((double)s->remaining_bytes, remaining),
                                        cli_rate(known(e->dirty_bps), dirty),
                                        cli_rate(known(e->transfer_bps), transfer),
                                        verdict_name(d->verdict), doing, reason_name(d->reason)});
}

static void keep_step(struct run *run, const struct sample *s, const struct decision *d)
{
    const struct estimate *e = &run->controller.estimator.now;
    struct json_object *step = json_object_new_object();
    struct json_object *actions = json_object_new_array();

    for (unsigned i = 0; i < d->n_actions; i++)
        json_object_array_add(
            actions,
            cli_action_to_json(&d->action[i], decision_applies(d, i) ? "applied" : "not-applied"));
    cli_add_number(step, "elapsed_seconds", (double)s->elapsed_ns / 1e9);
    json_object_object_add(step, "iteration", json_object_new_int64((int64_t)s->iteration));
    json_object_object_add(step, "memory_remaining_bytes",
                           json_object_new_int64((int64_t)s->remaining_bytes));
    cli_add_number(step, "dirty_rate_bytes_per_second", known(e->dirty_bps));
    cli_add_number(step, "transfer_rate_bytes_per_second", known(e->transfer_bps));
    json_object_object_add(step, "forecast_ends", decision_end_to_json(d));
    cli_add_number(step, "forecast_probability", decision_chance(d));
    json_object_object_add(step, "decision", cli_decision_to_json(d->verdict, d->reason, actions));
    json_object_array_add(run->steps, step);
}

static void look(void *context, const struct sample *s, const struct decision *d)
{
    struct run *run = context;
    bool changed = run->looks++ == 0 || d->verdict != run->last.verdict ||
                   d->reason != run->last.reason || d->n_actions > 0;

    run->last = *d;
    keep_point(run, s, d);
    for (unsigned i = 0; i < d->n_actions; i++)
        keep_mark(run, &d->action[i], decision_applies(d, i));
    if (!changed && !run->cli->option[SIMULATE_ALL])
        return;
    if (run->table && (run->rows++ < ROWS_MAX || run->cli->option[SIMULATE_ALL]))
        keep_row(run, s, d);
    if (run->steps)
        keep_step(run, s, d);
}

static void begin(const struct simulate_setting *s, struct model *m, struct controller *c,
                  uint64_t seed)
{
    model_start(m, &s->guest, &s->link, seed);
    m->downtime_limit_s = s->limit_s;
    m->auto_converge = m->forced_syncs = s->auto_converge;
    controller_init(c);
}

static void run_setting(const struct simulate_setting *s, const struct policy *policy,
                        struct run *run)
{
    struct sample end;

    begin(s, &run->model, &run->controller, s->seed);
    simulate(&run->model, &run->controller, &policy->values, s->until_s,
             &(struct simulate_watch){.after = look, .context = run});
    model_sample(&run->model, &end);
    keep_point(run, &end, NULL);
}

/* ---- showing ---- */

enum { OUTCOME_MAX = 256 };

static const char *outcome(const struct model *m, const char *prefix, char text[OUTCOME_MAX])
{
    static const char *const states[] = {[MODEL_RUNNING] = "still running",
                                         [MODEL_COMPLETED] = "completed",
                                         [MODEL_CANCELLED] = "cancelled"};
    char time[CLI_TEXT_MAX], downtime[CLI_TEXT_MAX + 12] = "", lost[CLI_TEXT_MAX];
    char sent[CLI_TEXT_MAX], stood[CLI_TEXT_MAX];

    if (m->state == MODEL_COMPLETED)
        snprintf(downtime, sizeof(downtime), "downtime %s, ", cli_seconds(m->downtime_s, stood));
    snprintf(text, OUTCOME_MAX, "%s: %s after %s, %sguest work lost %s, %s sent%s", prefix,
             states[m->state], cli_seconds(m->time_s, time), downtime,
             cli_seconds(m->work_lost_s, lost), cli_bytes(m->sent_bytes, sent),
             m->state == MODEL_RUNNING ? "; given up then, --for lets it go on" : "");
    return text;
}

static void add_outcome(struct json_object *object, const struct model *m)
{
    static const char *const states[] = {[MODEL_RUNNING] = "running",
                                         [MODEL_COMPLETED] = "completed",
                                         [MODEL_CANCELLED] = "cancelled"};

    json_object_object_add(object, "outcome", json_object_new_string(states[m->state]));
    cli_add_number(object, "duration_seconds", m->time_s);
    cli_add_number(object, "downtime_seconds", m->state == MODEL_COMPLETED ? m->downtime_s : NAN);
    cli_add_number(object, "work_lost_seconds", m->work_lost_s);
    json_object_object_add(object, "sent_bytes", json_object_new_int64((int64_t)m->sent_bytes));
}

static void print_json(struct run *run, const struct run *without)
{
    AUTO_JSON struct json_object *report = json_object_new_object();
    struct json_object *other = json_object_new_object();

    add_outcome(report, &run->model);
    add_outcome(other, &without->model);
    json_object_object_add(report, "without_policy", other);
    json_object_object_add(report, "steps", STEAL(run->steps));
    cli_print_json(report);
}

static void print_plot(const struct run *run)
{
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;

    puts("");
    simulate_plot(stdout, utf8, run->point, run->n_points, run->mark, run->n_marks);
    if (run->n_marks > 0)
        puts("Memory left to send. B: speed limit, D: downtime limit, T: throttle, R: release,\n"
             "P: post-copy, S: pause, C: cancel; small letters: decided but not done.");
}

static void print_text(struct run *run, const struct run *without)
{
    char text[OUTCOME_MAX];

    cli_line("%s", outcome(&run->model, "With the policy", text));
    cli_line("%s", outcome(&without->model, "Without the policy", text));
    puts("");
    cli_table_print(STEAL(run->table));
    if (run->rows > ROWS_MAX && !run->cli->option[SIMULATE_ALL])
        cli_line("and %u more changes, which -a shows", run->rows - ROWS_MAX);
    if (run->cli->option[SIMULATE_PLOT])
        print_plot(run);
}

static void print_svg(const struct run *run, const struct run *without)
{
    char title[OUTCOME_MAX];
    char other_title[OUTCOME_MAX];

    simulate_svg(stdout,
                 &(struct picture){
                     .point = run->point,
                     .n_points = run->n_points,
                     .mark = run->mark,
                     .n_marks = run->n_marks,
                     .other = without->point,
                     .n_other = without->n_points,
                     .completed = run->model.state == MODEL_COMPLETED,
                     .title = outcome(&run->model, "With the policy", title),
                     .other_title = outcome(&without->model, "Without the policy", other_title),
                 });
}

/* ---- many seeds ---- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Without looks: nothing of it is kept but how it came out. */
static void run_seeds(const struct simulate_setting *s, const struct policy *policy,
                      struct outcomes *ret)
{
    *ret = (struct outcomes){.duration_s = alloc_need(calloc(s->seeds, sizeof(double))),
                             .downtime_s = alloc_need(calloc(s->seeds, sizeof(double))),
                             .work_lost_s = alloc_need(calloc(s->seeds, sizeof(double)))};
    for (uint64_t i = 0; i < s->seeds; i++) {
        static struct model m;
        static struct controller c;

        begin(s, &m, &c, s->seed + i);
        simulate(&m, &c, &policy->values, s->until_s, &(struct simulate_watch){0});
        ret->n[m.state]++;
        if (m.state != MODEL_COMPLETED)
            continue;
        ret->duration_s[ret->completed] = m.time_s;
        ret->downtime_s[ret->completed] = m.downtime_s;
        ret->work_lost_s[ret->completed++] = m.work_lost_s;
    }
    qsort(ret->duration_s, ret->completed, sizeof(double), compare_numbers);
    qsort(ret->downtime_s, ret->completed, sizeof(double), compare_numbers);
    qsort(ret->work_lost_s, ret->completed, sizeof(double), compare_numbers);
}

static void clear_spread(struct outcomes *s)
{
    free(s->duration_s);
    free(s->downtime_s);
    free(s->work_lost_s);
}

static void print_range(const char *what, const double *sorted, size_t n)
{
    char least[CLI_TEXT_MAX], middle[CLI_TEXT_MAX], most[CLI_TEXT_MAX];

    cli_line("  %-15s %s (%s to %s)", what, cli_seconds(sorted[n / 2], middle),
             cli_seconds(sorted[0], least), cli_seconds(sorted[n - 1], most));
}

static void print_spread(const struct outcomes *s, const char *prefix)
{
    cli_line("%s: %zu completed, %zu cancelled, %zu still running when given up (--for)", prefix,
             s->n[MODEL_COMPLETED], s->n[MODEL_CANCELLED], s->n[MODEL_RUNNING]);
    if (s->completed == 0)
        return;
    print_range("duration", s->duration_s, s->completed);
    print_range("downtime", s->downtime_s, s->completed);
    print_range("guest work lost", s->work_lost_s, s->completed);
}

static void add_range(struct json_object *object, const char *key, const double *sorted, size_t n)
{
    struct json_object *range = json_object_new_object();

    cli_add_number(range, "least", n > 0 ? sorted[0] : NAN);
    cli_add_number(range, "median", n > 0 ? sorted[n / 2] : NAN);
    cli_add_number(range, "most", n > 0 ? sorted[n - 1] : NAN);
    json_object_object_add(object, key, range);
}

static void add_spread(struct json_object *object, const struct outcomes *s)
{
    cli_add_number(object, "completed", (double)s->n[MODEL_COMPLETED]);
    cli_add_number(object, "cancelled", (double)s->n[MODEL_CANCELLED]);
    cli_add_number(object, "running", (double)s->n[MODEL_RUNNING]);
    add_range(object, "duration_seconds", s->duration_s, s->completed);
    add_range(object, "downtime_seconds", s->downtime_s, s->completed);
    add_range(object, "work_lost_seconds", s->work_lost_s, s->completed);
}

static void show_seeds(const struct cli *cli, const struct simulate_setting *s,
                       const struct policy *nothing)
{
    struct outcomes with;
    struct outcomes without;

    run_seeds(s, &s->policy, &with);
    run_seeds(s, nothing, &without);
    if (cli->json) {
        AUTO_JSON struct json_object *report = json_object_new_object();
        struct json_object *other = json_object_new_object();

        add_spread(report, &with);
        add_spread(other, &without);
        json_object_object_add(report, "without_policy", other);
        cli_print_json(report);
    } else {
        print_spread(&with, "With the policy");
        print_spread(&without, "Without the policy");
    }
    clear_spread(&with);
    clear_spread(&without);
}

static int simulate_policy(const struct cli *cli)
{
    static const struct cli_column columns[] = {
        {"TIME", CLI_RIGHT},  {"PASS", CLI_RIGHT},     {"REMAINING", CLI_RIGHT},
        {"DIRTY", CLI_RIGHT}, {"TRANSFER", CLI_RIGHT}, {"VERDICT", CLI_LEFT},
        {"ACTION", CLI_LEFT}, {"REASON", CLI_LEFT},
    };
    struct simulate_setting setting;
    struct run run = {.cli = cli};
    struct run without = {.cli = cli};
    struct policy nothing;
    int code = cli_no_arguments(cli);

    if (code != CLI_OK)
        return code;
    if (cli->json && cli->option[SIMULATE_PLOT])
        return cli_fail(CLI_USAGE, "--plot: there is no plot in JSON; leave out one of them");
    if (cli->option[SIMULATE_SVG] &&
        (cli->json || cli->option[SIMULATE_PLOT] || cli->option[SIMULATE_ALL]))
        return cli_fail(CLI_USAGE, "--svg prints a picture alone; leave out --json, --plot and -a");
    if (cli->option[SIMULATE_SEEDS] &&
        (cli->option[SIMULATE_PLOT] || cli->option[SIMULATE_SVG] || cli->option[SIMULATE_ALL]))
        return cli_fail(CLI_USAGE,
                        "--seeds: --plot, --svg and -a tell of one run; leave out one of them");
    code = simulate_read_setting(cli, &setting);
    policy_init(&nothing);
    policy_finish(&nothing);
    if (code == CLI_OK && setting.seeds > 0) {
        show_seeds(cli, &setting, &nothing);
    } else if (code == CLI_OK) {
        if (cli->json)
            run.steps = json_object_new_array();
        else if (!cli->option[SIMULATE_SVG])
            run.table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
        run_setting(&setting, &setting.policy, &run);
        run_setting(&setting, &nothing, &without);
        if (cli->json)
            print_json(&run, &without);
        else if (cli->option[SIMULATE_SVG])
            print_svg(&run, &without);
        else
            print_text(&run, &without);
    }
    free(run.point);
    free(run.mark);
    free(without.point);
    free(without.mark);
    simulate_curve_clear(&setting.curve);
    return code;
}

const struct cli_verb cli_simulate = {
    "simulate",       simulate_policy, "[FLAG...]", "try a policy on a described guest and network",
    simulate_options, .fields = true};
