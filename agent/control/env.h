/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the methods of the control socket are given to work with. */
#ifndef MIGPOLICY_CONTROL_ENV_H
#define MIGPOLICY_CONTROL_ENV_H

#include <sys/types.h>

#include "agent/record/record.h"
#include "agent/rules/paused.h"
#include "agent/rules/policies.h"
#include "agent/watch/monitor.h"
#include "agent/watch/watchers.h"
#include "metrics/metrics.h"

/* Borrowed, must outlive the control. */
struct control_env {
    const char *uri; /* of the hypervisor */
    const char *socket_path;
    gid_t socket_gid; /* (gid_t)-1: the socket is for root alone */
    gid_t admin_gid;  /* (gid_t)-1: root alone changes policies */
    struct policies *policies;
    struct paused *paused;
    struct watchers *watchers;
    struct leftovers *leftovers;
    struct monitor *monitor;
    struct metrics *metrics;
    struct record *record;
    const char *state_dir;
    /*
     * Reads the configuration anew; if that fails the one in force is kept. The text is what is
     * wrong then, else what is not in force before a restart, or "".
     */
    int (*reload)(void *opaque, struct error *ret_text);
    void *reload_opaque;
};

#endif
