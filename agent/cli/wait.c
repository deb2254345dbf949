/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migpolicy wait */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/cli/cli.h"
#include "common/units.h"

#define POLL_NS        (250 * NS_PER_MS)
#define TIMEOUT_MAX_NS (INT64_C(365) * 86400 * NS_PER_S)
/* How long the daemon may be away, and how long it may need to find a migration after a restart. */
#define AWAY_NS (30 * NS_PER_S)
#define LOST_NS (5 * NS_PER_S)

enum { TIMEOUT };
static const struct cli_option wait_options[] = {
    [TIMEOUT] = {"timeout", "DURATION", "for so long at most"},
    {NULL},
};

/* The migration waited for. */
struct waiting {
    const struct cli *cli;
    char vm[64];      /* "uuid:..." */
    double elapsed_s; /* when last seen; another migration of the VM begins anew */
    char began[32];   /* when the waiting did, as the history writes times */
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int report(const struct cli *cli, struct json_object *m)
{
    const char *result = cli_string(m, "result");
    const char *vm = cli_string(m, "vm");
    char took[CLI_TEXT_MAX], downtime[CLI_TEXT_MAX], lost[CLI_TEXT_MAX];

    result = result ? result : "?";
    vm = vm ? vm : "?";
    cli_seconds(cli_number(m, "elapsed_seconds"), took);
    if (cli->json)
        cli_print_json(m);
    if (strcmp(result, "completed") != 0)
        return cli_fail(CLI_MIGRATION_FAILED,
                        "the migration of \"%s\" %s after %s; see migpolicy "
                        "explain",
                        vm,
                        strcmp(result, "cancelled") == 0 ? "was cancelled"
                        : strcmp(result, "failed") == 0  ? "failed"
                                                         : "was lost from sight",
                        took);
    if (!cli->json && !cli->quiet)
        cli_line("%s: completed after %s, downtime %s, guest work lost %s", vm, took,
                 cli_seconds(cli_number(m, "downtime_seconds"), downtime),
                 cli_seconds(cli_number(m, "work_lost_seconds"), lost));
    return CLI_OK;
}

/* The daemon knows of it no longer, or of a newer one only: how it ended is on record, if at all.
 */
static int report_from_history(const struct waiting *w)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *list, *m;
    const char *ended;
    int code = cli_ask_history(w->cli, w->vm, 1, &reply);

    if (code != CLI_OK)
        return code;
    list = cli_array(reply, "migrations");
    m = cli_array_length(list) > 0 ? json_object_array_get_idx(list, 0) : NULL;
    ended = m ? cli_string(m, "ended") : NULL;
    if (!ended || strcmp(ended, w->began) < 0)
        return cli_fail(CLI_ERROR,
                        "how the migration of \"%s\" ended is not known: migpolicyd was "
                        "away meanwhile",
                        w->cli->args[0]);
    return report(w->cli, m);
}

/* The VM's migration in a reply to Status; NULL: there is none. Borrowed. */
static struct json_object *first(struct json_object *reply)
{
    struct json_object *list = cli_array(reply, "migrations");

    return cli_array_length(list) > 0 ? json_object_array_get_idx(list, 0) : NULL;
}

static int begin(struct waiting *w, const char *vm)
{
    AUTO_JSON struct json_object *reply = NULL;
    struct json_object *m;
    time_t now = time(NULL);
    struct tm tm;
    int code = cli_call(w->cli, "io.migpolicy.Status", cli_status_parameters(vm, false), &reply);

    if (code != CLI_OK)
        return code;
    m = first(reply);
    if (!m || !cli_string(m, "uuid"))
        return cli_fail(CLI_REFUSED,
                        "no migration of \"%s\" is under way; migpolicy history tells "
                        "of ended ones",
                        vm);
    snprintf(w->vm, sizeof(w->vm), "uuid:%s", cli_string(m, "uuid"));
    w->elapsed_s = cli_number(m, "elapsed_seconds");
    strftime(w->began, sizeof(w->began), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now, &tm));
    return CLI_OK;
}

/* Returns whether it has ended, with the exit code. away_ns: how long nothing was heard of it. */
static bool has_ended(struct waiting *w, int64_t away_ns, bool *ret_heard, int *ret_code)
{
    AUTO_JSON struct json_object *reply = NULL;
    AUTO_FREE char *error = NULL;
    int r = cli_try_call(w->cli, "io.migpolicy.Status", cli_status_parameters(w->vm, true), &error,
                         &reply);
    struct json_object *m = r == 0 && !error ? first(reply) : NULL;
    bool ended = true;

    *ret_heard = m != NULL;
    if (m && cli_is(m, "active", false)) {
        *ret_code = report(w->cli, m);
    } else if (m && cli_number(m, "elapsed_seconds") < w->elapsed_s) {
        *ret_code = report_from_history(w);
    } else if (m) {
        w->elapsed_s = cli_number(m, "elapsed_seconds");
        ended = false;
    } else if (r < 0 && away_ns > AWAY_NS) {
        *ret_code =
            cli_call(w->cli, "io.migpolicy.Status", cli_status_parameters(w->vm, true), &reply);
        ended = *ret_code != CLI_OK;
    } else if (r == 0 && away_ns > LOST_NS) {
        *ret_code = report_from_history(w);
    } else {
        ended = false;
    }
    return ended;
}

static int wait_for_end(const struct cli *cli)
{
    struct waiting w = {.cli = cli};
    int64_t timeout_ns = 0;
    int64_t start_ns = now_ns();
    int64_t heard_ns = start_ns;
    const char *vm;
    int code = cli_one_vm(cli, &vm);

    if (code != CLI_OK)
        return code;
    if (cli->option[TIMEOUT] &&
        (units_parse(UNIT_DURATION, cli->option[TIMEOUT], &timeout_ns) < 0 || timeout_ns < 1 ||
         timeout_ns > TIMEOUT_MAX_NS))
        return cli_fail(CLI_USAGE, "--timeout: \"%s\" is not %s, up to 365d", cli->option[TIMEOUT],
                        units_expected(UNIT_DURATION, cli->option[TIMEOUT]));
    code = begin(&w, vm);
    if (code != CLI_OK)
        return code;
    for (;;) {
        const struct timespec pause = {.tv_nsec = POLL_NS};
        int64_t now = now_ns();
        bool heard;

        if (has_ended(&w, now - heard_ns, &heard, &code))
            return code;
        if (heard)
            heard_ns = now;
        if (cli->option[TIMEOUT] && now - start_ns >= timeout_ns)
            return cli_fail(CLI_TIMEOUT, "the migration of \"%s\" is still under way after %s", vm,
                            cli->option[TIMEOUT]);
        nanosleep(&pause, NULL);
    }
}

const struct cli_verb cli_wait = {"wait", wait_for_end, "VM", "wait until its migration has ended",
                                  wait_options};
