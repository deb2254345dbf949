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
#include "agent/cli/simulate_curve.h"
#include "agent/cli/simulate_list.h"
#include "agent/cli/simulate_plot.h"
#include "common/alloc.h"
#include "common/units.h"
#include "policy/json/decision_json.h"
#include "policy/model/simulate.h"

#define CURVE_BYTES_MAX ((size_t)1024 * 1024)

enum simulate_option {
    SIMULATE_ALL,
    SIMULATE_POLICY,
    SIMULATE_MEMORY,
    SIMULATE_ZERO,
    SIMULATE_DIRTY_RATE,
    SIMULATE_HOT,
    SIMULATE_PATTERN,
    SIMULATE_CPU_BOUND,
    SIMULATE_CURVE,
    SIMULATE_VCPUS,
    SIMULATE_BUSY,
    SIMULATE_SHARED_CPU,
    SIMULATE_PHASES,
    SIMULATE_FLUSH,
    SIMULATE_DEVICES,
    SIMULATE_STORAGE,
    SIMULATE_LINK,
    SIMULATE_LINK_CHANGES,
    SIMULATE_NOISE,
    SIMULATE_SEED,
    SIMULATE_SEEDS,
    SIMULATE_LIMIT,
    SIMULATE_AUTO_CONVERGE,
    SIMULATE_FOR,
    SIMULATE_PLOT,
};

/* clang-format off */
static const struct cli_option simulate_options[] = {
    [SIMULATE_ALL] = {"all", NULL, "every sample", .letter = 'a'},
    [SIMULATE_POLICY] = {"policy", "FILE", "under this policy, a JSON object"},
    [SIMULATE_MEMORY] = {"memory", "SIZE", "memory of the guest (4GiB)"},
    [SIMULATE_ZERO] = {"zero", "SIZE", "of it never written to (none)"},
    [SIMULATE_DIRTY_RATE] = {"dirty-rate", "RATE", "how fast it writes (not at all)"},
    [SIMULATE_HOT] = {"hot", "SIZE", "how much memory it writes to (all but --zero)"},
    [SIMULATE_PATTERN] = {"pattern", "sequential|random", "how it walks through that (random)",
                          .one_of = true},
    [SIMULATE_CPU_BOUND] = {"cpu-bound", "SHARE", "writing that slows with the vCPUs (100%)"},
    [SIMULATE_CURVE] = {"curve", "FILE|memcached", "a measured dirty-page curve instead"},
    [SIMULATE_VCPUS] = {"vcpus", "N", "number of vCPUs (1)"},
    [SIMULATE_BUSY] = {"busy", "SHARE", "of a CPU that each uses (100%)"},
    [SIMULATE_SHARED_CPU] = {"shared-cpu", "SHARE", "of a CPU for all vCPUs together (no limit)"},
    [SIMULATE_PHASES] = {"phases", "LIST", "how long it writes how much, as 25s:100%,5s:10%"},
    [SIMULATE_FLUSH] = {"flush", "DURATION", "flushing its disks at the switchover (none)"},
    [SIMULATE_DEVICES] = {"devices", "SIZE", "state of its devices, sent while it stands (none)"},
    [SIMULATE_STORAGE] = {"storage", "SIZE", "disks copied before the memory (none)"},
    [SIMULATE_LINK] = {"link", "RATE", "what the network carries (1Gbit/s)"},
    [SIMULATE_LINK_CHANGES] = {"link-changes", "LIST", "from when it carries how much, as 1m:50%"},
    [SIMULATE_NOISE] = {"noise", "SHARE", "by which that varies (5%)"},
    [SIMULATE_SEED] = {"seed", "N", "another one makes other noise (1)"},
    [SIMULATE_SEEDS] = {"seeds", "N", "so many seeds, and how they come out"},
    [SIMULATE_LIMIT] = {"limit", "DURATION", "downtime limit to begin with (300ms)"},
    [SIMULATE_AUTO_CONVERGE] = {"auto-converge", NULL, "QEMU throttles, too"},
    [SIMULATE_FOR] = {"for", "DURATION", "virtual time to give up after (10m)"},
    [SIMULATE_PLOT] = {"plot", NULL, "plot what is left to send"},
    {NULL},
};
/* clang-format on */

