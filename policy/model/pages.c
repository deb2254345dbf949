/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/model/pages.h"

#include <math.h>
#include <string.h>

#include "policy/model/link.h"

#define GIB 1073741824.0
/* A zero page is a mark on the wire; finding it takes reading it. */
#define REAL_PAGE_BYTES 4096.0
#define MARK_BYTES      8.0
#define ZERO_SCAN_BPS   4e9
/* The unevenness of floating point must not leave a page behind. */
#define EPSILON_S 1e-9

enum { STREAM_TURN = 31, STREAM_PACE = 40, NOBODY = PAGES_REGIONS_MAX };

static bool bit(const uint64_t *bits, unsigned i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static void set_bit(uint64_t *bits, unsigned i)
{
    bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static void clear_bit(uint64_t *bits, unsigned i)
{
    bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* Above 0, up to 1. */
static double draw(struct pages *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return ((double)(p->random >> 11) + 1) / (double)(UINT64_C(1) << 53);
}

/* Where a page is that would be number `i` if nothing were turned. */
static unsigned turned(const struct pages *p, unsigned i)
{
    return (i + p->turn) % PAGES_COUNT;
}

void pages_start(struct pages *p, double ram_bytes, double zero_bytes, uint64_t seed)
{
    memset(p, 0, sizeof(*p));
    p->page_bytes = ram_bytes / PAGES_COUNT;
    p->chunk_pages = (unsigned)fmax(GIB / p->page_bytes, 1);
    p->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    p->turn = (unsigned)((0.5 + 0.5 * link_draw(seed, STREAM_TURN, 0)) * (PAGES_COUNT - 1));
    p->zeros = PAGES_COUNT - (unsigned)(zero_bytes / p->page_bytes);
    p->back = PAGES_COUNT;
    p->marked = PAGES_COUNT;
    memset(p->mark, 0xff, sizeof(p->mark));
    memset(p->owner, NOBODY, sizeof(p->owner));
    for (unsigned i = 0; i < PAGES_COUNT; i++)
        p->touch_s[i] = INFINITY;
    for (unsigned i = p->zeros; i < PAGES_COUNT; i++)
        set_bit(p->zero, turned(p, i));
}

/* The first touch of a page after its log was cleared. */
static void draw_touch(struct pages *p, unsigned page, double clock_s)
{
    const struct pages_region *r = &p->region[p->owner[page]];
    unsigned place = (page + PAGES_COUNT - p->turn) % PAGES_COUNT - r->first;
    double s = -log(draw(p)) * (double)p->mean_s[page];

    if (r->sequential) {
        s = (double)place / r->pages * r->round_s - fmod(clock_s, r->round_s);
        if (s <= 0)
            s += r->round_s;
    }
    p->touch_s[page] = (float)(clock_s + s);
}

/* Mean times between touches: Zipf's law, the ranks strewn over the region. */
static void share_out(struct pages *p, const struct pages_region *r, double rate, double theta)
{
    double sum = 0;

    for (unsigned i = 0; i < r->pages; i++) {
        double rank = pow(i + 1, theta);

        p->mean_s[turned(p, r->first + i)] = (float)rank;
        sum += 1 / rank;
    }
    for (unsigned i = r->pages; i-- > 0;) {
        unsigned other = turned(p, r->first + (unsigned)(draw(p) * i));
        unsigned here = turned(p, r->first + i);
        float mean = p->mean_s[here];

        p->mean_s[here] = p->mean_s[other];
        p->mean_s[other] = mean;
        p->mean_s[here] *= (float)(sum / rate);
    }
}

void pages_add(struct pages *p, double bytes, double rate_bps, bool sequential,
               const struct pages_habit *habit)
{
    unsigned room = habit->fills ? p->back - p->zeros : p->zeros - p->front;
    unsigned number = p->regions++;
    struct pages_region *r = &p->region[number];

    r->pages = (unsigned)fmax(fmin(bytes / p->page_bytes, room), 0);
    r->sequential = sequential;
    r->round_s = r->pages * p->page_bytes / rate_bps;
    r->first = p->front;
    if (habit->fills)
        r->first = p->back -= r->pages;
    else
        p->front += r->pages;
    if (!sequential)
        share_out(p, r, rate_bps / p->page_bytes, habit->theta);
    for (unsigned i = 0; i < r->pages; i++) {
        unsigned page = turned(p, r->first + i);

        p->owner[page] = (uint8_t)number;
        draw_touch(p, page, 0);
    }
    /* At the start the log has them all. */
    r->sync_clock_s = INFINITY;
}

double pages_pace(const struct pages_habit *habit, uint64_t seed, unsigned region, double time_s)
{
    double pace = 1;
    double next_s = INFINITY;

    if (habit->ramp_s > 0)
        pace = habit->rest + (1 - habit->rest) * fmin(time_s / habit->ramp_s, 1);
    else if (habit->every_s > 0 && !link_occurs(habit->every_s, habit->busy_s, seed,
                                                STREAM_PACE + 2 * region, time_s, &next_s))
        pace = habit->rest;
    return pace;
}

double pages_marked_bytes(const struct pages *p)
{
    return p->marked * p->page_bytes;
}

static double page_s(const struct pages *p, bool zero, double link_bps)
{
    double wire = p->page_bytes * MARK_BYTES / REAL_PAGE_BYTES;

    return zero ? fmax(wire / link_bps, p->page_bytes / ZERO_SCAN_BPS) : p->page_bytes / link_bps;
}

double pages_marked_s(const struct pages *p, double link_bps)
{
    unsigned zero = 0;

    for (unsigned i = 0; i < PAGES_WORDS; i++)
        zero += (unsigned)__builtin_popcountll(p->mark[i] & p->zero[i]);
    return fmax((p->marked - zero) * page_s(p, false, link_bps) + zero * page_s(p, true, link_bps) -
                    p->budget_s,
                0);
}

/* The next marked page, from the walker on and round. There is one. */
static unsigned next_marked(const struct pages *p)
{
    unsigned word = p->at / 64;
    uint64_t bits = p->mark[word] & (~UINT64_C(0) << (p->at % 64));

    while (bits == 0) {
        word = (word + 1) % PAGES_WORDS;
        bits = p->mark[word];
    }
    return word * 64 + (unsigned)__builtin_ctzll(bits);
}

static bool touched(const struct pages *p, unsigned page, const double *clock_s)
{
    return p->owner[page] != NOBODY && (double)p->touch_s[page] <= clock_s[p->owner[page]];
}

/* Clears the log of what the last sync has found in the chunk that the page is in. */
static void clear_log(struct pages *p, unsigned page, const double *clock_s)
{
    unsigned chunk = page / p->chunk_pages;
    unsigned end = (chunk + 1) * p->chunk_pages;

    if (bit(p->cleared, chunk))
        return;
    set_bit(p->cleared, chunk);
    for (unsigned i = chunk * p->chunk_pages; i < end && i < PAGES_COUNT; i++) {
        if (p->owner[i] == NOBODY || !bit(p->mark, i))
            continue;
        if (touched(p, i, clock_s))
            clear_bit(p->zero, i);
        if ((double)p->touch_s[i] <= p->region[p->owner[i]].sync_clock_s)
            draw_touch(p, i, clock_s[p->owner[i]]);
    }
}

double pages_send(struct pages *p, const double *clock_s, double link_bps, double dt)
{
    double bytes = 0;

    p->budget_s += dt;
    while (p->marked > 0) {
        unsigned page = next_marked(p);
        bool zero = bit(p->zero, page) && !touched(p, page, clock_s);
        double s = page_s(p, zero, link_bps);

        if (s > p->budget_s + EPSILON_S)
            break;
        clear_log(p, page, clock_s);
        p->budget_s -= s;
        p->at = page;
        clear_bit(p->mark, page);
        p->marked--;
        bytes += p->page_bytes * (zero ? MARK_BYTES / REAL_PAGE_BYTES : 1);
    }
    if (p->marked == 0)
        p->budget_s = 0;
    return bytes;
}

double pages_sync(struct pages *p, const double *clock_s)
{
    unsigned before = p->marked;

    for (unsigned n = 0; n < p->regions; n++) {
        struct pages_region *r = &p->region[n];

        for (unsigned i = 0; i < r->pages; i++) {
            unsigned page = turned(p, r->first + i);

            if ((double)p->touch_s[page] > clock_s[n])
                continue;
            p->marked += !bit(p->mark, page);
            set_bit(p->mark, page);
        }
        r->sync_clock_s = clock_s[n];
    }
    memset(p->cleared, 0, sizeof(p->cleared));
    return (p->marked - before) * p->page_bytes;
}
