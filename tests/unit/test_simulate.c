/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy simulate, run as the command it is (MIGPOLICY names it, as meson does), and its parts.
 */
#include "agent/cli/simulate_curve.h"
#include "agent/cli/simulate_plot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wchar.h>

#include "common/cleanup.h"
#include "common/json.h"
#include "common/json_strict.h"

/* Writes 200 MiB/s to 256 MiB, which 1 Gbit/s does not carry. */
#define BUSY_GUEST "--dirty-rate 200MiB/s --hot 256MiB "

enum { OUTPUT_MAX = 256 * 1024 };

/* What the command printed, errors included; and its exit code. */
static char output[OUTPUT_MAX];

static int simulate_in(const char *locale, const char *flags)
{
    const char *command = getenv("MIGPOLICY");
    char line[1024];
    size_t len;
    FILE *f;
    int status;

    if (!command)
        fail_msg("MIGPOLICY must name the command");
    snprintf(line, sizeof(line), "LC_ALL=%s '%s' simulate %s 2>&1", locale, command, flags);
    f = popen(line, "r"); /* NOLINT(cert-env33-c): our own words */
    assert_non_null(f);
    len = fread(output, 1, sizeof(output) - 1, f);
    output[len] = '\0';
    status = pclose(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int simulate_command(const char *flags)
{
    return simulate_in("C.UTF-8", flags);
}

static void assert_shown(const char *text)
{
    if (!strstr(output, text))
        fail_msg("\"%s\" is not in:\n%s", text, output);
}

static void assert_refused(const char *flags, int code, const char *error)
{
    char line[400];

    assert_int_equal(simulate_command(flags), code);
    snprintf(line, sizeof(line), "migpolicy: %s\n", error);
    assert_string_equal(output, line);
}

static struct json_object *simulate_json(const char *flags)
{
    struct json_object *report;
    char line[512];

    snprintf(line, sizeof(line), "--json %s", flags);
    assert_int_equal(simulate_command(line), 0);
    assert_int_equal(json_strict_parse(output, strlen(output), &report, NULL), 0);
    return report;
}

static struct json_object *get(struct json_object *object, const char *key)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, key, &value))
        fail_msg("no %s in %s", key, json_object_to_json_string(object));
    return value;
}

static double get_number(struct json_object *object, const char *key)
{
    struct json_object *value = get(object, key);

    assert_true(json_object_is_type(value, json_type_double) ||
                json_object_is_type(value, json_type_int));
    return json_object_get_double(value);
}

static void assert_text(struct json_object *object, const char *key, const char *text)
{
    assert_string_equal(json_object_get_string(get(object, key)), text);
}

/* ---- outcomes ---- */

static void without_a_policy_a_busy_guest_is_still_running(void **state)
{
    (void)state;
    assert_int_equal(simulate_command(BUSY_GUEST), 0);
    assert_shown("With the policy: still running after 10m00s, guest work lost 0 s, ");
    assert_shown("Without the policy: still running after 10m00s, guest work lost 0 s, ");
    assert_shown("needs-help");
    assert_shown("not-approved");
}

static void an_approved_throttle_ends_it(void **state)
{
    (void)state;
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle"), 0);
    assert_shown("With the policy: completed after ");
    assert_shown(", downtime 0.3");
    assert_shown("Without the policy: still running after 10m00s, ");
    assert_shown("throttle 20%");
    assert_shown("throttle-suffices");
}

static void a_deadline_that_cancels_shows_as_cancelled(void **state)
{
    (void)state;
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-cancel --deadline 1m"), 0);
    assert_shown("With the policy: cancelled after ");
}

static void a_proposed_action_is_in_brackets_and_not_done(void **state)
{
    (void)state;
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --mode observe"), 0);
    assert_shown("With the policy: still running after 10m00s, guest work lost 0 s, ");
    assert_shown("(throttle 20%)");
}

