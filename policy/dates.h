/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ends forecast at the last syncs, and whether they hold. All zeroes: none yet.
 *
 * Pure.
 */
#ifndef MIGPOLICY_DATES_H
#define MIGPOLICY_DATES_H

#include <stdbool.h>

#include "policy/decision.h"
#include "policy/evidence.h"
#include "policy/sample.h"
#include "policy/tuning.h"

struct dates {
    struct {
        double said_s; /* by the clock, and for when */
        double end_s;
    } date[DATES];  /* the oldest first */
    unsigned dates; /* of them, with what is in force now */
    bool held;      /* at the last sync: the end came nearer since the one before */
    bool receding;  /* or it moved away */
};

/*
 * Has the end come nearer over the last syncs? One that moves away by more than a third of the time
 * that goes by is none, whatever the curves say: the guest or the link is not as they have it.
 */
void dates_judge(struct dates *k, const struct sample *s, const struct before *before,
                 struct decision *d);

#endif
