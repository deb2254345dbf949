/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A model of one migration: guest, link and QEMU's migration loop, in virtual time.
 *
 * Theory of operation
 *
 * Everything between two events has a closed form, so time advances from event to event and a whole
 * migration costs microseconds. Events are: the end of the time asked for, a change of the link or
 * of the guest's phase, a look of QEMU at what is pending that may matter, a forced sync.
 *
 * Guest. vCPUs use a part of a CPU each; regions of memory are written by one vCPU, or by all of
 * them, at random, in order, or along a measured dirty-page curve. A region's state is tau: the
 * seconds of full-speed writing since its log was clean. Throttles, phases and the part of the
 * writer that waits for something else than the CPU stretch tau; U(tau) is what a sync finds.
 *
 * Link. See link.h.
 *
 * QEMU. Every 50 ms it looks whether what is pending is below (bandwidth of the last 100 ms) x
 * (downtime limit). If so it syncs, and completes when that still holds. It walks the memory round
 * and round: what a pass left goes out first in the next, then what the sync found, each with all
 * classes of pages in proportion. Zero pages cost a mark each. The first pass clears the dirty log
 * chunk by chunk as it goes, so it leaves only what was dirtied after a chunk was cleared.
 * Auto-converge, if on, judges at syncs and may force one every 5 s. State of devices counts after
 * a sync only, and goes over the link in the blackout. Storage is copied before all this: until
 * then there is no pass, and nothing is logged.
 *
 * Pages. A model that was given pages (pages.h) has its memory there: regions are written page by
 * page, with habits, memory has an order, every sync clears the log chunk by chunk, tau never goes
 * back, and bandwidth is what went over the link in the last 100 ms, as QEMU counts it. It is run
 * from look to look and costs milliseconds.
 *
 * What is lost is what the guest could do without the quota: a limit on all vCPUs is its own.
 *
 * Left out: the period of a quota, the cost of a sync; without pages, memory placement.
 *
 * Pure and deterministic. One thread per model.
 */
#ifndef MIGPOLICY_MODEL_H
#define MIGPOLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/model/link.h"
#include "policy/model/pages.h"
#include "policy/sample.h"

enum {
    MODEL_REGIONS_MAX = PAGES_REGIONS_MAX,
    MODEL_VCPUS_MAX = 1024,
    MODEL_PHASES_MAX = 16,
    MODEL_CHUNKS = 32, /* steps in which the first pass clears the dirty log */
    MODEL_ALL_VCPUS = -1,
};

/* What can be pending: pages of the regions, of the rest of the guest, and zero pages. */
enum { MODEL_COLD = MODEL_REGIONS_MAX, MODEL_ZERO, MODEL_CLASSES };
enum { MODEL_LEFT, MODEL_FOUND, MODEL_QUEUES };

/* A point of a dirty-page curve: unique bytes dirtied so long after a clean bitmap. */
struct model_point {
    double seconds;
    double bytes;
};

struct model_region {
    double bytes;                    /* its size; with a curve: the most that ever gets dirty */
    double rate_bps;                 /* bytes touched per second at full speed (without a curve) */
    bool sequential;                 /* in order, over and over; else at random */
    double cpu_bound;                /* part of the writing that slows down with the vCPU: 0..1 */
    int vcpu;                        /* the writer, or MODEL_ALL_VCPUS */
    const struct model_point *curve; /* rising, without the origin; borrowed; NULL: none */
    unsigned curve_points;
    struct pages_habit habit; /* only with pages, which in turn know no curve */
};

/* A part of the guest's life: its appetite, relative to what the guest states. */
struct model_phase {
    double seconds;
    double rate;   /* factor on the rates of writing */
    double busy;   /* factor on the vCPUs' use of CPU */
    double jitter; /* how much longer or shorter it may be: 0..1 of it */
};

struct model_guest {
    double ram_bytes;    /* all of it */
    double zero_bytes;   /* of that never written: sent as marks */
    double disk_bytes;   /* storage that is copied before the memory */
    double flush_s;      /* block flush, inside the blackout */
    double device_bytes; /* state of devices, sent inside the blackout; QEMU knows of it */
    double shared_cpus;  /* CPUs all vCPUs may use together; 0: no such limit */
    unsigned vcpus;
    double vcpu_busy[MODEL_VCPUS_MAX]; /* CPUs used by each at full speed: 0..1 */
    unsigned regions;
    struct model_region region[MODEL_REGIONS_MAX];
    unsigned phases; /* 0: always the same; else one after another, over and over */
    struct model_phase phase[MODEL_PHASES_MAX];
    double phase_offset_s; /* how far into its phases the guest is at the start */
};

