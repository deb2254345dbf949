/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a modelled guest, page by page: what closed forms cannot bend to. Used by model.h.
 *
 * Theory of operation
 *
 * A guest has PAGES_COUNT pages, whatever its size: they are larger than real ones. Each is written
 * by one region, or by nobody. Instead of every touch only the next one that matters is kept: the
 * time, by the region's own clock, of the first touch since the page's bit in the dirty log was
 * cleared. Touches at random are memoryless, touches in order are known beforehand, so it is drawn
 * when the bit is cleared, and a page is dirty when the clock has passed it. A second costs the
 * pages that are sent, a sync a look at each page.
 *
 * A region's clock stands still as long as its vCPU does, and its habits make it go slower at
 * times; whoever owns the region moves it.
 *
 * The memory lies in this order, turned by a random part of all: regions, pages nobody writes, zero
 * pages in one piece, and of these the ones that a region fills. A walker goes round and sends what
 * is marked. When it first enters a GiB after a sync, the log of that GiB is cleared of what the
 * sync has found, as under KVM's manual protection; until then such pages count from before.
 *
 * Pure and deterministic. One thread per object.
 */
#ifndef MIGPOLICY_PAGES_H
#define MIGPOLICY_PAGES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PAGES_COUNT = 16384,
    PAGES_WORDS = PAGES_COUNT / 64,
    PAGES_REGIONS_MAX = 8,
};

/* How a region lives, beside its size, rate, order and writer. All zero: evenly, all the time. */
struct pages_habit {
    double theta;   /* in random order: the page of rank k is chosen as k^-theta */
    bool fills;     /* its memory is zero until it is written */
    double every_s; /* it is busy once in each so many seconds of wall time; 0: always */
    double busy_s;  /* how long, half of it to half as much again */
    double rest;    /* the part of its pace it keeps at other times, and begins its ramp with */
    double ramp_s;  /* how long it takes to come to its pace; 0: it begins with it */
};

struct pages_region {
    unsigned first; /* page, before the turn */
    unsigned pages;
    bool sequential;
    double round_s;      /* one round in order */
    double sync_clock_s; /* at the last sync */
};

struct pages {
    double page_bytes;
    unsigned regions;
    struct pages_region region[PAGES_REGIONS_MAX];
    unsigned front; /* pages before this one, and from `back` on, are taken; before the turn */
    unsigned back;
    unsigned zeros;  /* the first zero page, before the turn */
    unsigned turn;   /* pages by which all of it is turned */
    unsigned at;     /* the walker */
    unsigned marked; /* to be sent */
    unsigned chunk_pages;
    double budget_s; /* of the link, not enough for a page yet */
    uint64_t random;
    uint64_t mark[PAGES_WORDS];
    uint64_t zero[PAGES_WORDS];
    uint64_t cleared[PAGES_WORDS]; /* by chunk, since the last sync */
    uint8_t owner[PAGES_COUNT];    /* region, or PAGES_REGIONS_MAX */
    float touch_s[PAGES_COUNT];    /* first touch since the log was cleared, by the owner's clock */
    float mean_s[PAGES_COUNT];     /* between touches at random */
};

/* All of memory is to be sent; `zero_bytes` of it are zero, those of regions that fill included. */
void pages_start(struct pages *p, double ram_bytes, double zero_bytes, uint64_t seed);

/* Adds a region: memory that is there, or with a habit of filling the last of the zero memory.
   Cut to what is left. */
void pages_add(struct pages *p, double bytes, double rate_bps, bool sequential,
               const struct pages_habit *habit);

/* The pace of region number `region` at a time: 0..1. */
double pages_pace(const struct pages_habit *habit, uint64_t seed, unsigned region, double time_s);

/* Bytes of guest memory marked to be sent. */
double pages_marked_bytes(const struct pages *p);

/* Seconds a link takes for what is marked. */
double pages_marked_s(const struct pages *p, double link_bps);

/* Sends for `dt` seconds, the regions' clocks being `clock_s`; the bytes on the wire. */
double pages_send(struct pages *p, const double *clock_s, double link_bps, double dt);

/* Marks what was dirtied; the bytes that were not marked before. */
double pages_sync(struct pages *p, const double *clock_s);

#endif
