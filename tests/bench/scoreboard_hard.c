/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The harder matrix: kinds of guests as they are met in the field, page by page, on links of three
 * speeds that are steady, noisy or shared, with three sets of limits. A kind is a range: how much a
 * guest writes, to how much memory and in which rhythm is drawn from the seed, so some end unaided
 * and some cannot end at all. The same guest is met on every sort of link and with every set of
 * limits.
 */
#include <math.h>
#include <stdio.h>

#include "tests/bench/scoreboard.h"

#define GIB      1073741824.0
#define GBIT     (1e9 / 8 * 0.94) /* of payload */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct size {
    const char *name;
    double ram_bytes;
    double link_bps;
};

static const struct size sizes[] = {
    {"4G@1", 4 * GIB, 1 * GBIT},
    {"24G@10", 24 * GIB, 10 * GBIT},
    {"96G@25", 96 * GIB, 25 * GBIT},
};

struct limits {
    const char *name;
    double ceiling_s;
    bool throttle;
};

static const struct limits limit_sets[] = {
    {"throttle", 0, true},
    {"throttle+1s", 1, true},
    {"2s", 2, false},
};

/* low .. high */
static double between(uint64_t *random, double low, double high)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return low + (high - low) * ((double)(*random >> 11) / (double)(UINT64_C(1) << 53));
}

static void use_vcpus(struct row *row, unsigned n, double busy)
{
    row->guest.vcpus = n;
    for (unsigned i = 0; i < n; i++)
        row->guest.vcpu_busy[i] = busy;
}

/* A region of a part of the memory, touched at a part of the link's bandwidth, by all vCPUs as long
   as they run. */
static struct model_region *add(struct row *row, double memory, double rate)
{
    struct model_region *r = &row->guest.region[row->guest.regions++];

    *r = (struct model_region){
        .bytes = memory * row->guest.ram_bytes,
        .rate_bps = rate * row->link.bps,
        .cpu_bound = 1,
        .vcpu = MODEL_ALL_VCPUS,
    };
    return r;
}

static void add_phase(struct row *row, double seconds, double rate, double busy, double jitter)
{
    row->guest.phase[row->guest.phases++] =
        (struct model_phase){.seconds = seconds, .rate = rate, .busy = busy, .jitter = jitter};
}

static void idle(struct row *row, uint64_t *random)
{
    use_vcpus(row, 2, 0.05);
    add(row, 0.05, between(random, 0.01, 0.1))->habit.theta = 0.8;
    /* Now and then something wakes up. */
    add(row, 0.03, between(random, 0.1, 0.4))->habit =
        (struct pages_habit){.every_s = 20, .busy_s = 2, .rest = 0.02};
}

/* A key-value store: many keys, some of them hot. */
static void zipf(struct row *row, uint64_t *random)
{
    use_vcpus(row, 4, between(random, 0.5, 0.95));
    add(row, between(random, 0.4, 0.65), between(random, 0.2, 2.5))->habit.theta =
        between(random, 0.7, 0.85);
}

static void zipf_hot(struct row *row, uint64_t *random)
{
    use_vcpus(row, 4, between(random, 0.5, 0.95));
    add(row, between(random, 0.4, 0.65), between(random, 0.5, 5))->habit.theta =
        between(random, 0.85, 0.99);
}

/* A young generation swept as a ring, an old one written here and there, full collections. */
static void heap(struct row *row, uint64_t *random)
{
    double old = between(random, 0.15, 0.3);
    double full_s = between(random, 2, 6);
    struct model_region *r;

    use_vcpus(row, 4, between(random, 0.5, 0.9));
    add(row, between(random, 0.04, 0.2), between(random, 0.2, 1.5))->sequential = true;
    add(row, old / 2, between(random, 0.02, 0.1))->habit.theta = 0.8;
    r = add(row, old / 2, 0);
    r->sequential = true;
    r->rate_bps = r->bytes / full_s;
    r->habit = (struct pages_habit){.every_s = between(random, 30, 90), .busy_s = full_s};
}

