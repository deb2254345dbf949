/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of one migration: guest, link and QEMU's migration loop, in virtual time.
 *
 * The guest writes to regions of its memory, each with a size, a rate and an order. QEMU sends the
 * bitmap, syncs it when the remainder would fit into the downtime limit, and completes when it
 * still does after the sync. Coarse (steps of a few milliseconds, pages as fluid), but with the
 * properties decisions hang on: saturating hot sets, the chunk-wise cleared first pass, the
 * sawtooth, bursts of 50 ms, throttles that slow only writers bound by CPU.
 *
 * Pure and deterministic. One thread per model.
 */
#ifndef MIGPOLICY_MODEL_H
#define MIGPOLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/sample.h"

enum { MODEL_REGIONS_MAX = 8 };

struct model_region {
    double bytes;
    double rate_bps; /* bytes touched per second at full speed */
    bool sequential; /* in order, over and over; else at random */
    bool cpu_bound;  /* slows down with the guest */
};

struct model_guest {
    double ram_bytes;  /* all of it */
    double zero_bytes; /* of that never written: sent as marks */
    double vcpu_busy;  /* CPUs used at full speed, one vCPU: 0..1 */
    unsigned regions;
    struct model_region region[MODEL_REGIONS_MAX];
};

enum model_state { MODEL_RUNNING, MODEL_COMPLETED, MODEL_CANCELLED };

struct model {
    struct model_guest guest; /* may be changed while running: phases */
    double link_bps;          /* likewise */
    double overhead_s;        /* switchover beside sending */
    enum model_state state;
    double time_s;
    double downtime_limit_s;
    double cpu_share;
    double downtime_s;  /* the blackout (completed) */
    double work_lost_s; /* blackout included */

    uint64_t iteration;
    bool synced; /* since the last model_sample() */
    double sync_s;
    double sent_bytes;
    double cold_bytes; /* of the first pass, outside the regions */
    double zero_left_bytes;
    double bitmap[MODEL_REGIONS_MAX];
    double log[MODEL_REGIONS_MAX];
    double log_mean[MODEL_REGIONS_MAX]; /* first pass: integral of log over time */
    double burst_s;
    double cpu_s;
};

/* Starts a migration at time 0 with a downtime limit of 300 ms and no throttle. */
void model_start(struct model *m, const struct model_guest *guest, double link_bps);

/* Lets `seconds` go by, or less when a sync happens or the migration ends. */
void model_run(struct model *m, double seconds);

/* The sample the agent would take now. */
void model_sample(struct model *m, struct sample *ret);

/* Speed of the guest under the throttle in force. */
double model_speed(const struct model *m);

#endif