enum model_state { MODEL_RUNNING, MODEL_COMPLETED, MODEL_CANCELLED };

struct model {
    /* The guest may be changed while it runs, and so may these, by whoever steers. */
    struct model_guest guest;
    double downtime_limit_s;
    double cpu_share; /* quota on each vCPU, of what it can use without one; 1: none */
    bool paused;      /* the guest stands still; its memory is sent all the same */
    double vcpu_sleep[MODEL_VCPUS_MAX]; /* part of the time QEMU keeps a vCPU asleep */
    bool auto_converge;
    bool forced_syncs; /* auto-converge's, every 5 s */

    /* The outcome so far. */
    enum model_state state;
    double time_s;
    double downtime_s;  /* the blackout, other pauses included */
    double post_copy_s; /* time the guest ran on the destination without all of its memory */
    double work_lost_s; /* by slowing, blackout and post-copy faults */
    double least_speed; /* of the guest, outside the blackout */
    double least_share; /* least CPU any slowed vCPU got, 1: none was slowed */
    double sent_bytes;
    uint64_t iteration; /* 0: storage is being copied */

    /* Inside. */
    struct pages *pages; /* borrowed; NULL: closed forms */
    struct model_link link;
    uint64_t seed;
    double speed_limit_bps; /* of the migration; 0: none */
    double disk_left_bytes; /* of the storage */
    double overhead_s;   /* the blackout beside sending and flushing: pause, device state, resume */
    double link_bps;     /* now */
    double link_was_bps; /* before the last change */
    double link_since_s;
    double link_next_s;
    unsigned phase;
    double phase_end_s;
    double window_s; /* with pages: when QEMU began to measure bandwidth, and with what result */
    double window_bytes;
    double window_bps;
    bool synced; /* since the last model_sample() */
    double sync_s;
    double sync_bytes;                         /* pending right after the last sync */
    double queue[MODEL_QUEUES][MODEL_CLASSES]; /* bytes to be sent, the first queue first */
    double tau_s[MODEL_REGIONS_MAX];
    double chunk_tau_s[MODEL_CHUNKS][MODEL_REGIONS_MAX]; /* when the chunk was cleared */
    unsigned chunks;                                     /* cleared so far */
    double first_bytes;                                  /* the first pass's size */
    double cpu_s[MODEL_VCPUS_MAX];
    unsigned throttle_percent; /* auto-converge's */
    unsigned throttle_doubts;
    double throttle_look_s; /* last judged */
    double throttle_sent_bytes;
    double throttle_dirty_bytes;
    double forced_next_s;
    uint64_t forced_iteration;
};

/*
 * Starts a migration at time 0 with a downtime limit of 300 ms and no throttle. The seed decides
 * the noise of the link and of QEMU's bandwidth measurement.
 */
void model_start(struct model *m, const struct model_guest *guest, const struct model_link *link,
                 uint64_t seed);

/* The same for a guest whose memory is in `pages`, which has to outlive the model. */
void model_start_pages(struct model *m, struct pages *pages, const struct model_guest *guest,
                       const struct model_link *link, uint64_t seed);

/* Makes `to` what `from` is; `pages` is to hold the memory of one that has pages. */
void model_copy(struct model *to, struct pages *pages, const struct model *from);

/* Lets `seconds` go by, or less when a sync happens or the migration ends. */
void model_run(struct model *m, double seconds);

/* The sample the agent would take now. */
void model_sample(struct model *m, struct sample *ret);

/* Limits what the migration may send from now on; 0: not at all. The last stage knows no limit. */
void model_limit_speed(struct model *m, double bps);

/* Stop and copy: pauses the guest now and sends the rest. */
void model_suspend(struct model *m);

/* Switches to post-copy now: a short blackout, then missing pages are fetched as they are touched,
   which costs half of the guest's work until all have come. */
void model_post_copy(struct model *m);

void model_cancel(struct model *m);

/* Speed of the guest now: CPU it gets over CPU it could get, had nobody slowed it. */
double model_speed(const struct model *m);

/* CPUs a vCPU can use without a quota: less than 1 where a limit on all of them is spent. */
double model_allowance(const struct model *m);

/* Speed of one vCPU. */
double model_vcpu_speed(const struct model *m, unsigned vcpu);

/* Unique bytes a region dirties in `tau_s` seconds of full-speed writing. */
double model_unique_bytes(const struct model_region *r, double tau_s);

#endif