/* A buffer pool, a log, checkpoints that copy through the page cache. */
static void oltp(struct row *row, uint64_t *random)
{
    struct model_region *r;

    use_vcpus(row, 4, between(random, 0.4, 0.8));
    add(row, 0.4, between(random, 0.15, 0.9))->habit.theta = between(random, 0.75, 0.9);
    add(row, 0.02, between(random, 0.03, 0.15))->sequential = true;
    r = add(row, 0.15, between(random, 0.3, 0.9));
    r->sequential = true;
    r->cpu_bound = 0.2;
    r->habit = (struct pages_habit){
        .every_s = between(random, 30, 60), .busy_s = between(random, 4, 12), .rest = 0.03};
}

/* Compilers that come and go, objects written to the page cache. */
static void build(struct row *row, uint64_t *random)
{
    struct model_region *r;

    use_vcpus(row, 4, 0.95);
    add(row, between(random, 0.1, 0.3), between(random, 0.6, 2))->sequential = true;
    r = add(row, 0.1, between(random, 0.05, 0.2));
    r->cpu_bound = 0;
    r->sequential = true;
    r->habit.fills = true;
    add_phase(row, between(random, 3, 10), 1, 1, 0.6);
    add_phase(row, between(random, 2, 6), between(random, 0.1, 0.3), 0.6, 0.6);
    add_phase(row, between(random, 3, 10), between(random, 0.4, 0.8), 0.9, 0.6);
    add_phase(row, between(random, 1, 5), 0.05, 0.3, 0.6);
}

/* Steps that write weights and gradients in order, with input in between. */
static void training(struct row *row, uint64_t *random)
{
    struct model_region *r;

    use_vcpus(row, 4, 1);
    add(row, between(random, 0.1, 0.3), between(random, 0.8, 3))->sequential = true;
    r = add(row, 0.05, between(random, 0.05, 0.2));
    r->cpu_bound = 0;
    r->sequential = true;
    add_phase(row, between(random, 1.5, 8), 1, 1, 0.15);
    add_phase(row, between(random, 0.5, 3), 0.05, 0.2, 0.3);
}

/* vCPUs as different as services on one machine. */
static void mixed(struct row *row, uint64_t *random)
{
    static const double busy[] = {1, 0.7, 0.5, 0.3, 0.15, 0.1};
    struct model_region *r;

    row->guest.vcpus = COUNT(busy);
    for (unsigned i = 0; i < COUNT(busy); i++)
        row->guest.vcpu_busy[i] = busy[i];
    r = add(row, between(random, 0.05, 0.2), between(random, 0.3, 1.5));
    r->vcpu = 0;
    r->sequential = true;
    r = add(row, 0.25, between(random, 0.2, 0.8));
    r->vcpu = 1;
    r->habit.theta = 0.85;
    r = add(row, 0.05, between(random, 0.05, 0.3));
    r->vcpu = 3;
    r->cpu_bound = 0;
}

/* It comes to its pace while it is migrated. */
static void ramp(struct row *row, uint64_t *random)
{
    use_vcpus(row, 4, 0.9);
    add(row, between(random, 0.1, 0.4), between(random, 0.5, 2.5))->habit = (struct pages_habit){
        .theta = between(random, 0, 0.8),
        .ramp_s = between(random, 0.3, 2) * row->guest.ram_bytes / row->link.bps,
        .rest = 0.1};
}

static void bursts(struct row *row, uint64_t *random)
{
    use_vcpus(row, 2, 1);
    add(row, between(random, 0.1, 0.4), between(random, 0.8, 2.5))->habit.theta =
        between(random, 0, 0.7);
    add_phase(row, 20, 1, 1, 0.2);
    add_phase(row, 20, between(random, 0.02, 0.2), 0.3, 0.2);
    row->guest.phase_offset_s = between(random, 0, 40);
}

/* Stress: buffers copied as fast as memory allows. */
static void copying(struct row *row, uint64_t *random)
{
    use_vcpus(row, 2, 1);
    add(row, between(random, 0.02, 0.25), between(random, 2, 10))->sequential = true;
}

