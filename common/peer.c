/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/alloc.h"

static int read_groups(int fd, struct peer *peer)
{
    gid_t *groups = NULL;
    socklen_t size = 0;

    while (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
        if (errno != ERANGE) {
            int r = -errno;

            free(groups);
            return r;
        }
        groups = alloc_need(realloc(groups, size));
    }
    peer->groups = groups;
    peer->n_groups = size / sizeof(*groups);
    return 0;
}

int peer_read(int fd, struct peer *ret)
{
    struct ucred cred;
    struct peer peer;
    socklen_t size = sizeof(cred);
    int r;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    peer = (struct peer){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    r = read_groups(fd, &peer);
    if (r == 0)
        *ret = peer;
    return r;
}

void peer_clear(struct peer *peer)
{
    free(peer->groups);
    *peer = (struct peer){.uid = (uid_t)-1, .gid = (gid_t)-1};
}

bool peer_is_admin(const struct peer *peer, gid_t admin_gid)
{
    bool is = peer->uid == 0 || peer->uid == geteuid();

    if (admin_gid == (gid_t)-1)
        return is;
    is |= peer->gid == admin_gid;
    for (size_t i = 0; i < peer->n_groups; i++)
        is |= peer->groups[i] == admin_gid;
    return is;
}
