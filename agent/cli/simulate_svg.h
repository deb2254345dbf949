/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture of a simulated migration, as SVG: what was left to send, with a number where something
 * was done, beside the same migration with nobody acting; below that the verdict, what the vCPUs
 * were left of their CPU, and when it was said to end. The same run makes the same picture.
 */
#ifndef MIGPOLICY_SIMULATE_SVG_H
#define MIGPOLICY_SIMULATE_SVG_H

#include <stdio.h>

#include "agent/cli/simulate_plot.h"

struct picture {
    const struct plot_point *point; /* at least one, by time */
    size_t n_points;
    const struct plot_mark *mark;
    size_t n_marks;
    const struct plot_point *other; /* with nobody acting; at least one */
    size_t n_other;
    bool completed;
    const char *title; /* how it went, and */
    const char *other_title;
};

void simulate_svg(FILE *f, const struct picture *p);

#endif
