/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeps the event connection to the hypervisor, again and again if it must, and knows which domains
 * there are. Opening, listing and probing can hang with the hypervisor, so they have a thread of
 * their own; the event loop and the control socket never wait for them.
 *
 * All functions are thread-safe.
 */
#ifndef MIGPOLICY_MONITOR_H
#define MIGPOLICY_MONITOR_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/virt/hypervisor.h"
#include "agent/watch/watchers.h"

struct monitor;

/* Starts the thread. All arguments are borrowed. */
int monitor_new(const char *uri, struct watchers *watchers, struct policies *policies,
                struct metrics *metrics, struct monitor **ret);

/*
 * Waits a few seconds for the thread to end. Returns false when it still hangs in the hypervisor:
 * what it uses must then stay until the process ends.
 */
bool monitor_free(struct monitor *m);

bool monitor_connected(struct monitor *m);

/*
 * Finds a domain by name, "uuid:UUID" or "id:ID", or by its UUID alone. -ENOENT: there is none;
 * -ENOTCONN: not connected since the start, so nobody can tell.
 */
int monitor_find(struct monitor *m, const char *vm, struct hv_domain *ret);

/* All domains known, running or not; the caller frees *ret. -ENOTCONN as above. */
int monitor_list(struct monitor *m, struct hv_domain **ret, size_t *ret_count);

#endif
