/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The matrix: patterns of guests, on machines of several sizes, with several sets of limits. */
#include <math.h>
#include <stdio.h>

#include "policy/model/simulate.h"
#include "tests/bench/scoreboard.h"

#define GIB       1073741824.0
#define GBIT      (1e9 / 8 * 0.94) /* of payload */
#define ZERO_PART 0.25
#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))

struct size {
    const char *name;
    double ram_bytes;
    double link_bps;
};

static const struct size sizes[] = {
    {"1G@1", 1 * GIB, 1 * GBIT},
    {"8G@10", 8 * GIB, 10 * GBIT},
    {"64G@10", 64 * GIB, 10 * GBIT},
    {"512G@25", 512 * GIB, 25 * GBIT},
};
static const struct size memcached_sizes[] = {
    {"32G@1", 32 * GIB, 1 * GBIT},
    {"32G@10", 32 * GIB, 10 * GBIT},
    {"32G@25", 32 * GIB, 25 * GBIT},
};

struct limits {
    const char *name;
    double ceiling_s;
    bool throttle;
};

static const struct limits limit_sets[] = {
    {"throttle", 0, true},
    {"throttle+1s", 1, true},
    {"throttle+2s", 2, true},
    {"2s", 2, false},
};
enum { THROTTLE = 1, THROTTLE_1S = 2, THROTTLE_2S = 4, ONLY_2S = 8 };

/* Sets of limits tried on each size, as bits; the last one only where it says so. */
static const unsigned size_limits[] = {
    THROTTLE | THROTTLE_1S | THROTTLE_2S | ONLY_2S,
    THROTTLE | THROTTLE_2S | ONLY_2S,
    THROTTLE | THROTTLE_1S,
    THROTTLE | THROTTLE_2S,
};

struct pattern {
    const char *name;
    bool without_throttle; /* also tried where throttling is not allowed */
    double hot;            /* size of the hot set / (bandwidth x default downtime limit) */
    double rate;           /* of writing, over bandwidth */
    double phase_s;        /* length of busy and of idle phases; 0: none */
    void (*change)(struct row *row);
};

static struct model_region *add_region(struct model_guest *g, double bytes, double rate_bps,
                                       int vcpu)
{
    struct model_region *r = &g->region[g->regions++];
    double room = g->ram_bytes - g->zero_bytes;

    for (unsigned i = 0; i + 1 < g->regions; i++)
        room -= g->region[i].bytes;
    *r = (struct model_region){
        .bytes = fmin(bytes, room), .rate_bps = rate_bps, .cpu_bound = 1, .vcpu = vcpu};
    return r;
}

/* The whole of the memory in use, at random. */
static void uniform(struct row *row)
{
    row->guest.region[0].bytes = row->guest.ram_bytes - row->guest.zero_bytes;
    row->guest.region[0].sequential = false;
}

static void sweeper(struct row *row)
{
    row->guest.region[0].bytes = row->guest.ram_bytes / 2;
    row->guest.region[0].sequential = true;
}

/* It waits for something else than the CPU, most of the time. */
static void io_bound(struct row *row)
{
    row->guest.vcpu_busy[0] = 0.15;
    row->guest.region[0].cpu_bound = 0;
}

static void tenth_busy(struct row *row)
{
    row->guest.vcpu_busy[0] = 0.1;
}

/* Paced by a clock, and spinning in between: slowing it changes nothing until it is very slow. */
static void half_cpu_bound(struct row *row)
{
    row->guest.region[0].cpu_bound = 0.5;
}

static void uneven(struct row *row)
{
    static const double busy[] = {1, 0.6, 0.3, 0.3, 0.1, 0.1, 0.05, 0.05};
    struct model_guest *g = &row->guest;

    g->vcpus = COUNT(busy);
    for (unsigned i = 0; i < g->vcpus; i++)
        g->vcpu_busy[i] = busy[i];
    add_region(g, g->region[0].bytes / 3, 0.3 * row->link.bps, 1)->sequential = true;
    add_region(g, g->region[0].bytes / 10, 0.05 * row->link.bps, 3);
    add_region(g, g->region[0].bytes / 10, 0.05 * row->link.bps, 6)->cpu_bound = 0;
}

static void many_vcpus(struct row *row)
{
    row->guest.vcpus = 16;
    for (unsigned i = 0; i < row->guest.vcpus; i++)
        row->guest.vcpu_busy[i] = 0.9;
    row->guest.region[0].vcpu = MODEL_ALL_VCPUS;
}

static void halved(struct row *row)
{
    row->link.changes = 1;
    row->link.change[0] = (struct model_change){
        .at_s = 1.1 * (row->guest.ram_bytes - row->guest.zero_bytes) / row->link.bps,
        .factor = 0.5};
}

static void noisy(struct row *row)
{
    row->link.noise = 0.15;
}

static void slow_flush(struct row *row)
{
    row->guest.flush_s = 1.5;
}