static void the_policy_of_a_file_is_tried_and_flags_override_it(void **state)
{
    char dir[] = "/tmp/test-simulate-XXXXXX";
    char path[64], flags[256];
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/policy.json", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"allow_throttle\": true}", f);
    assert_int_equal(fclose(f), 0);
    snprintf(flags, sizeof(flags), BUSY_GUEST "--policy %s", path);
    assert_int_equal(simulate_command(flags), 0);
    assert_shown("With the policy: completed after ");
    snprintf(flags, sizeof(flags), BUSY_GUEST "--policy %s --allow-throttle=no", path);
    assert_int_equal(simulate_command(flags), 0);
    assert_shown("With the policy: still running after ");
    unlink(path);
    rmdir(dir);
}

static void the_same_seed_makes_the_same_output_and_another_does_not(void **state)
{
    AUTO_FREE char *first = NULL;

    (void)state;
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --seed 7"), 0);
    first = strdup(output);
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --seed 7"), 0);
    assert_string_equal(output, first);
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --seed 8"), 0);
    assert_string_not_equal(output, first);
}

/* ---- the description ---- */

static double duration(const char *flags)
{
    struct json_object *report = simulate_json(flags);
    double seconds = get_number(report, "duration_seconds");

    json_object_put(report);
    return seconds;
}

static void memory_zero_pages_and_link_decide_how_long_an_idle_guest_takes(void **state)
{
    (void)state;
    assert_float_equal(duration("--noise 0% --link 100MB/s --memory 2GB"), 20, 0.5);
    assert_float_equal(duration("--noise 0% --link 100MB/s --memory 2GB --zero 1GB"), 10, 0.5);
    assert_float_equal(duration("--noise 0% --link 400MB/s --memory 2GB"), 5, 0.5);
    assert_float_equal(duration("--noise 0% --link 100MB/s --memory 2GB --flush 3s"), 23, 0.5);
    assert_float_equal(duration("--noise 0% --link 100MB/s --memory 2GB --zero 2GB"), 0.6, 0.4);
}

static void limit_and_for_are_heeded(void **state)
{
    (void)state;
    assert_float_equal(duration(BUSY_GUEST "--for 50s"), 50, 0.001);
    assert_true(duration(BUSY_GUEST "--limit 3s") < 50);
}

/* Two guests that differ in one thing, under a throttle. */
static double lost(const char *flags)
{
    char line[256];
    struct json_object *report;
    double seconds;

    snprintf(line, sizeof(line), BUSY_GUEST "--allow-throttle --noise 0%% %s", flags);
    report = simulate_json(line);
    seconds = get_number(report, "work_lost_seconds");
    json_object_put(report);
    return seconds;
}

static void what_a_throttle_costs_follows_the_guest(void **state)
{
    double plain = lost("");

    (void)state;
    assert_true(fabs(lost("--pattern sequential") - plain) > 0.01);
    assert_float_equal(lost("--vcpus 8"), plain, 1e-9);
    /* It uses less than the throttle would leave it. */
    assert_float_equal(lost("--busy 15%"), 0, 1e-9);
    assert_true(lost("--cpu-bound 10%") > plain);
}

static void the_memcached_curve_is_at_hand(void **state)
{
    struct json_object *report = simulate_json("--curve memcached --link 1Gbit/s --for 3m");
    double all;

    (void)state;
    /* 32 GiB, of which 6332 in 16392 pages are not zero. */
    all = 8392704.0 * 4096 * 6332 / 16392;
    assert_text(report, "outcome", "running");
    assert_true(get_number(report, "sent_bytes") > all);
    assert_true(get_number(report, "sent_bytes") < 1.8 * all);
    json_object_put(report);
}

