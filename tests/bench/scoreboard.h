/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scoreboard: every policy on the same matrix of modelled migrations.
 *
 * A row is a guest, a link and what the guest's administrator allows; a run is a row with a seed,
 * which varies sizes, rates, phases and the link's noise. All policies meet the same runs. A run
 * ends with the migration, or at the deadline.
 *
 * Definitions
 *   unaided     the same run with nobody acting
 *   finished    completed by the deadline
 *   downtime limit of a row
 *               the administrator's ceiling; but never less than what QEMU's default limit of
 *               300 ms leads to by itself: 0.3 s, 5% (and three deviations of a noisy link, or the
 *               loss of half of it) for QEMU's measurement, pause and device state, and the guest's
 *               block flush
 *   kept        finished, and the blackout within the row's downtime limit, and harmless
 *   harmed      a guest was treated as its administrator did not allow: a vCPU that was slowed got
 *               less CPU than min_cpu, or was slowed where throttling is not allowed at all, or the
 *               blackout broke the downtime limit, or the guest was stopped by pausing it or sent
 *               on by post-copy (no row allows either)
 *   work lost   integral of (1 - speed) over time, speed being the CPU time all vCPUs got over what
 *               they wanted; blackout included, and half of the time of post-copy
 *   least work lost
 *               the blackout of the unaided run if it is kept; else of stopping the guest at the
 *               best of its syncs: least (remaining / bandwidth) + overhead + flush
 *   least time  one pass over the pages that are not zero, plus the least work lost
 *   least bytes pages that are not zero, plus what the best sync found
 *   peak slowdown
 *               the largest part of its speed the guest lost while it ran
 *   false throttle
 *               slowed although the unaided run is kept
 *   better      a peer is better on a row if it is kept with every seed, and either migpolicy is
 *               not, or the peer's median work lost is more than 5% and 50 ms smaller. Apart from
 *               these: peers that only lose less because they begin with a smaller downtime limit
 *               than the 300 ms the row has
 *   forecast    of the present course, at the first look from 25, 50 and 75% of the run's time on.
 * The truth is that course: the model run on from there with nothing changed any more. Watched
 * twice, in the run itself, and in one where nothing is done. Said: that it ends in time, or that
 * it does not, where the probability of that is SAY or more: decision_end(). Not said: before two
 * passes are complete, or where neither is as likely. Wrong: said, and not so by the deadline. A
 * date is shown where an end is said; else the earliest. The error is that of the time remaining,
 * relative to it; sure: where there is a latest end
 *
 * The oracle knows the guest: it tries shares, passes to begin at and downtime limits, within the
 * row's limits, by running the model ahead, and takes what loses the least work.
 */
#ifndef MIGPOLICY_BENCH_SCOREBOARD_H
#define MIGPOLICY_BENCH_SCOREBOARD_H

#include <stdio.h>

#include "policy/controller.h"
#include "policy/model/model.h"
#include "policy/policy.h"
#include "tests/bench/peers.h"

enum { ROWS_MAX = 400, ROW_NAME_MAX = 64, SEEDS_MAX = 20 };

/* From this seed on guests, links and hot sets are of other sizes, and guests write at other rates:
   what no constant was chosen on. */
#define HELD_OUT_SEED 1000

/* QEMU's downtime limit where nobody sets one. */
#define DEFAULT_LIMIT_S 0.3

/* What the forecasts are asked: at a quarter, at half, at three quarters of a migration. */
enum { FRACTIONS = 3 };

/* Forecasts are probed in the run itself, and in one where the same is decided and nothing done. */
enum course { COURSE_ACTING, COURSE_WATCHING, COURSES };

struct row {
    char name[ROW_NAME_MAX];
    struct model_guest guest;
    struct model_link link;
    bool pages;        /* the guest's memory is modelled page by page */
    bool again;        /* migpolicy has seen the guest migrate before */
    uint64_t salt;     /* added to the seed of the run */
    double overhead_s; /* of the switchover: pause, device state, resume */
    double ceiling_s;  /* max_downtime; 0: not to be raised */
    bool throttle;     /* allowed */
    double min_cpu;
    double deadline_s;
    double patience_s;
};

/* A matrix: how many rows it has, and row number `i` as the seed makes it. */
struct matrix {
    unsigned (*count)(void);
    void (*get)(unsigned i, uint64_t seed, struct row *ret);
    bool hard;
};

/* Guests in closed form; and guests page by page, see scoreboard_hard.c. */
extern const struct matrix matrix_plain;
extern const struct matrix matrix_hard;

/* The longest blackout that does not break the row's limit. */
double row_downtime_limit_s(const struct row *row);

/* What was shown at one look, and what came. */
struct probe {
    bool known;
    struct chance_facts facts;
    bool early; /* before two passes were complete */
    enum end end;
    bool ends; /* the likeliest course */
    double seconds;
    double earliest_s;
    double latest_s;
    bool ended; /* in time, with nothing changed any more */
    double true_s;
};

