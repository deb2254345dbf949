/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Usage: scoreboard [--seeds N] [--json] [--svg FILE] [--markdown FILE]
 *        scoreboard --hard [--seeds N] [--fresh[=SEED]] [--all-peers] [--again] [--json]
 *        scoreboard [--hard] --row N [--policy NAME] [--seed N] [--again] [-v]
 *        scoreboard [--hard] --rows
 *
 * Runs every contender on the whole matrix and prints the board; --row runs one row, -v with a
 * trace. Seeds from 1000 on are held out: guests and links of other sizes, on which migpolicy is
 * run after the board. See scoreboard.h for what the columns mean.
 *
 * --hard takes the matrix of scoreboard_hard.c, whose guests are modelled page by page, and the
 * peers that come closest, or all of them. --fresh draws the first seed, and prints it as always:
 * what no constant was chosen on. --again lets migpolicy know each guest from a migration before,
 * with another seed.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/bench/scoreboard.h"

/* A difference in work lost below this is noise. */
#define BETTER_PART 0.05
#define BETTER_S    0.05
/* An earliest end is kept when the true one comes at most this much before it. */
#define FLOOR_SLACK 0.05

/* Peers beside `nothing` are not run on what is held out; on the hard matrix, unless all are asked
   for, those that come closest are. */
bool board_plays(const struct board *b, unsigned contender)
{
    const struct contender *list;
    const struct contender *c;

    contenders(&list);
    c = &list[contender];
    if (b->looks)
        return c->kind == CONTENDER_MIGPOLICY && c->objective == OBJECTIVE_LEAST_LOSS;
    if (contender == 0 || c->kind == CONTENDER_ORACLE)
        return true;
    if (!b->matrix->hard)
        return c->kind == CONTENDER_MIGPOLICY || b->first_seed < HELD_OUT_SEED;
    if (b->all_peers)
        return true;
    if (c->kind == CONTENDER_MIGPOLICY)
        return c->objective == OBJECTIVE_LEAST_LOSS;
    return strcmp(c->name, "auto-converge") == 0 || strcmp(c->name, "fixed-throttle") == 0;
}

const struct outcome *board_outcome(const struct board *b, unsigned contender, unsigned row,
                                    unsigned seed)
{
    return &b->outcome[(contender * b->rows + row) * b->seeds + seed];
}

const struct row *board_row(const struct board *b, unsigned row, unsigned seed)
{
    return &b->row[row * b->seeds + seed];
}

double row_downtime_limit_s(const struct row *row)
{
    double noise = row->link.noise + row->link.scatter;
    double slowest = row->link.shared_s > 0 ? row->link.shared_factor : 1;

    for (unsigned i = 0; i < row->link.changes; i++)
        slowest = fmin(slowest, row->link.change[i].factor);
    return fmax(row->ceiling_s, DEFAULT_LIMIT_S * (1.05 + 3 * noise) / slowest + row->overhead_s +
                                    row->guest.flush_s);
}

bool outcome_finished(const struct outcome *o, const struct row *row)
{
    return o->completed && o->time_s <= row->deadline_s;
}

static bool slowed(const struct outcome *o)
{
    return o->least_share < 1;
}

bool outcome_harmed(const struct outcome *o, const struct row *row)
{
    return o->paused || (slowed(o) && (!row->throttle || o->least_share < row->min_cpu - 1e-6)) ||
           (o->completed && o->downtime_s > row_downtime_limit_s(row));
}

bool outcome_kept(const struct outcome *o, const struct row *row)
{
    return outcome_finished(o, row) && !outcome_harmed(o, row);
}