static void devices_storage_and_qemus_own_throttle_are_modelled(void **state)
{
    (void)state;
    simulate_command("--memory 1GiB --devices 500MB --link 2Gbit/s --noise 0%");
    assert_shown("Without the policy: still running after 10m");
    assert_shown("given up then, --for lets it go on");
    simulate_command("--memory 1GiB --devices 500MB --link 2Gbit/s --noise 0% --limit 3s");
    assert_shown("Without the policy: completed after 6.3");
    simulate_command("--memory 1GiB --storage 5GB --link 2Gbit/s --noise 0%");
    assert_shown("Without the policy: completed after 24");
    simulate_command("--hot 400MiB --dirty-rate 400MB/s --auto-converge");
    assert_shown("Without the policy: completed");
    simulate_command("--hot 400MiB --dirty-rate 400MB/s");
    assert_shown("Without the policy: still running");
}

static void phases_links_that_change_and_shared_limits_are_modelled(void **state)
{
    (void)state;
    simulate_command(BUSY_GUEST "--noise 0%");
    assert_shown("Without the policy: still running");
    /* It rests long enough. */
    simulate_command(BUSY_GUEST "--noise 0% --phases 60s:100%,5s:0%");
    assert_shown("Without the policy: completed after 61.");
    simulate_command("--memory 1GiB --link 1Gbit/s --noise 0%");
    assert_shown("Without the policy: completed after 8.6");
    simulate_command("--memory 1GiB --link 1Gbit/s --noise 0% --link-changes 4s:10%,14s:100%");
    assert_shown("Without the policy: completed after 17.6");
    /* A quarter of what it writes with two CPUs of its own. */
    simulate_command(BUSY_GUEST "--noise 0% --vcpus 8 --shared-cpu 200%");
    assert_shown("Without the policy: completed");
    simulate_command(BUSY_GUEST "--vcpus 1000 --allow-throttle");
    assert_shown("With the policy: completed");
}

static void a_long_story_is_cut_and_says_so(void **state)
{
    unsigned lines = 0;

    (void)state;
    simulate_command(
        "--memory 4GiB --hot 2GiB --dirty-rate 300MiB/s --phases 20s:100%,10s:30% --noise 20%"
        " --link 960Mbit/s --allow-throttle --min-cpu 60% --deadline 3h --for 2h");
    assert_shown("more changes, which -a shows");
    for (const char *p = output; (p = strchr(p, '\n')); p++)
        lines++;
    assert_true(lines <= 48);
}

static void many_seeds_are_told_as_a_distribution(void **state)
{
    (void)state;
    assert_int_equal(simulate_command("--hot 1GiB --dirty-rate 300MB/s --noise 20% --seeds 20"
                                      " --allow-throttle --max-downtime 1s"),
                     0);
    assert_shown("With the policy: 20 completed, 0 cancelled, 0 still running");
    assert_shown("Without the policy: 0 completed, 0 cancelled, 20 still running");
    assert_shown("guest work lost");
    assert_null(strstr(output, "VERDICT"));
    assert_int_equal(simulate_command("--seeds 3 --json"), 0);
    assert_shown("\"median\"");
    assert_refused("--seeds 1", 2, "--seeds: \"1\" is not a number from 2 to 10000");
}

