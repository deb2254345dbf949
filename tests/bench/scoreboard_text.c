/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The board as text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/bench/scoreboard.h"

static const char *const course_names[COURSES] = {"acting", "watching"};
static const char *const fraction_names[FRACTIONS] = {"25%", "50%", "75%"};

static double percent(unsigned part, unsigned whole)
{
    return whole > 0 ? 100.0 * part / whole : 0;
}

static void print_table(FILE *f, const struct board *b, const struct contender *list, unsigned n)
{
    fprintf(f,
            "%u rows x %u seeds. Ratios are over the least possible, of finished runs: median / "
            "90th percentile.\n\n",
            b->rows, b->seeds);
    fprintf(f, "%-21s %8s %8s %6s  %13s  %13s  %13s  %11s  %8s %7s\n", "policy", "finished",
            "in limit", "kept", "time", "bytes", "work lost", "peak slow.", "false", "harmed");
    fprintf(f, "%-21s %8s %8s %6s  %13s  %13s  %13s  %11s  %8s %7s\n", "", "%", "% of fin", "%",
            "ratio", "ratio", "ratio", "med/max %", "throttle", "%");
    for (unsigned c = 0; c < n; c++) {
        struct summary s;

        if (!board_plays(b, c))
            continue;
        board_summary(b, c, &s);
        fprintf(f,
                "%-21s %8.1f %8.1f %6.1f  %5.2f / %5.2f  %5.2f / %5.2f  %5.2f / %5.2f  "
                "%4.0f / %4.0f  %8u %7.1f\n",
                list[c].name, percent(s.finished, s.runs), percent(s.within, s.finished),
                percent(s.kept, s.runs), s.time[0], s.time[1], s.bytes[0], s.bytes[1], s.lost[0],
                s.lost[1], s.peak[0] * 100, s.peak[1] * 100, s.false_throttles,
                percent(s.harmed, s.runs));
    }
}

static void verdict(FILE *f, bool pass, const char *what)
{
    fprintf(f, "  %s  %s: ", pass ? "PASS" : "FAIL", what);
}

/* The best of the peers that are better on a row. */
struct rival {
    enum better how;
    unsigned contender;
    unsigned others;
    double lost_s;
    double own_s; /* NAN: a limit is not kept */
};

static struct rival find_rival(const struct board *b, const struct contender *list, unsigned n,
                               unsigned own, unsigned row)
{
    struct rival best = {.how = BETTER_NO};

    for (unsigned c = 0; c < n; c++) {
        struct rival r = {.contender = c};

        if (list[c].kind != CONTENDER_PEER)
            continue;
        r.how = board_better(b, c, own, row, &r.lost_s, &r.own_s);
        if (r.how == BETTER_NO || r.how < best.how)
            continue;
        if (r.how == best.how) {
            best.others++;
            if (r.lost_s >= best.lost_s)
                continue;
            r.others = best.others;
        }
        best = r;
    }
    return best;
}

/* Why a peer loses less on rows of that pattern. */
struct why {
    const char *pattern;
    const char *reason;
};

static const struct why whys[] = {
    {"sweeper-1.2", "with much memory, auto-converge's sync every 5 s finds what was dirtied twice "
                    "before it was sent once; libvirt has no call for a sync. Else: who throttles "
                    "from the second pass on does not wait for the evidence"},
    {"rate-1.0", "a sync every 5 s, as for sweeper-1.2"},
    {"rate-1.1", "a sync every 5 s, as for sweeper-1.2"},
    {"noisy",
     "who waits, or goes up by small steps, meets a moment in which the link carries more"},
};

/* The reasons for the patterns in `seen`, a bit for each of `whys`. */
static void print_whys(FILE *f, unsigned seen)
{
    for (unsigned i = 0; i < sizeof(whys) / sizeof(whys[0]); i++) {
        if (seen & (1u << i))
            fprintf(f, "  %s: %s\n", whys[i].pattern, whys[i].reason);
    }
}

static unsigned why_bit(const struct row *row)
{
    size_t n = strcspn(row->name, " ");

    for (unsigned i = 0; i < sizeof(whys) / sizeof(whys[0]); i++) {
        if (n == strlen(whys[i].pattern) && strncmp(row->name, whys[i].pattern, n) == 0)
            return 1u << i;
    }
    return 0;
}

/* Rows on which a peer is better than `own`. */
struct rivals {
    unsigned better;
    unsigned unexplained; /* of these: no reason is known */
    unsigned by_limit;    /* not among them */
};

