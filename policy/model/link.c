/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/model/link.h"

#include <math.h>

#define NOISE_S   0.5
#define SCATTER_S 0.1
/* Two times closer than this are the same time. */
#define EPSILON_S 1e-9

enum { STREAM_NOISE = 1, STREAM_SCATTER = 11, STREAM_SHARED = 21 };

double link_draw(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + stream * UINT64_C(0xd1b54a32d192ed03) +
                 index * UINT64_C(0x2545f4914f6cdd1d);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return (double)(x >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

/* A bell around 0 with a standard deviation of 1, drawn anew every `slot_s`. */
static double bell(uint64_t seed, uint64_t stream, double slot_s, double time_s, double *ret_next_s)
{
    double slot = floor((time_s + EPSILON_S) / slot_s);
    double sum = 0;

    for (uint64_t i = 0; i < 3; i++)
        sum += link_draw(seed, stream + i, (uint64_t)slot);
    *ret_next_s = fmin(*ret_next_s, (slot + 1) * slot_s);
    return sum;
}

bool link_occurs(double every_s, double for_s, uint64_t seed, uint64_t stream, double time_s,
                 double *ret_next_s)
{
    double slot = floor((time_s + EPSILON_S) / every_s);
    double length_s = for_s * (1 + 0.5 * link_draw(seed, stream, (uint64_t)slot));
    double room_s = fmax(every_s - length_s, 0);
    double start_s =
        slot * every_s + room_s * (0.5 + 0.5 * link_draw(seed, stream + 1, (uint64_t)slot));
    double next_s = (slot + 1) * every_s;
    bool now = false;

    if (time_s + EPSILON_S < start_s) {
        next_s = start_s;
    } else if (time_s + EPSILON_S < start_s + length_s) {
        next_s = fmin(start_s + length_s, next_s);
        now = true;
    }
    *ret_next_s = fmin(*ret_next_s, next_s);
    return now;
}

double link_bps(const struct model_link *l, uint64_t seed, double time_s, double *ret_next_s)
{
    double bps = l->bps;
    double next_s = INFINITY;

    for (unsigned i = 0; i < l->changes; i++) {
        if (l->change[i].at_s <= time_s + EPSILON_S) {
            bps = l->bps * l->change[i].factor;
        } else {
            next_s = l->change[i].at_s;
            break;
        }
    }
    if (l->noise > 0)
        bps *= fmax(1 + l->noise * bell(seed, STREAM_NOISE, NOISE_S, time_s, &next_s), 0.1);
    if (l->scatter > 0) {
        double z = bell(seed, STREAM_SCATTER, SCATTER_S, time_s, &next_s);

        bps *= exp(l->scatter * z - l->scatter * l->scatter / 2);
    }
    if (l->shared_s > 0 &&
        link_occurs(l->shared_s, l->shared_for_s, seed, STREAM_SHARED, time_s, &next_s))
        bps *= l->shared_factor;
    *ret_next_s = next_s;
    return bps;
}
