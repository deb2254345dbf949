/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. A client has an input buffer, at most one unanswered call, and an output
 * queue. Calls are taken from the input buffer one at a time, in turns (varlink_turn.c): while one
 * is unanswered the next ones wait, then the buffer fills, then the socket, so the peer waits as
 * well.
 *
 * Two rules keep deferred answers safe. Handlers and disconnect callbacks run only from the loop's
 * callbacks (or tick and free), never from inside an answer: an answer given outside of them that
 * leaves something to do asks for a turn, and a failed connection is shut down, so that the loop
 * comes back. And a client's descriptor is closed not where its watch is removed but on the next
 * way into the server, so the loop never sees its number reused while it is still handling it.
 *
 * A client is counted by the server, until its descriptor is closed, and by its call.
 */
#include "agent/control/varlink_internal.h"

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
#include "common/json.h"
#include "common/json_strict.h"

#define FIRST_BUFFER_BYTES ((size_t)4096)

/* Buffers */

static bool buffer_reserve(struct buffer *b, size_t extra, size_t max)
{
    size_t size = b->size ? b->size : FIRST_BUFFER_BYTES;

    if (b->size - b->used >= extra)
        return true;
    while (size - b->used < extra)
        size *= 2;
    if (size > max)
        size = max;
    if (size - b->used < extra)
        return false;
    b->data = alloc_need(realloc(b->data, size));
    b->size = size;
    return true;
}

static void buffer_consume(struct buffer *b, size_t n)
{
    b->used -= n;
    memmove(b->data, b->data + n, b->used);
}

/* Clients: life and death */

