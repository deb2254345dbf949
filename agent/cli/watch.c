/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy watch: the table of status, renewed every second, with a graph of the rates.
 *
 * The daemon is asked once a second, over a connection each time: what it tells changes no faster
 * than people read, and a daemon that is restarted meanwhile is found again. Plain escape sequences
 * suffice for a screen that is only ever drawn as a whole.
 */
#include <langinfo.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "agent/cli/cli.h"

enum { COLOR };
static const struct cli_option watch_options[] = {
    [COLOR] = {"color", "auto|always|never", "whether to use colours", .one_of = true},
    {NULL},
};

enum { INTERVAL_MS = 1000, ANSWER_MS = 2000, POINTS = 240, LABEL = 10, VALUE = 14 };

/* Another screen, no cursor, no wrapping of long lines; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

/* What was seen of one migration. */
struct seen {
    struct seen *next;
    char uuid[64];
    double dirty_bps[POINTS], transfer_bps[POINTS];
    unsigned points; /* ever; the rings hold the last POINTS */
    bool active;
    char line[128]; /* what a change is judged by, without a screen */
};

struct watch {
    const struct cli *cli;
    const char *vm; /* NULL: all */
    struct json_object *migrations;
    struct seen *seen;
    const char *trouble; /* the daemon does not answer; NULL: it does */
    bool color, utf8;
};

/* ---- what is seen ---- */

static void cleanup_watch(struct watch *w)
{
    while (w->seen) {
        struct seen *s = w->seen;

        w->seen = s->next;
        free(s);
    }
    json_object_put(w->migrations);
}

static struct seen *find(struct watch *w, struct json_object *m)
{
    const char *uuid = cli_string(m, "uuid");
    struct seen *s = w->seen;

    while (s && strcmp(s->uuid, uuid ? uuid : "") != 0)
        s = s->next;
    if (!s) {
        s = alloc_need(calloc(1, sizeof(*s)));
        snprintf(s->uuid, sizeof(s->uuid), "%s", uuid ? uuid : "");
        s->next = w->seen;
        w->seen = s;
    }
    return s;
}

/* Ended migrations are only shown if their end was seen, or a VM was asked for. */
static void drop_old(struct watch *w)
{
    for (size_t i = cli_array_length(w->migrations); i-- > 0;) {
        struct json_object *m = json_object_array_get_idx(w->migrations, i);

        if (!cli_is(m, "active", true) && (!w->vm || cli_is_pattern(w->vm)) &&
            find(w, m)->points == 0)
            json_object_array_del_idx(w->migrations, i, 1);
    }
}

static void take_points(struct watch *w)
{
    for (size_t i = 0; i < cli_array_length(w->migrations); i++) {
        struct json_object *m = json_object_array_get_idx(w->migrations, i);
        struct seen *s = find(w, m);

        if (!cli_is(m, "active", true))
            continue;
        s->dirty_bps[s->points % POINTS] = cli_number(m, "dirty_rate_bytes_per_second");
        s->transfer_bps[s->points++ % POINTS] = cli_number(m, "transfer_rate_bytes_per_second");
    }
}

/* Takes over the reply. */
static void take_reply(struct watch *w, struct json_object *reply)
{
    json_object_put(w->migrations);
    w->migrations = json_object_get(cli_array(reply, "migrations"));
    json_object_put(reply);
    if (w->vm && cli_is_pattern(w->vm))
        cli_keep_matching(w->migrations, w->vm);
    drop_old(w);
    take_points(w);
}

/*
 * Without reporting what fails: on a screen that is tried again. Nor for long: meanwhile nobody can
 * interrupt it.
 */
static void ask_again(struct watch *w)
{
    struct cli cli = *w->cli;
    AUTO_FREE char *error = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    int r;

    cli.answer_ms = ANSWER_MS;
    r = cli_try_call(&cli, "io.migpolicy.Status", cli_status_parameters(w->vm, true), &error,
                     &reply);
    w->trouble = r < 0   ? "migpolicyd cannot be reached; trying again"
                 : error ? "migpolicyd knows nothing of this VM now"
                         : NULL;
    if (!w->trouble)
        take_reply(w, STEAL(reply));
}

/* ---- on a screen ---- */

static const char *level(const struct watch *w, double value, double highest)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[] = {"_", ".", "-", ":", "=", "+", "*", "#"};
    int i = highest > 0 ? (int)(value / highest * 7.999) : 0;

    if (!isfinite(value))
        return " ";
    return (w->utf8 ? blocks : letters)[i < 0 ? 0 : i > 7 ? 7 : i];
}