static struct rivals count_rivals(const struct board *b, const struct contender *list, unsigned n,
                                  unsigned own)
{
    struct rivals found = {0};

    for (unsigned r = 0; r < b->rows; r++) {
        enum better how = find_rival(b, list, n, own, r).how;

        found.better += how == BETTER_YES;
        found.unexplained += how == BETTER_YES && why_bit(board_row(b, r, 0)) == 0;
        found.by_limit += how == BETTER_BY_LIMIT;
    }
    return found;
}

static void print_rivals(FILE *f, const struct board *b, const struct contender *list, unsigned n,
                         unsigned own)
{
    unsigned seen = 0;

    fprintf(f, "\n%s: rows where a peer is better without breaking a limit\n", list[own].name);
    for (unsigned r = 0; r < b->rows; r++) {
        struct rival v = find_rival(b, list, n, own, r);

        if (v.how != BETTER_YES)
            continue;
        seen |= why_bit(board_row(b, r, 0));
        fprintf(f, "  %3u %-34s %-21s %7.2f s  ", r, b->row[(size_t)r * b->seeds].name,
                list[v.contender].name, v.lost_s);
        if (isnan(v.own_s))
            fprintf(f, "own: not kept");
        else
            fprintf(f, "own: %7.2f s", v.own_s);
        fprintf(f, v.others > 0 ? "  (and %u more)\n" : "\n", v.others);
    }
    fprintf(
        f,
        "  and %u rows where peers lose less only because they begin with a downtime limit below "
        "the row's 300 ms\n",
        count_rivals(b, list, n, own).by_limit);
    print_whys(f, seen);
}

static void print_forecast(FILE *f, const struct board *b, unsigned own, enum course course,
                           unsigned fraction)
{
    struct forecasts all;
    double wrong;

    board_forecasts(b, own, 0, b->rows, course, fraction, &all);
    wrong = percent(all.wrong, all.said);
    /* Without a date there is nothing that could pass. */
    verdict(f, all.shown_p90 <= 0.12 && wrong <= 3, "forecast");
    fprintf(f, "%s, at %s: ", course_names[course], fraction_names[fraction]);
    if (all.shown > 0)
        fprintf(f, "p90 error %.1f%% of %u dates (<= 12; ", all.shown_p90 * 100, all.shown);
    else
        fprintf(f, "no dates shown (");
    if (all.sure > 0)
        fprintf(f, "%.1f%% of %u sure ones", all.sure_p90 * 100, all.sure);
    else
        fprintf(f, "no sure ones");
    fprintf(f, "), wrong verdicts %.1f%% of %u (<= 3), not said %.0f%%\n", wrong, all.said,
            percent(all.probes - all.said, all.probes));
    fprintf(f,
            "        where only the earliest end is shown: not over before it in %.1f%% of %u; "
            "before two passes are complete, %.0f%%: median error of that time %.1f%% of %u; the "
            "end lies between the earliest and the "
            "latest in %.1f%% of %u\n",
            percent(all.floors_kept, all.floors), all.floors, percent(all.early, all.probes),
            all.early_p50 * 100, all.early_etas, percent(all.covered, all.spans), all.spans);
}

/* What holds wherever it is run. */
static void print_own(FILE *f, const struct board *b, const struct contender *list, unsigned own)
{
    struct summary s;

    board_summary(b, own, &s);
    verdict(f, s.could == 0, "limits kept wherever the oracle keeps them");
    fprintf(f, "%u runs broken of %u\n", s.could, s.could + s.kept);
    verdict(f, s.false_throttles == 0, "no throttle where it ends in time without");
    fprintf(f, "%u\n", s.false_throttles);
    verdict(f, s.harmed == 0, "nothing done that is not approved");
    fprintf(f, "%u runs\n", s.harmed);
    if (list[own].objective == OBJECTIVE_GENTLE) {
        fprintf(f, "        work lost: %.2f, %.2f\n", s.lost[0], s.lost[1]);
        return;
    }
    verdict(f, s.lost[0] <= 1.3 && s.lost[1] <= 2, "work lost, median <= 1.3 and p90 <= 2");
    fprintf(f, "%.2f, %.2f\n", s.lost[0], s.lost[1]);
}