static void stress(struct row *row, uint64_t *random)
{
    use_vcpus(row, 1, 1);
    add(row, between(random, 0.02, 0.25), between(random, 0.8, 5));
}

/* Written by devices, whatever the vCPUs get. */
static void page_cache(struct row *row, uint64_t *random)
{
    struct model_region *r;

    use_vcpus(row, 2, 0.3);
    add(row, 0.1, between(random, 0.05, 0.2))->habit.theta = 0.8;
    r = add(row, 0.2, between(random, 0.15, 1.1));
    r->sequential = true;
    r->cpu_bound = 0;
    r->habit.fills = true;
}

struct kind {
    const char *name;
    void (*make)(struct row *row, uint64_t *random);
};

static const struct kind kinds[] = {
    {"idle", idle},
    {"zipf", zipf},
    {"zipf-hot", zipf_hot},
    {"heap", heap},
    {"oltp", oltp},
    {"build", build},
    {"training", training},
    {"mixed", mixed},
    {"ramp", ramp},
    {"bursts", bursts},
    {"copying", copying},
    {"stress", stress},
    {"page-cache", page_cache},
};

static void steady(struct row *row, uint64_t *random)
{
    row->link.scatter = between(random, 0.01, 0.04);
}

static void noisy(struct row *row, uint64_t *random)
{
    row->link.scatter = between(random, 0.08, 0.2);
}

/* Other migrations come and halve it. */
static void shared(struct row *row, uint64_t *random)
{
    row->link.scatter = between(random, 0.05, 0.1);
    row->link.shared_s = between(random, 20, 60);
    row->link.shared_for_s = row->link.shared_s * between(random, 0.15, 0.5);
    row->link.shared_factor = between(random, 0.45, 0.65);
}

static const struct kind links[] = {{"steady", steady}, {"noisy", noisy}, {"shared", shared}};

static unsigned rows_count(void)
{
    return COUNT(kinds) * COUNT(sizes) * COUNT(links) * COUNT(limit_sets);
}

static uint64_t stream(uint64_t seed, unsigned a, unsigned b)
{
    uint64_t random =
        (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + (a * 64 + b + 1) * UINT64_C(0xd1b54a32d192ed03);

    for (unsigned i = 0; i < 4; i++)
        between(&random, 0, 1);
    return random;
}

static void rows_get(unsigned i, uint64_t seed, struct row *ret)
{
    const struct limits *limits = &limit_sets[i % COUNT(limit_sets)];
    unsigned link = i / COUNT(limit_sets) % COUNT(links);
    unsigned size = i / (COUNT(limit_sets) * COUNT(links)) % COUNT(sizes);
    unsigned kind = i / (COUNT(limit_sets) * COUNT(links) * COUNT(sizes));
    uint64_t for_guest = stream(seed, kind, size);
    uint64_t for_size = stream(seed, COUNT(kinds) + COUNT(links), size);
    uint64_t for_link = stream(seed, COUNT(kinds) + link, size);
    struct model_guest *g = &ret->guest;

    *ret = (struct row){.link.bps = sizes[size].link_bps * between(&for_size, 0.8, 1.2),
                        .pages = true,
                        .salt = (kind * COUNT(sizes) + size + 1) * UINT64_C(1000003),
                        .overhead_s = between(&for_guest, 0.05, 0.3),
                        .ceiling_s = limits->ceiling_s,
                        .throttle = limits->throttle,
                        .min_cpu = 0.2};
    snprintf(ret->name, sizeof(ret->name), "%s %s %s %s", kinds[kind].name, sizes[size].name,
             links[link].name, limits->name);
    g->ram_bytes = sizes[size].ram_bytes * between(&for_guest, 0.7, 1.3);
    g->zero_bytes = g->ram_bytes * between(&for_guest, 0.1, 0.3);
    kinds[kind].make(ret, &for_guest);
    links[link].make(ret, &for_link);
    ret->deadline_s = 60 + 6 * g->ram_bytes / ret->link.bps;
}

const struct matrix matrix_hard = {rows_count, rows_get, true};
