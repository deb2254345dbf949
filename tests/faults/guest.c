/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/faults/guest.h"

#include "common/alloc.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCOPE "/machine-qemu\\x2d1\\x2dcampaign.scope"

/* As found; the second has a limit of its user's. */
static const struct cpu_quota found[GUEST_VCPUS] = {{-1, 100000}, {50000, 100000}};

static struct cpu_mount cpu;
static char slice[64];
static pid_t guest;

void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static void *be_vcpu(void *arg)
{
    char name[16];
    pid_t tid = gettid();

    snprintf(name, sizeof(name), "CPU %d/TCG", (int)(intptr_t)arg);
    prctl(PR_SET_NAME, name);
    if (write(STDOUT_FILENO, &tid, sizeof(tid)) == sizeof(tid))
        for (;;)
            pause();
    return NULL;
}

int guest_be(void)
{
    pthread_t thread[GUEST_VCPUS];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (intptr_t i = 0; i < GUEST_VCPUS; i++)
        if (pthread_create(&thread[i], NULL, be_vcpu, (void *)i) != 0)
            return EXIT_FAILURE;
    pause();
    return EXIT_SUCCESS;
}

/* The ids of its threads come in any order; their names tell which is which. */
static void start_guest(const char *uuid, pid_t tid[GUEST_VCPUS])
{
    int fd[2];

    if (pipe(fd) < 0 || (guest = fork()) < 0)
        give_up("no guest: %s", strerror(errno));
    if (guest == 0) {
        dup2(fd[1], STDOUT_FILENO);
        execl("/proc/self/exe", "qemu-campaign", "-uuid", uuid, (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    for (int i = 0; i < GUEST_VCPUS; i++) {
        AUTO_FREE char *file = NULL;
        char name[32] = "";
        int number = -1;
        pid_t one;

        if (read(fd[0], &one, sizeof(one)) != sizeof(one))
            give_up("no guest");
        alloc_need_length(asprintf(&file, "/proc/%d/task/%d/comm", (int)guest, (int)one));
        AUTO_FCLOSE FILE *f = fopen(file, "re");
        if (!f || !fgets(name, sizeof(name), f) || sscanf(name, "CPU %d/", &number) != 1)
            give_up("no vCPU");
        tid[number] = one;
    }
    close(fd[0]);
}

static char *group_file(const char *group, const char *file)
{
    char *name;

    alloc_need_length(asprintf(&name, "%s%s%s/%s", cpu.point, slice, group, file));
    return name;
}

static int put(const char *group, const char *file, const char *text)
{
    AUTO_FREE char *name = group_file(group, file);
    AUTO_CLOSE int fd = open(name, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int make_group(const char *group)
{
    AUTO_FREE char *name = group_file(group, "");

    return mkdir(name, 0755) < 0 ? -errno : 0;
}

static void vcpu_group(int i, char name[static 128])
{
    snprintf(name, 128, SCOPE "/libvirt/vcpu%d", i);
}

static int place_vcpu(int i, pid_t tid)
{
    char group[128], text[16];
    int r;

    vcpu_group(i, group);
    snprintf(text, sizeof(text), "%d", (int)tid);
    r = make_group(group);
    if (r == 0 && cpu.version == 1)
        return put(group, "tasks", text);
    if (r == 0)
        r = put(group, "cgroup.type", "threaded");
    if (r == 0 && i == 0) {
        r = put("", "cgroup.subtree_control", "+cpu");
        if (r == 0)
            r = put(SCOPE, "cgroup.subtree_control", "+cpu");
        if (r == 0)
            r = put(SCOPE "/libvirt", "cgroup.subtree_control", "+cpu");
    }
    return r < 0 ? r : put(group, "cgroup.threads", text);
}

static bool make_guest(const char *uuid)
{
    pid_t tid[GUEST_VCPUS] = {0};
    char pid[16];
    int r = 0;

    if (cpu_mount_find("/proc", 1, "/x", &cpu) < 0 && cpu_mount_find("/proc", 2, "/x", &cpu) < 0)
        return false;
    snprintf(slice, sizeof(slice), "/migpolicy-campaign%d.slice", (int)getpid());
    if (make_group("") < 0 || make_group(SCOPE) < 0 || make_group(SCOPE "/libvirt") < 0)
        return false;
    start_guest(uuid, tid);
    snprintf(pid, sizeof(pid), "%d", (int)guest);
    r = put(SCOPE "/libvirt", "cgroup.procs", pid);
    for (int i = 0; r == 0 && i < GUEST_VCPUS; i++)
        r = place_vcpu(i, tid[i]);
    return r == 0;
}

static void remove_group(const char *group)
{
    AUTO_FREE char *name = group_file(group, "");

    for (int i = 0; i < 1000 && rmdir(name) < 0 && errno == EBUSY; i++)
        usleep(10000);
}

void guest_remove(void)
{
    char group[128];

    if (guest > 0) {
        kill(guest, SIGKILL);
        waitpid(guest, NULL, 0);
        guest = 0;
    }
    if (!cpu.point)
        return;
    for (int i = 0; i < GUEST_VCPUS; i++) {
        vcpu_group(i, group);
        remove_group(group);
    }
    remove_group(SCOPE "/libvirt");
    remove_group(SCOPE);
    remove_group("");
    cpu_mount_clear(&cpu);
}

pid_t guest_pid(void)
{
    return guest;
}

const struct cpu_mount *guest_mount(void)
{
    return &cpu;
}

bool guest_is_as_found(void)
{
    for (int i = 0; i < GUEST_VCPUS; i++) {
        AUTO_FREE char *path = NULL;
        struct cpu_quota now;
        char group[128];

        vcpu_group(i, group);
        alloc_need_length(asprintf(&path, "%s%s", slice, group));
        if (cpu_quota_read(&cpu, path, &now) < 0 || !cpu_quota_equal(&now, &found[i]))
            return false;
    }
    return true;
}

void guest_put_as_found(void)
{
    AUTO_FREE char *path = NULL;
    char group[128];

    vcpu_group(1, group);
    alloc_need_length(asprintf(&path, "%s%s", slice, group));
    if (cpu_quota_write(&cpu, path, &found[0], &found[1]) < 0 || !guest_is_as_found())
        give_up("the quotas of the guest cannot be set");
}

bool guest_place(const char *uuid)
{
    if (!make_guest(uuid))
        return false;
    guest_put_as_found();
    return true;
}