static void print_forecasts(FILE *f, const struct board *b, const struct contender *list,
                            unsigned own)
{
    unsigned courses = list[own].objective == OBJECTIVE_GENTLE ? COURSE_WATCHING : COURSES;

    for (unsigned k = 0; k < courses * FRACTIONS; k++)
        print_forecast(f, b, own, (enum course)(k / FRACTIONS), k % FRACTIONS);
}

static void print_acceptance(FILE *f, const struct board *b, const struct contender *list,
                             unsigned n, unsigned own)
{
    double seconds;
    uint64_t steps;
    struct rivals rivals = count_rivals(b, list, n, own);

    fprintf(f, "\n%s\n", list[own].name);
    print_own(f, b, list, own);
    if (list[own].objective == OBJECTIVE_GENTLE) {
        fprintf(f, "        a peer loses less on %u rows\n", rivals.better);
    } else {
        verdict(f, rivals.unexplained == 0,
                "no peer better on a row without breaking a limit, or the reason is known");
        fprintf(f, "%u rows, %u of them without one\n", rivals.better, rivals.unexplained);
    }
    print_forecasts(f, b, list, own);
    run_cost(&seconds, &steps);
    verdict(f, seconds / (double)steps < 50e-6, "a decision costs less than 50 us");
    fprintf(f, "%.1f us, mean of %lu\n", seconds / (double)steps * 1e6, (unsigned long)steps);
}

/* Runs the oracle keeps and migpolicy does not. */
static void print_broken(FILE *f, const struct board *b, unsigned oracle, unsigned own)
{
    for (unsigned r = 0; r < b->rows; r++) {
        for (unsigned k = 0; k < b->seeds; k++) {
            const struct row *row = board_row(b, r, k);
            const struct outcome *o = board_outcome(b, own, r, k);
            const struct outcome *best = board_outcome(b, oracle, r, k);

            if (outcome_kept(o, row) || !outcome_kept(best, row))
                continue;
            fprintf(f, "  %3u %-34s seed %u: ", r, row->name, k);
            if (outcome_harmed(o, row))
                fprintf(f, "downtime %.2f s of %.2f s, least share %.2f", o->downtime_s,
                        row_downtime_limit_s(row), o->least_share);
            else
                fprintf(f, "not finished in %.0f s, %u actions", row->deadline_s, o->actions);
            fprintf(f, "; oracle: %.1f s, lost %.2f s\n", best->time_s, best->work_lost_s);
        }
    }
}

static void print_false_throttles(FILE *f, const struct board *b, unsigned own)
{
    unsigned seen = 0;

    for (unsigned r = 0; r < b->rows; r++) {
        for (unsigned k = 0; k < b->seeds; k++) {
            const struct row *row = board_row(b, r, k);
            const struct outcome *o = board_outcome(b, own, r, k);
            const struct outcome *unaided = board_outcome(b, 0, r, k);

            if (!(o->least_share < 1 && outcome_kept(unaided, row)))
                continue;
            seen |= why_bit(row);
            fprintf(f, "  %3u %-34s seed %u: ended after %.1f s, unaided after %.1f s of %.0f s\n",
                    r, row->name, k, o->time_s, unaided->time_s, row->deadline_s);
        }
    }
    print_whys(f, seen);
}

/* The rows where most work is lost over the least possible. */
static void print_worst(FILE *f, const struct board *b, unsigned own)
{
    fprintf(f, "\nmigpolicy: work lost more than twice the least (median of seeds)\n");
    for (unsigned r = 0; r < b->rows; r++) {
        double ratio[SEEDS_MAX];
        double lost[SEEDS_MAX];
        unsigned n = 0;
        double median;

        for (unsigned k = 0; k < b->seeds; k++) {
            const struct outcome *o = board_outcome(b, own, r, k);
            double lost_s;
            double time_s;
            double bytes;

            if (!outcome_finished(o, board_row(b, r, k)))
                continue;
            least_possible(board_outcome(b, 0, r, k), board_row(b, r, k), &lost_s, &time_s, &bytes);
            lost[n] = o->work_lost_s;
            ratio[n++] = o->work_lost_s / lost_s;
        }
        median = quantile(ratio, n, 0.5);
        if (n > 0 && median > 2)
            fprintf(f, "  %3u %-34s %6.2f  (%.2f s)\n", r, b->row[(size_t)r * b->seeds].name,
                    median, quantile(lost, n, 0.5));
    }
}

