/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the migrations of this host share: how many guests may be throttled at once, and how much
 * bandwidth the speed limits that the agent sets may come to.
 *
 * Pure bookkeeping by those concerned: each watcher is a member, says what it needs, and lays its
 * part over its policy before it decides. Who is throttled first keeps its slot until the throttle
 * is released. Bandwidth is shared by need (max-min fairness): who needs less than an equal part
 * keeps what it needs, and the others share the rest.
 *
 * Thread-safe.
 */
#ifndef MIGPOLICY_HOST_H
#define MIGPOLICY_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

struct host_limits {
    int64_t throttled_max; /* negative: no limit */
    int64_t bandwidth_bps; /* 0: no limit */
};

/* One migration. All zeroes before host_join(); the caller's until host_leave(). */
struct host_member {
    struct host_member *next;
    bool has_slot;
    double needs_bps;
};

struct host;

struct host *host_new(const struct host_limits *limits);
void host_free(struct host *h);

/* Other limits from now on. Who is throttled stays so, even where there would be too many. */
void host_set_limits(struct host *h, const struct host_limits *limits);

void host_join(struct host *h, struct host_member *m);
void host_leave(struct host *h, struct host_member *m); /* its slot is free then */

/* Takes a slot, or keeps the one it has; false when others have them all. */
bool host_take_slot(struct host *h, struct host_member *m);
void host_give_slot(struct host *h, struct host_member *m);

/* What it needs of the host's bandwidth. */
void host_need(struct host *h, struct host_member *m, double bps);

/*
 * Lays what the host has left for a member over its policy: no throttle while others have all
 * slots, and no more bandwidth than its part. Returns whether a throttle is withheld.
 */
bool host_overlay(struct host *h, const struct host_member *m, struct policy *policy);

/*
 * The speed limit that a domain had before the agent changed it, kept until it has been put back:
 * who follows the migration after libvirt was lost finds the changed one. Negative: none is kept;
 * to keep that forgets it.
 */
void host_keep_speed(struct host *h, const char *uuid, int64_t found_bps);
int64_t host_kept_speed(struct host *h, const char *uuid);

/* The part of `total` for one that wants all it can get, beside others with these needs. */
double host_fair_part(double total, const double needs[], size_t n);

#endif
