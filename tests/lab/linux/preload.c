/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into programs that tell nobody how far they are: counts the one call into libc that
 * such a program makes for each operation. fio reads or writes a block with pread or pwrite,
 * stressapptest yields after each page that it has copied and checked, stress-ng gives advice on
 * its memory before and after each pass of a memory method, pgbench sends each statement.
 */
#include <sys/syscall.h>

#include "count.h"

static struct count *count;

__attribute__((constructor)) static void begin(void)
{
    count = count_map();
}

static long counted(long result)
{
    if (count)
        count_add(&count->ops, 1);
    return result;
}

int sched_yield(void)
{
    return (int)counted(syscall(SYS_sched_yield));
}

int madvise(void *start, size_t bytes, int advice)
{
    return (int)counted(syscall(SYS_madvise, start, bytes, advice));
}

ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
    return counted(syscall(SYS_pread64, fd, buffer, bytes, offset));
}

ssize_t pwrite64(int fd, const void *buffer, size_t bytes, off64_t offset)
{
    return counted(syscall(SYS_pwrite64, fd, buffer, bytes, offset));
}

ssize_t send(int fd, const void *buffer, size_t bytes, int flags)
{
    return counted(syscall(SYS_sendto, fd, buffer, bytes, flags, NULL, 0));
}