static void what_makes_no_sense_is_refused_in_one_line(void **state)
{
    (void)state;
    assert_refused("--memory 4", 2, "--memory: \"4\" is not a size such as 512MiB or 4GB");
    assert_refused("--memory 4KiB", 2, "--memory: \"4KiB\" is not a size from 1MiB to 1024TiB");
    assert_refused("--zero 5GiB", 2, "--zero: \"5GiB\" is not a part of the guest's memory");
    assert_refused("--hot 1GiB", 2,
                   "--hot says where the guest writes; say how fast: --dirty-rate");
    assert_refused(BUSY_GUEST "--zero 4GiB", 2,
                   "what it writes to and --zero are more than the guest's memory");
    assert_refused("--vcpus 1025", 2, "--vcpus: \"1025\" is not a number from 1 to 1024");
    assert_refused("--seed -1", 2, "--seed: \"-1\" is not a number from 0 to 2^64 - 1");
    assert_refused("--busy 0%", 2, "--busy: \"0%\" is not a share from 1% to 100%");
    assert_refused("--pattern up", 2, "--pattern: \"up\" is not sequential or random");
    assert_refused("--link 8", 2, "--link: \"8\" is not a rate such as 100MiB/s or 1Gbit/s");
    assert_refused("--max-downtime 2", 2,
                   "--max-downtime: \"2\" is not a duration such as 500ms, 2s or 1m30s");
    assert_refused("--phases 5s:10%", 2,
                   "--phases says when it writes; say how fast: --dirty-rate");
    assert_refused(BUSY_GUEST "--phases 5s:10%,", 2,
                   "--phases: \"5s:10%,\" is not a list of times and shares up to 1000% such as "
                   "25s:100%,5s:10%");
    assert_refused(
        "--link-changes 2m:10%,1m:50%", 2,
        "--link-changes: \"2m:10%,1m:50%\" is not one time after the other, each with at "
        "least 0.1%");
    assert_refused("--shared-cpu 0%", 2, "--shared-cpu: \"0%\" is not a share of at least 1%");
    assert_refused("--curve memcached --hot 1GiB", 2,
                   "--hot: a curve says that already; leave out one of them");
    assert_refused("--json --plot", 2, "--plot: there is no plot in JSON; leave out one of them");
    assert_refused("vm1", 2, "simulate takes only options; what is \"vm1\"?");
    assert_refused("--curve /nonexistent", 4, "/nonexistent: there is no such file");
    assert_int_equal(simulate_command("--seed 18446744073709551615 --for 1s"), 0);
}

/* ---- curves ---- */

static void assert_bad_curve(const char *text, unsigned line, const char *reason)
{
    struct simulate_curve untouched = {.n = 77};
    struct error err;

    assert_true(simulate_curve_parse(text, strlen(text), &untouched, &err) < 0);
    assert_int_equal(untouched.n, 77);
    assert_int_equal(err.line, line);
    assert_string_equal(err.text, reason);
}

static void a_curve_is_read(void **state)
{
    static const char text[] = "{\"guest_bytes\": 1e9, \"points\": ["
                               "{\"seconds\": 0.5, \"dirty_bytes\": 1000},"
                               "{\"seconds\": 2, \"dirty_bytes\": 1000.5}]}";
    struct simulate_curve curve;
    struct error err;

    (void)state;
    assert_int_equal(simulate_curve_parse(text, strlen(text), &curve, &err), 0);
    assert_true(curve.guest_bytes == 1e9);
    assert_int_equal(curve.n, 2);
    assert_true(curve.point[0].seconds == 0.5 && curve.point[0].bytes == 1000);
    assert_true(curve.point[1].seconds == 2 && curve.point[1].bytes == 1000.5);
    simulate_curve_clear(&curve);
}

