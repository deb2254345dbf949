/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is said while the evidence goes to and fro. A guest that dirties about what the link carries
 * converges by one pass and not by the next, and each may be right. Who reads that needs to be told
 * of the doubt, not of each of its turns: when twice something was said and taken back, what is
 * said next has to hold for a while first, and twice as long each time.
 *
 * Only words settle: no action waits for them, and none is taken because of them.
 *
 * Pure; explicit state; one thread.
 */
#ifndef MIGPOLICY_VERDICT_H
#define MIGPOLICY_VERDICT_H

#include "policy/decision.h"

struct verdict_memory {
    enum verdict verdict; /* of the last decision */
    int64_t since_ns;     /* when it was first decided so; monotonic clock */
    bool said;            /* it has been said, too */
    unsigned taken_back;  /* how often what was said was taken back */
};

/*
 * Takes the decision of a look and lets it say no more than has settled: that it converges, needs
 * help or is hopeless becomes a plateau of an unsteady guest until then. A decision that acts or
 * asks is left as it is.
 */
void verdict_settle(struct verdict_memory *w, int64_t now_ns, struct decision *d);

#endif
