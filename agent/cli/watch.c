/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migpolicy watch: the table of status, as Monitor tells it, with a graph of what remains and of
 * the rates.
 *
 * The daemon tells what has changed, once a second at most. A connection that breaks is made again,
 * so a daemon that is restarted meanwhile is found. Plain escape sequences suffice for a screen
 * that is only ever drawn as a whole.
 */
#include <errno.h>
#include <langinfo.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "agent/cli/cli.h"
#include "agent/cli/varlink_client.h"

enum { COLOR };
static const struct cli_option watch_options[] = {
    [COLOR] = {"color", "auto|always|never", "whether to use colours", .one_of = true},
    {NULL},
};

/* SILENT_MS: the daemon says something every 10 seconds. */
enum { INTERVAL_MS = 1000, SILENT_MS = 15000, ANSWER_MS = 2000, POINTS = 240 };
enum { LABEL = 10, VALUE = 14 };
/* Lines that are no rows: headings, how many there are, one graph, the keys. */
enum { BESIDE_TABLE = 8 };

/* Another screen, no cursor, no wrapping of long lines; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

/* What was seen of one migration. */
struct seen {
    struct seen *next;
    char uuid[64];
    double dirty_bps[POINTS], transfer_bps[POINTS], remaining_bytes[POINTS];
    unsigned points; /* ever; the rings hold the last POINTS */
    bool active;
    char line[128]; /* what a change is judged by, without a screen */
};

struct watch {
    const struct cli *cli;
    const char *vm;                /* NULL: all */
    struct varlink_client *client; /* NULL: no connection */
    int64_t heard_ms;
    struct json_object *migrations; /* all that are shown, by urgency */
    struct json_object *news;       /* those the last reply told of */
    struct seen *seen;
    const char *trouble; /* the daemon does not answer; NULL: it does */
    char chosen[64];     /* UUID of the row that was chosen; "": none */
    char *explained;     /* what explain says of it; NULL: the table is shown */
    unsigned scrolled;   /* lines of that */
    bool color, utf8;
};

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what is seen ---- */

static void cleanup_watch(struct watch *w)
{
    while (w->seen) {
        struct seen *s = w->seen;

        w->seen = s->next;
        free(s);
    }
    json_object_put(w->migrations);
    json_object_put(w->news);
    free(w->explained);
    varlink_client_free(w->client);
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
    for (size_t i = cli_array_length(w->news); i-- > 0;) {
        struct json_object *m = json_object_array_get_idx(w->news, i);

        if (!cli_is(m, "active", true) && (!w->vm || cli_is_pattern(w->vm)) &&
            find(w, m)->points == 0)
            json_object_array_del_idx(w->news, i, 1);
    }
}

static void take_points(struct watch *w)
{
    for (size_t i = 0; i < cli_array_length(w->news); i++) {
        struct json_object *m = json_object_array_get_idx(w->news, i);
        struct seen *s = find(w, m);

        if (!cli_is(m, "active", true))
            continue;
        s->remaining_bytes[s->points % POINTS] = cli_number(m, "memory_remaining_bytes");
        s->dirty_bps[s->points % POINTS] = cli_number(m, "dirty_rate_bytes_per_second");
        s->transfer_bps[s->points++ % POINTS] = cli_number(m, "transfer_rate_bytes_per_second");
    }
}

static bool is_same_vm(struct json_object *a, struct json_object *b)
{
    const char *x = cli_string(a, "uuid");
    const char *y = cli_string(b, "uuid");

    return x && y && strcmp(x, y) == 0;
}

/* What is new takes the place of what was known of the same VM. */
static void merge_news(struct watch *w)
{
    size_t before = cli_array_length(w->migrations);

    for (size_t i = 0; i < cli_array_length(w->news); i++) {
        struct json_object *m = json_object_array_get_idx(w->news, i);
        size_t k = 0;

        while (k < before && !is_same_vm(json_object_array_get_idx(w->migrations, k), m))
            k++;
        if (k < before)
            json_object_array_put_idx(w->migrations, k, json_object_get(m));
        else
            json_object_array_add(w->migrations, json_object_get(m));
    }
    cli_sort_by_urgency(w->migrations);
}

/* Takes over the reply. */
static void take_reply(struct watch *w, struct json_object *reply)
{
    json_object_put(w->news);
    w->news = json_object_get(cli_array(reply, "migrations"));
    json_object_put(reply);
    if (w->vm && cli_is_pattern(w->vm))
        cli_keep_matching(w->news, w->vm);
    drop_old(w);
    take_points(w);
    if (!w->migrations)
        w->migrations = json_object_new_array();
    merge_news(w);
}

