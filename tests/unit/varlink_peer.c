/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "varlink_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The loop */

struct watch {
    int fd;
    unsigned events;
    void (*cb)(int fd, unsigned events, void *opaque);
    void *opaque;
    bool used;
};

static struct watch watches[64];
unsigned n_updates;

static int loop_add(void *ctx, int fd, unsigned events,
                    void (*cb)(int fd, unsigned events, void *opaque), void *opaque)
{
    (void)ctx;
    for (int i = 0; i < 64; i++) {
        if (watches[i].used)
            continue;
        watches[i] = (struct watch){fd, events, cb, opaque, true};
        return i;
    }
    return -ENOSPC;
}

static void loop_update(void *ctx, int watch, unsigned events)
{
    (void)ctx;
    assert_true(watches[watch].used);
    watches[watch].events = events;
    n_updates++;
}

static void loop_remove(void *ctx, int watch)
{
    (void)ctx;
    assert_true(watches[watch].used);
    watches[watch].used = false;
}

uint64_t clock_ns = SECOND_NS;

static uint64_t loop_now_ns(void)
{
    return clock_ns;
}

/* Polls once; returns whether anything happened. */
bool loop_once(int timeout_ms)
{
    struct pollfd fds[64];
    int of[64], n = 0, happened;

    for (int i = 0; i < 64; i++) {
        if (!watches[i].used || watches[i].events == 0)
            continue;
        fds[n] = (struct pollfd){.fd = watches[i].fd, .events = (short)watches[i].events};
        of[n++] = i;
    }
    happened = poll(fds, (nfds_t)n, timeout_ms);
    for (int i = 0; i < n && happened > 0; i++) {
        struct watch *w = &watches[of[i]];

        if (fds[i].revents == 0 || !w->used)
            continue;
        w->cb(w->fd, (unsigned)fds[i].revents, w->opaque);
        /* A descriptor must outlive the callback in which its watch went away. */
        assert_true(fcntl(fds[i].fd, F_GETFD) >= 0);
    }
    return happened > 0;
}

/* Until nothing is left to do; a loop that never comes to rest is a bug of the server. */
void loop_settle(void)
{
    int rounds = 0;

    while (loop_once(0))
        assert_true(++rounds < 5000);
}

/* The service */

static int echo(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct service *s = userdata;

    int a = json_object_get_int(json_object_object_get(parameters, "a"));

    if (s->n_echo < 63)
        s->order[s->n_echo] = (char)('0' + a);
    s->n_echo++;
    clock_ns += s->echo_takes_ns;
    assert_string_equal(varlink_call_method(call), "io.test.Echo");
    varlink_reply(call, json_object_get(parameters));
    return 0;
}

static void gone(struct varlink_call *call, void *userdata)
{
    struct service *s = userdata;

    s->n_gone++;
    assert_ptr_equal(call, s->kept);
}

static int keep(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    struct service *s = userdata;

    (void)parameters;
    s->kept = call;
    varlink_call_on_disconnect(call, gone, s);
    return 0;
}

static int count(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    (void)parameters;
    (void)userdata;
    if (!varlink_call_wants_more(call)) {
        assert_int_equal(varlink_reply_more(call, json_object_new_object()), -EINVAL);
        return varlink_error(call, VARLINK_ERROR_EXPECTED_MORE, NULL);
    }
    for (int i = 1; i <= 3; i++) {
        struct json_object *obj = json_object_new_object();
        int r;

        json_object_object_add(obj, "n", json_object_new_int(i));
        r = i < 3 ? varlink_reply_more(call, obj) : varlink_reply(call, obj);
        assert_true(r == 0 || r == -ECONNRESET); /* a caller may have had enough */
    }
    return 0;
}

static int big(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    size_t n = (size_t)json_object_get_int64(json_object_object_get(parameters, "n"));
    struct json_object *obj = json_object_new_object();
    char *text = malloc(n);

    (void)userdata;
    assert_non_null(text);
    memset(text, 'x', n);
    json_object_object_add(obj, "text", json_object_new_string_len(text, (int)n));
    free(text);
    varlink_reply(call, obj);
    return 0;
}

static int whoami(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    const struct peer *peer = varlink_call_peer(call);
    gid_t groups[256];
    int n = getgroups(256, groups);

    (void)parameters;
    (void)userdata;
    assert_int_equal(peer->uid, getuid());
    assert_int_equal(peer->gid, getgid());
    assert_int_equal(peer->pid, getpid());
    assert_int_equal(peer->n_groups, n);
    if (n > 0)
        assert_memory_equal(peer->groups, groups, (size_t)n * sizeof(groups[0]));
    varlink_reply(call, NULL);
    return 0;
}

static int broken(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    (void)call;
    (void)parameters;
    (void)userdata;
    return -EIO;
}

static int forbidden(struct varlink_call *call, struct json_object *parameters, void *userdata)
{
    (void)call;
    (void)parameters;
    (void)userdata;
    return -EPERM;
}

static const struct varlink_method methods[] = {
    {"Echo", echo},     {"Keep", keep},     {"Count", count},         {"Big", big},
    {"WhoAmI", whoami}, {"Broken", broken}, {"Forbidden", forbidden}, {"Later", NULL},
    {NULL, NULL},
};

const struct varlink_config plain = {
    .vendor = "Vendor",
    .product = "Product",
    .version = "1",
    .url = "https://example.org/",
    .interface = "io.test",
    .description = "interface io.test\n\nmethod Echo() -> ()\n",
    .methods = methods,
};

void service_start(struct service *s, struct varlink_config config)
{
    static const struct varlink_loop loop = {loop_add, loop_update, loop_remove, loop_now_ns, NULL};

    *s = (struct service){0};
    config.userdata = s;
    assert_int_equal(varlink_server_new(&config, &loop, &s->server), 0);
}

void service_stop(struct service *s)
{
    varlink_server_free(s->server);
    for (int i = 0; i < 64; i++)
        assert_false(watches[i].used);
}

/* The raw peer */

int raw_connect(struct service *s)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(varlink_server_add_connection(s->server, fds[0]), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    return fds[1];
}

void raw_send(int fd, const char *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* Sends a call with the NUL that ends it. */
void raw_call(int fd, const char *text)
{
    raw_send(fd, text, strlen(text) + 1);
}

/* The next message must be this one. */
void raw_expect(int fd, const char *text)
{
    char buf[4096];
    size_t len = strlen(text) + 1;
    ssize_t n;

    loop_settle();
    n = recv(fd, buf, len, 0);
    if (n != (ssize_t)len || strcmp(buf, text) != 0)
        fail_msg("expected %s, got %zd bytes: %.*s", text, n, n > 0 ? (int)n : 0, buf);
}

void raw_expect_silence(int fd)
{
    char c;

    loop_settle();
    assert_int_equal(recv(fd, &c, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

void raw_expect_closed(int fd)
{
    char c;
    ssize_t n;

    loop_settle();
    n = recv(fd, &c, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* Sockets */

void service_listen(struct service *s)
{
    int fd;

    strcpy(s->dir, "/tmp/test-varlink-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
    assert_int_equal(unix_listen(s->path, (gid_t)-1, 0660, &fd), 0);
    assert_int_equal(varlink_server_add_listener(s->server, fd), 0);
}

void service_unlisten(struct service *s)
{
    unlink(s->path);
    assert_int_equal(rmdir(s->dir), 0);
}

int unix_connect(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}
