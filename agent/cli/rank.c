/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy predict of several VMs: they are measured, a few at a time, and ranked by what it takes
 * to have them go, in the order in which a host is best emptied: what goes anyway before what needs
 * a permission, and in each the quickest first.
 */
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/varlink_client.h"

/* The daemon takes one more at a time, so that somebody else may ask meanwhile. */
enum { AT_ONCE = 3, MEASURE_MS = 180000, TICK_MS = 1000 };

enum goes { BY_ITSELF, BY_POLICY, PERHAPS, NEEDS_PERMISSION, NEVER, UNKNOWN };
static const char *const goes_names[] = {"by-itself",        "by-policy", "perhaps",
                                         "needs-permission", "never",     "unknown"};

/* One VM. */
struct candidate {
    struct json_object *domain; /* borrowed of the list of domains */
    struct varlink_client *client;
    int64_t until_ms;
    struct json_object *reply;
    char *error;
    enum goes goes;
    double seconds; /* until it has gone; NAN: unknown, or it does not */
};

struct ranking {
    const struct cli *cli;
    struct json_object *domains;
    struct candidate *candidate;
    size_t n;
};

static void cleanup_ranking(struct ranking *r)
{
    for (size_t i = 0; i < r->n; i++) {
        varlink_client_free(r->candidate[i].client);
        json_object_put(r->candidate[i].reply);
        free(r->candidate[i].error);
    }
    free(r->candidate);
    json_object_put(r->domains);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- which VMs ---- */

static bool is_meant(struct json_object *domain, const char *word)
{
    const char *vm = cli_string(domain, "vm");
    const char *uuid = cli_string(domain, "uuid");

    if (!vm || !uuid)
        return false;
    if (strncmp(word, "uuid:", 5) == 0)
        return strcasecmp(uuid, word + 5) == 0;
    return strcmp(vm, word) == 0 || (cli_is_pattern(word) && fnmatch(word, vm, 0) == 0);
}

/* Of all, or where words are given of those they mean, which must be some. */
static int choose(struct ranking *r)
{
    struct json_object *list = cli_array(r->domains, "domains");
    size_t n = cli_array_length(list);

    r->candidate = alloc_need(calloc(n + 1, sizeof(*r->candidate)));
    for (int w = 0; w < r->cli->n_args; w++) {
        size_t i = 0;

        while (i < n && !is_meant(json_object_array_get_idx(list, i), r->cli->args[w]))
            i++;
        if (i == n)
            return cli_fail(CLI_NOT_FOUND, "no VM \"%s\"; virsh list --all lists VMs",
                            r->cli->args[w]);
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *domain = json_object_array_get_idx(list, i);
        bool meant = r->cli->n_args == 0 && cli_is(domain, "running", true);

        for (int w = 0; w < r->cli->n_args; w++)
            meant |= is_meant(domain, r->cli->args[w]);
        if (meant)
            r->candidate[r->n++].domain = domain;
    }
    return CLI_OK;
}

/* ---- measuring ---- */

static int begin(const struct cli *cli, struct candidate *c)
{
    AUTO_JSON struct json_object *parameters = NULL;
    char vm[64];
    int code;

    snprintf(vm, sizeof(vm), "uuid:%s", cli_string(c->domain, "uuid"));
    code = cli_predict_parameters(cli, vm, &parameters);
    if (code == CLI_OK)
        code = cli_open(cli, &c->client);
    if (code != CLI_OK)
        return code;
    c->until_ms = now_ms() + MEASURE_MS;
    if (varlink_client_begin(c->client, "io.migpolicy.Predict", parameters, TICK_MS) < 0) {
        c->error = alloc_need(strdup("migpolicyd did not take the question"));
        varlink_client_free(STEAL(c->client));
    }
    return CLI_OK;
}

/* Takes the answer if it is there. */
static void take(struct candidate *c)
{
    AUTO_JSON struct json_object *reply = NULL;
    AUTO_FREE char *error = NULL;
    bool continues;
    int r = varlink_client_next(c->client, 0, &continues, &error, &reply);

    if (r == -ETIMEDOUT && now_ms() < c->until_ms)
        return;
    if (r == 0 && !error) {
        c->reply = STEAL(reply);
    } else {
        const char *why = reply ? cli_string(reply, "why") : NULL;

        c->error = alloc_need(strdup(r < 0   ? "no answer from migpolicyd"
                                     : why   ? why
                                     : error ? error
                                             : "?"));
    }
    varlink_client_free(STEAL(c->client));
}

static void tell_progress(const struct ranking *r, size_t done, size_t under_way)
{
    if (r->cli->quiet || !isatty(STDERR_FILENO))
        return;
    if (done < r->n)
        fprintf(stderr, "\rmeasured %zu of %zu VMs, %zu under way (7 to 77 s each)\033[K", done,
                r->n, under_way);
    else
        fputs("\r\033[K", stderr);
}

static int measure(struct ranking *r)
{
    size_t next = 0;
    size_t done = 0;

    while (done < r->n) {
        struct pollfd p[AT_ONCE];
        nfds_t n = 0;

        done = 0;
        for (size_t i = 0; i < next; i++) {
            if (r->candidate[i].client)
                take(&r->candidate[i]);
            done += !r->candidate[i].client;
        }
        while (next < r->n && next - done < AT_ONCE) {
            int code = begin(r->cli, &r->candidate[next++]);

            if (code != CLI_OK)
                return code;
        }
        for (size_t i = 0; i < next && n < AT_ONCE; i++) {
            struct varlink_client *client = r->candidate[i].client;

            if (client)
                p[n++] = (struct pollfd){.fd = varlink_client_fd(client), .events = POLLIN};
        }
        tell_progress(r, done, n);
        if (done < r->n)
            poll(p, n, TICK_MS);
    }
    return CLI_OK;
}

/* ---- ranking ---- */

static struct json_object *course(const struct candidate *c, const char *kind)
{
    return c->reply ? cli_find_course(c->reply, kind) : NULL;
}

static bool completes(struct json_object *course)
{
    const char *outcome = course ? cli_string(course, "outcome") : NULL;

    return outcome && strcmp(outcome, "completed") == 0;
}

static bool surely(struct json_object *course)
{
    return completes(course) && !isnan(cli_number(course, "latest_seconds"));
}

static void judge(struct candidate *c)
{
    struct json_object *wait = course(c, "wait");
    struct json_object *policy = course(c, "policy");

    c->seconds = NAN;
    if (!c->reply)
        c->goes = UNKNOWN;
    else if (surely(wait))
        c->goes = BY_ITSELF;
    else if (surely(policy))
        c->goes = BY_POLICY;
    else if (completes(policy) || completes(wait))
        c->goes = PERHAPS;
    else if (completes(course(c, "downtime")) || completes(course(c, "throttle")))
        c->goes = NEEDS_PERMISSION;
    else
        c->goes = NEVER;
    if (c->goes <= PERHAPS)
        c->seconds = cli_number(completes(policy) ? policy : wait, "elapsed_seconds");
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;

    if (x->goes != y->goes)
        return x->goes < y->goes ? -1 : 1;
    if (x->seconds < y->seconds || x->seconds > y->seconds)
        return x->seconds < y->seconds ? -1 : 1;
    return strcmp(cli_string(x->domain, "vm"), cli_string(y->domain, "vm"));
}

/* ---- telling ---- */

/* What one permission would do; nothing if that is not to end it. */
static void add_need(struct json_object *needs, struct json_object *course, const char *field,
                     const char *value)
{
    struct json_object *need;

    if (!completes(course))
        return;
    need = json_object_new_object();
    json_object_object_add(need, "field", json_object_new_string(field));
    json_object_object_add(need, "value", json_object_new_string(value));
    cli_add_number(need, "elapsed_seconds", cli_number(course, "elapsed_seconds"));
    cli_add_number(need, "downtime_seconds", cli_number(course, "downtime_seconds"));
    cli_add_number(need, "work_lost_seconds", cli_number(course, "work_lost_seconds"));
    json_object_array_add(needs, need);
}

static struct json_object *needs_of(const struct candidate *c)
{
    struct json_object *needs = json_object_new_array();
    struct json_object *downtime = course(c, "downtime");
    char value[CLI_TEXT_MAX];

    if (c->goes != NEEDS_PERMISSION)
        return needs;
    snprintf(value, sizeof(value), "%.1fs",
             ceil(cli_number(downtime, "downtime_seconds") * 11) / 10);
    add_need(needs, downtime, "max_downtime", value);
    add_need(needs, course(c, "throttle"), "allow_throttle", "yes");
    return needs;
}

/* done_s: when it has gone if they go one after another; NAN: it does not. */
static struct json_object *to_json(const struct candidate *c, size_t rank, double done_s)
{
    struct json_object *o = json_object_new_object();
    struct json_object *policy = course(c, "policy");
    struct json_object *goes_by = completes(policy) ? policy : course(c, "wait");
    bool known = c->goes <= PERHAPS;

    json_object_object_add(o, "rank", json_object_new_int64((int64_t)rank));
    json_object_object_add(o, "vm", json_object_get(json_object_object_get(c->domain, "vm")));
    json_object_object_add(o, "uuid", json_object_get(json_object_object_get(c->domain, "uuid")));
    json_object_object_add(o, "goes", json_object_new_string(goes_names[c->goes]));
    cli_add_number(o, "elapsed_seconds", c->seconds);
    cli_add_number(o, "done_seconds", done_s);
    cli_add_number(o, "downtime_seconds", known ? cli_number(goes_by, "downtime_seconds") : NAN);
    cli_add_number(o, "work_lost_seconds", known ? cli_number(goes_by, "work_lost_seconds") : NAN);
    json_object_object_add(o, "needs", needs_of(c));
    json_object_object_add(o, "error", c->error ? json_object_new_string(c->error) : NULL);
    json_object_object_add(o, "prediction", json_object_get(c->reply));
    return o;
}

static struct json_object *all_to_json(const struct ranking *r)
{
    struct json_object *o = json_object_new_object();
    struct json_object *vms = json_object_new_array();
    double total_s = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct candidate *c = &r->candidate[i];

        total_s += isnan(c->seconds) ? 0 : c->seconds;
        json_object_array_add(vms, to_json(c, i + 1, isnan(c->seconds) ? NAN : total_s));
    }
    json_object_object_add(o, "vms", vms);
    cli_add_number(o, "total_seconds", total_s);
    return o;
}