/* What is simulated. */
struct setting {
    struct model_guest guest;
    struct model_link link;
    struct simulate_curve curve;
    struct policy policy;
    uint64_t seed;
    double limit_s;
    double until_s;
    bool auto_converge;
    uint64_t seeds; /* 0: one run is told in full */
};

/* How many seeds came out how; the figures are of those that completed. */
struct outcomes {
    size_t n[MODEL_CANCELLED + 1];
    size_t completed;
    double *duration_s;
    double *downtime_s;
    double *work_lost_s;
};

/* More changes than this are not shown in a table, but counted. */
enum { ROWS_MAX = 40, SEEDS_MAX = 10000 };

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

/* ---- reading the options ---- */

static int bad_value(enum simulate_option option, const char *text, const char *expected)
{
    return cli_fail(CLI_USAGE, "--%s: \"%s\" is not %s", simulate_options[option].name, text,
                    expected);
}

/* A quantity in base units (seconds, bytes, parts of 1), within min..max. */
static int quantity(const struct cli *cli, enum simulate_option option, enum unit unit, double min,
                    double max, const char *accepts, double *ret)
{
    const char *text = cli->option[option];
    double one = unit == UNIT_DURATION ? (double)NS_PER_S : unit == UNIT_SHARE ? PPM_ONE : 1;
    int64_t n;

    if (!text)
        return CLI_OK;
    if (units_parse(unit, text, &n) < 0)
        return bad_value(option, text, units_expected(unit, text));
    if ((double)n / one < min || (double)n / one > max)
        return bad_value(option, text, accepts);
    *ret = (double)n / one;
    return CLI_OK;
}

static int whole_number(const struct cli *cli, enum simulate_option option, uint64_t min,
                        uint64_t max, const char *accepts, uint64_t *ret)
{
    const char *text = cli->option[option];
    unsigned long long n;

    if (!text)
        return CLI_OK;
    errno = 0;
    n = strtoull(text, NULL, 10);
    if (!*text || text[strspn(text, "0123456789")] || errno != 0 || n < min || n > max)
        return bad_value(option, text, accepts);
    *ret = n;
    return CLI_OK;
}

static int read_curve(const struct cli *cli, struct setting *s)
{
    static const enum simulate_option instead[] = {SIMULATE_MEMORY, SIMULATE_DIRTY_RATE,
                                                   SIMULATE_HOT, SIMULATE_PATTERN};
    const char *path = cli->option[SIMULATE_CURVE];
    struct error error;
    AUTO_FREE char *text = NULL;
    size_t len;
    int code;

    for (unsigned i = 0; i < sizeof(instead) / sizeof(instead[0]); i++) {
        if (cli->option[instead[i]])
            return cli_fail(CLI_USAGE, "--%s: a curve says that already; leave out one of them",
                            simulate_options[instead[i]].name);
    }
    if (strcmp(path, "memcached") == 0) {
        simulate_memcached(&s->guest);
        return CLI_OK;
    }
    code = cli_read_file(path, CURVE_BYTES_MAX, &text, &len);
    if (code != CLI_OK)
        return code;
    if (simulate_curve_parse(text, len, &s->curve, &error) < 0)
        return cli_fail(CLI_ERROR, "%s:%u: %s", path, error.line, error.text);
    s->guest.ram_bytes = s->curve.guest_bytes;
    s->guest.region[0].curve = s->curve.point;
    s->guest.region[0].curve_points = s->curve.n;
    return CLI_OK;
}

/* A list of times and shares; *ret_n is 0 if it is not stated. */
static int list(const struct cli *cli, enum simulate_option option, unsigned max,
                struct simulate_pair *ret, unsigned *ret_n)
{
    const char *text = cli->option[option];
    int n = text ? simulate_list_parse(text, max, ret) : 0;

    if (n == -E2BIG)
        return cli_fail(CLI_USAGE, "--%s: there may be %u at most", simulate_options[option].name,
                        max);
    if (n < 0)
        return bad_value(option, text,
                         "a list of times and shares up to 1000% such as 25s:100%,5s:10%");
    *ret_n = (unsigned)n;
    return CLI_OK;
}