/* Both lines of a graph have the scale of the highest value, so that they can be compared. */
static void print_rate(FILE *f, const struct watch *w, const struct seen *s, const char *label,
                       const double *ring, const char *color, double highest, unsigned width)
{
    unsigned n = s->points < width ? s->points : width;
    char text[CLI_TEXT_MAX];

    fprintf(f, "%-*s%s", LABEL, label, w->color ? color : "");
    for (unsigned i = s->points - n; i < s->points; i++)
        fputs(level(w, ring[i % POINTS], highest), f);
    fprintf(f, "%s %s\n", w->color ? "\033[0m" : "",
            cli_rate(n > 0 ? ring[(s->points - 1) % POINTS] : NAN, text));
}

static void print_graph(FILE *f, struct watch *w, struct json_object *m, unsigned columns)
{
    const struct seen *s = find(w, m);
    AUTO_FREE char *vm = cli_escape(cli_string(m, "vm") ? cli_string(m, "vm") : "?");
    unsigned width = columns > LABEL + VALUE + 8 ? columns - LABEL - VALUE : 8;
    double highest = 0;

    if (width > POINTS)
        width = POINTS;
    for (unsigned i = s->points > width ? s->points - width : 0; i < s->points; i++)
        highest = fmax(highest, fmax(s->dirty_bps[i % POINTS], s->transfer_bps[i % POINTS]));
    fprintf(f, "\n%s\n", vm);
    print_rate(f, w, s, "dirtied", s->dirty_bps, "\033[33m", highest, width);
    print_rate(f, w, s, "sent", s->transfer_bps, "\033[32m", highest, width);
}

static char *make_frame(struct watch *w, unsigned columns)
{
    char *text = NULL;
    size_t size;
    FILE *f = alloc_need(open_memstream(&text, &size));
    size_t n = cli_array_length(w->migrations);

    if (n > 0) {
        AUTO_FREE char *table = cli_table_text(cli_status_table(w->cli, w->migrations));

        fprintf(f, "%s\n", table);
    } else if (!w->trouble) {
        fputs("no migration is under way\n", f);
    }
    if (w->trouble)
        fprintf(f, "%s\n", w->trouble);
    for (size_t i = 0; i < n; i++)
        print_graph(f, w, json_object_array_get_idx(w->migrations, i), columns);
    if (fclose(f) != 0)
        alloc_failed();
    return text;
}

/* The frame's first lines, as many as the terminal has. */
static void draw(struct watch *w)
{
    struct winsize size = {0};
    AUTO_FREE char *frame = NULL;
    unsigned rows = 0;

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (size.ws_row == 0 || size.ws_col == 0) /* as on a serial line */
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    frame = make_frame(w, size.ws_col);
    fputs("\033[H", stdout);
    for (char *line = frame, *end; (end = strchr(line, '\n')) && rows < size.ws_row;
         line = end + 1, rows++)
        printf("%s%.*s\033[K", rows > 0 ? "\r\n" : "", (int)(end - line), line);
    fputs("\033[J", stdout);
    fflush(stdout);
}

static struct termios saved;
static bool has_saved, on_screen;

static void leave_screen(void)
{
    if (!on_screen)
        return;
    on_screen = false;
    fputs(LEAVE, stdout);
    fflush(stdout);
    if (has_saved)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
}

/* Keys that are pressed are not to be shown in the middle of it. */
static void enter_screen(void)
{
    struct termios quiet;

    has_saved = tcgetattr(STDIN_FILENO, &saved) == 0;
    quiet = saved;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    if (has_saved)
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    on_screen = true;
    fputs(ENTER, stdout);
}

