/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/model/model.h"

#include <math.h>
#include <string.h>

#define DOWNTIME_LIMIT_S 0.3
#define OVERHEAD_S       0.05
/* QEMU looks at what is pending between bursts of sending, and measures bandwidth over windows. */
#define BURST_S       0.05
#define WINDOW_S      0.1
#define WINDOW_JITTER 0.03
/* A zero page is a mark on the wire; finding it takes reading it. */
#define PAGE_BYTES    4096.0
#define MARK_BYTES    8.0
#define ZERO_SCAN_BPS 4e9
/* Auto-converge. */
#define JUDGE_S        1.0
#define FORCED_SYNC_S  5.0
#define THROTTLE_FIRST 20
#define THROTTLE_STEP  10
#define THROTTLE_MAX   99

#define POST_COPY_SPEED 0.5
enum { STREAM_PHASE = 61 };

/* Two times closer than this are the same time. */
#define EPSILON_S 1e-9
/* Job statistics count in wall time; an offset keeps "0" from meaning "unset". */
#define CLOCK_START_NS INT64_C(1000000000)

/* The link from time_s on. */
static void look_at_link(struct model *m)
{
    double bps = link_bps(&m->link, m->seed, m->time_s, &m->link_next_s);

    if (m->speed_limit_bps > 0)
        bps = fmin(bps, m->speed_limit_bps);
    if (bps == m->link_bps)
        return;
    m->link_was_bps = m->link_bps;
    m->link_bps = bps;
    m->link_since_s = m->time_s;
}

/* What QEMU believes the link carries. */
static double measured_bps(const struct model *m)
{
    double age = (m->time_s - m->link_since_s) / WINDOW_S;
    double bps = m->link_bps;

    if (m->pages)
        return m->window_bps;
    if (age < 1)
        bps += (m->link_was_bps - bps) * (1 - age);
    return bps * (1 + WINDOW_JITTER * link_draw(m->seed, 0, (uint64_t)(m->time_s / WINDOW_S)));
}

/* QEMU measures bandwidth over windows of at least 100 ms. */
static void measure(struct model *m)
{
    double s = m->time_s - m->window_s;

    if (s < WINDOW_S - EPSILON_S)
        return;
    m->window_bps = (m->sent_bytes - m->window_bytes) / s;
    m->window_s = m->time_s;
    m->window_bytes = m->sent_bytes;
}

static void next_phase(struct model *m)
{
    const struct model_phase *phase;

    m->phase = (m->phase + 1) % m->guest.phases;
    phase = &m->guest.phase[m->phase];
    m->phase_end_s +=
        phase->seconds *
        (1 + phase->jitter * link_draw(m->seed, STREAM_PHASE, (uint64_t)(m->phase_end_s * 1e3)));
}

void model_start(struct model *m, const struct model_guest *guest, const struct model_link *link,
                 uint64_t seed)
{
    double *found = m->queue[MODEL_FOUND];

    memset(m, 0, sizeof(*m));
    m->guest = *guest;
    m->link = *link;
    m->seed = seed;
    m->overhead_s = OVERHEAD_S;
    m->downtime_limit_s = DOWNTIME_LIMIT_S;
    m->cpu_share = 1;
    m->least_speed = 1;
    m->least_share = 1;
    m->disk_left_bytes = guest->disk_bytes;
    m->iteration = guest->disk_bytes > 0 ? 0 : 1;
    m->synced = m->iteration > 0;
    found[MODEL_ZERO] = guest->zero_bytes;
    found[MODEL_COLD] = guest->ram_bytes - guest->zero_bytes;
    for (unsigned i = 0; i < guest->regions; i++) {
        found[i] = guest->region[i].bytes;
        found[MODEL_COLD] -= guest->region[i].bytes;
    }
    found[MODEL_COLD] = fmax(found[MODEL_COLD], 0);
    m->first_bytes = m->sync_bytes = guest->ram_bytes;
    m->forced_next_s = FORCED_SYNC_S;
    m->phase_end_s = INFINITY;
    if (guest->phases > 0) {
        m->phase_end_s = guest->phase[0].seconds - guest->phase_offset_s;
        while (m->phase_end_s <= EPSILON_S)
            next_phase(m);
    }
    look_at_link(m);
    m->link_was_bps = m->link_bps;
}