/* Do both rows have the same pattern of guest: the same first word? */
static bool same_pattern(const struct row *a, const struct row *b)
{
    size_t n = strcspn(a->name, " ");

    return n == strcspn(b->name, " ") && strncmp(a->name, b->name, n) == 0;
}

/* What can be trusted, pattern by pattern. */
static void print_patterns(FILE *f, const struct board *b, unsigned own, enum course course)
{
    fprintf(f,
            "\nmigpolicy: forecasts by pattern, %s, at 25%% / 50%% / 75%%\n"
            "  %-16s %19s %19s %21s %30s\n",
            course_names[course], "", "before two passes", "not known", "wrong of said",
            "p90 error % (of so many)");
    for (unsigned first = 0, r = 0; first < b->rows; first = r) {
        const struct row *row = board_row(b, first, 0);
        struct forecasts all[FRACTIONS];

        while (r < b->rows && same_pattern(row, board_row(b, r, 0)))
            r++;
        for (unsigned i = 0; i < FRACTIONS; i++)
            board_forecasts(b, own, first, r - first, course, i, &all[i]);
        fprintf(f, "  %-16.*s", (int)strcspn(row->name, " "), row->name);
        for (unsigned i = 0; i < FRACTIONS; i++)
            fprintf(f, "%s%5u", i > 0 ? " /" : "  ", all[i].early);
        for (unsigned i = 0; i < FRACTIONS; i++)
            fprintf(f, "%s%5u", i > 0 ? " /" : " ", all[i].probes - all[i].said - all[i].early);
        for (unsigned i = 0; i < FRACTIONS; i++)
            fprintf(f, "%s%3u of %u", i > 0 ? " /" : " ", all[i].wrong, all[i].said);
        for (unsigned i = 0; i < FRACTIONS; i++) {
            fprintf(f, i > 0 ? " / " : "   ");
            if (all[i].shown > 0)
                fprintf(f, "%.0f (%u)", all[i].shown_p90 * 100, all[i].shown);
            else
                fprintf(f, "-");
        }
        fputc('\n', f);
    }
}

void print_text(const struct board *b, const struct board *held_out, FILE *f)
{
    const struct contender *list;
    unsigned n = contenders(&list);
    unsigned oracle = 0;

    print_table(f, b, list, n);
    for (unsigned c = 0; c < n; c++) {
        if (list[c].kind == CONTENDER_ORACLE)
            oracle = c;
        if (list[c].kind == CONTENDER_MIGPOLICY)
            print_acceptance(f, b, list, n, c);
    }
    fprintf(f,
            "\nHeld out: guests, links and hot sets of other sizes, other rates of writing, other "
            "seeds; no constant was chosen on them\n");
    for (unsigned c = oracle + 1; c < n; c++) {
        fprintf(f, "\n%s, held out\n", list[c].name);
        print_own(f, held_out, list, c);
        print_broken(f, held_out, oracle, c);
        print_false_throttles(f, held_out, c);
        print_forecasts(f, held_out, list, c);
    }
    print_rivals(f, b, list, n, oracle + 1);
    for (unsigned c = oracle + 1; c < n; c++) {
        fprintf(f, "\n%s: limits broken that the oracle keeps\n", list[c].name);
        print_broken(f, b, oracle, c);
        fprintf(f, "\n%s: throttled without need\n", list[c].name);
        print_false_throttles(f, b, c);
    }
    for (unsigned k = 0; k < COURSES; k++)
        print_patterns(f, b, oracle + 1, (enum course)k);
    print_worst(f, b, oracle + 1);
}

/* ---- the hard board ---- */

/* What one contender made of some of the runs. */
struct tally {
    unsigned runs;
    unsigned kept;
    unsigned could;    /* kept by the oracle, not by this one */
    unsigned ceilings; /* broken, of runs completed */
    unsigned needless; /* throttles */
    unsigned both;     /* kept by the oracle too */
    double lost[2];    /* work, over the oracle's: median, 90th percentile */
    double extra_s;    /* beyond the oracle's, all of them together */
};

/* Word number `word` of a row's name. */
static const char *row_word(const struct row *row, unsigned word, int *ret_length)
{
    const char *s = row->name;

    for (; word > 0; word--)
        s += strcspn(s, " ") + 1;
    *ret_length = (int)strcspn(s, " ");
    return s;
}

static bool same_word(const struct row *a, const struct row *b, unsigned word)
{
    int n;
    int m;
    const char *s = row_word(a, word, &n);
    const char *t = row_word(b, word, &m);

    return n == m && strncmp(s, t, (size_t)n) == 0;
}