static void a_bad_curve_is_refused_with_its_line(void **state)
{
    static const char head[] = "{\"guest_bytes\": 1e9, \"points\": [\n";
    char many[65536];
    size_t len;

    (void)state;
    assert_bad_curve("", 1, "unexpected end of text");
    assert_bad_curve("null", 1, "must be an object of \"guest_bytes\" and \"points\"");
    assert_bad_curve("{\"guest_bytes\": 1e9}", 1,
                     "must be an object of \"guest_bytes\" and \"points\"");
    assert_bad_curve("{\"guest_bytes\": 1e9, \"points\": [], \"more\": 1}", 1,
                     "must be an object of \"guest_bytes\" and \"points\"");
    assert_bad_curve("{\"guest_bytes\": \"4GiB\",\n\"points\": 1}", 1,
                     "/guest_bytes: must be a number");
    assert_bad_curve("{\n\"guest_bytes\": 0, \"points\": 1}", 2,
                     "/guest_bytes: must be at least 1048576");
    assert_bad_curve("{\"guest_bytes\": 1e300,\"points\": 1}", 1,
                     "/guest_bytes: must be at most 1125899906842624");
    assert_bad_curve("{\"guest_bytes\": 1e9,\n\"points\": []}", 2,
                     "/points: must be an array of 1 to 1000 points");
    assert_bad_curve("{\"guest_bytes\": 1e9, \"points\": [\n{\"seconds\": 1}]}", 2,
                     "/points/0: must be an object of \"seconds\" and \"dirty_bytes\"");
    assert_bad_curve("{\"guest_bytes\": 1e9, \"points\": [\n"
                     "{\"seconds\": 0, \"dirty_bytes\": 0}]}",
                     2, "/points/0: must be later than 0");
    assert_bad_curve(
        "{\"guest_bytes\": 1e9, \"points\": [\n"
        "{\"seconds\": 1, \"dirty_bytes\": 5},\n{\"seconds\": 1, \"dirty_bytes\": 6}]}",
        3, "/points/1: must be later than the point before");
    assert_bad_curve(
        "{\"guest_bytes\": 1e9, \"points\": [\n"
        "{\"seconds\": 1, \"dirty_bytes\": 5},\n{\"seconds\": 2, \"dirty_bytes\": 4}]}",
        3, "/points/1/dirty_bytes: must be at least 5");
    assert_bad_curve("{\"guest_bytes\": 1e9, \"points\": [\n"
                     "{\"seconds\": 1, \"dirty_bytes\": 2e9}]}",
                     2, "/points/0/dirty_bytes: must be at most 1000000000");
    assert_bad_curve("{\"guest_bytes\": 1e9, \"guest_bytes\": 1e9}", 1, "duplicate key");

    len = (size_t)snprintf(many, sizeof(many), "%s", head);
    for (unsigned i = 1; i <= 1001; i++)
        len += (size_t)snprintf(many + len, sizeof(many) - len,
                                "%s{\"seconds\": %u, \"dirty_bytes\": 9}", i > 1 ? "," : "", i);
    snprintf(many + len, sizeof(many) - len, "]}");
    assert_bad_curve(many, 1, "/points: must be an array of 1 to 1000 points");
}

static void a_curve_of_a_file_is_simulated_or_refused_by_name_and_line(void **state)
{
    char dir[] = "/tmp/test-simulate-XXXXXX";
    char path[64], flags[256], error[256];
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/curve.json", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"guest_bytes\": 1e9,\n\"points\": [{\"seconds\": 1, \"dirty_bytes\": 2e8}]}", f);
    assert_int_equal(fclose(f), 0);
    snprintf(flags, sizeof(flags), "--curve %s --for 1m", path);
    assert_int_equal(simulate_command(flags), 0);
    assert_shown("still running after 60.0 s");
    snprintf(flags, sizeof(flags), "--curve %s --zero 900MB", path);
    assert_refused(flags, 2, "what it writes to and --zero are more than the guest's memory");

    f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"guest_bytes\": 1e9,\n\"points\": 5}", f);
    assert_int_equal(fclose(f), 0);
    snprintf(flags, sizeof(flags), "--curve %s", path);
    snprintf(error, sizeof(error), "%s:2: /points: must be an array of 1 to 1000 points", path);
    assert_refused(flags, 1, error);
    unlink(path);
    rmdir(dir);
}

/* ---- JSON ---- */

