/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/model.h"

#include <math.h>
#include <string.h>

#define STEP_S  0.002
#define BURST_S 0.05
/* Job statistics count in wall time; an offset keeps "0" from meaning "unset". */
#define CLOCK_START_NS INT64_C(1000000000)

void model_start(struct model *m, const struct model_guest *guest, double link_bps)
{
    memset(m, 0, sizeof(*m));
    m->guest = *guest;
    m->link_bps = link_bps;
    m->overhead_s = 0.05;
    m->downtime_limit_s = 0.3;
    m->cpu_share = 1;
    m->iteration = 1;
    m->synced = true;
    m->zero_left_bytes = guest->zero_bytes;
    m->cold_bytes = guest->ram_bytes - guest->zero_bytes;
    for (unsigned i = 0; i < guest->regions; i++) {
        m->bitmap[i] = guest->region[i].bytes;
        m->cold_bytes -= guest->region[i].bytes;
    }
}

double model_speed(const struct model *m)
{
    if (m->cpu_share >= m->guest.vcpu_busy)
        return 1;
    return m->cpu_share / m->guest.vcpu_busy;
}

static double pending(const struct model *m)
{
    double bytes = m->cold_bytes + m->zero_left_bytes;

    for (unsigned i = 0; i < m->guest.regions; i++)
        bytes += m->bitmap[i];
    return bytes;
}

static void dirty(struct model *m, double dt)
{
    for (unsigned i = 0; i < m->guest.regions; i++) {
        const struct model_region *r = &m->guest.region[i];
        double rate = r->rate_bps * (r->cpu_bound ? model_speed(m) : 1);

        if (r->sequential)
            m->log[i] = fmin(m->log[i] + rate * dt, r->bytes);
        else
            m->log[i] += (r->bytes - m->log[i]) * -expm1(-rate * dt / r->bytes);
        m->log_mean[i] += m->log[i] * dt;
    }
}

static double take(double *from, double bytes)
{
    double taken = fmin(*from, bytes);

    *from -= taken;
    return taken;
}

static void send(struct model *m, double dt)
{
    double budget = m->link_bps * dt;
    double all = pending(m) - m->zero_left_bytes - m->cold_bytes;
    double share = all > 0 ? fmin(budget / all, 1) : 0;
    double sent = 0;

    /* Zero pages cost hardly any bytes: a hundred times faster than the link. */
    if (m->zero_left_bytes > 0) {
        take(&m->zero_left_bytes, budget * 100);
        return;
    }
    if (m->cold_bytes > 0) {
        m->sent_bytes += take(&m->cold_bytes, budget);
        return;
    }
    for (unsigned i = 0; i < m->guest.regions; i++)
        sent += take(&m->bitmap[i], m->bitmap[i] * share);
    m->sent_bytes += sent;
}

static void sync_bitmap(struct model *m)
{
    double pass_s = m->time_s - m->sync_s;

    for (unsigned i = 0; i < m->guest.regions; i++) {
        const struct model_region *r = &m->guest.region[i];
        double fresh = m->iteration == 1 && pass_s > 0 ? m->log_mean[i] / pass_s : m->log[i];

        m->bitmap[i] += fresh * (1 - m->bitmap[i] / r->bytes);
        m->log[i] = 0;
        m->log_mean[i] = 0;
    }
    m->iteration++;
    m->synced = true;
    m->sync_s = m->time_s;
}

void model_run(struct model *m, double seconds)
{
    double end = m->time_s + seconds;

    while (m->state == MODEL_RUNNING && m->time_s < end - STEP_S / 2) {
        double threshold = m->link_bps * m->downtime_limit_s;

        m->time_s += STEP_S;
        m->cpu_s += STEP_S * m->guest.vcpu_busy * model_speed(m);
        m->work_lost_s += STEP_S * (1 - model_speed(m));
        send(m, STEP_S);
        dirty(m, STEP_S);
        m->burst_s += STEP_S;
        if (m->burst_s < BURST_S && pending(m) > 0)
            continue;
        m->burst_s = 0;
        if (pending(m) >= threshold)
            continue;
        sync_bitmap(m);
        if (pending(m) >= threshold)
            return;
        m->downtime_s = pending(m) / m->link_bps + m->overhead_s;
        m->time_s += m->downtime_s;
        m->work_lost_s += m->downtime_s;
        m->state = MODEL_COMPLETED;
    }
}

void model_sample(struct model *m, struct sample *ret)
{
    *ret = (struct sample){
        .now_ns = CLOCK_START_NS + (int64_t)(m->time_s * 1e9) + 1,
        .sync_ns = CLOCK_START_NS + (int64_t)(m->sync_s * 1e9),
        .at_sync = m->synced,
        .elapsed_ns = (int64_t)(m->time_s * 1e9),
        .iteration = m->iteration,
        .total_bytes = (uint64_t)m->guest.ram_bytes,
        .processed_bytes = (uint64_t)m->sent_bytes,
        .remaining_bytes = (uint64_t)pending(m),
        .downtime_limit_ns = (int64_t)(m->downtime_limit_s * 1e9),
        .cpu_share = m->cpu_share,
        .vcpus = 1,
    };
    ret->vcpu_time_ns[0] = (int64_t)(m->cpu_s * 1e9);
    m->synced = false;
}