static const struct pattern patterns[] = {
    {"idle", false, 0.1, 0.05, 0, NULL},
    {"hot-0.5", false, 0.5, 2, 0, NULL},
    {"hot-2", true, 2, 2, 0, NULL},
    {"hot-8", true, 8, 2, 0, NULL},
    {"uniform", false, 1, 0.4, 0, uniform},
    {"sweeper-0.6", false, 1, 0.6, 0, sweeper},
    {"sweeper-1.2", true, 1, 1.2, 0, sweeper},
    {"rate-0.9", false, 1, 0.9, 0, sweeper},
    {"rate-1.0", true, 1, 1.0, 0, sweeper},
    {"rate-1.1", false, 1, 1.1, 0, sweeper},
    {"phases-10s", false, 8, 2, 10, NULL},
    {"phases-60s", false, 8, 2, 60, NULL},
    {"phases-300s", false, 8, 2, 300, NULL},
    {"io-bound", true, 4, 1.5, 0, io_bound},
    {"half-cpu-bound", false, 3, 1.5, 0, half_cpu_bound},
    {"10%-busy", false, 4, 1.5, 0, tenth_busy},
    {"uneven", false, 6, 1.5, 0, uneven},
    {"16-vcpus", false, 8, 3, 0, many_vcpus},
    {"halved", false, 3, 0.7, 0, halved},
    {"noisy", false, 6, 1.5, 0, noisy},
    {"slow-flush", false, 3, 1.5, 0, slow_flush},
};

static void memcached(struct row *row)
{
    simulate_memcached(&row->guest);
}

static const struct pattern memcached_pattern = {"memcached", true, 0, 0, 0, memcached};

struct cell {
    const struct pattern *pattern;
    const struct size *size;
    const struct limits *limits;
};

static bool tried(const struct pattern *p, unsigned limits, unsigned allowed)
{
    unsigned bit = 1u << limits;

    return (allowed & bit) && (bit != ONLY_2S || p->without_throttle);
}

/* The `i`th cell; their number when there is none. */
static unsigned find_cell(unsigned i, struct cell *ret)
{
    unsigned n = 0;

    for (unsigned p = 0; p <= COUNT(patterns); p++) {
        bool last = p == COUNT(patterns);
        const struct pattern *pattern = last ? &memcached_pattern : &patterns[p];
        const struct size *size = last ? memcached_sizes : sizes;
        unsigned n_sizes = last ? COUNT(memcached_sizes) : COUNT(sizes);

        for (unsigned s = 0; s < n_sizes; s++) {
            for (unsigned l = 0; l < COUNT(limit_sets); l++) {
                if (!tried(pattern, l, last ? size_limits[0] : size_limits[s]))
                    continue;
                if (n++ == i)
                    *ret = (struct cell){pattern, &size[s], &limit_sets[l]};
            }
        }
    }
    return n;
}

static unsigned rows_count(void)
{
    struct cell cell;

    return find_cell(ROWS_MAX, &cell);
}

/* 1 - part .. 1 + part */
static double vary(uint64_t *seed, double part)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return 1 + part * ((double)(*seed >> 11) / (double)(UINT64_C(1) << 52) - 1);
}

static void rows_get(unsigned i, uint64_t seed, struct row *ret)
{
    uint64_t random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
    struct cell cell = {&patterns[0], &sizes[0], &limit_sets[0]};
    const struct pattern *p;
    struct model_guest *g = &ret->guest;
    double hot;
    double rate;
    double pass_s;
    double used;

    find_cell(i, &cell);
    p = cell.pattern;
    hot = p->hot;
    rate = p->rate;
    *ret = (struct row){.link.bps = cell.size->link_bps,
                        .ceiling_s = cell.limits->ceiling_s,
                        .throttle = cell.limits->throttle,
                        .overhead_s = 0.05,
                        .min_cpu = 0.2};
    snprintf(ret->name, sizeof(ret->name), "%s %s %s", p->name, cell.size->name, cell.limits->name);
    vary(&random, 0);
    g->ram_bytes = cell.size->ram_bytes;
    if (seed >= HELD_OUT_SEED) {
        g->ram_bytes *= vary(&random, 0.5);
        ret->link.bps *= vary(&random, 0.5);
        hot *= vary(&random, 0.4);
        rate *= vary(&random, p->change == sweeper ? 0.03 : 0.3);
    }
    g->zero_bytes = ZERO_PART * g->ram_bytes * vary(&random, 0.5);
    g->vcpus = 1;
    g->vcpu_busy[0] = 1;
    add_region(g, hot * DEFAULT_LIMIT_S * ret->link.bps * vary(&random, 0.05),
               rate * ret->link.bps * vary(&random, p->change == sweeper ? 0.01 : 0.05), 0)
        ->sequential = seed % 2;
    if (p->phase_s > 0) {
        g->phases = 2;
        g->phase[0] = (struct model_phase){.seconds = p->phase_s, .rate = 1, .busy = 1};
        g->phase[1] = (struct model_phase){.seconds = p->phase_s, .rate = 0.02, .busy = 0.1};
        g->phase_offset_s = p->phase_s * vary(&random, 1);
        /* Who knows his guest rests now and then says so; the deadline below leaves the time. */
        ret->patience_s = 1.2 * p->phase_s;
    }
    if (p->change)
        p->change(ret);
    used = g->ram_bytes - g->zero_bytes;
    pass_s = used / ret->link.bps;
    /* Minutes, and more for what is large, changes or nearly converges. */
    ret->deadline_s = 60 + (p->rate >= 0.6 && p->rate < 1 ? 12 : 4) * pass_s + 3 * p->phase_s;
}

const struct matrix matrix_plain = {rows_count, rows_get, false};