static int read_phases(const struct cli *cli, struct model_guest *g)
{
    struct simulate_pair pair[MODEL_PHASES_MAX];
    int code = list(cli, SIMULATE_PHASES, MODEL_PHASES_MAX, pair, &g->phases);

    if (code == CLI_OK && g->phases > 0 && g->regions == 0)
        return cli_fail(CLI_USAGE, "--phases says when it writes; say how fast: --dirty-rate");
    for (unsigned i = 0; code == CLI_OK && i < g->phases; i++)
        g->phase[i] = (struct model_phase){
            .seconds = pair[i].seconds, .rate = pair[i].share, .busy = fmin(pair[i].share, 1)};
    return code;
}

static int read_link_changes(const struct cli *cli, struct model_link *l)
{
    struct simulate_pair pair[MODEL_CHANGES_MAX];
    int code = list(cli, SIMULATE_LINK_CHANGES, MODEL_CHANGES_MAX, pair, &l->changes);

    for (unsigned i = 0; code == CLI_OK && i < l->changes; i++) {
        if (pair[i].share < 0.001 || (i > 0 && pair[i].seconds <= pair[i - 1].seconds))
            return bad_value(SIMULATE_LINK_CHANGES, cli->option[SIMULATE_LINK_CHANGES],
                             "one time after the other, each with at least 0.1%");
        l->change[i] = (struct model_change){.at_s = pair[i].seconds, .factor = pair[i].share};
    }
    return code;
}

/* What is written to, once the size of the guest is known. */
static int read_region(const struct cli *cli, struct model_guest *g)
{
    struct model_region *r = &g->region[0];
    double used;
    int code;

    code = quantity(cli, SIMULATE_CPU_BOUND, UNIT_SHARE, 0, 1, "a share from 0% to 100%",
                    &r->cpu_bound);
    r->bytes = g->ram_bytes - g->zero_bytes;
    used = r->curve ? r->curve[r->curve_points - 1].bytes : 0;
    if (code == CLI_OK && !r->curve) {
        code = quantity(cli, SIMULATE_HOT, UNIT_SIZE, 4096, INFINITY, "a size of at least 4KiB",
                        &r->bytes);
        used = cli->option[SIMULATE_HOT] ? r->bytes : 0;
    }
    if (code != CLI_OK)
        return code;
    if (cli->option[SIMULATE_HOT] && r->rate_bps == 0)
        return cli_fail(CLI_USAGE, "--hot says where the guest writes; say how fast: --dirty-rate");
    if (!r->curve && r->rate_bps == 0) {
        g->regions = 0;
        return CLI_OK;
    }
    if (g->zero_bytes + fmax(used, 4096) > g->ram_bytes)
        return cli_fail(CLI_USAGE, "what it writes to and --zero are more than the guest's memory");
    return CLI_OK;
}

static int read_guest(const struct cli *cli, struct setting *s)
{
    struct model_guest *g = &s->guest;
    struct model_region *r = &g->region[0];
    uint64_t vcpus;
    double busy;
    int code = CLI_OK;

    *g = (struct model_guest){
        .ram_bytes = 4096 * (double)MIB_BYTES, .vcpus = 1, .vcpu_busy = {1}, .regions = 1};
    *r = (struct model_region){.cpu_bound = 1, .vcpu = MODEL_ALL_VCPUS};
    if (cli->option[SIMULATE_CURVE])
        code = read_curve(cli, s);
    vcpus = g->vcpus;
    busy = g->vcpu_busy[0];
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_MEMORY, UNIT_SIZE, (double)MIB_BYTES, 0x1p50,
                        "a size from 1MiB to 1024TiB", &g->ram_bytes);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_ZERO, UNIT_SIZE, 0, g->ram_bytes,
                        "a part of the guest's memory", &g->zero_bytes);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_DIRTY_RATE, UNIT_RATE, 0, 1e15,
                        "a rate of at most 1000000GB/s", &r->rate_bps);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_FLUSH, UNIT_DURATION, 0, 3600, "a duration of at most 1h",
                        &g->flush_s);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_DEVICES, UNIT_SIZE, 0, 0x1p50, "a size of at most 1024TiB",
                        &g->device_bytes);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_STORAGE, UNIT_SIZE, 0, 0x1p50, "a size of at most 1024TiB",
                        &g->disk_bytes);
    if (code == CLI_OK)
        code = whole_number(cli, SIMULATE_VCPUS, 1, MODEL_VCPUS_MAX, "a number from 1 to 1024",
                            &vcpus);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_BUSY, UNIT_SHARE, 0.01, 1, "a share from 1% to 100%", &busy);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_SHARED_CPU, UNIT_SHARE, 0.01, MODEL_VCPUS_MAX,
                        "a share of at least 1%", &g->shared_cpus);
    r->sequential =
        cli->option[SIMULATE_PATTERN] && strcmp(cli->option[SIMULATE_PATTERN], "sequential") == 0;
    if (code == CLI_OK)
        code = read_region(cli, g);
    if (code == CLI_OK)
        code = read_phases(cli, g);
    g->vcpus = (unsigned)vcpus;
    for (unsigned i = 0; i < g->vcpus; i++)
        g->vcpu_busy[i] = busy;
    return code;
}