static void count_run(struct tally *t, const struct row *row, const struct outcome *own,
                      const struct outcome *unaided, const struct outcome *oracle, double *ratio)
{
    bool kept = outcome_kept(own, row);

    t->runs++;
    t->kept += kept;
    t->could += !kept && outcome_kept(oracle, row);
    t->ceilings += own->completed && own->downtime_s > row_downtime_limit_s(row);
    t->needless += own->least_share < 1 && outcome_kept(unaided, row);
    if (!kept || !outcome_kept(oracle, row))
        return;
    ratio[t->both++] = own->work_lost_s / oracle->work_lost_s;
    t->extra_s += own->work_lost_s - oracle->work_lost_s;
}

/* Of the rows whose word number `word` is that of row number `like`. */
static struct tally tally(const struct board *b, unsigned own, unsigned oracle, unsigned word,
                          unsigned like)
{
    AUTO_FREE double *ratio = calloc((size_t)b->rows * b->seeds, sizeof(*ratio));
    struct tally t = {0};

    if (!ratio)
        abort();
    for (unsigned r = 0; r < b->rows; r++) {
        if (!same_word(board_row(b, r, 0), board_row(b, like, 0), word))
            continue;
        for (unsigned k = 0; k < b->seeds; k++)
            count_run(&t, board_row(b, r, k), board_outcome(b, own, r, k),
                      board_outcome(b, 0, r, k), board_outcome(b, oracle, r, k), ratio);
    }
    t.lost[0] = quantile(ratio, t.both, 0.5);
    t.lost[1] = quantile(ratio, t.both, 0.9);
    return t;
}

/* One line for each of the different words number `word`. */
static void print_groups(FILE *f, const struct board *b, unsigned own, unsigned oracle,
                         unsigned word)
{
    for (unsigned first = 0; first < b->rows; first++) {
        const struct row *row = board_row(b, first, 0);
        bool seen = false;
        struct tally t;
        struct tally best;
        int n;
        const char *name = row_word(row, word, &n);

        for (unsigned r = 0; r < first; r++)
            seen = seen || same_word(board_row(b, r, 0), row, word);
        if (seen)
            continue;
        t = tally(b, own, oracle, word, first);
        best = tally(b, oracle, oracle, word, first);
        fprintf(f, "  %-14.*s %5u %7u %6u %7u %9u %9u   %6.2f / %6.2f %9.1f\n", n, name, t.runs,
                best.kept, t.kept, t.could, t.ceilings, t.needless, t.lost[0], t.lost[1],
                t.extra_s);
    }
}

static void print_hard_contender(FILE *f, const struct board *b, const char *name, unsigned own,
                                 unsigned oracle)
{
    fprintf(f, "\n%s\n  %-14s %5s %7s %6s %7s %9s %9s   %15s %9s\n", name, "", "runs", "oracle",
            "kept", "missed", "ceilings", "needless", "work lost /", "beyond");
    fprintf(f, "  %-14s %5s %7s %6s %7s %9s %9s   %15s %9s\n", "", "", "keeps", "", "", "broken",
            "throttles", "oracle 50%/90%", "it, s");
    for (unsigned word = 0; word < 4; word++)
        print_groups(f, b, own, oracle, word);
}

void print_hard(const struct board *b, FILE *f)
{
    const struct contender *list;
    unsigned n = contenders(&list);
    unsigned oracle = 0;

    while (list[oracle].kind != CONTENDER_ORACLE)
        oracle++;
    fprintf(f, "hard matrix, seed %lu: ", (unsigned long)b->first_seed);
    print_table(f, b, list, n);
    for (unsigned c = 0; c < n; c++) {
        if (c == oracle || list[c].kind != CONTENDER_MIGPOLICY || !board_plays(b, c))
            continue;
        print_hard_contender(f, b, list[c].name, c, oracle);
        fputc('\n', f);
        print_forecasts(f, b, list, c);
        for (unsigned k = 0; k < COURSES && list[c].objective == OBJECTIVE_LEAST_LOSS; k++)
            print_patterns(f, b, c, (enum course)k);
        fprintf(f, "\n%s: limits broken that the oracle keeps\n", list[c].name);
        print_broken(f, b, oracle, c);
        fprintf(f, "\n%s: throttled without need\n", list[c].name);
        print_false_throttles(f, b, c);
    }
}