struct outcome {
    bool completed;
    bool cancelled;
    bool paused; /* stopped or sent on by post-copy */
    double time_s;
    double downtime_s;
    double limit_s; /* downtime limit at the end */
    double bytes;
    double work_lost_s;
    double least_speed;
    double least_share;
    double best_stop_s;     /* of all syncs, the least time to send what was found */
    double best_stop_bytes; /* and what that was */
    unsigned actions;
    struct probe probe[COURSES][FRACTIONS];
};

enum contender_kind { CONTENDER_PEER, CONTENDER_ORACLE, CONTENDER_MIGPOLICY };

struct contender {
    const char *name;
    enum contender_kind kind;
    const struct peer *peer;
    enum policy_objective objective;
};

/* The peers in their order, the oracle, and migpolicy with both objectives. */
unsigned contenders(const struct contender **ret);

/* Runs one migration; `trace` prints what happens as it does. */
void run_one(const struct contender *c, const struct row *row, uint64_t seed, bool trace,
             struct outcome *ret);

/* Time spent in controller_step() so far, and how often it was called. */
void run_cost(double *ret_seconds, uint64_t *ret_steps);

struct board {
    const struct matrix *matrix;
    uint64_t first_seed;
    bool again;     /* migpolicy has seen each guest migrate before, with another seed */
    bool looks;     /* only migpolicy's looks are wanted */
    bool all_peers; /* else only those that a maintainer at work looks at */
    unsigned rows;
    unsigned seeds;
    struct row *row;         /* rows * seeds */
    struct outcome *outcome; /* contenders * rows * seeds */
};

/* What the board says of one contender. Ratios are relative to the least possible, and taken over
   finished runs. */
struct summary {
    unsigned runs;
    unsigned finished;
    unsigned within; /* finished, with the blackout within the limit */
    unsigned kept;
    unsigned completed;
    unsigned harmed;
    unsigned false_throttles;
    unsigned could; /* runs the oracle keeps, of those this one does not */
    double time[2]; /* median, 90th percentile */
    double bytes[2];
    double lost[2];
    double peak[2];   /* slowdown; over all runs; the second is the greatest */
    double oracle[2]; /* work lost over the oracle's, where both keep the limits */
};

/* Is contender number `contender` run on the board? */
bool board_plays(const struct board *b, unsigned contender);

const struct outcome *board_outcome(const struct board *b, unsigned contender, unsigned row,
                                    unsigned seed);
const struct row *board_row(const struct board *b, unsigned row, unsigned seed);

bool outcome_finished(const struct outcome *o, const struct row *row);
bool outcome_harmed(const struct outcome *o, const struct row *row);
bool outcome_kept(const struct outcome *o, const struct row *row);

/* Least work lost, time and bytes of one run, from its unaided outcome. */
void least_possible(const struct outcome *unaided, const struct row *row, double *ret_lost_s,
                    double *ret_time_s, double *ret_bytes);

/* 0 <= q <= 1; sorts `v`. NAN when there is none. */
double quantile(double *v, unsigned n, double q);

void board_summary(const struct board *b, unsigned contender, struct summary *ret);

/* What was forecast at one fraction of some runs. */
struct forecasts {
    unsigned probes;
    unsigned said;   /* that it ends, or that it does not */
    unsigned wrong;  /* of these */
    unsigned shown;  /* dates of ends said, that came */
    unsigned sure;   /* of these, on all curves */
    unsigned early;  /* looks before two passes were complete */
    unsigned floors; /* looks with nothing said but the earliest end */
    unsigned floors_kept;
    unsigned early_etas;
    unsigned spans;   /* looks that show an earliest and a latest end, of runs that ended */
    unsigned covered; /* ends in between */
    double sure_p90;  /* errors of the time remaining; NAN: none */
    double shown_p90;
    double early_p50;
};

/* Of `rows` rows from the `first` on. */
void board_forecasts(const struct board *b, unsigned contender, unsigned first, unsigned rows,
                     enum course course, unsigned fraction, struct forecasts *ret);

enum better { BETTER_NO, BETTER_BY_LIMIT, BETTER_YES };

/* Is the peer better on the row than the contender, or only because of a smaller downtime limit?
   Medians of work lost for the telling; `ret_own_s` is NAN when a limit is not kept. */
enum better board_better(const struct board *b, unsigned peer, unsigned contender, unsigned row,
                         double *ret_peer_s, double *ret_own_s);

/* `held_out` has no peers in it. */
void print_text(const struct board *b, const struct board *held_out, FILE *f);
void print_hard(const struct board *b, FILE *f);
void print_json(const struct board *b);

/* The board as a page of the documentation, and as a plot. 0 or -errno. */
int write_markdown(const struct board *b, const struct board *held_out, const char *path);
int write_svg(const struct board *b, const char *path);

#endif
