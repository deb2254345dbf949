/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From samples to rates: what the link carries and how the guest dirties memory.
 *
 * Theory of operation
 *
 * Pre-copy is a sequence of passes. At the sync that ends pass k, QEMU finds the set of pages
 * dirtied since the sync before; what it had not sent yet is still dirty too. So with x the bytes
 * remaining right after a sync,
 *
 *     x[k+1] = left + U * (1 - left/H)
 *
 * where `left` is what pass k left unsent (QEMU syncs as soon as the remainder would fit into the
 * downtime limit), U the unique bytes dirtied during the pass, and H the size of the set the guest
 * writes to; the last factor is the part of U that was not dirty already.
 *
 * U depends on how long the pass was and how fast the guest ran. Both are folded into one axis:
 * tau, seconds of the guest's own full-speed CPU time. A guest at 20% speed reaches in five seconds
 * what it dirties in one second at full speed. Each pass contributes one point (tau, U) of
 *
 *     U(tau) = H * (1 - exp(-kappa * tau))
 *
 * a hot set of H bytes that fills at an initial rate of kappa * H, or of H * min(kappa * tau, 1) if
 * the guest writes in order. Passes at full speed show H;
 * passes under a throttle reach small tau and show kappa. A guest that dirties just as fast at 20%
 * CPU shows itself as a curve that is already full at small tau, from which the forecast concludes
 * that throttling is useless: no special case is needed for it.
 *
 * When all points lie on the saturated part, kappa is only bounded from below. The estimate
 * therefore carries a range of kappa that the points allow, and the forecast is run on both ends.
 *
 * QEMU clears its dirty log chunk by chunk during the first pass, so that pass leaves about the
 * mean of U over its length, and zero pages distort even that: it is no point of the curve. Until
 * there is one, all curves that have this mean are possible; good for a first guess only. But
 * wherever in memory the guest writes, it has dirtied no less in that pass than the pass left: a
 * curve that stays below that is none.
 *
 * What earlier migrations of the same guest have shown is a set of points, too, and counts less
 * with age. What they are good for is a guest that did the same all the time and did not converge.
 * The first pass tells whether it still does: if it leaves what the first pass left then, they
 * count from then on, if not they are forgotten.
 *
 * Pure: `now` is in the sample, state is explicit, nothing is allocated.
 */
#ifndef MIGPOLICY_ESTIMATE_H
#define MIGPOLICY_ESTIMATE_H

#include "policy/sample.h"

enum {
    ESTIMATE_WINDOW = 256, /* samples the transfer rate is taken over: 3 s of the most frequent */
    ESTIMATE_PASSES = 12,  /* points the dirty curve is fitted to */
};

/*
 * What a guest dirties that writes all over its hot set, U(tau) = hot_bytes * (1 - exp(-kappa *
 * tau)), or in order, U(tau) = hot_bytes * min(kappa * tau, 1), or something of both.
 */
struct dirty_curve {
    double hot_bytes;
    double kappa;    /* 1/s */
    double in_order; /* 0 to 1: how much of the second it is */
};

/* What is known after a sample. Rates are 0 while unknown. */
struct estimate {
    bool ready;      /* the first pass and one more, or what was known, tell: there are curves */
    bool expected;   /* the curves are what is known of the guest, and not confirmed yet */
    bool known;      /* it has not converged before, and does the same by its first pass */
    unsigned passes; /* complete passes seen, the first one included */
    double transfer_bps; /* bytes per second on the wire */
    double noise;        /* relative scatter of what the link carries in QEMU's window of 100 ms */
    double drain_bps;    /* bytes per second by which the remainder falls within a pass */
    double dirty_bps;    /* unique bytes dirtied per second, over the last complete pass */
    double remaining_bytes;
    double pass_tau_s;   /* guest CPU time since the last sync */
    double lost_s;       /* guest work lost to slowing, whoever did it, since the first sample */
    double speed;        /* guest speed now: CPU time it gets over what it got untouched, <= 1 */
    double last_x_bytes; /* remaining right after the last sync */
    double prev_x_bytes; /* and after the one before */
    double last_unique_bytes; /* dirtied during the last complete pass */
    double hot_bytes;         /* most ever found dirty by a sync */
    struct dirty_curve curve; /* best fit */
    struct dirty_curve slow;  /* least initial dirty rate the points allow: throttling works best */
    struct dirty_curve fast;  /* greatest: throttling works worst */
    double cpu_allowance;     /* CPUs a vCPU can use untouched; 0: unknown, taken for 1 */
    unsigned vcpus;
    double vcpu_busy[SAMPLE_VCPUS_MAX]; /* untouched: CPUs used by each vCPU, 0..1 */
};

