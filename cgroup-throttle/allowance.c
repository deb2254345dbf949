/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup-throttle/allowance.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/units.h"

/* What is used is compared over this long: many periods of a quota, and a few looks. */
#define LOOK_NS     (3 * NS_PER_S)
#define TOO_SOON_NS (NS_PER_S / 2)
/* A limit that stops its group in less than half of its periods leaves room. */
#define OFTEN 0.5
/* Of a guest that hardly runs, nothing can be told. */
#define LEAST_CPUS 0.01

/* A limit on a group above those of the vCPUs. */
struct shared_limit {
    char *path;
    double cpus;
    struct cpu_stops at_first; /* when the time began over which is compared */
};

struct allowance {
    const char *proc;
    const struct cpu_mount *mount;
    const struct vcpu_groups *groups;
    double *own_cpus;   /* per vCPU: what its own group allows */
    double shared_cpus; /* what is left to one by the groups above; 1: no limit */
    size_t n_limits;
    struct shared_limit *limit;
    int64_t since_ns;   /* 0: no look yet */
    uint64_t *usage_ns; /* per vCPU, then */
};

void allowance_free(struct allowance *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_limits; i++)
        free(a->limit[i].path);
    free(a->limit);
    free(a->own_cpus);
    free(a->usage_ns);
    free(a);
}

static int read_own(struct allowance *a)
{
    for (size_t i = 0; i < a->groups->count; i++) {
        struct cpu_quota q;
        int r = cpu_quota_read(a->mount, a->groups->vcpus[i].path, &q);

        if (r < 0)
            return r;
        a->own_cpus[i] = q.quota_us < 0 ? 1 : fmin((double)q.quota_us / (double)q.period_us, 1);
    }
    return 0;
}

/* The groups above are the same for all vCPUs, as libvirt makes them. */
static int read_shared(struct allowance *a)
{
    AUTO_FREE char *group = alloc_need(strdup(a->groups->vcpus[0].path));
    const char *relative;

    *strrchr(group, '/') = '\0';
    for (; (relative = cpu_mount_relative(a->mount, group)) && *relative;
         *strrchr(group, '/') = '\0') {
        struct cpu_quota q;
        int r = cpu_quota_read(a->mount, group, &q);

        /* The controller need not be enabled all the way up; a group without files has no limit. */
        if (r < 0 && r != -ENOENT)
            return r;
        if (r < 0 || q.quota_us < 0)
            continue;
        a->limit = alloc_need(reallocarray(a->limit, a->n_limits + 1, sizeof(*a->limit)));
        a->limit[a->n_limits++] = (struct shared_limit){
            .path = alloc_need(strdup(group)), .cpus = (double)q.quota_us / (double)q.period_us};
    }
    return 0;
}

static double least_limit(const struct allowance *a)
{
    double cpus = 1; /* no thread uses more */

    for (size_t i = 0; i < a->n_limits; i++)
        cpus = fmin(cpus, a->limit[i].cpus);
    return cpus;
}

int allowance_new(const char *proc, const struct cpu_mount *mount, const struct vcpu_groups *groups,
                  struct allowance **ret)
{
    struct allowance *a = alloc_need(calloc(1, sizeof(*a)));
    int r;

    *a = (struct allowance){.proc = proc, .mount = mount, .groups = groups};
    a->own_cpus = alloc_need(calloc(groups->count, sizeof(*a->own_cpus)));
    a->usage_ns = alloc_need(calloc(groups->count, sizeof(*a->usage_ns)));
    r = read_own(a);
    if (r == 0)
        r = read_shared(a);
    if (r < 0) {
        allowance_free(a);
        return r;
    }
    a->shared_cpus = least_limit(a);
    *ret = a;
    return 0;
}

/* Has one of the limits above stopped its group again and again since the last time? */
static bool is_spent(const struct allowance *a, const struct cpu_stops *now)
{
    for (size_t i = 0; i < a->n_limits; i++) {
        double periods = (double)(now[i].periods - a->limit[i].at_first.periods);

        if ((double)(now[i].stopped - a->limit[i].at_first.stopped) > OFTEN * periods)
            return true;
    }
    return false;
}

/* CPUs. */
static double busiest(const struct allowance *a, const uint64_t *usage_ns, double ns)
{
    double most = LEAST_CPUS;

    for (size_t i = 0; i < a->groups->count; i++)
        most = fmax(most, (double)(usage_ns[i] - a->usage_ns[i]) / ns);
    return fmin(most, 1);
}

void allowance_look(struct allowance *a, int64_t now_ns)
{
    AUTO_FREE uint64_t *usage_ns = NULL;
    AUTO_FREE struct cpu_stops *stops = NULL;
    int64_t ns = now_ns - a->since_ns;

    if (a->n_limits == 0 || (a->since_ns != 0 && ns < TOO_SOON_NS))
        return;
    usage_ns = alloc_need(calloc(a->groups->count, sizeof(*usage_ns)));
    stops = alloc_need(calloc(a->n_limits, sizeof(*stops)));
    for (size_t i = 0; i < a->groups->count; i++) {
        if (vcpu_groups_thread_time(a->proc, a->groups->pid, a->groups->vcpus[i].tid,
                                    &usage_ns[i]) < 0)
            return;
    }
    for (size_t i = 0; i < a->n_limits; i++) {
        if (cpu_quota_stops(a->mount, a->limit[i].path, &stops[i]) < 0)
            return;
    }
    if (a->since_ns != 0)
        a->shared_cpus = is_spent(a, stops) ? busiest(a, usage_ns, (double)ns) : least_limit(a);
    if (a->since_ns != 0 && ns < LOOK_NS)
        return;
    a->since_ns = now_ns;
    for (size_t i = 0; i < a->groups->count; i++)
        a->usage_ns[i] = usage_ns[i];
    for (size_t i = 0; i < a->n_limits; i++)
        a->limit[i].at_first = stops[i];
}

double allowance_cpus(const struct allowance *a, size_t vcpu)
{
    return fmin(a->own_cpus[vcpu], a->shared_cpus);
}
