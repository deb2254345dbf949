/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A Unix stream socket to listen on, open to who is meant. */
#ifndef MIGPOLICY_UNIX_LISTEN_H
#define MIGPOLICY_UNIX_LISTEN_H

#include <sys/types.h>

/*
 * Binds a Unix stream socket at path with this mode and owner group ((gid_t)-1: as is) and listens.
 * Nobody can connect before group and mode are in place. A socket left behind by a dead server is
 * replaced. It changes the umask for a moment, so it is called before threads are started. The
 * caller owns the descriptor (non-blocking, close-on-exec) and unlinks path in the end.
 * Returns 0; -EADDRINUSE (somebody answers there), -EEXIST (path is not a socket), -ENAMETOOLONG,
 * -errno of the system calls.
 */
int unix_listen(const char *path, gid_t gid, mode_t mode, int *ret_fd);

#endif