/* Copies what is valid, as sample_copy(). */
static inline void estimate_copy(struct estimate *to, const struct estimate *from)
{
    memcpy(to, from,
           offsetof(struct estimate, vcpu_busy) + from->vcpus * sizeof(from->vcpu_busy[0]));
}

struct estimate_point {
    double tau_s;
    double unique_bytes;
    double weight;
};

/* What is known of a guest before it migrates. */
struct prior {
    unsigned points; /* 0: nothing */
    struct estimate_point point[ESTIMATE_PASSES];
    struct estimate_point first; /* how long its first pass took, and what that left */
    bool plateau; /* it was certain not to end unaided, and its passes found the same */
};

/* State of one migration's estimator. Start with estimator_init(). */
struct estimator {
    struct estimate now;
    bool started;
    struct sample last;
    int64_t pass_start_ns;
    bool pass_is_first;
    bool pass_whole;       /* seen from its first sync on */
    unsigned window_count; /* transfer window: ring, newest at (count-1) % size */
    int64_t window_ns[ESTIMATE_WINDOW];
    double window_sent[ESTIMATE_WINDOW];
    double window_drained[ESTIMATE_WINDOW];
    double variance;      /* of what the link carries in a window of QEMU's, relative */
    double drained_bytes; /* total fall of the remainder, jumps at syncs left out */
    unsigned points;      /* of the dirty curve, of different lengths */
    struct estimate_point point[ESTIMATE_PASSES];
    struct estimate_point left;        /* by the first pass */
    struct estimate_point prior_first; /* and by the one before, of what is known of the guest */
    bool prior_plateau;
    struct estimate_point first;         /* what the first pass left: no more than it dirtied */
    double free_cpu_s[SAMPLE_VCPUS_MAX]; /* faded CPU seconds of each vCPU while untouched */
    double free_s;                       /* and the faded wall seconds they took */
};

void estimator_init(struct estimator *e);

/*
 * Tells what is known of the guest, before the first sample. Points that nobody can have measured
 * are left out.
 */
void estimator_set_prior(struct estimator *e, const struct prior *prior);

/*
 * What has been learned of the guest, to be the next migration's prior: weights are at most 1. No
 * points before two passes were seen or what was known has been confirmed.
 */
void estimator_learned(const struct estimator *e, struct prior *ret);

/*
 * Takes one sample. A counter that ran backwards means a new job: the estimator starts afresh and
 * returns true. Samples not newer than the last one are ignored.
 */
bool estimator_add(struct estimator *e, const struct sample *s);

/*
 * Takes a point of the dirty curve that was measured otherwise, before a migration; the curves of
 * e->now follow. The longest first: what is added later counts more.
 */
void estimator_add_point(struct estimator *e, double tau_s, double unique_bytes);

/* Unique bytes dirtied in `tau_s` seconds of guest CPU time from a clean bitmap. */
double dirty_curve_at(const struct dirty_curve *curve, double tau_s);

/*
 * Guest speed to expect when no vCPU gets more than `share` of what it can use untouched: a vCPU
 * that needs less than that is not slowed. 1 when the vCPUs' use is unknown and share is 1, else
 * share.
 */
double estimate_speed_at(const struct estimate *e, double share);

#endif
