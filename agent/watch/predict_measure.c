/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Measuring for a prediction. */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "agent/virt/hypervisor.h"
#include "agent/watch/predict_measure.h"
#include "common/units.h"

/* A result is due with the end of its period, and given up this long after. */
#define RESULT_WAIT_NS (10 * NS_PER_S)
#define RESULT_LOOK_NS (100 * NS_PER_MS)
/* QEMU compares a page of each 2 MiB. With fewer than so many, short periods are measured again. */
#define PAGE_FOR_BYTES (2.0 * MIB_BYTES)
#define PAGES_WANTED   2048
#define REPEATS_MAX    3
#define REPEATED_MAX_S 4

static int fail_hypervisor(int error, struct error *err)
{
    return error_set(err, error, "%s", hypervisor_error());
}

static int check_idle(struct hv_watch *hv, struct error *err)
{
    struct hv_job job = {0};
    bool active = false;
    bool running = false;
    int r = hv_watch_state(hv, &active, &running);

    if (r == 0 && !running)
        return error_set(err, -EPERM, active ? "the VM is paused" : "the VM is not running");
    if (r == 0)
        r = hv_watch_job(hv, &job);
    if (r < 0)
        return fail_hypervisor(r, err);
    if (job.active)
        return error_set(err, -EPERM,
                         "the VM is migrating, or has another job; migpolicy explain tells of a "
                         "migration under way");
    return 0;
}

static int measure_period(struct hv_watch *hv, struct wakeup *wake, int seconds,
                          struct model_point *ret, struct error *err)
{
    int64_t until_ns = monotonic_ns() + seconds * NS_PER_S;
    int64_t end_ns = until_ns + RESULT_WAIT_NS;
    bool measured = false;
    int64_t bps = 0;
    int r = hv_watch_start_dirty_rate(hv, seconds);

    if (r < 0)
        return fail_hypervisor(r, err);
    while (!measured) {
        if (wakeup_wait(wake, until_ns) < 0)
            return error_set(err, -ECANCELED, "migpolicyd is stopping");
        r = hv_watch_dirty_rate(hv, &measured, &bps);
        if (r < 0)
            return fail_hypervisor(r, err);
        until_ns = monotonic_ns() + RESULT_LOOK_NS;
        if (!measured && until_ns > end_ns)
            return error_set(err, -ETIMEDOUT, "the dirty rate was not measured in time");
    }
    *ret = (struct model_point){seconds, (double)bps * seconds};
    return 0;
}

/* CPU use between two looks. A guest of more vCPUs than the model has is one of equal ones. */
static void take_vcpus(const struct hv_facts *a, const struct hv_facts *b, double seconds,
                       struct predict_facts *ret)
{
    unsigned n = a->vcpus < b->vcpus ? a->vcpus : b->vcpus;
    double all = 0;

    ret->vcpus = n < MODEL_VCPUS_MAX ? n : MODEL_VCPUS_MAX;
    for (unsigned i = 0; i < n; i++) {
        double busy = (double)(b->vcpu_time_ns[i] - a->vcpu_time_ns[i]) / 1e9 / seconds;

        busy = fmin(fmax(busy, 0), 1);
        all += busy;
        ret->vcpu_busy[i % MODEL_VCPUS_MAX] = busy;
    }
    for (unsigned i = 0; n > MODEL_VCPUS_MAX && i < MODEL_VCPUS_MAX; i++)
        ret->vcpu_busy[i] = all / n;
}

static int take_bandwidth(double given_bps, double otherwise_bps, struct predict_facts *ret,
                          const char **ret_source, struct error *err)
{
    if (given_bps > 0) {
        ret->bandwidth_bps = given_bps;
        *ret_source = "given";
    } else if (ret->speed_limit_bps > 0) {
        ret->bandwidth_bps = ret->speed_limit_bps;
        *ret_source = "speed-limit";
    } else if (otherwise_bps > 0) {
        ret->bandwidth_bps = otherwise_bps;
        *ret_source = "last-migration";
    } else {
        return error_set(err, -EPERM,
                         "what the link carries is not known: the VM has no migration speed "
                         "limit, and no migration has been seen since migpolicyd was started; "
                         "give --link");
    }
    return 0;
}