/* Returns the signal that came within the interval, or 0. */
static int wait_signal(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct signalfd_siginfo info;

    if (poll(&p, 1, INTERVAL_MS) <= 0 || read(fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    return (int)info.ssi_signo;
}

static int watch_screen(struct watch *w)
{
    AUTO_CLOSE int fd = -1;
    sigset_t set;
    int signo = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0)
        return cli_fail(CLI_ERROR, "signalfd: %m");
    atexit(leave_screen);
    enter_screen();
    while (!ferror(stdout)) {
        draw(w);
        signo = wait_signal(fd);
        if (signo == SIGTSTP) {
            leave_screen();
            raise(SIGSTOP);
            enter_screen();
        } else if (signo == 0) {
            ask_again(w);
        } else if (signo != SIGWINCH) {
            break;
        }
    }
    leave_screen();
    return CLI_OK;
}

/* ---- without a screen ---- */

static void print_change(struct watch *w, struct json_object *m)
{
    struct seen *s = find(w, m);
    bool active = cli_is(m, "active", true);
    const char *next = cli_string(m, "next_action");
    const char *verdict = cli_string(m, "verdict");
    const char *result = cli_string(m, "result");
    char text[4][CLI_TEXT_MAX];
    char line[sizeof(s->line)];

    snprintf(line, sizeof(line), "%.20s %.0f %.20s %.60s", verdict ? verdict : "?",
             cli_number(m, "iteration"), result ? result : "", next ? next : "");
    if (strcmp(line, s->line) == 0)
        return;
    memcpy(s->line, line, sizeof(line));
    if (active)
        cli_line("%s: %s, pass %.0f after %s: %s remain, dirtied %s, sent %s; %s",
                 cli_string(m, "vm"), verdict, cli_number(m, "iteration"),
                 cli_seconds(cli_number(m, "elapsed_seconds"), text[0]),
                 cli_bytes(cli_number(m, "memory_remaining_bytes"), text[1]),
                 cli_rate(cli_number(m, "dirty_rate_bytes_per_second"), text[2]),
                 cli_rate(cli_number(m, "transfer_rate_bytes_per_second"), text[3]),
                 next ? next : "nothing to do");
    else
        cli_line("%s: %s after %s, downtime %s, guest work lost %s", cli_string(m, "vm"), result,
                 cli_seconds(cli_number(m, "elapsed_seconds"), text[0]),
                 cli_seconds(cli_number(m, "downtime_seconds"), text[1]),
                 cli_seconds(cli_number(m, "work_lost_seconds"), text[2]));
}

/* What is under way every time; what has ended once. */
static void print_json(struct watch *w, struct json_object *m)
{
    struct seen *s = find(w, m);
    bool active = cli_is(m, "active", true);

    if (active || s->active || s->line[0] == '\0')
        cli_print_jsonl(m);
    s->active = active;
    s->line[0] = '+';
}

/* Waits; returns whether nobody reads the output any more, where that can be known. */
static bool is_deserted(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO};

    return poll(&p, 1, INTERVAL_MS) > 0 && p.revents & (POLLERR | POLLHUP);
}

static int watch_lines(struct watch *w)
{
    for (;;) {
        struct json_object *reply;
        int code;

        for (size_t i = 0; i < cli_array_length(w->migrations); i++) {
            struct json_object *m = json_object_array_get_idx(w->migrations, i);

            if (w->cli->json)
                print_json(w, m);
            else
                print_change(w, m);
        }
        if (fflush(stdout) != 0)
            return cli_fail(CLI_ERROR, "cannot write the output: %m");
        if (is_deserted()) {
            raise(SIGPIPE); /* as the next line would */
            return cli_fail(CLI_ERROR, "nobody reads the output");
        }
        code = cli_call(w->cli, "io.migpolicy.Status", cli_status_parameters(w->vm, true), &reply);
        if (code != CLI_OK)
            return code;
        take_reply(w, reply);
    }
}

static int watch(const struct cli *cli)
{
    const char *no_color = getenv("NO_COLOR");
    const char *when = cli->option[COLOR] ? cli->option[COLOR] : "auto";
    const char *terminal = getenv("TERM");
    CLEANUP(cleanup_watch)
    struct watch w = {
        .cli = cli,
        .color =
            strcmp(when, "always") == 0 || (strcmp(when, "auto") == 0 && !(no_color && *no_color)),
        .utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
    };
    struct json_object *reply;
    int code = cli->n_args > 0 ? cli_one_vm(cli, &w.vm) : CLI_OK;

    if (code == CLI_OK)
        code = cli_call(cli, "io.migpolicy.Status", cli_status_parameters(w.vm, true), &reply);
    if (code != CLI_OK)
        return code;
    take_reply(&w, reply);
    if (!cli->json && isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0)
        return watch_screen(&w);
    return watch_lines(&w);
}

const struct cli_verb cli_watch = {
    "watch", watch, "[VM]", "migrations under way, live", watch_options, .jsonl = true};