void least_possible(const struct outcome *unaided, const struct row *row, double *ret_lost_s,
                    double *ret_time_s, double *ret_bytes)
{
    double used = row->guest.ram_bytes - row->guest.zero_bytes;

    *ret_lost_s = outcome_kept(unaided, row)
                      ? unaided->downtime_s
                      : unaided->best_stop_s + row->overhead_s + row->guest.flush_s;
    *ret_time_s = used / row->link.bps + *ret_lost_s;
    *ret_bytes = used + (isfinite(unaided->best_stop_s) ? unaided->best_stop_bytes : 0);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double quantile(double *v, unsigned n, double q)
{
    if (n == 0)
        return NAN;
    qsort(v, n, sizeof(*v), compare);
    return v[(unsigned)lround(q * (n - 1))];
}

static void two_quantiles(double *v, unsigned n, double high, double ret[2])
{
    ret[0] = quantile(v, n, 0.5);
    ret[1] = quantile(v, n, high);
}

void board_forecasts(const struct board *b, unsigned contender, unsigned first, unsigned rows,
                     enum course course, unsigned fraction, struct forecasts *ret)
{
    unsigned most = rows * b->seeds;
    AUTO_FREE double *value = calloc((size_t)most * 3 + 1, sizeof(*value));
    double *sure = value;
    double *shown = sure + most;
    double *early = shown + most;
    struct forecasts f = {0};

    if (!value)
        abort();
    for (unsigned i = 0; i < most; i++) {
        const struct probe *p = &board_outcome(b, contender, first + i / b->seeds, i % b->seeds)
                                     ->probe[course][fraction];
        double error = fabs(p->seconds - p->true_s) / p->true_s;

        if (!p->known)
            continue;
        f.probes++;
        f.said += p->end != END_UNKNOWN;
        f.wrong += p->end != END_UNKNOWN && (p->end == END_COMES) != p->ended;
        f.early += p->early;
        if (p->end == END_UNKNOWN && isfinite(p->earliest_s)) {
            f.floors++;
            f.floors_kept += p->true_s >= p->earliest_s * (1 - FLOOR_SLACK);
            if (p->early && p->ended)
                early[f.early_etas++] = fabs(p->earliest_s - p->true_s) / p->true_s;
        }
        if (p->ended && isfinite(p->earliest_s) && isfinite(p->latest_s)) {
            f.spans++;
            f.covered += p->true_s >= p->earliest_s && p->true_s <= p->latest_s;
        }
        if (p->end != END_COMES || !p->ended)
            continue;
        shown[f.shown++] = error;
        if (isfinite(p->latest_s))
            sure[f.sure++] = error;
    }
    f.early_p50 = quantile(early, f.early_etas, 0.5);
    f.shown_p90 = quantile(shown, f.shown, 0.9);
    f.sure_p90 = quantile(sure, f.sure, 0.9);
    *ret = f;
}

void board_summary(const struct board *b, unsigned contender, struct summary *ret)
{
    const struct contender *list;
    unsigned oracle = 0;
    unsigned runs = b->rows * b->seeds;
    AUTO_FREE double *value = calloc((size_t)runs * 5, sizeof(*value));
    double *time = value;
    double *bytes = time + runs;
    double *lost = bytes + runs;
    double *peak = lost + runs;
    double *over = peak + runs;
    struct summary s = {.runs = runs};
    unsigned both = 0;

    if (!value)
        abort();
    contenders(&list);
    while (list[oracle].kind != CONTENDER_ORACLE)
        oracle++;
    for (unsigned r = 0; r < b->rows; r++) {
        for (unsigned k = 0; k < b->seeds; k++) {
            const struct row *row = board_row(b, r, k);
            const struct outcome *o = board_outcome(b, contender, r, k);
            const struct outcome *unaided = board_outcome(b, 0, r, k);
            const struct outcome *best = board_outcome(b, oracle, r, k);
            double least_lost;
            double least_time;
            double least_bytes;

            least_possible(unaided, row, &least_lost, &least_time, &least_bytes);
            peak[r * b->seeds + k] = 1 - o->least_speed;
            s.completed += o->completed;
            s.harmed += outcome_harmed(o, row);
            s.kept += outcome_kept(o, row);
            s.false_throttles += slowed(o) && outcome_kept(unaided, row);
            s.could += !outcome_kept(o, row) && outcome_kept(best, row);
            if (outcome_kept(o, row) && outcome_kept(best, row))
                over[both++] = o->work_lost_s / best->work_lost_s;
            if (!outcome_finished(o, row))
                continue;
            time[s.finished] = o->time_s / least_time;
            bytes[s.finished] = o->bytes / least_bytes;
            lost[s.finished] = o->work_lost_s / least_lost;
            s.finished++;
            s.within += o->downtime_s <= row_downtime_limit_s(row);
        }
    }
    two_quantiles(time, s.finished, 0.9, s.time);
    two_quantiles(bytes, s.finished, 0.9, s.bytes);
    two_quantiles(lost, s.finished, 0.9, s.lost);
    two_quantiles(peak, runs, 1, s.peak);
    two_quantiles(over, both, 0.9, s.oracle);
    *ret = s;
}

/* Median work lost of a row; false if not every seed is kept. */
static bool row_lost(const struct board *b, unsigned contender, unsigned row, double *ret)
{
    double lost[SEEDS_MAX];
    bool kept = true;

    for (unsigned k = 0; k < b->seeds; k++) {
        const struct outcome *o = board_outcome(b, contender, row, k);

        kept = kept && outcome_kept(o, board_row(b, row, k));
        lost[k] = o->work_lost_s;
    }
    *ret = quantile(lost, b->seeds, 0.5);
    return kept;
}

enum better board_better(const struct board *b, unsigned peer, unsigned contender, unsigned row,
                         double *ret_peer_s, double *ret_own_s)
{
    bool own_kept = row_lost(b, contender, row, ret_own_s);
    unsigned small = 0;

    if (!row_lost(b, peer, row, ret_peer_s))
        return BETTER_NO;
    if (!own_kept) {
        *ret_own_s = NAN;
        return BETTER_YES;
    }
    if (*ret_peer_s >= *ret_own_s * (1 - BETTER_PART) - BETTER_S)
        return BETTER_NO;
    for (unsigned k = 0; k < b->seeds; k++)
        small += board_outcome(b, peer, row, k)->limit_s < DEFAULT_LIMIT_S - 0.001;
    return 2 * small > b->seeds ? BETTER_BY_LIMIT : BETTER_YES;
}

static int run_board(struct board *b)
{
    const struct contender *list;
    unsigned n = contenders(&list);

    b->rows = b->matrix->count();
    b->row = calloc((size_t)b->rows * b->seeds, sizeof(*b->row));
    b->outcome = calloc((size_t)n * b->rows * b->seeds, sizeof(*b->outcome));
    if (!b->row || !b->outcome)
        return -ENOMEM;
    for (unsigned r = 0; r < b->rows; r++) {
        for (unsigned k = 0; k < b->seeds; k++) {
            struct row *row = &b->row[r * b->seeds + k];

            b->matrix->get(r, b->first_seed + k, row);
            row->again = b->again;
            for (unsigned c = 0; c < n; c++) {
                if (board_plays(b, c))
                    run_one(&list[c], row, b->first_seed + k, false,
                            &b->outcome[(c * b->rows + r) * b->seeds + k]);
            }
        }
    }
    return 0;
}

static void show_row(const struct matrix *matrix, unsigned r, uint64_t seed, bool again,
                     const char *policy, bool trace)
{
    const struct contender *list;
    unsigned n = contenders(&list);
    struct outcome unaided;
    struct row row;
    double lost_s;
    double time_s;
    double bytes;

    matrix->get(r, seed, &row);
    row.again = again;
    run_one(&list[0], &row, seed, false, &unaided);
    least_possible(&unaided, &row, &lost_s, &time_s, &bytes);
    printf("row %u: %s, seed %lu: deadline %.0f s, downtime limit %.2f s; least time %.1f s, least "
           "work lost %.3f s%s\n",
           r, row.name, (unsigned long)seed, row.deadline_s, row_downtime_limit_s(&row), time_s,
           lost_s, outcome_kept(&unaided, &row) ? ", ends unaided" : "");
    for (unsigned c = 0; c < n; c++) {
        struct outcome o;

        if (policy && strcmp(list[c].name, policy) != 0)
            continue;
        run_one(&list[c], &row, seed, trace, &o);
        printf("%-22s %-9s %8.1f s  downtime %7.2f s  lost %7.2f s (%.2f)  least speed %.2f  %s\n",
               list[c].name,
               o.completed   ? "completed"
               : o.cancelled ? "cancelled"
                             : "-",
               o.time_s, o.downtime_s, o.work_lost_s, o.work_lost_s / lost_s, o.least_speed,
               outcome_kept(&o, &row)     ? "kept"
               : outcome_harmed(&o, &row) ? "harmed"
                                          : "late");
    }
}

static void list_rows(const struct matrix *matrix)
{
    for (unsigned r = 0; r < matrix->count(); r++) {
        struct row row;

        matrix->get(r, 0, &row);
        printf("%3u  %s\n", r, row.name);
    }
}

/* Runs and prints the hard board. 0 or -errno. */
static int hard_board(struct board *b, bool json)
{
    int r = run_board(b);

    if (r == 0 && json)
        print_json(b);
    else if (r == 0)
        print_hard(b, stdout);
    return r;
}

/* Every look at which the end was probed, a line each: the vector of its facts, and what came. */
static int print_looks(struct board *b)
{
    const struct contender *list;
    unsigned n = contenders(&list);
    int r;

    b->looks = true;
    r = run_board(b);
    for (unsigned i = 0; r == 0 && i < n * b->rows * b->seeds * COURSES * FRACTIONS; i++) {
        const struct probe *p =
            &b->outcome[i / (COURSES * FRACTIONS)].probe[i / FRACTIONS % COURSES][i % FRACTIONS];
        double v[CHANCE_FACTS];

        if (!p->known || !p->facts.known)
            continue;
        chance_vector(&p->facts, v);
        printf("%u %u %u %d %d %d %.4g %.4g %.4g %.4g",
               i / (COURSES * FRACTIONS) % (b->rows * b->seeds), i / FRACTIONS % COURSES,
               i % FRACTIONS, p->facts.ends, p->ended, p->end, p->seconds, p->earliest_s,
               p->latest_s, p->true_s);
        for (unsigned k = 0; k < CHANCE_FACTS; k++)
            printf(" %.6g", v[k]);
        putchar('\n');
    }
    return r;
}

static int plain_board(struct board *b, const char *svg, const char *markdown, bool json)
{
    /* The ones before were looked at while the forecast was worked on. */
    struct board held_out = {
        .matrix = b->matrix, .first_seed = HELD_OUT_SEED + 1000, .seeds = b->seeds};
    int r = run_board(b);

    if (r == 0 && !json)
        r = run_board(&held_out);
    if (r == 0 && svg)
        r = write_svg(b, svg);
    if (r == 0 && markdown)
        r = write_markdown(b, &held_out, markdown);
    if (r == 0 && json)
        print_json(b);
    else if (r == 0)
        print_text(b, &held_out, stdout);
    free(held_out.row);
    free(held_out.outcome);
    return r;
}

/* The seed asked for, or one nobody has seen. */
static uint64_t fresh_seed(const char *asked)
{
    uint32_t seed = 0;

    if (asked)
        return strtoull(asked, NULL, 10);
    if (getentropy(&seed, sizeof(seed)) < 0)
        abort();
    return seed;
}

/* What the command line asks for, beside what the board itself is told. */
struct wish {
    const char *policy; /* NULL: all */
    const char *svg;
    const char *markdown;
    long row; /* -1: all */
    uint64_t seed;
    bool json;
    bool trace;
    bool list;
};

static int take_option(int option, struct board *b, struct wish *w)
{
    switch (option) {
    case 'n':
        b->seeds = (unsigned)strtoul(optarg, NULL, 10);
        break;
    case 'j':
        w->json = true;
        break;
    case 's':
        w->svg = optarg;
        break;
    case 'm':
        w->markdown = optarg;
        break;
    case 'r':
        w->row = strtol(optarg, NULL, 10);
        break;
    case 'e':
        w->seed = strtoull(optarg, NULL, 10);
        break;
    case 'p':
        w->policy = optarg;
        break;
    case 'l':
        w->list = true;
        break;
    case 'h':
        b->matrix = &matrix_hard;
        break;
    case 'f':
        b->first_seed = fresh_seed(optarg);
        break;
    case 'a':
        b->all_peers = true;
        break;
    case 'k':
        b->looks = true;
        break;
    case 'g':
        b->again = true;
        break;
    case 'v':
        w->trace = true;
        break;
    default:
        return -EINVAL;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},  {"json", no_argument, NULL, 'j'},
        {"svg", required_argument, NULL, 's'},    {"markdown", required_argument, NULL, 'm'},
        {"row", required_argument, NULL, 'r'},    {"seed", required_argument, NULL, 'e'},
        {"policy", required_argument, NULL, 'p'}, {"rows", no_argument, NULL, 'l'},
        {"hard", no_argument, NULL, 'h'},         {"fresh", optional_argument, NULL, 'f'},
        {"all-peers", no_argument, NULL, 'a'},    {"again", no_argument, NULL, 'g'},
        {"looks", no_argument, NULL, 'k'},        {NULL, 0, NULL, 0},
    };
    struct board board = {.matrix = &matrix_plain, .seeds = 3};
    struct wish wish = {.row = -1};
    int option;
    int r;

    while ((option = getopt_long(argc, argv, "v", options, NULL)) != -1) {
        if (take_option(option, &board, &wish) < 0)
            return 2;
    }
    if (board.seeds < 1 || board.seeds > SEEDS_MAX || wish.row >= (long)board.matrix->count()) {
        fprintf(stderr, "scoreboard: --seeds is 1 to %d, --row is 0 to %u\n", SEEDS_MAX,
                board.matrix->count() - 1);
        return 2;
    }
    if (wish.list) {
        list_rows(board.matrix);
        return 0;
    }
    if (wish.row >= 0) {
        show_row(board.matrix, (unsigned)wish.row, wish.seed, board.again, wish.policy, wish.trace);
        return 0;
    }
    r = board.looks          ? print_looks(&board)
        : board.matrix->hard ? hard_board(&board, wish.json)
                             : plain_board(&board, wish.svg, wish.markdown, wish.json);
    free(board.row);
    free(board.outcome);
    if (r < 0)
        fprintf(stderr, "scoreboard: %s\n", strerror(-r));
    return r < 0;
}