static void describe_needs(struct json_object *vm, char *text, size_t size)
{
    struct json_object *needs = cli_array(vm, "needs");
    const char *error = cli_string(vm, "error");
    char a[CLI_TEXT_MAX];
    char b[CLI_TEXT_MAX];
    size_t len = (size_t)snprintf(text, size, "%s", error ? error : "");

    for (size_t i = 0; i < cli_array_length(needs) && len < size; i++) {
        struct json_object *need = json_object_array_get_idx(needs, i);

        len +=
            (size_t)snprintf(text + len, size - len, "%s%s=%s (%s, lost %s)", i > 0 ? ", or " : "",
                             cli_string(need, "field"), cli_string(need, "value"),
                             cli_seconds(cli_number(need, "elapsed_seconds"), a),
                             cli_seconds(cli_number(need, "work_lost_seconds"), b));
    }
}

static void print_table(const struct cli *cli, struct json_object *vms)
{
    static const struct cli_column columns[] = {
        {"VM", CLI_NAME},       {"GOES", CLI_LEFT},      {"TAKES", CLI_RIGHT, 1},
        {"GONE AT", CLI_RIGHT}, {"DOWNTIME", CLI_RIGHT}, {"LOST", CLI_RIGHT},
        {"NEEDS", CLI_TEXT},
    };
    struct cli_table *table = cli_table_new(cli, columns, sizeof(columns) / sizeof(columns[0]));

    for (size_t i = 0; i < cli_array_length(vms); i++) {
        struct json_object *vm = json_object_array_get_idx(vms, i);
        char text[4][CLI_TEXT_MAX];
        char needs[400];

        describe_needs(vm, needs, sizeof(needs));
        cli_table_row(table, (const char *const[]){
                                 cli_string(vm, "vm"), cli_string(vm, "goes"),
                                 cli_seconds(cli_number(vm, "elapsed_seconds"), text[0]),
                                 cli_seconds(cli_number(vm, "done_seconds"), text[1]),
                                 cli_seconds(cli_number(vm, "downtime_seconds"), text[2]),
                                 cli_seconds(cli_number(vm, "work_lost_seconds"), text[3]), needs});
    }
    cli_table_print(table);
}

