/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel shows, but a guest's name and other processes have a hand in: the input is
 * mountinfo, then stat, comm and cgroup of a thread, a group's file of threads, its quota and its
 * period, each ended by a NUL; the rest is the command line. A mount point beneath "/M" leads into
 * the tree of the fuzzer. What is found must be safe to write to.
 */
#include "cgroup-throttle/vcpugroups.h"
#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PID  77
#define UUID "11111111-2222-3333-4444-555555555555"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void put_next(const char *name, const char **at, const char *end)
{
    const char *nul = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    const char *stop = nul ? nul : end;

    tree_put(name, *at, (size_t)(stop - *at));
    *at = nul ? nul + 1 : end;
}

/* Mount points name the tree by "/M", for the tree's own name differs from run to run. */
static void put_mountinfo(const char **at, const char *end)
{
    const char *nul = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    const char *stop = nul ? nul : end;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    check(f != NULL);
    for (const char *c = *at; c < stop; c++) {
        if (stop - c >= 2 && c[0] == '/' && c[1] == 'M') {
            fputs(tree(), f);
            c++;
        } else {
            fputc(*c, f);
        }
    }
    check(fclose(f) == 0);
    tree_put("proc/self/mountinfo", text, len);
    free(text);
    *at = nul ? nul + 1 : end;
}

static void check_groups(const struct vcpu_groups *groups)
{
    check(strcmp(groups->uuid, UUID) == 0 && groups->pid == PID && groups->count == 1);
    check(vcpu_path_valid(groups->vcpus[0].path, groups->vcpus[0].index));
    check(cpu_quota_valid(&groups->vcpus[0].original));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = size ? (const char *)data : "", *end = at + size;
    struct vcpu_groups *groups = NULL;
    struct cpu_mount mount;
    char proc[300];
    uint64_t ns;
    pid_t pid;

    snprintf(proc, sizeof(proc), "%s/proc", tree());
    put_mountinfo(&at, end);
    put_next("proc/77/stat", &at, end);
    put_next("proc/77/task/77/comm", &at, end);
    put_next("proc/77/task/77/cgroup", &at, end);
    put_next("g/vcpu0/tasks", &at, end);
    put_next("g/vcpu0/cpu.cfs_quota_us", &at, end);
    put_next("g/vcpu0/cpu.cfs_period_us", &at, end);
    tree_put("proc/77/cmdline", at, (size_t)(end - at));

    for (int version = 1; version <= 2; version++) {
        if (cpu_mount_find(proc, version, "/g/vcpu0", &mount) == 0) {
            check(cpu_mount_relative(&mount, "/g/vcpu0") != NULL);
            cpu_mount_clear(&mount);
        }
    }
    if (vcpu_groups_find_pid(proc, UUID, &pid) == 0)
        check(pid == PID);
    vcpu_groups_thread_time(proc, PID, PID, &ns);
    if (vcpu_groups_find(proc, UUID, "vm", PID, &groups) == 0) {
        check_groups(groups);
        check(vcpu_groups_check_process(proc, groups) == 0);
        check(vcpu_groups_check_thread(proc, PID, &groups->vcpus[0]) == 0);
    }
    vcpu_groups_free(groups);
    return 0;
}
