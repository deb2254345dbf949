/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/act.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/units.h"
#include "common/wakeup.h"

/* Will it never be possible, or was it only not possible now: a lock not acquired, a monitor that
   did not answer? */
static bool is_refusal(int r)
{
    return r == -EINVAL;
}

static int apply_downtime(struct act *act, const struct action *a, char *detail, size_t size)
{
    int64_t before = act->downtime_limit_ns;
    int64_t started = monotonic_ns();
    int r = watcher_counted(act->w, METRICS_CALL_SET_DOWNTIME, started,
                            hv_watch_set_downtime(act->hv, a->downtime_ns));

    if (r == 0) {
        act->downtime_limit_ns = a->downtime_ns - a->downtime_ns % NS_PER_MS; /* as it is kept */
        act->limit_read_ns = 0; /* read it back at the next sample */
        snprintf(detail, size, "downtime limit %" PRId64 " ms -> %" PRId64 " ms",
                 before / NS_PER_MS, a->downtime_ns / NS_PER_MS);
    } else {
        snprintf(detail, size, "downtime limit not set: %s", hypervisor_error());
    }
    return r;
}

static int apply_bandwidth(struct act *act, const struct action *a, char *detail, size_t size,
                           enum reason *ret_latch)
{
    int64_t started = monotonic_ns();
    int r = watcher_counted(act->w, METRICS_CALL_SET_SPEED, started,
                            hv_watch_set_speed(act->hv, a->speed_limit_bps));

    if (r < 0) {
        *ret_latch = is_refusal(r) ? REASON_ACTION_FAILED : REASON_NONE;
        snprintf(detail, size, "speed limit not set: %s", hypervisor_error());
        return r;
    }
    if (act->speed_found_bps < 0)
        act->speed_found_bps = act->speed_limit_bps;
    host_keep_speed(act->w->env->host, act->w->domain.uuid, act->speed_found_bps);
    act->speed_limit_bps = a->speed_limit_bps;
    act->limit_read_ns = 0;
    /* Whole MiB/s, as libvirt counts. */
    if (a->speed_limit_bps > 0)
        snprintf(detail, size, "speed limit %.0f MiB/s",
                 ceil((double)a->speed_limit_bps / (double)MIB_BYTES));
    else
        snprintf(detail, size, "speed limit lifted");
    return 0;
}

static int apply_cache(struct act *act, const struct action *a, char *detail, size_t size,
                       enum reason *ret_latch)
{
    int64_t started = monotonic_ns();
    int r = watcher_counted(act->w, METRICS_CALL_SET_COMPRESSION_CACHE, started,
                            hv_watch_set_compression_cache(act->hv, a->cache_bytes));

    if (r < 0) {
        *ret_latch = is_refusal(r) ? REASON_ACTION_FAILED : REASON_NONE;
        snprintf(detail, size, "compression cache not grown: %s", hypervisor_error());
        return r;
    }
    snprintf(detail, size, "compression cache %" PRId64 " MiB", a->cache_bytes / MIB_BYTES);
    return 0;
}

static int apply_post_copy(struct act *act, char *detail, size_t size, enum reason *ret_latch)
{
    int64_t started = monotonic_ns();
    int r = watcher_counted(act->w, METRICS_CALL_POST_COPY, started, hv_watch_post_copy(act->hv));

    if (r < 0) {
        *ret_latch = is_refusal(r) ? REASON_POST_COPY_UNAVAILABLE : REASON_NONE;
        snprintf(detail, size, "no switch to post-copy: %s", hypervisor_error());
        return r;
    }
    snprintf(detail, size, "switch to post-copy requested");
    return 0;
}

/* What could not be restored is still in force. */
static void give_back(struct act *act, enum reason reason, const char *by)
{
    watcher_restore(act->w, reason, false, by);
    if (!watcher_is_throttled(act->w))
        act->share = 1;
}

/* The quota is of no use to a guest that stands still, and in the way when it runs on. */
static int apply_suspend(struct act *act, char *detail, size_t size, enum reason *ret_latch)
{
    int64_t started = monotonic_ns();
    int r = watcher_counted(act->w, METRICS_CALL_SUSPEND, started, hv_watch_suspend(act->hv));

    if (r < 0) {
        *ret_latch = is_refusal(r) ? REASON_ACTION_FAILED : REASON_NONE;
        snprintf(detail, size, "guest not paused: %s", hypervisor_error());
        return r;
    }
    give_back(act, REASON_SUSPENDED, "");
    snprintf(detail, size, "guest paused until the rest of its memory is sent");
    return 0;
}

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
                                                         const char *format, ...)
{
    size_t len = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + len, size - len, format, args);
    va_end(args);
}