/* What a daemon tells first is all there is: what another one told before is no more. */
static void connect_again(struct watch *w)
{
    if (cli_try_follow(w->cli, w->vm, &w->client) < 0)
        return;
    w->heard_ms = now_ms();
    json_object_put(STEAL(w->migrations));
}

/* Takes what has come, without waiting and without reporting what fails: it is tried again. */
static void hear(struct watch *w)
{
    AUTO_FREE char *error = NULL;
    AUTO_JSON struct json_object *reply = NULL;
    int r = w->client ? cli_try_next(w->cli, w->client, 0, &error, &reply) : -ENOTCONN;

    if (r == -ETIMEDOUT) {
        if (now_ms() - w->heard_ms > SILENT_MS)
            w->trouble = "migpolicyd has fallen silent";
        return;
    }
    w->trouble = r < 0   ? "migpolicyd cannot be reached; trying again"
                 : error ? "migpolicyd knows nothing of this VM now"
                         : NULL;
    if (w->trouble) {
        varlink_client_free(STEAL(w->client));
        return;
    }
    w->heard_ms = now_ms();
    take_reply(w, STEAL(reply));
}

/* ---- on a screen ---- */

static struct termios saved;
static bool has_saved, on_screen;

static const char *level(const struct watch *w, double value, double highest)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[] = {"_", ".", "-", ":", "=", "+", "*", "#"};
    int i = highest > 0 ? (int)(value / highest * 7.999) : 0;

    if (!isfinite(value))
        return " ";
    return (w->utf8 ? blocks : letters)[i < 0 ? 0 : i > 7 ? 7 : i];
}

static double highest_of(const struct seen *s, const double *ring, unsigned width)
{
    double highest = 0;

    for (unsigned i = s->points > width ? s->points - width : 0; i < s->points; i++)
        highest = fmax(highest, ring[i % POINTS]);
    return highest;
}

/* One line of a graph, with its last value in words. */
static void print_line(FILE *f, const struct watch *w, const struct seen *s, const char *label,
                       const double *ring, const char *color, double highest, unsigned width,
                       const char *(*word)(double value, char buf[CLI_TEXT_MAX]))
{
    unsigned n = s->points < width ? s->points : width;
    char text[CLI_TEXT_MAX];

    fprintf(f, "%-*s%s", LABEL, label, w->color ? color : "");
    for (unsigned i = s->points - n; i < s->points; i++)
        fputs(level(w, ring[i % POINTS], highest), f);
    fprintf(f, "%s %s\n", w->color ? "\033[0m" : "",
            word(n > 0 ? ring[(s->points - 1) % POINTS] : NAN, text));
}

static void print_graph(FILE *f, struct watch *w, struct json_object *m, unsigned columns)
{
    const struct seen *s = find(w, m);
    AUTO_FREE char *vm = cli_escape(cli_string(m, "vm") ? cli_string(m, "vm") : "?");
    unsigned width = columns > LABEL + VALUE + 8 ? columns - LABEL - VALUE : 8;
    double highest;

    if (width > POINTS)
        width = POINTS;
    /* Both rates have the scale of the highest, so that they can be compared. */
    highest = fmax(highest_of(s, s->dirty_bps, width), highest_of(s, s->transfer_bps, width));
    fprintf(f, "\n%s\n", vm);
    print_line(f, w, s, "remains", s->remaining_bytes, "\033[36m",
               highest_of(s, s->remaining_bytes, width), width, cli_bytes);
    print_line(f, w, s, "dirtied", s->dirty_bps, "\033[33m", highest, width, cli_rate);
    print_line(f, w, s, "sent", s->transfer_bps, "\033[32m", highest, width, cli_rate);
}

/* The row that was chosen, of the table; -1: none of them. */
static int chosen_row(const struct watch *w)
{
    for (size_t i = 0; w->chosen[0] && i < cli_array_length(w->migrations); i++) {
        const char *uuid = cli_string(json_object_array_get_idx(w->migrations, i), "uuid");

        if (uuid && strcmp(uuid, w->chosen) == 0)
            return (int)i;
    }
    return -1;
}

/* Prints the table with the chosen row in reverse, and of more rows than there is room those near
 * the chosen one, or the first. */
static void print_table(FILE *f, struct watch *w, int room)
{
    AUTO_FREE char *table = cli_table_text(cli_status_table(w->cli, w->migrations));
    int n = (int)cli_array_length(w->migrations);
    int chosen = chosen_row(w);
    int first = chosen >= room ? chosen - room + 1 : 0;
    int row = w->cli->no_legend ? 0 : -1;

    for (char *line = table, *end; line; line = end ? end + 1 : NULL, row++) {
        bool is_chosen = row >= 0 && row == chosen;

        end = strchr(line, '\n');
        if (row < 0 || (row >= first && row < first + room))
            fprintf(f, "%s%.*s%s\n", is_chosen ? "\033[7m" : "",
                    end ? (int)(end - line) : (int)strlen(line), line, is_chosen ? "\033[27m" : "");
    }
    if (n > room)
        fprintf(f, "(%d of %d)\n", room, n);
}