static void print_sum(const struct ranking *r, struct json_object *all)
{
    char total[CLI_TEXT_MAX];
    size_t goes = 0;

    for (size_t i = 0; i < r->n; i++)
        goes += r->candidate[i].goes <= PERHAPS;
    cli_line("\n%zu of %zu go as things are, one after another in %s.", goes, r->n,
             cli_seconds(cli_number(all, "total_seconds"), total));
}

int cli_rank(const struct cli *cli)
{
    CLEANUP(cleanup_ranking) struct ranking r = {.cli = cli};
    AUTO_JSON struct json_object *all = NULL;
    int code = cli_call(cli, "io.migpolicy.Domains", NULL, &r.domains);

    if (code == CLI_OK)
        code = choose(&r);
    if (code == CLI_OK)
        code = measure(&r);
    if (code != CLI_OK)
        return code;
    for (size_t i = 0; i < r.n; i++)
        judge(&r.candidate[i]);
    qsort(r.candidate, r.n, sizeof(*r.candidate), compare);
    all = all_to_json(&r);
    if (cli->json) {
        cli_print_json(all);
    } else if (r.n > 0) {
        print_table(cli, cli_array(all, "vms"));
        if (!cli->quiet)
            print_sum(&r, all);
    } else if (!cli->quiet) {
        cli_line("no VM is running");
    }
    return CLI_OK;
}
