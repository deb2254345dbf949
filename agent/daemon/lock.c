/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/daemon/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/textfile.h"

int lock_take(const char *run_dir, int *ret_fd)
{
    AUTO_FREE char *path = NULL;
    AUTO_CLOSE int fd = -1;

    alloc_need_length(asprintf(&path, "%s/lock", run_dir));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    /* A full disk does not matter: then it cannot be told who has it. */
    if (ftruncate(fd, 0) == 0)
        (void)dprintf(fd, "%d\n", (int)getpid());
    *ret_fd = fd;
    fd = -1;
    return 0;
}

void lock_beat(int fd)
{
    (void)futimens(fd, NULL);
}

/* The letter of proc(5); 0: not to be seen. */
static int process_state(long pid)
{
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *text = NULL;
    const char *end;

    alloc_need_length(asprintf(&path, "/proc/%ld/stat", pid));
    if (textfile_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
        return 0;
    end = strrchr(text, ')');
    return end && end[1] == ' ' ? end[2] : 0;
}

bool lock_is_helpless(const char *run_dir, char *text, size_t size)
{
    AUTO_FREE char *path = NULL;
    AUTO_FREE char *who = NULL;
    struct timespec now;
    struct stat st;
    int64_t silent_s;
    int state;
    long pid;

    alloc_need_length(asprintf(&path, "%s/lock", run_dir));
    snprintf(text, size, "a process that cannot be told");
    if (textfile_read(AT_FDCWD, path, 64, &who, NULL) < 0 || stat(path, &st) < 0)
        return false;
    pid = strtol(who, NULL, 10);
    state = pid > 1 ? process_state(pid) : 0;
    if (state == 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    silent_s = now.tv_sec - st.st_mtim.tv_sec;
    if (state == 'T' || state == 't')
        snprintf(text, size, "process %ld, which is stopped", pid);
    else if (silent_s > LOCK_SILENT_S)
        snprintf(text, size, "process %ld, which hangs: nothing has been heard of it for %lld s",
                 pid, (long long)silent_s);
    else
        snprintf(text, size, "process %ld, which is running", pid);
    return state == 'T' || state == 't' || silent_s > LOCK_SILENT_S;
}
