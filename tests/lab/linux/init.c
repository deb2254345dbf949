/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first process of a Linux guest. It loads what drivers there are, fills a part of memory that
 * nobody else touches, starts the workload, and from then on says once a second how many operations
 * that has completed:
 *
 *     ready linux t_ms=2130
 *     t=12.000 ops=52092 total=529701 bad=0 sweeps=4
 *
 * t is the guest's own monotonic clock. `bad` are wrong results: those that the workload counts or
 * tells in a line that begins with BAD, and pages of the cold memory that are not as they were
 * filled; `sweeps` says how often all of that was looked through.
 *
 * The workload is /workload, a script. It prints READY once it is at work, "OPS 5" for operations
 * that nothing else counts, or a report of its own; what else it prints appears on the console
 * behind a '#'.
 *
 * The kernel hands its unknown parameters over as the environment: COLD, in KiB.
 */
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "count.h"

#define PAGE_BYTES      4096
#define LOOKS_PER_S     20
#define LOOKS_PER_SWEEP 40

struct guest {
    struct count *count;
    uint64_t *cold; /* filled once, then only read */
    size_t pages, next, sweeps;
    int output; /* of the workload */
    char line[512];
    size_t used;
    bool ready;
};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void mount_all(void)
{
    umask(0);
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/tmp", 01777);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mkdir("/dev/shm", 01777);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    mount("shm", "/dev/shm", "tmpfs", 0, NULL);
    umask(022);
}

/* The drivers, in the order of the file's lines. */
static void load_modules(void)
{
    char name[256];
    FILE *list = fopen("/modules/list", "re");

    while (list && fscanf(list, "%255s", name) == 1) {
        int fd = open(name, O_RDONLY | O_CLOEXEC);

        if (syscall(SYS_finit_module, fd, "", 0) < 0)
            printf("error: %s: %m\n", name);
        close(fd);
    }
    if (list)
        fclose(list);
}

static void bring_up_loopback(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    ioctl(fd, SIOCSIFFLAGS, &lo);
    close(fd);
}

static uint64_t word_of(size_t page, size_t i)
{
    return (page * 512 + i + 1) * 0x9e3779b97f4a7c15;
}

static void fill_cold(struct guest *guest)
{
    const char *kib = getenv("COLD");

    guest->pages = (kib ? strtoul(kib, NULL, 10) / 4 : 0) + 1;
    guest->cold = aligned_alloc(PAGE_BYTES, guest->pages * PAGE_BYTES);
    for (size_t page = 0; page < guest->pages; page++)
        for (size_t i = 0; i < 512; i++)
            guest->cold[page * 512 + i] = word_of(page, i);
}

/* How many words of a page are not as they were filled; they are made good. */
static size_t check_page(struct guest *guest, size_t page)
{
    uint64_t *word = guest->cold + page * 512;
    size_t wrong = 0;

    for (size_t i = 0; i < 512; i++) {
        if (word[i] == word_of(page, i))
            continue;
        word[i] = word_of(page, i);
        wrong++;
    }
    return wrong;
}

/* A part of the cold memory. */
static void sweep_cold(struct guest *guest)
{
    size_t share = guest->pages / LOOKS_PER_SWEEP + 1;

    for (size_t n = 0; n < share; n++) {
        size_t wrong = check_page(guest, guest->next);

        if (wrong) {
            printf("CORRUPT page=%zu words=%zu\n", guest->next, wrong);
            count_add(&guest->count->bad, 1);
        }
        guest->next = (guest->next + 1) % guest->pages;
        guest->sweeps += guest->next == 0;
    }
}

static void start_workload(struct guest *guest)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        abort();
    guest->output = ends[0];
    if (fork() == 0) {
        setpriority(PRIO_PROCESS, 0, 0);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execl("/bin/busybox", "sh", "/workload", NULL);
        _exit(127);
    }
    close(ends[1]);
}

static void heed_line(struct guest *guest, const char *line)
{
    if (strcmp(line, "READY") == 0 && !guest->ready) {
        guest->ready = true;
        printf("ready linux t_ms=%.0f\n", now_s() * 1000);
    } else if (strncmp(line, "OPS ", 4) == 0) {
        count_add(&guest->count->ops, strtoull(line + 4, NULL, 10));
    } else if (strncmp(line, "t=", 2) == 0) {
        printf("%s\n", line);
    } else {
        if (strncmp(line, "BAD", 3) == 0)
            count_add(&guest->count->bad, 1);
        printf("# %s\n", line);
    }
}

static void heed_output(struct guest *guest)
{
    char c[256];
    ssize_t got = read(guest->output, c, sizeof(c));

    if (got <= 0) {
        printf("error: the workload has ended\n");
        close(guest->output);
        guest->output = -1;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (c[i] != '\n' && guest->used < sizeof(guest->line) - 1) {
            guest->line[guest->used++] = c[i];
            continue;
        }
        guest->line[guest->used] = 0;
        guest->used = 0;
        heed_line(guest, guest->line);
    }
}

/* Waits for the workload to say something, until a time comes. */
static void wait_until(struct guest *guest, double at)
{
    double left;

    while ((left = at - now_s()) > 0) {
        struct pollfd output = {.fd = guest->output, .events = POLLIN};

        if (poll(&output, 1, (int)(left * 1000) + 1) > 0)
            heed_output(guest);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
}

static void report(struct guest *guest)
{
    static uint64_t before;
    uint64_t ops = guest->count->ops;

    printf("t=%.3f ops=%llu total=%llu bad=%llu sweeps=%zu\n", now_s(),
           (unsigned long long)(ops - before), (unsigned long long)ops,
           (unsigned long long)guest->count->bad, guest->sweeps);
    before = ops;
}

int main(int argc, char **argv)
{
    struct guest guest = {0};

    (void)argc;
    (void)argv;
    mount_all();
    setvbuf(stdout, NULL, _IOLBF, 0);
    load_modules();
    bring_up_loopback();
    setenv("PATH", "/bin:/usr/bin:/usr/sbin:/sbin", 1);
    guest.count = count_map();
    fill_cold(&guest);
    setpriority(PRIO_PROCESS, 0, -20);
    start_workload(&guest);
    for (double next = now_s();;) {
        for (int look = 0; look < LOOKS_PER_S; look++) {
            wait_until(&guest, next += 1.0 / LOOKS_PER_S);
            sweep_cold(&guest);
        }
        if (guest.ready)
            report(&guest);
        if (next < now_s() - 1)
            next = now_s();
    }
}