void vl_client_unref(struct client *c)
{
    if (--c->refs > 0)
        return;
    peer_clear(&c->peer);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

void vl_client_watch(struct client *c)
{
    unsigned events = c->gone ? 0 : POLLHUP | POLLERR;

    if (c->closed)
        return;
    if (!c->gone && !c->reads_end && c->in.used <= c->server->config.max_call_bytes)
        events |= POLLIN;
    if (!c->gone && c->out.used > 0)
        events |= POLLOUT;
    if (events == c->events)
        return;
    c->events = events;
    c->server->loop.update(c->server->loop.ctx, c->watch, events);
}

void vl_client_fail(struct client *c)
{
    c->failed = true;
    shutdown(c->fd, SHUT_RDWR);
    vl_client_ready(c);
}

static void client_close(struct client *c)
{
    struct varlink_server *server = c->server;
    struct varlink_call *call = c->call;
    struct client **p = &server->clients;

    if (c->closed)
        return;
    c->closed = true;
    while (*p != c)
        p = &(*p)->next;
    *p = c->next;
    server->n_clients--;
    c->next = server->closed;
    server->closed = c;
    server->loop.remove(server->loop.ctx, c->watch);
    shutdown(c->fd, SHUT_RDWR);

    c->call = NULL;
    if (call && !call->oneway && call->on_disconnect) {
        void (*cb)(struct varlink_call *, void *) = STEAL(call->on_disconnect);

        cb(call, call->on_disconnect_userdata);
    }
}

void vl_server_reap(struct varlink_server *server)
{
    while (server->closed) {
        struct client *c = server->closed;

        server->closed = c->next;
        close(c->fd);
        vl_client_unref(c);
    }
}

/*
 * Whether there is room for one more. A quarter of it is for privileged peers alone, and no other
 * user may take more than half.
 */
static bool server_has_room(const struct varlink_server *server, const struct client *more)
{
    unsigned max = server->config.max_clients;
    unsigned ordinary = 0;
    unsigned of_uid = 0;

    for (const struct client *c = server->clients; c && !more->privileged; c = c->next) {
        ordinary += !c->privileged;
        of_uid += !c->privileged && c->peer.uid == more->peer.uid;
    }
    return server->n_clients < max && ordinary < max - max / 4 && of_uid < max - max / 2;
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

/* Output */

static void client_flush(struct client *c)
{
    while (c->out.used > 0 && !c->failed && !c->closed) {
        ssize_t n = send(c->fd, c->out.data, c->out.used, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno != EAGAIN)
                vl_client_fail(c);
            return;
        }
        buffer_consume(&c->out, (size_t)n);
        c->active = true;
    }
}

/* Queues one message and sends what the socket takes. */
static int vl_client_send(struct client *c, struct json_object *message)
{
    size_t max = c->server->config.max_queued_bytes, len;
    const char *text = json_object_to_json_string_length(
        message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

    if (len >= max)
        return -E2BIG;
    if (!buffer_reserve(&c->out, len + 1, max)) {
        vl_client_fail(c);
        return -ENOBUFS;
    }
    memcpy(c->out.data + c->out.used, text, len + 1);
    c->out.used += len + 1;
    client_flush(c);
    vl_client_watch(c);
    return c->failed ? -ECONNRESET : 0;
}

/* {"error": …, "parameters": …, "continues": true}; consumes parameters. */
static struct json_object *vl_reply_new(const char *error, struct json_object *parameters,
                                        bool continues)
{
    struct json_object *reply = json_object_new_object();

    if (error)
        json_object_object_add(reply, "error", json_object_new_string(error));
    if (continues)
        json_object_object_add(reply, "continues", json_object_new_boolean(true));
    json_object_object_add(reply, "parameters", parameters ? parameters : json_object_new_object());
    return reply;
}

struct json_object *vl_one_string(const char *key, const char *value)
{
    struct json_object *obj = json_object_new_object();

    json_object_object_add(obj, key, json_object_new_string(value));
    return obj;
}

int vl_client_reply(struct client *c, const char *error, struct json_object *parameters,
                    bool continues)
{
    struct json_object *reply;
    int r;

    if (c->closed || c->failed) {
        json_object_put(parameters);
        return -ECONNRESET;
    }
    reply = vl_reply_new(error, parameters, continues);
    r = vl_client_send(c, reply);
    json_object_put(reply);
    return r;
}

int vl_client_own_error(struct client *c, const char *name, const char *reason)
{
    char error[256];

    snprintf(error, sizeof(error), "%s.%s", c->server->config.interface, name);
    return vl_client_reply(c, error, vl_one_string("reason", reason), false);
}

void vl_client_protocol_error(struct client *c, const char *parameter)
{
    c->reads_end = true;
    c->in.used = 0;
    vl_client_reply(c, VARLINK_ERROR_INVALID_PARAMETER, vl_one_string("parameter", parameter),
                    false);
}

/* Tells a peer there is no room for why it is turned away, if its socket takes it at once. */
static void refuse(const struct varlink_server *server, int fd)
{
    struct json_object *reply;
    char error[256];
    const char *text;
    size_t len;

    snprintf(error, sizeof(error), "%s.Busy", server->config.interface);
    reply = vl_reply_new(error, vl_one_string("reason", "too many connections"), false);
    if (!reply)
        return;
    text = json_object_to_json_string_length(reply, JSON_C_TO_STRING_PLAIN, &len);
    if (text)
        send(fd, text, len + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    json_object_put(reply);
}

/* Input */

/* Whether a whole call is there; it ends where nothing more has been scanned. */
static bool has_message(struct client *c)
{
    const char *nul = c->in.used > c->scanned
                          ? memchr(c->in.data + c->scanned, 0, c->in.used - c->scanned)
                          : NULL;

    c->scanned = nul ? (size_t)(nul - c->in.data) : c->in.used;
    return nul;
}

static bool can_process(struct client *c)
{
    return !c->call && !c->failed && c->budget > 0 && has_message(c);
}

void vl_client_process(struct client *c)
{
    if (!can_process(c))
        return;
    c->budget--;
    vl_process_message(c, c->in.data, c->scanned);
    /* A peer that does not speak the protocol has nothing left. */
    if (c->in.used > 0)
        buffer_consume(&c->in, c->scanned + 1);
    c->scanned = 0;
}

/*
 * Reads once, because a peer that sends without pause must not keep the loop from the others.
 * Returns whether something came.
 */
static bool client_read(struct client *c)
{
    size_t max = c->server->config.max_call_bytes + 1;
    ssize_t n;

    if (c->reads_end || c->failed || c->in.used >= max)
        return false;
    if (!buffer_reserve(&c->in, 1, max)) {
        vl_client_fail(c);
        return false;
    }
    n = recv(c->fd, c->in.data + c->in.used, c->in.size - c->in.used, MSG_DONTWAIT);
    if (n > 0)
        c->in.used += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        c->reads_end = true;
    return n > 0;
}

/*
 * Whether nothing more can come of it. Without a call, and with budget left, what is still in the
 * buffer is an unfinished message. A peer that is gone waits for nothing.
 */
static bool client_finished(const struct client *c)
{
    if (c->failed || c->gone)
        return true;
    return c->reads_end && !c->call && c->out.used == 0 && c->budget > 0;
}

void vl_client_settle(struct client *c)
{
    bool more;

    do
        more = can_process(c);
    while (!more && c->gone && !c->call && client_read(c));
    if (!more && !c->call && !c->failed && c->scanned > c->server->config.max_call_bytes)
        vl_client_protocol_error(c, "message");
    if (!more && client_finished(c)) {
        client_close(c);
        return;
    }
    vl_client_watch(c);
    if (more)
        vl_client_ready(c);
}

static void client_event(int fd, unsigned events, void *opaque)
{
    struct client *c = opaque;

    (void)fd;
    vl_server_reap(c->server);
    c->gone = events & (POLLHUP | POLLERR);
    if (!c->gone)
        client_flush(c);
    client_read(c);
    vl_client_settle(c);
}

/* The server */

static void listener_event(int fd, unsigned events, void *opaque)
{
    struct varlink_server *server = opaque;
    uint64_t end_ns = server->loop.now_ns() + VL_TURN_NS;

    (void)events;
    vl_server_reap(server);
    do {
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r;

        if (peer < 0) {
            /* Out of descriptors or memory the listener stays readable: look again at the tick. */
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                server->accept_paused = true;
                server->loop.update(server->loop.ctx, server->listen_watch, POLLHUP | POLLERR);
            }
            return;
        }
        r = varlink_server_add_connection(server, peer);
        if (r == -EUSERS)
            refuse(server, peer);
        if (r < 0)
            close(peer);
    } while (server->loop.now_ns() < end_ns);
}

int varlink_server_new(const struct varlink_config *config, const struct varlink_loop *loop,
                       struct varlink_server **ret)
{
    struct varlink_server *server = alloc_need(calloc(1, sizeof(*server)));
    int r;

    server->config = *config;
    server->loop = *loop;
    server->listen_fd = -1;
    if (config->max_clients == 0)
        server->config.max_clients = 32;
    if (config->max_call_bytes == 0)
        server->config.max_call_bytes = VARLINK_MAX_CALL_BYTES;
    if (config->max_queued_bytes == 0)
        server->config.max_queued_bytes = VARLINK_MAX_REPLY_BYTES;
    if (config->max_calls == 0)
        server->config.max_calls = 200;
    if (config->idle_timeout_ns == 0)
        server->config.idle_timeout_ns = UINT64_C(60000000000);
    r = vl_turns_init(server);
    if (r < 0) {
        free(server);
        return r;
    }
    *ret = server;
    return 0;
}

void varlink_server_free(struct varlink_server *server)
{
    if (!server)
        return;
    while (server->clients)
        client_close(server->clients);
    vl_server_reap(server);
    if (server->listen_fd >= 0) {
        server->loop.remove(server->loop.ctx, server->listen_watch);
        close(server->listen_fd);
    }
    vl_turns_end(server);
    free(server);
}

int varlink_server_add_listener(struct varlink_server *server, int fd)
{
    int domain, type, listening, r;
    socklen_t size = sizeof(int);

    if (server->listen_fd >= 0)
        return -EBUSY;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || domain != AF_UNIX ||
        type != SOCK_STREAM || !listening)
        return -EINVAL;
    r = set_nonblocking(fd);
    if (r < 0)
        return r;
    r = server->loop.add(server->loop.ctx, fd, POLLIN | POLLHUP | POLLERR, listener_event, server);
    if (r < 0)
        return r;
    server->listen_watch = r;
    server->listen_fd = fd;
    return 0;
}

int varlink_server_add_connection(struct varlink_server *server, int fd)
{
    struct client *c = alloc_need(calloc(1, sizeof(*c)));
    int r;

    c->refs = 1;
    c->server = server;
    c->fd = fd;
    c->budget = server->config.max_calls;
    c->active = true;
    c->events = POLLIN | POLLHUP | POLLERR;
    r = peer_read(fd, &c->peer);
    c->privileged = r == 0 && server->config.is_privileged &&
                    server->config.is_privileged(&c->peer, server->config.userdata);
    if (r == 0 && !server_has_room(server, c))
        r = -EUSERS;
    if (r == 0)
        r = set_nonblocking(fd);
    if (r == 0)
        r = server->loop.add(server->loop.ctx, fd, c->events, client_event, c);
    if (r < 0) {
        vl_client_unref(c);
        return r;
    }
    c->watch = r;
    c->next = server->clients;
    server->clients = c;
    server->n_clients++;
    return 0;
}

static void client_tick(struct client *c, uint64_t now_ns, bool refill)
{
    if (refill) {
        /* Calls that waited for this make no socket readable. */
        if (c->budget == 0)
            vl_client_ready(c);
        c->budget = c->server->config.max_calls;
        c->used_ns /= 2;
    }
    if (c->active) {
        c->active = false;
        c->active_ns = now_ns;
    } else if ((!c->call || c->out.used > 0) &&
               now_ns - c->active_ns > c->server->config.idle_timeout_ns) {
        client_close(c);
    }
}

void varlink_server_tick(struct varlink_server *server, uint64_t now_ns)
{
    bool refill = !server->ticked || now_ns - server->refilled_ns >= UINT64_C(1000000000);

    vl_server_reap(server);
    if (refill) {
        server->ticked = true;
        server->refilled_ns = now_ns;
    }
    for (struct client *c = server->clients, *next; c; c = next) {
        next = c->next;
        client_tick(c, now_ns, refill);
    }
    if (server->accept_paused) {
        server->accept_paused = false;
        server->loop.update(server->loop.ctx, server->listen_watch, POLLIN | POLLHUP | POLLERR);
    }
}
