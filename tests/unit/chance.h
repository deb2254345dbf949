/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chance that is the same for the same number: cases are made from it, and told by it. */
#ifndef MIGPOLICY_TEST_CHANCE_H
#define MIGPOLICY_TEST_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t chance(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static inline uint64_t start_chance(uint64_t number)
{
    uint64_t seed = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

    for (unsigned i = 0; i < 4; i++)
        chance(&seed);
    return seed;
}

static inline bool one_in(uint64_t *seed, unsigned n)
{
    return chance(seed) % n == 0;
}

static inline double between(uint64_t *seed, double low, double high)
{
    return low + (high - low) * (double)(chance(seed) >> 11) / (double)(UINT64_C(1) << 53);
}

#define ANY_OF(seed, list) (list)[chance(seed) % (sizeof(list) / sizeof((list)[0]))]

#endif
