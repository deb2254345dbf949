/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/peers.h"

#include <math.h>

#define GIB 1073741824.0
/* Most peers look at syncs, or by timers of their own. */
#define RARELY_S 10.0

static double gib(const struct sample *s)
{
    return (double)s->total_bytes / GIB;
}

static void sleep_all(struct model *m, double part)
{
    for (unsigned i = 0; i < m->guest.vcpus; i++)
        m->vcpu_sleep[i] = part;
}

/* At a sync at least a second after the last one judged: was more than half as much dirtied as was
   sent? What is dirty now and was not left unsent has been dirtied since. */
static bool dirties_half(struct peer_state *p, const struct sample *s, const struct model *m)
{
    double sent = m->sent_bytes - p->sent_bytes;
    double dirtied = (double)s->remaining_bytes - fmax(p->last_bytes - sent, 0);

    if (!s->at_sync || m->time_s < p->since_s + 1)
        return false;
    p->since_s = m->time_s;
    p->sent_bytes = m->sent_bytes;
    p->last_bytes = (double)s->remaining_bytes;
    return s->iteration > 1 && dirtied > sent / 2;
}

static void nothing(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    (void)p, (void)s, (void)m, (void)max_s;
}

/* The proposal of 2013: after five bad syncs, every 25 ms of running each vCPU sleeps 50 ms. */
static void vinod(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    (void)max_s;
    p->count += dirties_half(p, s, m);
    if (p->count > 5)
        sleep_all(m, 50.0 / 75);
}

static void auto_converge(struct peer_state *p, const struct sample *s, struct model *m,
                          double max_s)
{
    (void)p, (void)s, (void)max_s;
    m->auto_converge = true;
}

static void auto_converge_forced(struct peer_state *p, const struct sample *s, struct model *m,
                                 double max_s)
{
    auto_converge(p, s, m, max_s);
    m->forced_syncs = true;
}

/* Bytes a vCPU dirties in a second, as it is slowed now. */
static double vcpu_dirty_bps(const struct model *m, unsigned vcpu)
{
    double rate = m->guest.phases > 0 ? m->guest.phase[m->phase].rate : 1;
    double bytes = 0;

    for (unsigned i = 0; i < m->guest.regions; i++) {
        const struct model_region *r = &m->guest.region[i];
        double slow = 1 - r->cpu_bound * (1 - model_vcpu_speed(m, vcpu));

        if (r->vcpu == MODEL_ALL_VCPUS)
            bytes += model_unique_bytes(r, rate * slow) / m->guest.vcpus;
        else if ((unsigned)r->vcpu == vcpu)
            bytes += model_unique_bytes(r, rate * slow);
    }
    return bytes;
}

/* QEMU's dirty-limit: once triggered, each second each vCPU's pause per full ring moves toward what
   a quota of 1 MB/s needs. A pause only comes when the ring is full, so it hits writers alone. */
static void dirty_limit(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    static const double quota_mbps = 1;
    static const double ring_bytes = 4096 * 4096.0;

    (void)max_s;
    if (dirties_half(p, s, m) && ++p->count >= 2)
        p->latched = true;
    if (!p->latched || m->time_s < p->next_s)
        return;
    p->next_s = m->time_s + 1;
    for (unsigned i = 0; i < m->guest.vcpus; i++) {
        double now_mbps = floor(vcpu_dirty_bps(m, i) / 1048576);
        double full_s;

        p->rate_bps[i] = fmax(p->rate_bps[i], now_mbps * 1048576);
        if (p->rate_bps[i] <= 0)
            continue;
        full_s = ring_bytes / p->rate_bps[i];
        if (fabs(now_mbps - quota_mbps) > 50) {
            double percent = fabs(now_mbps - quota_mbps) * 100 / fmax(now_mbps, quota_mbps);
            double change = full_s * percent / (100 - percent);

            p->pause_s[i] += now_mbps > quota_mbps ? change : -change;
        } else if (fabs(now_mbps - quota_mbps) > 1) {
            p->pause_s[i] += now_mbps > quota_mbps ? full_s / 10 : -full_s / 10;
        }
        p->pause_s[i] = fmax(fmin(p->pause_s[i], full_s * 99), 0);
        m->vcpu_sleep[i] = p->pause_s[i] / (p->pause_s[i] + full_s);
    }
}