static void json_says_what_the_table_says(void **state)
{
    struct json_object *report = simulate_json(BUSY_GUEST "--allow-throttle");
    struct json_object *without = get(report, "without_policy");
    struct json_object *steps = get(report, "steps");
    unsigned throttles = 0;

    (void)state;
    assert_int_equal(get_number(report, "schema_version"), 1);
    assert_text(report, "outcome", "completed");
    assert_true(get_number(report, "downtime_seconds") > 0.1);
    assert_true(get_number(report, "work_lost_seconds") > get_number(report, "downtime_seconds"));
    assert_true(get_number(report, "sent_bytes") > 4e9);
    assert_text(without, "outcome", "running");
    assert_float_equal(get_number(without, "duration_seconds"), 600, 0.001);
    assert_null(get(without, "downtime_seconds"));
    assert_true(json_object_array_length(steps) >= 4);
    for (size_t i = 0; i < json_object_array_length(steps); i++) {
        struct json_object *step = json_object_array_get_idx(steps, i);
        struct json_object *actions = get(get(step, "decision"), "actions");

        get_number(step, "elapsed_seconds");
        get_number(step, "iteration");
        get_number(step, "memory_remaining_bytes");
        get(step, "dirty_rate_bytes_per_second");
        get(step, "transfer_rate_bytes_per_second");
        if (i == 0)
            assert_null(get(step, "forecast_ends"));
        if (json_object_array_length(actions) > 0) {
            assert_non_null(get(step, "forecast_ends"));
            assert_false(json_object_get_boolean(get(step, "forecast_ends")));
        }
        for (size_t k = 0; k < json_object_array_length(actions); k++) {
            struct json_object *action = json_object_array_get_idx(actions, k);

            assert_text(action, "action", "throttle");
            assert_text(action, "result", "applied");
            assert_float_equal(get_number(action, "cpu_limit_ratio"), 0.2, 1e-9);
            throttles++;
        }
    }
    assert_int_equal(throttles, 1);
    json_object_put(report);
}

static void all_shows_every_look(void **state)
{
    struct json_object *few = simulate_json(BUSY_GUEST "--for 60s");
    struct json_object *all = simulate_json(BUSY_GUEST "--for 60s --all");

    (void)state;
    assert_true(json_object_array_length(get(few, "steps")) < 20);
    assert_true(json_object_array_length(get(all, "steps")) >= 240);
    json_object_put(few);
    json_object_put(all);
}

/* ---- the plot ---- */

static char *plot(bool utf8, const struct plot_point *point, size_t n, const struct plot_mark *mark,
                  size_t n_marks)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    simulate_plot(f, utf8, point, n, mark, n_marks);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void no_line_of_a_plot_is_longer_than_80_columns(void **state)
{
    static const char *const locales[] = {"C", "C.UTF-8"};

    (void)state;
    setlocale(LC_CTYPE, "C.UTF-8");
    for (unsigned i = 0; i < 2; i++) {
        char *plotted;

        assert_int_equal(simulate_in(locales[i], BUSY_GUEST
                                     "--memory 1023GiB --allow-throttle --max-downtime 1s"
                                     " --for 1d --link 10Gbit/s --plot"),
                         0);
        plotted = strstr(output, "\n\n");
        assert_non_null(plotted);
        plotted = strstr(plotted + 1, "\n\n");
        assert_non_null(plotted);
        for (char *line = strtok(plotted, "\n"); line; line = strtok(NULL, "\n")) {
            size_t width = mbstowcs(NULL, line, 0);

            assert_true(width <= 80);
            if (i == 0)
                assert_int_equal(width, strspn(line, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHI"
                                                     "JKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwx"
                                                     "yz|"));
        }
    }
}

static void a_plot_fills_what_is_left_and_marks_actions(void **state)
{
    static const struct plot_point falling[] = {{0, 16384}, {68, 0}};
    static const struct plot_mark marks[] = {{0, 'D'}, {0, 'T'}, {67.99, 'R'}};
    AUTO_FREE char *text = plot(false, falling, 2, marks, 3);
    const char *line = text;

    (void)state;
    assert_memory_equal(line, "   16 KiB |##...\n", 17);
    for (unsigned row = 0; row < 15; row++)
        line = strchr(line, '\n') + 1;
    /* The lowest of 16 rows: more than half of it is filled until 2/68 of the time are left. */
    assert_memory_equal(line, "          |", 11);
    assert_int_equal(strspn(line + 11, "#"), 65);
    line = strchr(line, '\n') + 1;
    assert_memory_equal(line, "      0 B +----", 15);
    line = strchr(line, '\n') + 1;
    assert_memory_equal(line, "           DT ", 14);
    assert_int_equal(line[11 + 66], 'R');
    line = strchr(line, '\n') + 1;
    assert_memory_equal(line, "           0  ", 14);
    assert_non_null(strstr(line, "34.0 s"));
    assert_non_null(strstr(line, "68.0 s\n"));
}