/* The mean of as many measurements as the size of the guest asks for. */
static int measure_point(struct hv_watch *hv, struct wakeup *wake, int seconds, double memory_bytes,
                         struct model_point *ret, struct error *err)
{
    double wanted = fmin(ceil(PAGES_WANTED * PAGE_FOR_BYTES / memory_bytes), REPEATS_MAX);
    unsigned n = seconds <= REPEATED_MAX_S ? (unsigned)wanted : 1;

    *ret = (struct model_point){seconds, 0};
    for (unsigned i = 0; i < n; i++) {
        struct model_point p = {0};
        int r = measure_period(hv, wake, seconds, &p, err);

        if (r == 0)
            r = check_idle(hv, err);
        if (r < 0)
            return r;
        ret->bytes += p.bytes / n;
    }
    return 0;
}

static int measure(struct hv_watch *hv, struct wakeup *wake, struct predict_facts *f,
                   struct error *err)
{
    struct hv_facts before;
    struct hv_facts after;
    int64_t started_ns = monotonic_ns();
    int r = hv_watch_facts(hv, &before);

    if (r == 0 && before.memory_bytes == 0)
        r = -EIO;
    if (r < 0)
        return fail_hypervisor(r, err);
    f->memory_bytes = (double)before.memory_bytes;
    do {
        r = measure_point(hv, wake, 1 << f->points, f->memory_bytes, &f->point[f->points], err);
        if (r < 0)
            return r;
        f->points++;
    } while (predict_wants_more(f));
    r = hv_watch_facts(hv, &after);
    if (r < 0)
        return fail_hypervisor(r, err);
    take_vcpus(&before, &after, (double)(monotonic_ns() - started_ns) / 1e9, f);
    f->used_bytes = after.resident_bytes > 0 ? fmin((double)after.resident_bytes, f->memory_bytes)
                                             : f->memory_bytes;
    return 0;
}

static int read_limits(struct hv_watch *hv, struct predict_facts *f, struct error *err)
{
    int64_t downtime_ns;
    int64_t speed_bps = 0;
    int64_t flush_ns = 0;
    int r = hv_watch_get_downtime(hv, &downtime_ns);

    if (r < 0)
        return fail_hypervisor(r, err);
    /* Unknown is fine: not every hypervisor has the one, nor every domain disks. */
    (void)hv_watch_get_speed(hv, &speed_bps);
    (void)hv_watch_flush(hv, &flush_ns);
    f->downtime_limit_s = (double)downtime_ns / 1e9;
    f->speed_limit_bps = (double)speed_bps;
    f->flush_s = (double)flush_ns / 1e9;
    return 0;
}

int predict_measure(const char *uri, const char *uuid, struct wakeup *wake, double bandwidth_bps,
                    double otherwise_bps, struct predict_facts *ret, const char **ret_source,
                    struct error *ret_err)
{
    struct predict_facts f = {0};
    const char *source = NULL;
    struct hv_watch *hv;
    int r = hv_watch_open(uri, uuid, &hv);

    if (r < 0)
        return fail_hypervisor(r, ret_err);
    r = check_idle(hv, ret_err);
    if (r == 0)
        r = read_limits(hv, &f, ret_err);
    if (r == 0)
        r = take_bandwidth(bandwidth_bps, otherwise_bps, &f, &source, ret_err);
    if (r == 0)
        r = measure(hv, wake, &f, ret_err);
    hv_watch_close(hv);
    if (r < 0)
        return r;
    *ret = f;
    *ret_source = source;
    return 0;
}