void model_start_pages(struct model *m, struct pages *pages, const struct model_guest *guest,
                       const struct model_link *link, uint64_t seed)
{
    model_start(m, guest, link, seed);
    m->pages = pages;
    m->window_bps = m->link_bps;
    pages_start(pages, guest->ram_bytes, guest->zero_bytes, seed);
    for (unsigned i = 0; i < guest->regions; i++) {
        const struct model_region *r = &guest->region[i];

        pages_add(pages, r->bytes, r->rate_bps, r->sequential, &r->habit);
    }
}

void model_copy(struct model *to, struct pages *pages, const struct model *from)
{
    *to = *from;
    if (!from->pages)
        return;
    *pages = *from->pages;
    to->pages = pages;
}

static double demand(const struct model *m, unsigned vcpu)
{
    double factor = m->guest.phases > 0 ? m->guest.phase[m->phase].busy : 1;

    return m->guest.vcpu_busy[vcpu] * factor;
}

/* What a limit on all vCPUs together leaves of what each would get without it, if none gets more
   than so many CPUs. */
static double shared_part(const struct model *m, double most)
{
    double want = 0;

    if (m->guest.shared_cpus <= 0)
        return 1;
    for (unsigned i = 0; i < m->guest.vcpus; i++)
        want += fmin(demand(m, i), most);
    return fmin(m->guest.shared_cpus / want, 1);
}

double model_allowance(const struct model *m)
{
    double part = shared_part(m, 1);
    double busiest = 0;

    if (m->guest.shared_cpus <= 0)
        return 1;
    if (part >= 1)
        return fmin(m->guest.shared_cpus, 1);
    for (unsigned i = 0; i < m->guest.vcpus; i++)
        busiest = fmax(busiest, demand(m, i) * part);
    return busiest;
}

/* The quota on each vCPU, in CPUs. */
static double quota(const struct model *m)
{
    return m->cpu_share < 1 ? m->cpu_share * model_allowance(m) : 1;
}

static double vcpu_speed(const struct model *m, unsigned vcpu, double most, double part)
{
    double busy = demand(m, vcpu);
    double speed = part * (busy > most ? most / busy : 1);
    double sleep = m->vcpu_sleep[vcpu];

    /* Put to sleep whatever it does: work takes longer, waiting for other things does not. */
    if (sleep > 0)
        speed /= 1 - busy + busy / (1 - sleep);
    return speed;
}

double model_vcpu_speed(const struct model *m, unsigned vcpu)
{
    double most = quota(m);

    return m->paused ? 0 : vcpu_speed(m, vcpu, most, shared_part(m, most));
}

double model_speed(const struct model *m)
{
    double most = quota(m);
    double part = m->paused ? 0 : shared_part(m, most);
    double want = 0;
    double get = 0;

    for (unsigned i = 0; i < m->guest.vcpus; i++) {
        want += demand(m, i);
        get += demand(m, i) * vcpu_speed(m, i, most, part);
    }
    return want > 0 ? get / (want * shared_part(m, 1)) : 1;
}

double model_unique_bytes(const struct model_region *r, double tau_s)
{
    struct model_point low = {0, 0};
    struct model_point high = {0, 0};

    if (r->sequential && !r->curve)
        return fmin(r->rate_bps * tau_s, r->bytes);
    if (!r->curve)
        return r->bytes * -expm1(-r->rate_bps * tau_s / r->bytes);
    for (unsigned i = 0; i < r->curve_points; i++) {
        low = high;
        high = r->curve[i];
        if (high.seconds >= tau_s)
            break;
    }
    /* Past the last point it goes on as it went before it. */
    return fmin(low.bytes +
                    (high.bytes - low.bytes) * (tau_s - low.seconds) / (high.seconds - low.seconds),
                r->bytes);
}

static double queued_bytes(const double *queue)
{
    double bytes = 0;

    for (unsigned i = 0; i < MODEL_CLASSES; i++)
        bytes += queue[i];
    return bytes;
}

/* Seconds to send a queue over the link as it is now. */
static double queued_s(const struct model *m, const double *queue)
{
    double zero_bps = fmin(m->link_bps * PAGE_BYTES / MARK_BYTES, ZERO_SCAN_BPS);

    return (queued_bytes(queue) - queue[MODEL_ZERO]) / m->link_bps + queue[MODEL_ZERO] / zero_bps;
}

