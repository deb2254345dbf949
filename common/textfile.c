/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/textfile.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/alloc.h"

enum { BAD_NAMES_MAX = 100 };

int textfile_read(int dirfd, const char *path, size_t max_bytes, char **ret_text, size_t *ret_len)
{
    /* O_NONBLOCK: a FIFO planted where a file belongs must not block us before fstat tells. */
    AUTO_CLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    AUTO_FREE char *text = NULL;
    size_t len = 0, size = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    for (;;) {
        ssize_t got;

        if (len + 1 >= size) {
            size = size ? size * 2 : 4096;
            text = alloc_need(realloc(text, size));
        }
        got = read(fd, text + len, size - len - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        len += (size_t)got;
        if (len > max_bytes)
            return -EFBIG;
    }
    text[len] = '\0';
    *ret_text = STEAL(text);
    if (ret_len)
        *ret_len = len;
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, text, len);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        text += done;
        len -= (size_t)done;
    }
    return 0;
}

int textfile_append(int fd, const char *text, size_t len)
{
    off_t end = lseek(fd, 0, SEEK_END);
    int r = write_all(fd, text, len);

    if (r < 0 && end >= 0 && ftruncate(fd, end) < 0)
        return -errno;
    return r;
}

static int write_file(int dir, const char *name, mode_t mode, const char *text)
{
    AUTO_CLOSE int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int r;

    if (fd < 0)
        return -errno;
    r = write_all(fd, text, strlen(text));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r;
}

int textfile_replace(int dirfd, const char *name, mode_t mode, const char *text)
{
    char temp[NAME_MAX + 1];
    int r;

    if (snprintf(temp, sizeof(temp), "%s.tmp", name) >= (int)sizeof(temp))
        return -ENAMETOOLONG;
    if (unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT)
        return -errno;
    r = write_file(dirfd, temp, mode, text);
    if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
        r = -errno;
    if (r < 0) {
        unlinkat(dirfd, temp, 0);
        return r;
    }
    return fsync(dirfd) < 0 ? -errno : 0;
}

int textfile_set_aside(int dirfd, const char *name, char ret_name[static NAME_MAX + 1])
{
    char bad[NAME_MAX + 1];
    int len = snprintf(bad, sizeof(bad), "%s.bad", name);

    if (len > NAME_MAX - 4)
        return -ENAMETOOLONG;
    for (int i = 1; i <= BAD_NAMES_MAX; i++) {
        if (renameat2(dirfd, name, dirfd, bad, RENAME_NOREPLACE) == 0) {
            strcpy(ret_name, bad);
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
        snprintf(bad + len, sizeof(bad) - (size_t)len, ".%d", i);
    }
    return -EEXIST;
}
