/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. What a peer sends is only read when it comes; calls are carried out in turns
 * of the event loop, which a descriptor of the server's own (always readable while somebody waits)
 * asks for. In a turn each client gets one call carried out at most, and the turn ends when its
 * time is over, so whatever else the loop serves waits for one turn and two calls, however
 * many readers there are and whatever they ask for.
 *
 * Within a turn privileged clients come before ordinary ones, and who has used little time lately
 * before who has used much: an administrator's call passes any number of readers, and a single
 * question passes a peer that asks without end. So that ordinary clients are not forgotten, a turn
 * begins with one of them; whatever that one took, another call follows.
 */
#include "agent/control/varlink_internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

void vl_client_ready(struct client *c)
{
    if (c->closed || c->ready)
        return;
    c->ready = true;
    eventfd_write(c->server->turn_fd, 1);
}

static bool is_before(const struct client *a, const struct client *b)
{
    if (a->privileged != b->privileged)
        return a->privileged;
    return a->used_ns < b->used_ns;
}

/* Who is next; NULL: nobody waits who has not had this turn's call. */
static struct client *choose(const struct varlink_server *server, bool ordinary)
{
    struct client *best = NULL;

    for (struct client *c = server->clients; c; c = c->next) {
        if (c->ready && c->turn != server->turn && !(ordinary && c->privileged) &&
            (!best || is_before(c, best)))
            best = c;
    }
    return best;
}

static void serve(struct client *c)
{
    uint64_t start_ns = c->server->loop.now_ns();

    c->turn = c->server->turn;
    c->ready = false;
    vl_client_process(c);
    c->used_ns += c->server->loop.now_ns() - start_ns;
    vl_client_settle(c);
}

static void on_turn(int fd, unsigned events, void *opaque)
{
    struct varlink_server *server = opaque;
    uint64_t end_ns = server->loop.now_ns() + VL_TURN_NS;
    struct client *c;
    eventfd_t count;

    (void)events;
    vl_server_reap(server);
    c = choose(server, true);
    if (c)
        serve(c);
    c = choose(server, false);
    while (c) {
        serve(c);
        c = server->loop.now_ns() < end_ns ? choose(server, false) : NULL;
    }
    server->turn++;
    if (!choose(server, false))
        eventfd_read(fd, &count);
}

int vl_turns_init(struct varlink_server *server)
{
    int r;

    server->turn_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->turn_fd < 0)
        return -errno;
    r = server->loop.add(server->loop.ctx, server->turn_fd, POLLIN | POLLHUP | POLLERR, on_turn,
                         server);
    if (r < 0) {
        close(server->turn_fd);
        return r;
    }
    server->turn_watch = r;
    server->turn = 1; /* who is new has had none */
    return 0;
}

void vl_turns_end(struct varlink_server *server)
{
    server->loop.remove(server->loop.ctx, server->turn_watch);
    close(server->turn_fd);
}
