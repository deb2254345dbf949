/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: the methods of io.migpolicy.varlink. Everything runs in the event loop's
 * thread and is answered from memory.
 */
#ifndef MIGPOLICY_CONTROL_H
#define MIGPOLICY_CONTROL_H

#include <sys/types.h>

#include "agent/record/record.h"
#include "agent/rules/paused.h"
#include "agent/rules/policies.h"
#include "agent/watch/monitor.h"
#include "agent/watch/watchers.h"
#include "metrics/metrics.h"

/* Names for the metrics' closed sets, ended by NULL. */
extern const char *const control_method_names[];
extern const char *const control_result_names[];

/* Borrowed, must outlive the control. */
struct control_env {
    const char *uri; /* of the hypervisor */
    const char *socket_path;
    gid_t socket_gid; /* (gid_t)-1: the socket is for root alone */
    gid_t admin_gid;  /* (gid_t)-1: root alone changes policies */
    struct policies *policies;
    struct paused *paused;
    struct watchers *watchers;
    struct monitor *monitor;
    struct metrics *metrics;
    struct record *record;
    /*
     * Reads the configuration anew; if that fails the one in force is kept. The text is what is
     * wrong then, else what is not in force before a restart, or "".
     */
    int (*reload)(void *opaque, struct config_error *ret_text);
    void *reload_opaque;
};

struct control;

/* Listens. -EADDRINUSE: another daemon answers on the socket. */
int control_new(const struct control_env *env, struct control **ret);

/* Disconnects everybody and removes the socket. */
void control_free(struct control *control);

/* To be called about once a second. */
void control_tick(struct control *control, int64_t now_ns);

#endif
