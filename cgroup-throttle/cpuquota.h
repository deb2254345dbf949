/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CPU quota of one cgroup, whatever the cgroup version. Groups are named by their path as
 * /proc/PID/cgroup gives it; a cpu_mount turns that into a file name.
 *
 * All functions return 0 or -errno and leave their outputs alone on failure. No shared state.
 */
#ifndef MIGPOLICY_CPUQUOTA_H
#define MIGPOLICY_CPUQUOTA_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_quota {
    int64_t quota_us; /* -1: no limit */
    int64_t period_us;
};

#define CPU_QUOTA_MIN_US        1000
#define CPU_QUOTA_PERIOD_MAX_US 1000000

/* Where the cpu controller can be reached. root is the group the mount point shows, not "/" in
 * cgroup namespaces and bind mounts. Both strings are owned. */
struct cpu_mount {
    int version; /* 1 or 2 */
    char *point;
    char *root;
};

void cpu_mount_clear(struct cpu_mount *mount);

/* Find the mount that shows group path. -EOPNOTSUPP: there is none. */
int cpu_mount_find(const char *proc, int version, const char *path, struct cpu_mount *ret_mount);

/* The part of path beneath the mount point, without a leading slash; NULL if it is not beneath. */
const char *cpu_mount_relative(const struct cpu_mount *mount, const char *path);

/* Full name of a file of the group, to be freed; NULL if it is not beneath. */
char *cpu_mount_file(const struct cpu_mount *mount, const char *path, const char *name);

/* -ENOENT: the group is gone. -EBADMSG: not what a kernel writes. */
int cpu_quota_read(const struct cpu_mount *mount, const char *path, struct cpu_quota *ret_quota);

/* May the quota be changed? -ENOENT: no such file, else -EACCES, -EROFS, ... */
int cpu_quota_writable(const struct cpu_mount *mount, const char *path);

/*
 * Change from what is there now. Where that takes two writes, the state between them allows no
 * more than the larger of from and to. Errors as of cgwrite(); on error the first of two writes
 * may have been done.
 */
int cpu_quota_write(const struct cpu_mount *mount, const char *path, const struct cpu_quota *from,
                    const struct cpu_quota *to);

/* In how many periods of its quota a group wanted to run, and in how many of them it was stopped.
 */
struct cpu_stops {
    uint64_t periods;
    uint64_t stopped;
};

/* -ENOENT: the group is gone. -EBADMSG: not what a kernel writes. */
int cpu_quota_stops(const struct cpu_mount *mount, const char *path, struct cpu_stops *ret_stops);

/* The quota that leaves share (0..1] of allowance_cpus, never above the original. */
struct cpu_quota cpu_quota_tighten(const struct cpu_quota *original, double allowance_cpus,
                                   double share, int64_t period_us);

static inline bool cpu_quota_equal(const struct cpu_quota *a, const struct cpu_quota *b)
{
    return a->quota_us == b->quota_us && a->period_us == b->period_us;
}

/* A value that libvirt or an administrator can have written. */
static inline bool cpu_quota_valid(const struct cpu_quota *q)
{
    return (q->quota_us == -1 || q->quota_us >= CPU_QUOTA_MIN_US) &&
           q->period_us >= CPU_QUOTA_MIN_US && q->period_us <= CPU_QUOTA_PERIOD_MAX_US;
}

#endif