static void xen(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    (void)p, (void)max_s;
    /* The sync that begins pass n + 1 ends pass n. */
    if (s->at_sync && s->iteration > 1 &&
        (s->remaining_bytes < UINT64_C(50) * 4096 || s->iteration > 5))
        model_suspend(m);
}

enum vdsm_last { VDSM_ABORT, VDSM_WAIT, VDSM_POST_COPY };

struct vdsm_step {
    unsigned iterations;
    double downtime_s;
};

/* Every 10 s, on a new iteration: one step of the list, then the last resorts, one by one. */
static void vdsm(struct peer_state *p, const struct sample *s, struct model *m,
                 const struct vdsm_step *list, unsigned n, enum vdsm_last last)
{
    unsigned iterations;

    if (p->step == 0) {
        m->downtime_limit_s = 0.1;
        p->step = 1;
        p->next_s = 10;
    }
    if (m->time_s < p->next_s)
        return;
    p->next_s += 10;
    /* The first look only says where to count from. */
    if (!p->latched) {
        p->latched = true;
        p->count = (unsigned)s->iteration;
        p->iteration = s->iteration;
    }
    if (s->iteration <= p->iteration)
        return;
    p->iteration = s->iteration;
    iterations = (unsigned)s->iteration - p->count;
    if (p->step <= n) {
        if (iterations <= list[p->step - 1].iterations)
            return;
        m->downtime_limit_s = list[p->step - 1].downtime_s;
    } else if (last == VDSM_POST_COPY) {
        model_post_copy(m);
    } else if (last == VDSM_WAIT && p->step == n + 1) {
        m->downtime_limit_s = 5;
    } else {
        model_cancel(m);
    }
    p->step++;
}

static const struct vdsm_step vdsm_list[] = {{1, 0.15}, {2, 0.2}, {3, 0.3}, {4, 0.4}, {6, 0.5}};

static void vdsm_downtime(struct peer_state *p, const struct sample *s, struct model *m,
                          double max_s)
{
    (void)max_s;
    vdsm(p, s, m, vdsm_list, 5, VDSM_ABORT);
}

static void vdsm_suspend(struct peer_state *p, const struct sample *s, struct model *m,
                         double max_s)
{
    (void)max_s;
    vdsm(p, s, m, vdsm_list, 5, VDSM_WAIT);
}

static void vdsm_post_copy(struct peer_state *p, const struct sample *s, struct model *m,
                           double max_s)
{
    (void)max_s;
    vdsm(p, s, m, vdsm_list, 2, VDSM_POST_COPY);
}

static bool nova(struct peer_state *p, const struct sample *s, struct model *m)
{
    double size = fmax(gib(s), 2);

    while (p->step <= 10 && m->time_s >= p->step * 75 * size) {
        m->downtime_limit_s = (50 + 45 * p->step) / 1000.0;
        p->step++;
    }
    return m->time_s > 800 * size;
}

static void nova_abort(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    (void)max_s;
    if (nova(p, s, m))
        model_cancel(m);
}

/* Force: post-copy where the migration was started with it, which few are; else pause. */
static void nova_force(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    (void)max_s;
    if (nova(p, s, m))
        model_suspend(m);
}

/* Without leave to pause or to post-copy: it aborts. Progress is less than at the look before. */
static void kubevirt_legacy(struct peer_state *p, const struct sample *s, struct model *m,
                            double max_s)
{
    double remaining = (double)s->remaining_bytes;

    (void)max_s;
    if (p->last_bytes <= 0 || remaining < p->last_bytes)
        p->since_s = m->time_s;
    p->last_bytes = remaining;
    if (m->time_s > 150 * gib(s) || m->time_s > p->since_s + 150)
        model_cancel(m);
}

/* Deckhouse with slowing allowed; without it is the above. */
static void deckhouse_forced(struct peer_state *p, const struct sample *s, struct model *m,
                             double max_s)
{
    auto_converge(p, s, m, max_s);
    kubevirt_legacy(p, s, m, max_s);
}

/* From the third iteration on a seventh of the way to the budget every 10 s. */
static void kubevirt_tuning(struct peer_state *p, const struct sample *s, struct model *m,
                            double max_s)
{
    static const double first_s = 0.15;

    if (p->step == 0) {
        m->downtime_limit_s = fmin(first_s, max_s);
        p->step = 1;
    }
    if (s->iteration >= 3 && m->time_s >= p->next_s && p->step <= 7) {
        m->downtime_limit_s = first_s + (max_s - first_s) * p->step / 7;
        p->step++;
        p->next_s = m->time_s + 10;
    }
    kubevirt_legacy(p, s, m, max_s);
}