static double pending(const struct model *m)
{
    if (m->pages)
        return pages_marked_bytes(m->pages);
    return queued_bytes(m->queue[MODEL_LEFT]) + queued_bytes(m->queue[MODEL_FOUND]);
}

static double pending_s(const struct model *m)
{
    if (m->pages)
        return pages_marked_s(m->pages, m->link_bps);
    return queued_s(m, m->queue[MODEL_LEFT]) + queued_s(m, m->queue[MODEL_FOUND]);
}

/* Seconds until no more than `bytes` are pending. */
static double drain_s(const struct model *m, double bytes)
{
    double excess = pending(m) - bytes;
    double s = 0;

    for (unsigned q = 0; q < MODEL_QUEUES && excess > 0; q++) {
        double all = queued_bytes(m->queue[q]);

        if (all > 0)
            s += queued_s(m, m->queue[q]) * fmin(excess / all, 1);
        excess -= all;
    }
    return s;
}

static void send(struct model *m, double dt)
{
    if (m->pages) {
        m->sent_bytes += pages_send(m->pages, m->tau_s, m->link_bps, dt);
        return;
    }
    for (unsigned q = 0; q < MODEL_QUEUES; q++) {
        double *queue = m->queue[q];
        double all = queued_s(m, queue);
        double part = all > dt ? dt / all : 1;

        m->sent_bytes +=
            part * (queued_bytes(queue) - queue[MODEL_ZERO] * (1 - MARK_BYTES / PAGE_BYTES));
        for (unsigned i = 0; i < MODEL_CLASSES; i++)
            queue[i] = part < 1 ? queue[i] * (1 - part) : 0;
        dt -= fmin(all, dt);
    }
}

static void black_out(struct model *m, double seconds)
{
    m->downtime_s += seconds;
    m->work_lost_s += seconds;
}

/* The guest runs, and slows, for `dt` seconds. */
static void live(struct model *m, double dt)
{
    double rate = m->guest.phases > 0 ? m->guest.phase[m->phase].rate : 1;
    double speed[MODEL_VCPUS_MAX] = {0};
    double most = quota(m);
    double part = shared_part(m, most);
    double untouched = shared_part(m, 1); /* the speed of each vCPU then */
    double allowance = m->cpu_share < 1 ? model_allowance(m) : 1;
    double want = 0;
    double get = 0;
    double all;

    if (m->paused) {
        black_out(m, dt);
        return;
    }
    for (unsigned i = 0; i < m->guest.vcpus; i++) {
        double busy = demand(m, i);

        speed[i] = vcpu_speed(m, i, most, part);
        m->cpu_s[i] += busy * speed[i] * dt;
        want += busy;
        get += busy * speed[i];
        if (speed[i] < untouched)
            m->least_share = fmin(m->least_share, busy * speed[i] / allowance);
    }
    all = want > 0 ? get / want : untouched;
    m->work_lost_s += (1 - all / untouched) * dt;
    m->least_speed = fmin(m->least_speed, all / untouched);
    for (unsigned i = 0; i < m->guest.regions; i++) {
        const struct model_region *r = &m->guest.region[i];
        double s = (unsigned)r->vcpu < m->guest.vcpus ? speed[r->vcpu] : all;
        double pace = m->pages ? pages_pace(&r->habit, m->seed, i, m->time_s) : 1;

        m->tau_s[i] += dt * rate * pace * (1 - r->cpu_bound * (1 - s));
    }
}

/* What the guest dirtied in region `i` since the last sync and is not sent yet, as a sync counts
   it. */
static double fresh(const struct model *m, unsigned i)
{
    const struct model_region *r = &m->guest.region[i];
    double clean = fmax(r->bytes - m->queue[MODEL_LEFT][i] - m->queue[MODEL_FOUND][i], 0);
    double bytes = 0;

    if (m->iteration > 1)
        return model_unique_bytes(r, m->tau_s[i]) * clean / r->bytes;
    /* Pages of chunks not cleared yet are still to be sent anyway. */
    for (unsigned k = 0; k < m->chunks; k++)
        bytes += model_unique_bytes(r, m->tau_s[i] - m->chunk_tau_s[k][i]);
    return fmin(bytes / MODEL_CHUNKS, clean);
}