/* Nothing of it is left. */
static void forget_throttle(struct act *act)
{
    atomic_store(&act->w->throttled, false);
    host_give_slot(act->w->env->host, &act->w->host);
    act->share = 1;
}

static int apply_throttle(struct act *act, const struct action *a, int64_t decided_ns, char *detail,
                          size_t size, enum reason *ret_latch)
{
    int r = throttle_set(act->w->throttle, a->share, a->period_us);
    double cpus = throttle_allowance(act->w->throttle, decided_ns);

    if (r == 0) {
        act->share = a->share;
        act->drift_checked_ns = decided_ns;
        watcher_set_throttled(act->w);
        snprintf(detail, size, "each vCPU left %.0f%% of what it could use", a->share * 100);
        if (cpus < 1)
            append(detail, size, ", %.2f CPUs", cpus);
        append(detail, size, ", written in %.1f ms", (double)(monotonic_ns() - decided_ns) / 1e6);
        return 0;
    }
    *ret_latch = r == -EBUSY ? REASON_OTHER_WRITER : REASON_NONE;
    snprintf(detail, size, "vCPU quota not set: %s", strerror(-r));
    if (throttle_in_force(act->w->throttle))
        give_back(act, *ret_latch == REASON_NONE ? a->reason : *ret_latch, "");
    else
        forget_throttle(act);
    return r;
}

static int apply_cancel(struct act *act, char *detail, size_t size)
{
    int64_t started = monotonic_ns();
    int r;

    watcher_restore(act->w, REASON_ENDED, false, "");
    r = watcher_counted(act->w, METRICS_CALL_ABORT, started, hv_watch_cancel(act->hv));
    act->cancelling |= r == 0;
    snprintf(detail, size, "%s", r == 0 ? "cancel requested" : hypervisor_error());
    return r;
}

/* What the controller takes for a change of the policy may be a pause. */
static void release(struct act *act, enum reason reason, bool paused)
{
    char by[POLICY_SOURCE_MAX] = "";

    if (reason == REASON_RELEASED) {
        pthread_mutex_lock(&act->w->lock);
        snprintf(by, sizeof(by), "uid %u", act->w->mark.released_by);
        pthread_mutex_unlock(&act->w->lock);
    } else if (reason == REASON_POLICY_CHANGED && paused) {
        reason = REASON_PAUSED;
        if (!paused_is(act->w->env->paused, NULL, by))
            paused_is(act->w->env->paused, act->w->domain.uuid, by);
    }
    give_back(act, reason, by);
}

int act_apply(struct act *act, const struct action *a, const struct policy *policy, bool paused,
              int64_t decided_ns, enum reason *ret_latch)
{
    char detail[160] = "";
    int r = 0;

    *ret_latch = REASON_NONE;
    /* Another guest may have got the last slot of the host meanwhile: the next look will know. */
    if (a->kind == ACTION_THROTTLE && !host_take_slot(act->w->env->host, &act->w->host))
        return -EAGAIN;
    switch (a->kind) {
    case ACTION_BANDWIDTH:
        r = apply_bandwidth(act, a, detail, sizeof(detail), ret_latch);
        break;
    case ACTION_COMPRESSION_CACHE:
        r = apply_cache(act, a, detail, sizeof(detail), ret_latch);
        break;
    case ACTION_POST_COPY:
        r = apply_post_copy(act, detail, sizeof(detail), ret_latch);
        break;
    case ACTION_SUSPEND:
        r = apply_suspend(act, detail, sizeof(detail), ret_latch);
        break;
    case ACTION_DOWNTIME:
        r = apply_downtime(act, a, detail, sizeof(detail));
        break;
    case ACTION_THROTTLE:
        r = apply_throttle(act, a, decided_ns, detail, sizeof(detail), ret_latch);
        break;
    case ACTION_CANCEL:
        r = apply_cancel(act, detail, sizeof(detail));
        break;
    case ACTION_RELEASE:
        release(act, a->reason, paused);
        return 0;
    case ACTIONS:
        return -EINVAL;
    }
    watcher_record(act->w, a->kind, r == 0 ? EVENT_APPLIED : EVENT_FAILED, a->reason,
                   policy->source[action_allowed_by(a->kind)], detail);
    return r;
}
