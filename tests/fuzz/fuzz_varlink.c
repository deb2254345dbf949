/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hostile peer. The input is what it sends; control characters, which no valid call contains, say
 * what else happens at that moment (see step()). Whatever comes, every reply must be an object the
 * strict reader accepts, the loop must come to rest, and each call that was kept must have been
 * told of the disconnect exactly once or have been answered.
 */
#include "agent/control/varlink.h"
#include "common/cleanup.h"
#include "common/json_strict.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/json.h"

#define SECOND_NS UINT64_C(1000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The server has one for its turns, the connection another. */
enum { WATCHES = 2 };

struct watch {
    int fd;
    unsigned events;
    void (*cb)(int fd, unsigned events, void *opaque);
    void *opaque;
};

static struct {
    struct varlink_server *server;
    int peer;
    struct watch watch[WATCHES];
    struct varlink_call *kept; /* one connection has one unanswered call at most */
    uint64_t now_ns;
    char in[8192];
    size_t used;
} f;

static void check(bool ok)
{
    if (!ok)
        abort();
}

static int loop_add(void *ctx, int fd, unsigned events,
                    void (*cb)(int fd, unsigned events, void *opaque), void *opaque)
{
    int i = f.watch[0].cb ? 1 : 0;

    (void)ctx;
    check(!f.watch[i].cb);
    f.watch[i] = (struct watch){fd, events, cb, opaque};
    return i;
}

static void loop_update(void *ctx, int watch, unsigned events)
{
    (void)ctx;
    check(f.watch[watch].cb != NULL);
    f.watch[watch].events = events;
}

static void loop_remove(void *ctx, int watch)
{
    (void)ctx;
    check(f.watch[watch].cb != NULL);
    f.watch[watch].cb = NULL;
}

static uint64_t loop_now_ns(void)
{
    return f.now_ns;
}

static void gone(struct varlink_call *call, void *userdata)
{
    (void)userdata;
    check(f.kept == call);
    varlink_reply(STEAL(f.kept), NULL);
}

static int echo(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    (void)userdata;
    varlink_reply(call, json_object_get(parameters));
    return 0;
}

static int keep(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    (void)parameters;
    (void)userdata;
    check(f.kept == NULL);
    f.kept = call;
    varlink_call_on_disconnect(call, gone, NULL);
    return 0;
}

static int broken(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    (void)call;
    (void)parameters;
    (void)userdata;
    return -EIO;
}

static void read_replies(void)
{
    ssize_t n = recv(f.peer, f.in + f.used, sizeof(f.in) - f.used, MSG_DONTWAIT);
    char *start = f.in, *nul;

    if (n <= 0)
        return;
    f.used += (size_t)n;
    while ((nul = memchr(start, 0, f.used))) {
        struct json_object *reply;

        check(json_strict_parse(start, (size_t)(nul - start), &reply, NULL) == 0);
        check(json_object_is_type(reply, json_type_object));
        json_object_put(reply);
        f.used -= (size_t)(nul + 1 - start);
        start = nul + 1;
    }
    memmove(f.in, start, f.used);
}

/* Returns whether anything happened. */
static bool look(struct watch *w)
{
    struct pollfd p = {.fd = w->fd, .events = (short)w->events};

    /* As libvirt's loop does it, one with no events asked for is skipped. */
    if (!w->cb || w->events == 0 || poll(&p, 1, 0) <= 0)
        return false;
    w->cb(w->fd, (unsigned)p.revents, w->opaque);
    return true;
}

static void settle(void)
{
    int rounds = 0;
    bool again;

    do {
        read_replies();
        again = false;
        for (int i = 0; i < WATCHES; i++)
            again |= look(&f.watch[i]);
        check(++rounds < 10000);
    } while (again);
}

static void step(uint8_t op)
{
    switch (op) {
    case 1:
        if (f.kept) {
            bool more = varlink_call_wants_more(f.kept);

            check((varlink_reply_more(f.kept, NULL) != -EINVAL) == more);
        }
        break;
    case 2:
        if (f.kept)
            varlink_reply(STEAL(f.kept), NULL);
        break;
    case 3:
        f.now_ns += SECOND_NS / 2;
        varlink_server_tick(f.server, f.now_ns);
        break;
    case 4:
        f.now_ns += 61 * SECOND_NS;
        varlink_server_tick(f.server, f.now_ns);
        break;
    case 5:
        shutdown(f.peer, SHUT_WR);
        break;
    case 6:
        shutdown(f.peer, SHUT_RDWR);
        break;
    default:
        break; /* only lets the server see what was sent up to here */
    }
}

static void send_some(const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(f.peer, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct varlink_method methods[] = {
        {"Echo", echo}, {"Keep", keep}, {"Broken", broken}, {"Later", NULL}, {NULL, NULL}};
    static const struct varlink_config config = {
        .vendor = "v",
        .product = "p",
        .version = "1",
        .url = "u",
        .interface = "io.test",
        .description = "interface io.test",
        .methods = methods,
        .max_call_bytes = 300,
        .max_queued_bytes = 2048,
        .max_calls = 4,
    };
    static const struct varlink_loop loop = {loop_add, loop_update, loop_remove, loop_now_ns, NULL};
    size_t begin = 0;
    int fds[2];

    memset(&f, 0, sizeof(f));
    check(varlink_server_new(&config, &loop, &f.server) == 0);
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    check(varlink_server_add_connection(f.server, fds[0]) == 0);
    f.peer = fds[1];

    for (size_t i = 0; i < size; i++) {
        if (data[i] == 0 || data[i] >= 0x09)
            continue;
        send_some(data + begin, i - begin);
        /* Odd places in the input: the server gets to look before the event, not only after. */
        if (i % 2)
            settle();
        step(data[i]);
        settle();
        begin = i + 1;
    }
    send_some(data + begin, size - begin);
    settle();
    close(f.peer);
    f.peer = -1;
    settle();
    check(f.watch[1].cb == NULL);
    varlink_server_free(f.server);
    check(f.watch[0].cb == NULL);
    if (f.kept)
        varlink_reply(f.kept, NULL); /* oneway: nobody was told */
    return 0;
}