static void auto_converge(struct model *m)
{
    double sent = m->sent_bytes - m->throttle_sent_bytes;

    if (m->time_s < m->throttle_look_s + JUDGE_S)
        return;
    /* Twice too much takes the next step. */
    if (m->throttle_dirty_bytes > sent / 2 && ++m->throttle_doubts >= 2) {
        m->throttle_doubts = 0;
        m->throttle_percent =
            m->throttle_percent == 0 ? THROTTLE_FIRST : m->throttle_percent + THROTTLE_STEP;
        if (m->throttle_percent > THROTTLE_MAX)
            m->throttle_percent = THROTTLE_MAX;
        for (unsigned i = 0; i < m->guest.vcpus; i++)
            m->vcpu_sleep[i] = m->throttle_percent / 100.0;
    }
    m->throttle_look_s = m->time_s;
    m->throttle_sent_bytes = m->sent_bytes;
    m->throttle_dirty_bytes = 0;
}

/* Queues what the sync finds, without pages. */
static void queue_found(struct model *m)
{
    double found[MODEL_CLASSES] = {0};

    for (unsigned i = 0; i < m->guest.regions; i++) {
        found[i] = fresh(m, i);
        m->throttle_dirty_bytes += found[i];
        m->tau_s[i] = 0;
    }
    for (unsigned i = 0; i < MODEL_CLASSES; i++) {
        m->queue[MODEL_LEFT][i] += m->queue[MODEL_FOUND][i];
        m->queue[MODEL_FOUND][i] = found[i];
    }
}

static void sync_bitmap(struct model *m)
{
    if (m->pages)
        m->throttle_dirty_bytes += pages_sync(m->pages, m->tau_s);
    else
        queue_found(m);
    m->iteration++;
    m->synced = true;
    m->sync_s = m->time_s;
    m->sync_bytes = pending(m);
    if (m->auto_converge)
        auto_converge(m);
}

/* Sends all that is pending while the guest does not run here; the time it takes. */
static double send_rest(struct model *m)
{
    double start = m->time_s;

    while (pending_s(m) > EPSILON_S) {
        double dt = fmin(pending_s(m), m->link_next_s - m->time_s);

        send(m, dt);
        m->time_s += dt;
        look_at_link(m);
    }
    return m->time_s - start;
}

/* Stops the guest for good and moves its devices; the time it takes. The last stage knows no limit
   of speed. */
static double stop_guest(struct model *m)
{
    double stop = m->overhead_s + m->guest.flush_s;
    double devices;

    m->time_s += stop;
    model_limit_speed(m, 0);
    devices = m->guest.device_bytes / m->link_bps;
    m->time_s += devices;
    look_at_link(m);
    return stop + devices;
}

static void complete(struct model *m)
{
    double stop = stop_guest(m);

    black_out(m, stop + send_rest(m));
    m->state = MODEL_COMPLETED;
}

void model_limit_speed(struct model *m, double bps)
{
    m->speed_limit_bps = bps;
    look_at_link(m);
}

void model_suspend(struct model *m)
{
    sync_bitmap(m);
    complete(m);
}

void model_post_copy(struct model *m)
{
    sync_bitmap(m);
    black_out(m, stop_guest(m));
    m->post_copy_s = send_rest(m);
    m->work_lost_s += m->post_copy_s * (1 - POST_COPY_SPEED);
    m->least_speed = fmin(m->least_speed, POST_COPY_SPEED);
    m->state = MODEL_COMPLETED;
}

void model_cancel(struct model *m)
{
    m->state = MODEL_CANCELLED;
}

/* The next look at what is pending that may find little enough. */
static double next_look_s(const struct model *m)
{
    double enough = fmax(m->link_bps, m->link_was_bps) * m->downtime_limit_s * (1 + WINDOW_JITTER);
    double since = m->time_s - m->sync_s;
    double bursts = floor(since / BURST_S + 1e-6) + 1;

    if (!m->pages)
        bursts = fmax(bursts, ceil((since + drain_s(m, enough)) / BURST_S - 1e-6));

    return m->sync_s + bursts * BURST_S;
}

/* Seconds until the middle of the next chunk of the first pass is reached. */
static double next_chunk_s(const struct model *m)
{
    double left = m->first_bytes * (1 - (m->chunks + 0.5) / MODEL_CHUNKS);

    if (m->pages || m->iteration > 1 || m->chunks >= MODEL_CHUNKS)
        return INFINITY;
    return drain_s(m, left);
}

