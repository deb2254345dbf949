/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/unix_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Removes the socket at path if nobody listens on it. */
static int remove_stale(const struct sockaddr_un *addr)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;

    if (lstat(addr->sun_path, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(addr->sun_path) < 0 ? -errno : 0;
}

static int bind_with_mode(int fd, const struct sockaddr_un *addr, mode_t mode)
{
    mode_t old = umask(~mode & 0777);
    int r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

    umask(old);
    return r;
}

int unix_listen(const char *path, gid_t gid, mode_t mode, int *ret_fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = -1;
    int r;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    if (path[0] == '\0')
        return -ENOENT;
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    r = bind_with_mode(fd, &addr, mode);
    if (r == -EADDRINUSE) {
        r = remove_stale(&addr);
        if (r == 0)
            r = bind_with_mode(fd, &addr, mode);
    }
    if (r < 0)
        return r;
    /* Until listen() every connection is refused, so the order of these cannot let anyone in. */
    if ((gid != (gid_t)-1 && lchown(path, (uid_t)-1, gid) < 0) || listen(fd, SOMAXCONN) < 0) {
        r = -errno;
        unlink(path);
        return r;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}