static int read_policy(const struct cli *cli, struct policy *ret)
{
    struct policy_layer file = {0};
    struct policy_layer flags = {0};
    int code = CLI_OK;

    if (cli->option[SIMULATE_POLICY])
        code = cli_read_policy(cli->option[SIMULATE_POLICY], &file);
    if (code == CLI_OK)
        code = cli_read_fields(cli, &flags);
    if (code != CLI_OK)
        return code;
    policy_init(ret);
    policy_merge(ret, &file, "file");
    policy_merge(ret, &flags, "flags");
    policy_finish(ret);
    return CLI_OK;
}

static int read_setting(const struct cli *cli, struct setting *s)
{
    int code;

    *s = (struct setting){
        .link = {.bps = 1e9 / 8, .noise = 0.05}, .seed = 1, .limit_s = 0.3, .until_s = 600};
    s->auto_converge = cli->option[SIMULATE_AUTO_CONVERGE] != NULL;
    code = read_policy(cli, &s->policy);
    if (code == CLI_OK)
        code = read_guest(cli, s);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_LINK, UNIT_RATE, 1000, 1e15,
                        "a rate from 1KB/s to 1000000GB/s", &s->link.bps);
    if (code == CLI_OK)
        code = read_link_changes(cli, &s->link);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_NOISE, UNIT_SHARE, 0, 1, "a share from 0% to 100%",
                        &s->link.noise);
    if (code == CLI_OK)
        code = whole_number(cli, SIMULATE_SEED, 0, UINT64_MAX, "a number from 0 to 2^64 - 1",
                            &s->seed);
    if (code == CLI_OK)
        code =
            whole_number(cli, SIMULATE_SEEDS, 2, SEEDS_MAX, "a number from 2 to 10000", &s->seeds);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_LIMIT, UNIT_DURATION, 0.001, 2000,
                        "a duration from 1ms to 33m20s", &s->limit_s);
    if (code == CLI_OK)
        code = quantity(cli, SIMULATE_FOR, UNIT_DURATION, 1, 86400, "a duration from 1s to 1d",
                        &s->until_s);
    return code;
}

/* ---- running, and keeping what is to be shown ---- */

static void keep_point(struct run *run, const struct sample *s)
{
    /* Room doubles whenever the count is a power of two. */
    if ((run->n_points & (run->n_points - 1)) == 0)
        run->point = alloc_need(reallocarray(run->point, run->n_points > 0 ? run->n_points * 2 : 1,
                                             sizeof(run->point[0])));
    run->point[run->n_points++] =
        (struct plot_point){run->model.time_s, (double)s->remaining_bytes};
}

