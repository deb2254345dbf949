/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each vCPU of a domain can use while nothing of ours is in force: one CPU, or less where its
 * own group is limited, or where a group above is and what that allows is spent. A limit above is
 * shared by all vCPUs, and in a slice by other domains, too, so what it leaves to one is not in its
 * number: it is what the busiest got of late. No shared state.
 */
#ifndef MIGPOLICY_ALLOWANCE_H
#define MIGPOLICY_ALLOWANCE_H

#include "cgroup-throttle/vcpugroups.h"

struct allowance;

/*
 * Reads the limits. proc, mount and groups are borrowed. Fails as cpu_quota_read(). Free with
 * allowance_free().
 */
int allowance_new(const char *proc, const struct cpu_mount *mount, const struct vcpu_groups *groups,
                  struct allowance **ret);
void allowance_free(struct allowance *a);

/*
 * Looks at what the vCPUs use, if there is a limit above them; else there is nothing to see. To be
 * called now and then, not while a quota of ours is in force; now_ns is more than 0 and never runs
 * backwards.
 */
void allowance_look(struct allowance *a, int64_t now_ns);

/* CPUs, more than 0 and at most 1, of a vCPU by its place in the groups. */
double allowance_cpus(const struct allowance *a, size_t vcpu);

#endif