/* Notes what remains after a sync; keeps the minimum of what is older than 40 s. */
static void note_remaining(struct peer_state *p, double now_s, double remaining)
{
    p->history_s[p->history % PEER_HISTORY] = now_s;
    p->history_bytes[p->history++ % PEER_HISTORY] = remaining;
    while (p->old < p->history && p->history_s[p->old % PEER_HISTORY] < now_s - 40) {
        double bytes = p->history_bytes[p->old++ % PEER_HISTORY];

        p->old_bytes = p->old_bytes > 0 ? fmin(p->old_bytes, bytes) : bytes;
    }
}

/* It waits for as little as it has seen before the stall, and once patience is spent for as little
   as since then; then it sets its whole budget, once. */
static void kubevirt_stall(struct peer_state *p, const struct sample *s, struct model *m,
                           double max_s)
{
    double remaining = (double)s->remaining_bytes;

    if (m->time_s >= p->next_s) {
        double bps = m->pages ? m->window_bps : m->link_bps;

        p->bandwidth_bps = p->bandwidth_bps > 0 ? 0.4 * bps + 0.6 * p->bandwidth_bps : bps;
        p->next_s = m->time_s + 0.4;
    }
    if (p->step > 0) {
        if (m->time_s > p->since_s + 60)
            model_cancel(m);
        return;
    }
    if (!s->at_sync || s->iteration < 2)
        return;
    note_remaining(p, m->time_s, remaining);
    if (!p->latched && p->old_bytes > 0 && remaining >= 0.96 * p->old_bytes) {
        p->latched = true;
        p->since_s = m->time_s;
        p->target_bytes = p->old_bytes;
        p->low_bytes = remaining;
    }
    if (!p->latched)
        return;
    p->low_bytes = fmin(p->low_bytes, remaining);
    if (m->time_s > p->since_s + 40)
        p->target_bytes = p->low_bytes;
    if (remaining > 1.04 * p->target_bytes)
        return;
    if (remaining / p->bandwidth_bps > 1.5 * max_s) {
        model_cancel(m);
        return;
    }
    m->downtime_limit_s = max_s;
    p->since_s = m->time_s;
    p->step = 1;
}

static void proxmox(struct peer_state *p, const struct sample *s, struct model *m, double max_s)
{
    double remaining = (double)s->remaining_bytes;

    (void)max_s;
    if (p->step == 0) {
        m->downtime_limit_s = 0.1;
        p->step = 1;
        p->next_s = 1;
    }
    if (m->time_s < p->next_s)
        return;
    p->next_s += 1;
    if (p->last_bytes > 0 && (remaining > p->last_bytes || remaining <= 0) && ++p->count > 5) {
        p->count = 0;
        m->downtime_limit_s *= 2;
    }
    p->last_bytes = remaining;
}

static void fixed_throttle(struct peer_state *p, const struct sample *s, struct model *m,
                           double max_s)
{
    (void)p, (void)max_s;
    if (s->iteration > 1)
        m->cpu_share = 0.2;
}

static void stop_and_copy(struct peer_state *p, const struct sample *s, struct model *m,
                          double max_s)
{
    (void)p, (void)max_s;
    if (s->iteration > 1)
        model_suspend(m);
}

const struct peer peers[] = {
    {"nothing", RARELY_S, nothing},
    {"vinod-2013", RARELY_S, vinod},
    {"auto-converge", RARELY_S, auto_converge},
    {"auto-converge-forced", RARELY_S, auto_converge_forced},
    {"dirty-limit", 1, dirty_limit},
    {"xen", RARELY_S, xen},
    {"vdsm-downtime", 1, vdsm_downtime},
    {"vdsm-suspend", 1, vdsm_suspend},
    {"vdsm-post-copy", 1, vdsm_post_copy},
    {"nova-abort", 5, nova_abort},
    {"nova-force", 5, nova_force},
    {"kubevirt-legacy", 1, kubevirt_legacy},
    {"kubevirt-tuning", 1, kubevirt_tuning},
    {"kubevirt-stall", 0.4, kubevirt_stall},
    {"deckhouse-forced", 1, deckhouse_forced},
    {"proxmox", 1, proxmox},
    {"fixed-throttle", RARELY_S, fixed_throttle},
    {"stop-and-copy", RARELY_S, stop_and_copy},
};
const unsigned n_peers = sizeof(peers) / sizeof(peers[0]);
