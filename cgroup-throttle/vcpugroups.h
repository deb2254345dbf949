/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's vCPU threads and their cgroups, found from the QEMU process. No shared state. */
#ifndef MIGPOLICY_VCPUGROUPS_H
#define MIGPOLICY_VCPUGROUPS_H

#include "cgroup-throttle/cpuquota.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define UUID_TEXT_LEN 36

struct vcpu_group {
    unsigned int index;
    pid_t tid;
    char *path; /* as in /proc/PID/cgroup */
    struct cpu_quota original;
    struct cpu_quota applied;  /* what the group has, or is about to get, from us */
    struct cpu_quota previous; /* what it had before applied */
};

/* All that is needed to undo: this is what the journal stores. */
struct vcpu_groups {
    char uuid[UUID_TEXT_LEN + 1];
    char *name;
    pid_t pid;
    uint64_t start_time;    /* field 22 of /proc/PID/stat: with pid, names one process for ever */
    uint64_t pid_namespace; /* in which that is its pid; 0: not known */
    int version;            /* of cgroups: 1 or 2 */
    size_t count;
    struct vcpu_group *vcpus; /* by ascending index */
};

void vcpu_groups_free(struct vcpu_groups *groups);

/*
 * Find the groups of domain uuid run by process pid, check them and read their quotas (original,
 * applied and previous are all what is there now).
 *
 * -ENOENT: no such process. -ESTALE: it does not run this domain. -EOPNOTSUPP: no cpu controller,
 * or the vCPUs are not alone in groups of their own, made by root or by us. -EACCES, -EROFS: quotas
 * cannot be changed.
 */
int vcpu_groups_find(const char *proc, const char *uuid, const char *name, pid_t pid,
                     struct vcpu_groups **ret_groups);

/*
 * Is the process still the one found? 0, -ENOENT (gone, or its pid is another's), or an error:
 * -ENODATA if it is not seen but may be there, as with hidepid, in another pid namespace, without
 * /proc.
 */
int vcpu_groups_check_process(const char *proc, const struct vcpu_groups *groups);

/* Is the vCPU thread still in its group? 0, -ENOENT (it ended), -ESTALE (no), or an error. */
int vcpu_groups_check_thread(const char *proc, pid_t pid, const struct vcpu_group *vcpu);

/* Can the group of a vCPU be seen below the mount? */
bool vcpu_groups_visible(const struct cpu_mount *mount, const struct vcpu_group *vcpu);

/*
 * The QEMU process of a domain; where several have its command line, the one whose vCPUs are in
 * groups of their own. -ENOENT: none. -ENOTUNIQ: several, as during a migration within one host.
 */
int vcpu_groups_find_pid(const char *proc, const char *uuid, pid_t *ret_pid);

/* CPU time a thread has consumed. -ENOENT: no such thread. */
int vcpu_groups_thread_time(const char *proc, pid_t pid, pid_t tid, uint64_t *ret_ns);

/* Is this a UUID in lower or upper case text form, and so safe in a file name? */
bool uuid_valid(const char *uuid);

/* Does the path end in vcpuN, start with a slash and stay beneath it? */
bool vcpu_path_valid(const char *path, unsigned int index);

#endif
