/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a domain's vCPUs are slowed down: on a real host by cgroup quotas, in a simulation by the
 * model of the guest. All but `open` keep the contracts of their namesakes in
 * cgroup-throttle/throttle.h; a handle is used with the table it was opened from.
 */
#ifndef MIGPOLICY_THROTTLE_OPS_H
#define MIGPOLICY_THROTTLE_OPS_H

#include "agent/virt/hypervisor.h"
#include "cgroup-throttle/throttle.h"

/* Where to find the processes of domains. Borrowed strings. */
struct throttle_place {
    struct throttle_roots roots;
    const char *qemu_run_dir; /* libvirt's pid files */
};

struct throttle_ops {
    int (*open)(const struct throttle_place *place, const struct hv_domain *domain,
                struct throttle **ret);
    void (*free)(struct throttle *t);
    size_t (*vcpu_count)(const struct throttle *t);
    int (*set)(struct throttle *t, double share, int64_t period_us);
    int (*restore)(struct throttle *t, bool final, struct throttle_result *ret_result);
    int (*check)(struct throttle *t, size_t *ret_drifted);
    int (*usage_ns)(struct throttle *t, size_t vcpu, uint64_t *ret_ns);
};

/* By cgroups. `open` finds the domain's process first; errors as of throttle_open(). */
extern const struct throttle_ops throttle_cgroup;

#endif
