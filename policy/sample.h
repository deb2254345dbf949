/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One look at a running migration: what the hypervisor and the kernel say at one moment.
 */
#ifndef MIGPOLICY_SAMPLE_H
#define MIGPOLICY_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* vCPUs above this number are not told apart: their time is counted with vCPU (n mod this). */
enum { SAMPLE_VCPUS_MAX = 1024 };

struct sample {
    int64_t now_ns;     /* monotonic clock when the statistics were read */
    int64_t sync_ns;    /* at_sync: monotonic clock when the dirty bitmap was synced */
    bool at_sync;       /* first look after a sync: `remaining_bytes` starts a new pass */
    int64_t elapsed_ns; /* since the migration started, by the hypervisor's count */

    uint64_t iteration;        /* dirty-bitmap syncs so far (may not start at 1) */
    uint64_t total_bytes;      /* guest RAM; 0: the RAM phase has not started */
    uint64_t processed_bytes;  /* RAM bytes on the wire so far */
    uint64_t remaining_bytes;  /* RAM still to send: falls as pages go, jumps at each sync */
    uint64_t disk_total_bytes; /* storage copied along with the VM */
    uint64_t disk_remaining_bytes;
    int64_t downtime_limit_ns;        /* limit in force */
    int64_t speed_limit_bps;          /* of this migration, 0: none, or not known */
    uint64_t compression_cache_bytes; /* of a migration compressed by XBZRLE, else 0 */
    int64_t flush_ns;                 /* what a flush of the disks takes, 0: unknown or none */
    int64_t expected_downtime_ns;     /* QEMU's own guess, 0: none */
    unsigned auto_converge_percent;   /* QEMU's own throttle, 0: none */
    bool post_copy;                   /* the guest already runs on the destination */

    double cpu_share;     /* quota of ours in force: of cpu_allowance; 1: none */
    double cpu_allowance; /* CPUs each vCPU can use without it; 0: unknown, taken for 1 */
    unsigned vcpus;       /* valid entries of vcpu_time_ns; 0: CPU time unknown */
    int64_t vcpu_time_ns[SAMPLE_VCPUS_MAX]; /* CPU time each vCPU has used so far */
};

/* Copies what is valid: of most guests, a few vCPUs. */
static inline void sample_copy(struct sample *to, const struct sample *from)
{
    memcpy(to, from,
           offsetof(struct sample, vcpu_time_ns) + from->vcpus * sizeof(from->vcpu_time_ns[0]));
}

#endif