static char *make_frame(struct watch *w, unsigned columns, unsigned rows)
{
    char *text = NULL;
    size_t size;
    FILE *f = alloc_need(open_memstream(&text, &size));
    size_t n = cli_array_length(w->migrations);
    int chosen = chosen_row(w);

    if (w->explained)
        fputs(w->explained, f);
    else if (n > 0)
        print_table(f, w, rows > BESIDE_TABLE ? (int)(rows - BESIDE_TABLE) : 1);
    else if (!w->trouble)
        fputs("no migration is under way\n", f);
    if (w->trouble)
        fprintf(f, "%s\n", w->trouble);
    /* That of the chosen one first: there may be room for no other. */
    if (chosen >= 0 && !w->explained)
        print_graph(f, w, json_object_array_get_idx(w->migrations, (size_t)chosen), columns);
    for (size_t i = 0; i < n && !w->explained; i++) {
        if ((int)i != chosen)
            print_graph(f, w, json_object_array_get_idx(w->migrations, i), columns);
    }
    if (fclose(f) != 0)
        alloc_failed();
    return text;
}

/* Skips as many lines, but never the last one. */
static char *skip_lines(char *text, unsigned lines)
{
    for (char *end; lines > 0 && (end = strchr(text, '\n')) && end[1]; lines--)
        text = end + 1;
    return text;
}

/* The frame's lines, as many as the terminal has, and which keys there are. */
static void draw(struct watch *w)
{
    const char *keys = w->explained ? "q: back  arrows: scroll" : "q: quit  arrows, Enter: explain";
    struct winsize size = {0};
    AUTO_FREE char *frame = NULL;
    unsigned rows = 0;

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    if (size.ws_row == 0 || size.ws_col == 0) /* as on a serial line */
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    frame = make_frame(w, size.ws_col, size.ws_row);
    fputs("\033[H", stdout);
    for (char *line = skip_lines(frame, w->explained ? w->scrolled : 0), *end;
         (end = strchr(line, '\n')) && rows + 1 < size.ws_row; line = end + 1, rows++)
        printf("%.*s\033[K\r\n", (int)(end - line), line);
    printf("%s\033[K\033[J", has_saved ? keys : "");
    fflush(stdout);
}

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

/* ---- keys ---- */

static void choose(struct watch *w, int by)
{
    int n = (int)cli_array_length(w->migrations);
    int row = chosen_row(w);

    row = row < 0 ? (by > 0 ? 0 : n - 1) : row + by;
    if (n == 0)
        return;
    row = row < 0 ? 0 : row >= n ? n - 1 : row;
    snprintf(w->chosen, sizeof(w->chosen), "%s",
             cli_string(json_object_array_get_idx(w->migrations, (size_t)row), "uuid"));
}

/* Has what explain prints go into a text. Not for long: meanwhile nobody can interrupt it. */
static void explain_chosen(struct watch *w)
{
    struct cli cli = *w->cli;
    AUTO_FREE char *error = NULL;
    char vm[sizeof(w->chosen) + 8];
    FILE *screen = stdout;
    char *text = NULL;
    size_t size;
    int r;

    if (chosen_row(w) < 0)
        choose(w, 1);
    if (chosen_row(w) < 0)
        return;
    snprintf(vm, sizeof(vm), "uuid:%s", w->chosen);
    cli.answer_ms = ANSWER_MS;
    stdout = alloc_need(open_memstream(&text, &size));
    r = cli_try_explain(&cli, vm, &error);
    if (r < 0 || error)
        cli_line("what there is to say of it is not known now");
    if (fclose(stdout) != 0)
        alloc_failed();
    stdout = screen;
    free(w->explained);
    w->explained = text;
}

enum key { KEY_NONE, KEY_UP, KEY_DOWN, KEY_ENTER, KEY_BACK };

/* The next key of what was typed; *at moves behind it. */
static enum key take_key(const char **at)
{
    static const struct {
        const char *text;
        enum key key;
    } keys[] = {{"\033[A", KEY_UP}, {"\033OA", KEY_UP}, {"\033[B", KEY_DOWN}, {"\033OB", KEY_DOWN},
                {"k", KEY_UP},      {"j", KEY_DOWN},    {"\r", KEY_ENTER},    {"\n", KEY_ENTER},
                {"q", KEY_BACK},    {"\033", KEY_BACK}};

    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        size_t len = strlen(keys[i].text);

        if (strncmp(*at, keys[i].text, len) != 0)
            continue;
        *at += len;
        return keys[i].key;
    }
    ++*at;
    return KEY_NONE;
}

