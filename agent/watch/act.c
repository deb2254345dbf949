/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/watch/job.h"
#include "common/units.h"
#include "common/wakeup.h"

static int apply_downtime(struct job *j, const struct action *a, char *detail, size_t size)
{
    int64_t before = j->downtime_limit_ns;
    int64_t started = monotonic_ns();
    int r = job_counted(j, METRICS_CALL_SET_DOWNTIME, started,
                        hv_watch_set_downtime(j->hv, a->downtime_ns));

    if (r == 0) {
        j->downtime_limit_ns = a->downtime_ns;
        j->limit_read_ns = 0; /* read it back at the next sample */
        snprintf(detail, size, "downtime limit %" PRId64 " ms -> %" PRId64 " ms",
                 before / NS_PER_MS, a->downtime_ns / NS_PER_MS);
    } else {
        snprintf(detail, size, "downtime limit not set: %s", hypervisor_error());
    }
    return r;
}

static int apply_bandwidth(struct job *j, const struct action *a, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = job_counted(j, METRICS_CALL_SET_SPEED, started,
                        hv_watch_set_speed(j->hv, a->speed_limit_bps));
    char text[UNITS_TEXT_MAX];

    if (r < 0) {
        job_latch(j, ACTION_BANDWIDTH, REASON_ACTION_FAILED);
        snprintf(detail, size, "speed limit not set: %s", hypervisor_error());
        return r;
    }
    if (j->speed_found_bps < 0)
        j->speed_found_bps = j->speed_limit_bps;
    j->speed_limit_bps = a->speed_limit_bps;
    j->limit_read_ns = 0;
    snprintf(detail, size, "speed limit %s",
             a->speed_limit_bps > 0 ? units_format(UNIT_RATE, a->speed_limit_bps, text) : "lifted");
    return 0;
}

static int apply_cache(struct job *j, const struct action *a, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = job_counted(j, METRICS_CALL_SET_COMPRESSION_CACHE, started,
                        hv_watch_set_compression_cache(j->hv, a->cache_bytes));

    if (r < 0) {
        job_latch(j, ACTION_COMPRESSION_CACHE, REASON_ACTION_FAILED);
        snprintf(detail, size, "compression cache not grown: %s", hypervisor_error());
        return r;
    }
    snprintf(detail, size, "compression cache %" PRId64 " MiB", a->cache_bytes / MIB_BYTES);
    return 0;
}

static int apply_post_copy(struct job *j, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = job_counted(j, METRICS_CALL_POST_COPY, started, hv_watch_post_copy(j->hv));

    if (r < 0) {
        job_latch(j, ACTION_POST_COPY,
                  r == -EINVAL ? REASON_POST_COPY_UNAVAILABLE : REASON_ACTION_FAILED);
        snprintf(detail, size, "no switch to post-copy: %s", hypervisor_error());
        return r;
    }
    snprintf(detail, size, "switch to post-copy requested");
    return 0;
}

/* The quota is of no use to a guest that stands still, and in the way when it runs on. */
static int apply_suspend(struct job *j, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r = job_counted(j, METRICS_CALL_SUSPEND, started, hv_watch_suspend(j->hv));

    if (r < 0) {
        job_latch(j, ACTION_SUSPEND, REASON_ACTION_FAILED);
        snprintf(detail, size, "guest not paused: %s", hypervisor_error());
        return r;
    }
    watcher_restore(j->w, REASON_SUSPENDED, false, "");
    j->share = 1;
    snprintf(detail, size, "guest paused until the rest of its memory is sent");
    return 0;
}

static int apply_throttle(struct job *j, const struct action *a, int64_t decided_ns, char *detail,
                          size_t size)
{
    int r = j->w->env->throttle->set(j->w->throttle, a->share, a->period_us);

    if (r == 0) {
        j->share = a->share;
        j->drift_checked_ns = decided_ns;
        atomic_store(&j->w->throttled, true);
        snprintf(detail, size, "each vCPU left %.0f%% of what it could use, written in %.1f ms",
                 a->share * 100, (double)(monotonic_ns() - decided_ns) / 1e6);
        return 0;
    }
    if (!atomic_load(&j->w->throttled))
        host_give_slot(j->w->env->host, &j->w->host);
    job_latch(j, ACTION_THROTTLE, r == -EBUSY ? REASON_OTHER_WRITER : REASON_ACTION_FAILED);
    snprintf(detail, size, "vCPU quota not set: %s", strerror(-r));
    return r;
}

static int apply_cancel(struct job *j, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r;

    watcher_restore(j->w, REASON_ENDED, false, "");
    r = job_counted(j, METRICS_CALL_ABORT, started, hv_watch_cancel(j->hv));
    j->cancelling |= r == 0;
    snprintf(detail, size, "%s", r == 0 ? "cancel requested" : hypervisor_error());
    return r;
}

/* What the controller takes for a change of the policy may be a pause. */
static void release(struct job *j, enum reason reason)
{
    char by[POLICY_SOURCE_MAX] = "";

    if (reason == REASON_RELEASED) {
        pthread_mutex_lock(&j->w->lock);
        snprintf(by, sizeof(by), "uid %u", j->w->mark.released_by);
        pthread_mutex_unlock(&j->w->lock);
    } else if (reason == REASON_POLICY_CHANGED && j->paused) {
        reason = REASON_PAUSED;
        if (!paused_is(j->w->env->paused, NULL, by))
            paused_is(j->w->env->paused, j->w->domain.uuid, by);
    }
    watcher_restore(j->w, reason, false, by);
    j->share = 1;
}

int job_apply(struct job *j, const struct action *a, int64_t decided_ns)
{
    char detail[160] = "";
    int r = 0;

    /* Another guest may have got the last slot of the host meanwhile: the next look will know. */
    if (a->kind == ACTION_THROTTLE && !host_take_slot(j->w->env->host, &j->w->host))
        return -EAGAIN;
    switch (a->kind) {
    case ACTION_BANDWIDTH:
        r = apply_bandwidth(j, a, detail, sizeof(detail));
        break;
    case ACTION_COMPRESSION_CACHE:
        r = apply_cache(j, a, detail, sizeof(detail));
        break;
    case ACTION_POST_COPY:
        r = apply_post_copy(j, detail, sizeof(detail));
        break;
    case ACTION_SUSPEND:
        r = apply_suspend(j, detail, sizeof(detail));
        break;
    case ACTION_DOWNTIME:
        r = apply_downtime(j, a, detail, sizeof(detail));
        break;
    case ACTION_THROTTLE:
        r = apply_throttle(j, a, decided_ns, detail, sizeof(detail));
        if (r < 0 && !atomic_load(&j->w->throttled))
            host_give_slot(j->w->env->host, &j->w->host);
        break;
    case ACTION_CANCEL:
        r = apply_cancel(j, detail, sizeof(detail));
        break;
    default:
        release(j, a->reason);
        return 0;
    }
    watcher_record(j->w, a->kind, r == 0 ? EVENT_APPLIED : EVENT_FAILED, a->reason,
                   j->policy.source[action_allowed_by(a->kind)], detail);
    return r;
}
