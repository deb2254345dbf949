/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How likely a migration ends as things are: by its deadline, or at all where it has none.
 *
 * Theory of operation
 *
 * The curves say whether it would end if the guest went on as they have it. How often that comes
 * true depends on what else was seen: whether the date held, whether passes shrink, how near the
 * switchover is, whether the guest does the same all the time. None of that is a theory of guests,
 * so the weights are measured: a logistic regression over looks at thousands of modelled
 * migrations, by a quarter, a half and three quarters of their time, each run on from there with
 * nothing changed (tests/bench/chance fits it, and says how well it holds on seeds it has not
 * seen). One set of weights where the likeliest curve ends in time, one where it does not.
 *
 * Pure; thread-safe.
 */
#ifndef MIGPOLICY_CHANCE_H
#define MIGPOLICY_CHANCE_H

#include <stdbool.h>

enum { CHANCE_FACTS = 16 };

/* What it is judged by. */
struct chance_facts {
    bool known;    /* there is evidence */
    bool ends;     /* on the likeliest curve */
    bool all_end;  /* on all curves */
    bool any_ends; /* on one at least */
    bool held;     /* the date came nearer from sync to sync */
    bool receding; /* it moved away */
    bool throttled;
    bool steady;   /* the guest does the same all the time */
    bool flat;     /* the remainder has not fallen for two syncs */
    bool sure;     /* two syncs found that no curve ends */
    bool close;    /* what was found just does not fit into the switchover */
    bool comes;    /* it is said to end, by the curves and the date */
    bool never;    /* it is said not to */
    double passes; /* complete ones */
    double above;  /* remaining after the last sync over what fits into the switchover */
    double trend;  /* and over what remained after the sync before */
    double part;   /* of the time left, that the likeliest end takes; 0: no deadline */
    double noise;  /* of the link */
};

/* The facts as the regression takes them, in its order; the first is 1. */
void chance_vector(const struct chance_facts *f, double ret[CHANCE_FACTS]);

/* The probability, 0 to 1; of what is known. */
double chance_of(const struct chance_facts *f);

#endif
