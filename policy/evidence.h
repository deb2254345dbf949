/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the samples of one migration have shown that no rate or curve says: whether it stands still,
 * whether what was done to it works, whether something holds it back. The controller decides by it,
 * and by the estimate.
 *
 * Pure; explicit state; one thread.
 */
#ifndef MIGPOLICY_EVIDENCE_H
#define MIGPOLICY_EVIDENCE_H

#include "policy/outlook.h"

/* For how many syncs in a row, and since when. */
struct due {
    unsigned syncs;
    int64_t since_ns;
};

struct evidence {
    int64_t flat_ns; /* since when the remainder has been flat, and for how many syncs */
    unsigned flat_syncs;
    unsigned steady_syncs;          /* in a row that found the same */
    bool was_steady;                /* there were enough of them once */
    bool unsteady;                  /* two in a row differed with nothing changed in between */
    double since_last_s;            /* between the last two samples */
    double throttle_low_bytes;      /* least remaining after a sync under the throttle in force */
    int64_t throttle_low_ns;        /* and when that was found */
    unsigned stuck_passes;          /* under it, in a row, that found no less */
    double throttled_s;             /* time under a throttle of ours */
    double last_loss_s;             /* guest work lost to it, between the last two samples */
    unsigned passes_since_downtime; /* since a downtime limit of ours was decided on */
    bool storage_first;             /* the migration was seen before its memory phase */
    bool memory_known; /* that phase has begun, and when, by the migration's own clock */
    int64_t memory_ns;
    int64_t found_limit_ns; /* the downtime limit that was found */
    struct due due;         /* the switchover, by far, and just so */
    struct due nearly_due;
    double held_s;    /* what beside memory is known from that to take part of the limit */
    int64_t moved_ns; /* when the count of bytes sent last moved */
};

/* What was known before the present sample. */
struct before {
    int64_t now_ns; /* 0: nothing */
    double cpu_share;
    int64_t downtime_limit_ns;
    uint64_t processed_bytes;
    unsigned passes;
    double lost_s;
};

/* To be kept while the estimator takes the next sample. */
struct before evidence_before(const struct estimator *estimator);

/*
 * Takes the sample that the estimate has just taken. `floor_share` is the hardest throttle that is
 * allowed; what a throttle in force has cost and been through is added to *tried.
 */
void evidence_take(struct evidence *seen, struct tried *tried, const struct estimate *e,
                   const struct sample *s, const struct before *before, double floor_share);

/* Has the remainder been on a plateau for so long that no curve is believed that promises an end?
 */
bool evidence_is_flat(const struct evidence *seen, int64_t now_ns);

/* Does the guest do the same all the time, as far as it was seen now or is known from before? */
bool evidence_is_steady(const struct evidence *seen, const struct estimate *e);

#endif