/* A sync that auto-converge asks for because none came by itself. */
static bool forced_sync(struct model *m)
{
    bool due = m->iteration > 1 && m->iteration == m->forced_iteration;

    m->forced_next_s += FORCED_SYNC_S;
    if (due)
        sync_bitmap(m);
    m->forced_iteration = m->iteration;
    return due;
}

static bool forces_syncs(const struct model *m)
{
    return m->auto_converge && m->forced_syncs;
}

/* True when it synced without completing. */
static bool look_at_pending(struct model *m)
{
    double enough;

    measure(m);
    enough = measured_bps(m) * m->downtime_limit_s;
    if (pending(m) >= enough && pending(m) > PAGE_BYTES)
        return false;
    sync_bitmap(m);
    if (m->sync_bytes + m->guest.device_bytes >= enough)
        return true;
    complete(m);
    return false;
}

/* The storage goes over the link until `end`, or until it is done and the first pass begins: true
   then. */
static bool copy_storage(struct model *m, double end)
{
    double until = fmin(fmin(end, m->time_s + m->disk_left_bytes / m->link_bps),
                        fmin(m->link_next_s, m->phase_end_s));
    double dt = until - m->time_s;

    m->disk_left_bytes -= dt * m->link_bps;
    live(m, dt);
    m->time_s = until;
    if (until >= m->link_next_s)
        look_at_link(m);
    if (until >= m->phase_end_s)
        next_phase(m);
    if (m->disk_left_bytes > PAGE_BYTES)
        return false;
    m->disk_left_bytes = 0;
    if (!m->pages)
        memset(m->tau_s, 0, sizeof(m->tau_s));
    m->iteration = 1;
    m->synced = true;
    m->sync_s = m->throttle_look_s = m->time_s;
    m->forced_next_s = m->time_s + FORCED_SYNC_S;
    return true;
}

void model_run(struct model *m, double seconds)
{
    double end = m->time_s + seconds;

    while (m->state == MODEL_RUNNING && m->iteration == 0 && m->time_s < end - EPSILON_S) {
        if (copy_storage(m, end))
            return;
    }
    while (m->state == MODEL_RUNNING && m->time_s < end - EPSILON_S) {
        double look = next_look_s(m);
        double chunk = m->time_s + next_chunk_s(m);
        double until = fmin(fmin(end, look), fmin(m->link_next_s, m->phase_end_s));
        double dt;

        until = fmin(until, chunk);
        if (forces_syncs(m))
            until = fmin(until, m->forced_next_s);
        dt = fmax(until - m->time_s, 0);
        send(m, dt);
        live(m, dt);
        m->time_s = until;

        if (until >= chunk)
            memcpy(m->chunk_tau_s[m->chunks++], m->tau_s, sizeof(m->tau_s));
        if (until >= m->link_next_s)
            look_at_link(m);
        if (until >= m->phase_end_s)
            next_phase(m);
        if (forces_syncs(m) && until >= m->forced_next_s && forced_sync(m))
            return;
        if (until >= look && look_at_pending(m))
            return;
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
        .total_bytes = m->iteration > 0 ? (uint64_t)m->guest.ram_bytes : 0,
        .processed_bytes = (uint64_t)m->sent_bytes,
        .remaining_bytes = m->iteration > 0 ? (uint64_t)pending(m) : 0,
        .disk_total_bytes = (uint64_t)m->guest.disk_bytes,
        .disk_remaining_bytes = (uint64_t)m->disk_left_bytes,
        .downtime_limit_ns = (int64_t)(m->downtime_limit_s * 1e9),
        .flush_ns = (int64_t)(m->guest.flush_s * 1e9),
        .speed_limit_bps = (int64_t)m->speed_limit_bps,
        .expected_downtime_ns = (int64_t)((m->sync_bytes + m->guest.device_bytes) /
                                          (m->pages ? m->window_bps : m->link_bps) * 1e9),
        .auto_converge_percent = m->throttle_percent,
        .cpu_share = m->cpu_share,
        .cpu_allowance = model_allowance(m),
        .vcpus = m->guest.vcpus,
    };
    for (unsigned i = 0; i < m->guest.vcpus; i++)
        ret->vcpu_time_ns[i] = (int64_t)(m->cpu_s[i] * 1e9);
    m->synced = false;
}
