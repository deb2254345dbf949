/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a domain to the cgroups of its vCPUs. */
#ifndef MIGPOLICY_THROTTLE_OPEN_H
#define MIGPOLICY_THROTTLE_OPEN_H

#include "agent/virt/hypervisor.h"
#include "cgroup-throttle/throttle.h"

/* Where to find the processes of domains. Borrowed strings. */
struct throttle_place {
    struct throttle_roots roots;
    const char *qemu_run_dir; /* libvirt's pid files */
};

/*
 * Opens a domain's throttle (cgroup-throttle/throttle.h): finds its process first, by libvirt's pid
 * file or else by its command line. Errors as of throttle_open(). Thread-safe.
 */
int virt_throttle_open(const struct throttle_place *place, const struct hv_domain *domain,
                       struct throttle **ret);

#endif