static void keep_mark(struct run *run, const struct action *a, bool done)
{
    static const char letters[ACTIONS][2] = {
        [ACTION_BANDWIDTH] = "Bb", [ACTION_COMPRESSION_CACHE] = "Xx",
        [ACTION_DOWNTIME] = "Dd",  [ACTION_THROTTLE] = "Tt",
        [ACTION_RELEASE] = "Rr",   [ACTION_POST_COPY] = "Pp",
        [ACTION_SUSPEND] = "Ss",   [ACTION_CANCEL] = "Cc"};

    run->mark = alloc_need(reallocarray(run->mark, run->n_marks + 1, sizeof(run->mark[0])));
    run->mark[run->n_marks++] = (struct plot_mark){run->model.time_s, letters[a->kind][!done]};
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
    keep_point(run, s);
    for (unsigned i = 0; i < d->n_actions; i++)
        keep_mark(run, &d->action[i], decision_applies(d, i));
    if (!changed && !run->cli->option[SIMULATE_ALL])
        return;
    if (run->table && (run->rows++ < ROWS_MAX || run->cli->option[SIMULATE_ALL]))
        keep_row(run, s, d);
    if (run->steps)
        keep_step(run, s, d);
}

static void begin(const struct setting *s, struct model *m, struct controller *c, uint64_t seed)
{
    model_start(m, &s->guest, &s->link, seed);
    m->downtime_limit_s = s->limit_s;
    m->auto_converge = m->forced_syncs = s->auto_converge;
    controller_init(c);
}

static void run_setting(const struct setting *s, const struct policy *policy, struct run *run)
{
    struct sample end;

    begin(s, &run->model, &run->controller, s->seed);
    simulate(&run->model, &run->controller, &policy->values, s->until_s,
             &(struct simulate_watch){.after = look, .context = run});
    model_sample(&run->model, &end);
    keep_point(run, &end);
}

/* ---- showing ---- */

static void print_outcome(const struct model *m, const char *prefix)
{
    static const char *const states[] = {[MODEL_RUNNING] = "still running",
                                         [MODEL_COMPLETED] = "completed",
                                         [MODEL_CANCELLED] = "cancelled"};
    char time[CLI_TEXT_MAX], downtime[CLI_TEXT_MAX + 12] = "", lost[CLI_TEXT_MAX];
    char sent[CLI_TEXT_MAX], text[CLI_TEXT_MAX];

    if (m->state == MODEL_COMPLETED)
        snprintf(downtime, sizeof(downtime), "downtime %s, ", cli_seconds(m->downtime_s, text));
    cli_line("%s: %s after %s, %sguest work lost %s, %s sent%s", prefix, states[m->state],
             cli_seconds(m->time_s, time), downtime, cli_seconds(m->work_lost_s, lost),
             cli_bytes(m->sent_bytes, sent),
             m->state == MODEL_RUNNING ? "; given up then, --for lets it go on" : "");
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
    print_outcome(&run->model, "With the policy");
    print_outcome(&without->model, "Without the policy");
    puts("");
    cli_table_print(STEAL(run->table));
    if (run->rows > ROWS_MAX && !run->cli->option[SIMULATE_ALL])
        cli_line("and %u more changes, which -a shows", run->rows - ROWS_MAX);
    if (run->cli->option[SIMULATE_PLOT])
        print_plot(run);
}

/* ---- many seeds ---- */

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Without looks: nothing of it is kept but how it came out. */
static void run_seeds(const struct setting *s, const struct policy *policy, struct outcomes *ret)
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

static void show_seeds(const struct cli *cli, const struct setting *s, const struct policy *nothing)
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
    struct setting setting;
    struct run run = {.cli = cli};
    struct run without = {.cli = cli};
    struct policy nothing;
    int code = cli_no_arguments(cli);

    if (code != CLI_OK)
        return code;
    if (cli->json && cli->option[SIMULATE_PLOT])
        return cli_fail(CLI_USAGE, "--plot: there is no plot in JSON; leave out one of them");
    if (cli->option[SIMULATE_SEEDS] && (cli->option[SIMULATE_PLOT] || cli->option[SIMULATE_ALL]))
        return cli_fail(CLI_USAGE, "--seeds: --plot and -a tell of one run; leave out one of them");
    code = read_setting(cli, &setting);
    policy_init(&nothing);
    policy_finish(&nothing);
    if (code == CLI_OK && setting.seeds > 0) {
        show_seeds(cli, &setting, &nothing);
    } else if (code == CLI_OK) {
        if (cli->json)
            run.steps = json_object_new_array();
        else
            run.table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));
        run_setting(&setting, &setting.policy, &run);
        run_setting(&setting, &nothing, &without);
        if (cli->json)
            print_json(&run, &without);
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
