/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a Linux guest has done so far: one page of shared memory, which workloads add to and init
 * reads once a second.
 */
#ifndef LINUX_COUNT_H
#define LINUX_COUNT_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT_FILE "/dev/shm/count"

struct count {
    uint64_t ops; /* operations completed */
    uint64_t bad; /* those whose result was wrong */
};

/** The counters of this guest, made if need be; NULL where there is no such memory. */
static inline struct count *count_map(void)
{
    void *at;
    int fd = open(COUNT_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    if (fd < 0 || ftruncate(fd, sizeof(struct count)) < 0)
        return NULL;
    at = mmap(NULL, sizeof(struct count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}

static inline void count_add(uint64_t *what, uint64_t n)
{
    __atomic_fetch_add(what, n, __ATOMIC_RELAXED);
}

#endif
