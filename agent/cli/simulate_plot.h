/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plot for the terminal: what was left to send, over time, with marks where something was done.
 * What one column saw at least is filled, the range above it up to what it saw at most is shaded.
 * Lines have at most 80 columns.
 */
#ifndef MIGPOLICY_SIMULATE_PLOT_H
#define MIGPOLICY_SIMULATE_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "policy/decision.h"

struct plot_point {
    double time_s;
    double bytes;
    /* For pictures (simulate_svg.h): */
    double threshold_bytes; /* it switches over below that; NAN: not known yet */
    double cpu_share;       /* 1: no limit */
    enum verdict verdict;
    enum end end;      /* what is said, */
    double course_s;   /* in so many seconds from now, */
    double earliest_s; /* and between these; not finite: not said */
    double latest_s;
};

/* A letter under the time axis, or a number over the picture. */
struct plot_mark {
    double time_s;
    char letter;
    bool done; /* not only decided */
    struct action action;
};

/* Points (at least one) and marks by time. `utf8`: blocks may be used, else plain ASCII. */
void simulate_plot(FILE *f, bool utf8, const struct plot_point *point, size_t n_points,
                   const struct plot_mark *mark, size_t n_marks);

#endif
