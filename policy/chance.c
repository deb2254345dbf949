/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/chance.h"

#include <math.h>

/* As tests/bench/chance fits them: where the likeliest curve does not end in time, where it does.
 */
static const double weights[2][CHANCE_FACTS] = {
    {0.07, 1.01, 0.31, 0.37, 1.55, 0.11, 1.38, 0.04, -0.53, -0.78, 1.55, -0.26, 0.34, -0.03, 0,
     -3.03},
    {2.51, 0.65, 1.74, 0.76, 0.73, 0.77, -0.49, 0.15, -0.65, -0.50, 0.42, 0.18, -1.58, -1.02, 0.93,
     0},
};

static double clamp(double value, double most)
{
    return fmin(fmax(value, -most), most);
}

/* The logarithm of a ratio, as far as it tells something. */
static double log_of(double ratio, double most)
{
    return ratio > 0 ? clamp(log(ratio), most) : -most;
}

void chance_vector(const struct chance_facts *f, double ret[CHANCE_FACTS])
{
    const double v[CHANCE_FACTS] = {
        1,
        f->ends ? f->all_end : f->any_ends,
        f->held,
        f->receding,
        f->throttled,
        f->steady,
        f->flat,
        f->sure,
        log_of(f->passes, 4),
        log_of(f->above, 4),
        log_of(f->trend, 1),
        f->part > 0 ? log_of(f->part, 4) : -4,
        fmin(f->noise, 0.5),
        f->close,
        f->comes,
        f->never,
    };

    for (unsigned i = 0; i < CHANCE_FACTS; i++)
        ret[i] = v[i];
}

double chance_of(const struct chance_facts *f)
{
    double v[CHANCE_FACTS];
    double sum = 0;

    chance_vector(f, v);
    for (unsigned i = 0; i < CHANCE_FACTS; i++)
        sum += weights[f->ends][i] * v[i];
    return 1 / (1 + exp(-sum));
}
