/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carrying out what was decided about a migration: the only place where a guest, or its migration,
 * is changed. Deciding belongs to policy/; putting a throttle back, which others do as well, to
 * watcher.h.
 */
#ifndef MIGPOLICY_ACT_H
#define MIGPOLICY_ACT_H

#include "agent/watch/watcher.h"

/* What is in force on a migration, and the connection to change it by. For the migration's own
 * thread. */
struct act {
    struct watcher *w;
    struct hv_watch *hv;
    double share; /* quota of ours in force; 1: none */
    int64_t downtime_limit_ns;
    int64_t limit_read_ns; /* the limits; 0: to be read at the next sample */
    int64_t speed_limit_bps;
    int64_t speed_found_bps; /* before we changed it; -1: we have not */
    bool limit_known;
    int64_t flush_ns; /* of its disks */
    int64_t drift_checked_ns;
    bool cancelling;
};

/*
 * Does what was decided at decided_ns, and records how it went. `policy` says who allowed it;
 * `paused` that an administrator has the agent's hands off. Returns 0, -EAGAIN when it has to wait
 * for other migrations, or the error that is on record. *ret_latch is REASON_NONE, or why it is not
 * to be tried again.
 */
int act_apply(struct act *act, const struct action *a, const struct policy *policy, bool paused,
              int64_t decided_ns, enum reason *ret_latch);

#endif
