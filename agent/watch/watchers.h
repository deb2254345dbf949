/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One watcher per migrating domain, and the keeper that gives guests their CPU back.
 *
 * Theory of operation
 *
 * A watcher is a thread (job.h) with a hypervisor connection of its own. At a sync event, or when
 * the poll interval is over, it reads the job statistics, lets the controller decide, and applies
 * what was decided. Hypervisor events only mark the watcher and wake it.
 *
 * A watcher may hang in a call to a hypervisor whose monitor is stuck, for such a call has no
 * timeout. No other watcher waits for it. But a throttle must never outlive the evidence it rests
 * on: so the keeper, a thread apart, restores quotas at the switchover, when events say so, and
 * from any guest whose watcher has not been heard of for WATCHER_STALE_S. Quotas are files of the
 * kernel: restoring them waits for nobody.
 *
 * All functions are thread-safe unless stated.
 */
#ifndef MIGPOLICY_WATCHERS_H
#define MIGPOLICY_WATCHERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/watch/env.h"

struct watchers;

int watchers_new(const struct watchers_env *env, struct watchers **ret);

/*
 * Stops all watchers, restores all quotas, waits a few seconds for those that hang. Returns false
 * when some still do: what they use must then stay until the process ends.
 */
bool watchers_free(struct watchers *ws);

/* Is the keeper, who gives guests their CPU back, at work? */
bool watchers_are_kept(struct watchers *ws, int64_t now_ns);

/* Passes an event on; starts a watcher when a domain not yet watched syncs. Never blocks. */
void watchers_event(struct watchers *ws, const struct hv_event *event);

/* Starts a watcher for a domain that may be migrating, unless it has one. Never blocks. */
void watchers_start(struct watchers *ws, const struct hv_domain *domain);

/* Is there something of a domain that its next watcher has to put back, migration or not? */
bool watchers_owe(struct watchers *ws, const char *uuid);

/* The policy of a VM, or of all (uuid NULL), has changed: decide anew. */
void watchers_poke(struct watchers *ws, const char *uuid);

/* Lays what holds for the VM's present migration only over its policy. */
void watchers_overlay(struct watchers *ws, const char *uuid, struct policy *policy);

/*
 * Answers what a watcher asks, in somebody's name ("uid 0"); it takes effect at its next look,
 * which is at once. ceiling_ns: how much guest work a yes lets the migration lose, 0 for what the
 * policy allows. Returns 0, -ENOENT when nothing of that number is being asked, or -ERANGE when it
 * would lose more.
 */
int watchers_answer(struct watchers *ws, unsigned id, bool yes, int64_t ceiling_ns,
                    const char *who);

/*
 * Gives a guest its CPU back, in the name of a uid: it is not throttled again in this migration.
 * Returns 0, -ESRCH when it is not migrating, or -EALREADY when it is not throttled.
 */
int watchers_release(struct watchers *ws, const char *uuid, uid_t uid);

/* Collects watchers that have ended. To be called about once a second, from one thread. */
void watchers_reap(struct watchers *ws);

/*
 * Copies of all migrations known: under way, and the last ended one of each VM (bounded). The
 * caller frees *ret with free().
 */
void watchers_list(struct watchers *ws, struct migration **ret, size_t *ret_count);

/* A copy of one of them. Returns 0 or -ENOENT. */
int watchers_get(struct watchers *ws, const char *uuid, struct migration *ret);

/*
 * How many undo journals there are of VMs that no watcher throttles: what is in them has yet to be
 * restored. As of the keeper's last round.
 */
size_t watchers_outstanding(struct watchers *ws);

#endif
