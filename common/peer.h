/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is at the other end of a Unix socket, as the kernel recorded it at the connect, and whether
 * that is an administrator: the one rule of all sockets. Thread-safe.
 */
#ifndef MIGPOLICY_PEER_H
#define MIGPOLICY_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct peer {
    uid_t uid;
    gid_t gid;
    pid_t pid;
    gid_t *groups; /* supplementary groups */
    size_t n_groups;
};

/* Returns 0 or -errno. Free what it holds with peer_clear(). */
int peer_read(int fd, struct peer *ret);
void peer_clear(struct peer *peer);

/* Root, the admin group ((gid_t)-1: none), and who has started migpolicyd-sim. */
bool peer_is_admin(const struct peer *peer, gid_t admin_gid);

#endif