static void a_plot_of_one_point_or_of_nothing_left_is_no_harm(void **state)
{
    static const struct plot_point one = {0, 5};
    static const struct plot_point nothing[] = {{0, 0}, {1, 0}};

    (void)state;
    free(plot(true, &one, 1, NULL, 0));
    free(plot(true, nothing, 2, NULL, 0));
}

/* ---- the picture ---- */

static void a_picture_shows_what_was_decided_and_is_the_same_for_the_same_run(void **state)
{
    AUTO_FREE char *first = NULL;

    (void)state;
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --svg"), 0);
    assert_int_equal(strncmp(output, "<!-- SPDX-License-Identifier", 28), 0);
    assert_string_equal(output + strlen(output) - strlen("</svg>\n"), "</svg>\n");
    assert_shown(">With the policy: completed after ");
    assert_shown(">Without the policy: still running after ");
    assert_shown(">throttle 20%: throttling the vCPUs alone ends it<");
    assert_shown("<circle class=\"done\"");
    assert_shown("<title>needs-help</title>");
    assert_shown("<title>20%</title>");
    assert_shown("<title>does not end</title>");
    assert_null(strstr(output, "nan"));
    assert_null(strstr(output, "inf"));
    first = strdup(output);
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --svg"), 0);
    assert_string_equal(output, first);
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --svg --seed 8"), 0);
    assert_string_not_equal(output, first);
    assert_int_equal(simulate_command(BUSY_GUEST "--allow-throttle --mode observe --for 60s --svg"),
                     0);
    assert_shown("(throttle 20%)");
    assert_null(strstr(output, "<circle class=\"done\""));
    assert_refused("--svg --json", 2,
                   "--svg prints a picture alone; leave out --json, --plot and -a");
    assert_refused("--svg --seeds 3", 2,
                   "--seeds: --plot, --svg and -a tell of one run; leave out one of them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_policy_a_busy_guest_is_still_running),
        cmocka_unit_test(an_approved_throttle_ends_it),
        cmocka_unit_test(a_deadline_that_cancels_shows_as_cancelled),
        cmocka_unit_test(a_proposed_action_is_in_brackets_and_not_done),
        cmocka_unit_test(the_policy_of_a_file_is_tried_and_flags_override_it),
        cmocka_unit_test(the_same_seed_makes_the_same_output_and_another_does_not),
        cmocka_unit_test(memory_zero_pages_and_link_decide_how_long_an_idle_guest_takes),
        cmocka_unit_test(limit_and_for_are_heeded),
        cmocka_unit_test(what_a_throttle_costs_follows_the_guest),
        cmocka_unit_test(the_memcached_curve_is_at_hand),
        cmocka_unit_test(devices_storage_and_qemus_own_throttle_are_modelled),
        cmocka_unit_test(phases_links_that_change_and_shared_limits_are_modelled),
        cmocka_unit_test(a_long_story_is_cut_and_says_so),
        cmocka_unit_test(many_seeds_are_told_as_a_distribution),
        cmocka_unit_test(what_makes_no_sense_is_refused_in_one_line),
        cmocka_unit_test(a_curve_is_read),
        cmocka_unit_test(a_bad_curve_is_refused_with_its_line),
        cmocka_unit_test(a_curve_of_a_file_is_simulated_or_refused_by_name_and_line),
        cmocka_unit_test(json_says_what_the_table_says),
        cmocka_unit_test(all_shows_every_look),
        cmocka_unit_test(no_line_of_a_plot_is_longer_than_80_columns),
        cmocka_unit_test(a_plot_fills_what_is_left_and_marks_actions),
        cmocka_unit_test(a_plot_of_one_point_or_of_nothing_left_is_no_harm),
        cmocka_unit_test(a_picture_shows_what_was_decided_and_is_the_same_for_the_same_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
