/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/sampling.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/units.h"

/* The downtime limit is read again this often, to notice other writers. */
#define LIMIT_CHECK_NS (5 * NS_PER_S)
/* So is whether our quotas are still in place. */
#define DRIFT_CHECK_NS NS_PER_S

enum reason sampling_open_throttle(struct act *act)
{
    struct throttle *throttle = NULL;
    const char *why;
    int r = virt_throttle_open(&act->w->env->place, &act->w->domain, &throttle);

    if (r == 0) {
        pthread_mutex_lock(&act->w->lock);
        act->w->throttle = throttle;
        pthread_mutex_unlock(&act->w->lock);
        return REASON_NONE;
    }
    if (r == -EOPNOTSUPP)
        why = "no cgroup cpu controller, or its vCPUs are not in cgroups of their own";
    else if (r == -EACCES || r == -EPERM || r == -EROFS)
        why = "no permission on its vCPU cgroups";
    else
        why = strerror(-r);
    log_warning("%s: cannot be throttled: %s", act->w->domain.name, why);
    return REASON_NO_CGROUP;
}

static void read_cpu_time(struct act *act, struct sample *s)
{
    size_t n = act->w->throttle ? throttle_vcpu_count(act->w->throttle) : 0;

    if (n > 0)
        s->cpu_allowance = throttle_allowance(act->w->throttle, s->now_ns);
    for (size_t i = 0; i < n; i++) {
        uint64_t ns;

        if (throttle_usage_ns(act->w->throttle, i, &ns) < 0)
            return;
        s->vcpu_time_ns[i % SAMPLE_VCPUS_MAX] += (int64_t)ns;
    }
    s->vcpus = n < SAMPLE_VCPUS_MAX ? (unsigned)n : SAMPLE_VCPUS_MAX;
}

static void read_limits(struct act *act, int64_t now)
{
    int64_t before_ns = act->downtime_limit_ns;

    if (act->limit_read_ns != 0 && now - act->limit_read_ns < LIMIT_CHECK_NS)
        return;
    if (hv_watch_get_downtime(act->hv, &act->downtime_limit_ns) == 0) {
        if (act->limit_known && act->downtime_limit_ns != before_ns)
            log_info("%s: somebody else changed the downtime limit from %" PRId64 " ms to %" PRId64
                     " ms",
                     act->w->domain.name, before_ns / NS_PER_MS,
                     act->downtime_limit_ns / NS_PER_MS);
        act->limit_read_ns = now;
        act->limit_known = true;
    }
    /* Not every hypervisor has one. */
    (void)hv_watch_get_speed(act->hv, &act->speed_limit_bps);
    /* Unknown is fine: not every domain has disks. */
    (void)hv_watch_flush(act->hv, &act->flush_ns);
}

void sampling_take(struct act *act, const struct hv_job *hv, int64_t sync_ns, struct sample *s)
{
    read_limits(act, monotonic_ns());
    if (!atomic_load(&act->w->throttled))
        act->share = 1; /* the keeper may have released it */
    *s = (struct sample){
        .now_ns = monotonic_ns(),
        .sync_ns = sync_ns,
        .at_sync = sync_ns != 0,
        .elapsed_ns = hv->elapsed_ns,
        .iteration = hv->iteration,
        .total_bytes = hv->memory_total_bytes,
        .processed_bytes = hv->memory_processed_bytes,
        .remaining_bytes = hv->memory_remaining_bytes,
        .disk_total_bytes = hv->disk_total_bytes,
        .disk_remaining_bytes = hv->disk_remaining_bytes,
        .downtime_limit_ns = act->downtime_limit_ns,
        .speed_limit_bps = act->speed_limit_bps,
        .compression_cache_bytes = hv->compression_cache_bytes,
        .flush_ns = act->flush_ns,
        .expected_downtime_ns = hv->expected_downtime_ns,
        .auto_converge_percent = hv->auto_converge_percent,
        .post_copy = hv->post_copy || watcher_marked(act->w, &act->w->mark.post_copy),
        .cpu_share = act->share,
    };
    read_cpu_time(act, s);
}

enum reason sampling_check_drift(struct act *act, int64_t now)
{
    size_t drifted = 0;
    int r;

    if (act->share >= 1 || now - act->drift_checked_ns < DRIFT_CHECK_NS)
        return REASON_NONE;
    act->drift_checked_ns = now;
    r = throttle_check(act->w->throttle, &drifted);
    if (r == -ENOENT || r == -ESTALE) {
        log_warning("%s: a vCPU group is gone, or has another thread: it is throttled no more",
                    act->w->domain.name);
        return REASON_NO_CGROUP;
    }
    if (r == 0 && drifted > 0) {
        log_warning("%s: somebody else changed %zu of its vCPU quotas; they are left as they are",
                    act->w->domain.name, drifted);
        return REASON_OTHER_WRITER;
    }
    return REASON_NONE;
}

int sampling_learn(struct act *act)
{
    struct watcher *w = act->w;
    char *metadata AUTO_FREE = NULL;
    char *xml AUTO_FREE = NULL;
    struct description description = {0};
    int r = hv_watch_metadata(act->hv, &metadata);

    if (r == 0)
        r = hv_watch_description(act->hv, &xml);
    if (r == -ENOTCONN || r == -ENOENT)
        return r;
    if (r == 0)
        r = description_parse(xml, &description);
    policies_learn_metadata(w->env->policies, w->domain.uuid, r, metadata);
    pthread_mutex_lock(&w->lock);
    migration_take_names(&w->view, &description);
    pthread_mutex_unlock(&w->lock);
    policies_set_description(w->env->policies, w->domain.uuid, &description);
    return 0;
}
