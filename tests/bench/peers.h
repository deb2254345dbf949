/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How others decide, driving a modelled migration.
 *
 * Each peer looks at every sync, and every `poll_s` besides, and turns the model's knobs. Where the
 * original leaves a choice to its administrator, it has the defaults of its project. None of them
 * asks what the guest's administrator approved; the scoreboard judges that afterwards.
 */
#ifndef MIGPOLICY_BENCH_PEERS_H
#define MIGPOLICY_BENCH_PEERS_H

#include "policy/model/model.h"

/* Syncs within the longest window a peer looks back on. */
enum { PEER_HISTORY = 1024 };

/* What one peer remembers of one migration. Start with all zero. */
struct peer_state {
    unsigned step;        /* of its schedule */
    unsigned count;       /* of bad signs */
    bool latched;         /* it has begun to act */
    uint64_t iteration;   /* last seen */
    double next_s;        /* when it looks again */
    double since_s;       /* of what it waits for */
    double low_bytes;     /* least remaining */
    double target_bytes;  /* what it waits for */
    double last_bytes;    /* remaining, last time */
    double sent_bytes;    /* at the last judgement */
    double bandwidth_bps; /* smoothed */
    unsigned history;     /* syncs noted: ring, newest at (history - 1) % size */
    unsigned old;         /* of these, out of the window; their minimum */
    double old_bytes;
    double history_s[PEER_HISTORY];
    double history_bytes[PEER_HISTORY];
    double pause_s[MODEL_VCPUS_MAX]; /* dirty-limit: sleep for each full ring */
    double rate_bps[MODEL_VCPUS_MAX];
};

struct peer {
    const char *name;
    double poll_s;
    /* `max_downtime_s`: what the administrator would let the downtime limit become. */
    void (*step)(struct peer_state *p, const struct sample *s, struct model *m,
                 double max_downtime_s);
};

extern const struct peer peers[];
extern const unsigned n_peers;

#endif