/* Returns whether that was the end. */
static bool press(struct watch *w, enum key key)
{
    switch (key) {
    case KEY_UP:
        if (!w->explained)
            choose(w, -1);
        else if (w->scrolled > 0)
            w->scrolled--;
        break;
    case KEY_DOWN:
        if (!w->explained)
            choose(w, 1);
        else if (skip_lines(w->explained, w->scrolled) != skip_lines(w->explained, w->scrolled + 1))
            w->scrolled++;
        break;
    case KEY_ENTER:
        w->scrolled = 0;
        explain_chosen(w);
        break;
    case KEY_BACK:
        if (!w->explained)
            return true;
        free(STEAL(w->explained));
        break;
    case KEY_NONE:
        break;
    }
    return false;
}

/* ---- what happens ---- */

enum source { SIGNALS, DAEMON, KEYS, SOURCES };

/* Returns the signal that came, SIGINT for the key that means it; 0: none did. */
static int wait_for(struct watch *w, int signals, bool *has_keys)
{
    struct pollfd p[SOURCES] = {
        [SIGNALS] = {.fd = signals, .events = POLLIN},
        [DAEMON] = {.fd = w->client ? varlink_client_fd(w->client) : -1, .events = POLLIN},
        [KEYS] = {.fd = *has_keys ? STDIN_FILENO : -1, .events = POLLIN},
    };
    struct signalfd_siginfo info;
    char typed[64];

    poll(p, SOURCES, INTERVAL_MS);
    if (p[SIGNALS].revents && read(signals, &info, sizeof(info)) == sizeof(info))
        return (int)info.ssi_signo;
    if (p[KEYS].revents) {
        ssize_t n = read(STDIN_FILENO, typed, sizeof(typed) - 1);

        *has_keys = n > 0;
        typed[n > 0 ? n : 0] = '\0';
        for (const char *at = typed; *at;) {
            if (press(w, take_key(&at)))
                return SIGINT;
        }
        return 0;
    }
    if (!w->client)
        connect_again(w);
    hear(w);
    if (w->explained && p[DAEMON].revents)
        explain_chosen(w);
    return 0;
}

static int watch_screen(struct watch *w)
{
    AUTO_CLOSE int fd = -1;
    sigset_t set;
    bool has_keys;
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
    has_keys = has_saved;
    while (!ferror(stdout)) {
        draw(w);
        signo = wait_for(w, fd, &has_keys);
        if (signo == SIGTSTP) {
            leave_screen();
            raise(SIGSTOP);
            enter_screen();
        } else if (signo != 0 && signo != SIGWINCH) {
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

/* What is under way each time it is told of; what has ended once. */
static void print_json(struct watch *w, struct json_object *m)
{
    struct seen *s = find(w, m);
    bool active = cli_is(m, "active", true);

    if (active || s->active || s->line[0] == '\0')
        cli_print_jsonl(m);
    s->active = active;
    s->line[0] = '+';
}

/* Waits for the daemon; returns whether nobody reads the output, where that can be known. */
static bool is_deserted(const struct watch *w)
{
    struct pollfd p[] = {{.fd = STDOUT_FILENO},
                         {.fd = varlink_client_fd(w->client), .events = POLLIN}};

    return poll(p, 2, SILENT_MS) > 0 && p[0].revents & (POLLERR | POLLHUP);
}

static int watch_lines(struct watch *w)
{
    for (;;) {
        struct json_object *reply;
        int code;

        for (size_t i = 0; i < cli_array_length(w->news); i++) {
            struct json_object *m = json_object_array_get_idx(w->news, i);

            if (w->cli->json)
                print_json(w, m);
            else
                print_change(w, m);
        }
        if (fflush(stdout) != 0)
            return cli_fail(CLI_ERROR, "cannot write the output: %m");
        if (is_deserted(w)) {
            raise(SIGPIPE); /* as the next line would */
            return cli_fail(CLI_ERROR, "nobody reads the output");
        }
        code = cli_next(w->cli, w->client, SILENT_MS, &reply);
        if (code != CLI_OK)
            return code;
        if (!reply)
            return cli_fail(CLI_TIMEOUT, "migpolicyd has fallen silent; look at its log");
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
        code = cli_follow(cli, w.vm, &w.client);
    if (code == CLI_OK)
        code = cli_next(cli, w.client, -1, &reply);
    if (code != CLI_OK)
        return code;
    w.heard_ms = now_ms();
    take_reply(&w, reply);
    if (!cli->json && isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0)
        return watch_screen(&w);
    return watch_lines(&w);
}

const struct cli_verb cli_watch = {
    "watch", watch, "[VM]", "migrations under way, live", watch_options, .jsonl = true};
