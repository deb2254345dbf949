/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulated host on the kernel's cgroups: migrations are the model's, but the throttle is that
 * of migpolicyd, on the guests that `campaign --found` makes. Linked instead of
 * agent/sim/throttle.c.
 *
 * The model runs by the quota that the kernel shows; one whose process has gone is gone. These
 * guests only wait: how much CPU they use is the model's word, which takes the place of
 * throttle_usage_ns().
 */
#include "agent/sim/host.h"
#include "agent/virt/throttle_open.h"
#include "cgroup-throttle/vcpugroups.h"
#include "common/alloc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* By number of the domain. Only its own thread looks. */
static struct seen {
    struct vcpu_groups *groups;
    struct cpu_mount mount;
} * seen;

static struct seen *see(const struct sim_domain *d)
{
    struct seen *one;
    pid_t pid;

    if (!seen)
        seen = alloc_need(calloc(sim_host.scenario.n_domains, sizeof(*seen)));
    one = &seen[d - sim_host.domain];
    if (!one->groups && (vcpu_groups_find_pid("/proc", d->id.uuid, &pid) < 0 ||
                         vcpu_groups_find("/proc", d->id.uuid, d->id.name, pid, &one->groups) < 0))
        return NULL;
    if (!one->mount.point &&
        cpu_mount_find("/proc", one->groups->version, one->groups->vcpus[0].path, &one->mount) < 0)
        return NULL;
    return one;
}

static void die(struct sim_domain *d)
{
    if (d->n_pending >= PENDING_MAX)
        return;
    d->state = GONE;
    sim_push(d, HV_STOPPED);
    d->id.id = -1;
    sim_note(d, "died", d->model.time_s);
}

/* On version 1 it is two files: between two equal looks at both nobody has written one. */
static bool read_whole(const struct seen *one, struct cpu_quota *ret)
{
    const char *path = one->groups->vcpus[0].path;
    struct cpu_quota again;

    return cpu_quota_read(&one->mount, path, ret) == 0 &&
           cpu_quota_read(&one->mount, path, &again) == 0 && cpu_quota_equal(ret, &again);
}

/* The first of its vCPUs has no limit of its own. What cannot be seen is as it was. */
void sim_look_at_quotas(struct sim_domain *d)
{
    const struct seen *one = d->state == GONE ? NULL : see(d);
    struct cpu_quota now;

    if (!one)
        return;
    if (vcpu_groups_check_process("/proc", one->groups) == -ENOENT)
        die(d);
    else if (read_whole(one, &now))
        sim_set_share(d, now.quota_us < 0 ? 1 : (double)now.quota_us / (double)now.period_us);
}

int virt_throttle_open(const struct throttle_place *place, const struct hv_domain *domain,
                       struct throttle **ret)
{
    struct sim_domain *d = sim_find(domain->uuid);
    struct throttle *t = NULL;
    pid_t pid = 0;
    int r = throttle_find_pid(&place->roots, domain->uuid, &pid);

    if (r == 0)
        r = throttle_open(&place->roots, domain->uuid, domain->name, pid, &t);
    if (r < 0)
        return r;
    pthread_mutex_lock(&d->lock);
    d->handle = t;
    pthread_mutex_unlock(&d->lock);
    *ret = t;
    return 0;
}

/* By that name the linker calls it instead. */
int usage_of_model_ns(struct throttle *t, size_t vcpu,
                      uint64_t *ret_ns) __asm__("__wrap_throttle_usage_ns");

int usage_of_model_ns(struct throttle *t, size_t vcpu, uint64_t *ret_ns)
{
    double cpu_s = 0;

    for (size_t i = 0; i < sim_host.scenario.n_domains; i++) {
        struct sim_domain *d = &sim_host.domain[i];

        pthread_mutex_lock(&d->lock);
        for (size_t n = 0; d->handle == t && n < d->script->guest.vcpus; n++)
            cpu_s += vcpu == n || vcpu == THROTTLE_ALL_VCPUS ? d->model.cpu_s[n] : 0;
        pthread_mutex_unlock(&d->lock);
    }
    *ret_ns = (uint64_t)(cpu_s * 1e9);
    return 0;
}
