/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of migpolicyd. What the configuration says as well, an option overrides. */
#ifndef MIGPOLICY_DAEMON_OPTIONS_H
#define MIGPOLICY_DAEMON_OPTIONS_H

#include <stdbool.h>

#define OPTIONS_DEFAULT_URI     "qemu:///system"
#define OPTIONS_DEFAULT_METRICS "127.0.0.1:9917"
#define OPTIONS_DEFAULT_QEMU    "/run/libvirt/qemu"

struct options {
    const char *config;
    const char *uri;
    const char *state_dir;
    const char *run_dir;
    const char *socket;
    const char *metrics_listen;
    const char *qemu_run_dir;
    bool restore;
    bool force;
    bool check;
};

/* Changes what is given. Returns -1 to go on, else the exit status, and it has said why. */
int options_parse(int argc, char **argv, struct options *opt);

#endif
