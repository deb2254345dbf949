/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server is driven by a poll loop of its own here, which behaves as libvirt's does where that
 * matters: descriptors with no events asked for are skipped, watches may vanish inside callbacks.
 */
#include "agent/cli/varlink_client.h"
#include "agent/control/varlink.h"
#include "common/json_strict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/json.h"

#define SECOND_NS UINT64_C(1000000000)

/* The loop */

/* What a client is given to wait for an answer that is sure to come. */
enum { PATIENCE_MS = 240000 };

struct watch {
    int fd;
    unsigned events;
    void (*cb)(int fd, unsigned events, void *opaque);
    void *opaque;
    bool used;
};

static struct watch watches[64];
static unsigned n_updates;

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

static uint64_t clock_ns = SECOND_NS;

static uint64_t loop_now_ns(void)
{
    return clock_ns;
}

/* Polls once; returns whether anything happened. */
static bool loop_once(int timeout_ms)
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
static void loop_settle(void)
{
    int rounds = 0;

    while (loop_once(0))
        assert_true(++rounds < 5000);
}

/* The service */

struct service {
    struct varlink_server *server;
    struct varlink_call *kept;
    int n_echo, n_gone;
    char order[64]; /* the digits "a" of the echoes */
    uint64_t echo_takes_ns;
    char dir[64], path[96];
};

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
    const struct varlink_peer *peer = varlink_call_peer(call);
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

static const struct varlink_config plain = {
    .vendor = "Vendor",
    .product = "Product",
    .version = "1",
    .url = "https://example.org/",
    .interface = "io.test",
    .description = "interface io.test\n\nmethod Echo() -> ()\n",
    .methods = methods,
};

static void service_start(struct service *s, struct varlink_config config)
{
    static const struct varlink_loop loop = {loop_add, loop_update, loop_remove, loop_now_ns, NULL};

    *s = (struct service){0};
    config.userdata = s;
    assert_int_equal(varlink_server_new(&config, &loop, &s->server), 0);
}

static void service_stop(struct service *s)
{
    varlink_server_free(s->server);
    for (int i = 0; i < 64; i++)
        assert_false(watches[i].used);
}

/* The raw peer */

static int raw_connect(struct service *s)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(varlink_server_add_connection(s->server, fds[0]), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    return fds[1];
}

static void raw_send(int fd, const char *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

/* Sends a call with the NUL that ends it. */
static void raw_call(int fd, const char *text)
{
    raw_send(fd, text, strlen(text) + 1);
}

/* The next message must be this one. */
static void raw_expect(int fd, const char *text)
{
    char buf[4096];
    size_t len = strlen(text) + 1;
    ssize_t n;

    loop_settle();
    n = recv(fd, buf, len, 0);
    if (n != (ssize_t)len || strcmp(buf, text) != 0)
        fail_msg("expected %s, got %zd bytes: %.*s", text, n, n > 0 ? (int)n : 0, buf);
}

static void raw_expect_silence(int fd)
{
    char c;

    loop_settle();
    assert_int_equal(recv(fd, &c, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void raw_expect_closed(int fd)
{
    char c;
    ssize_t n;

    loop_settle();
    n = recv(fd, &c, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static const char echo_call[] = "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":1}}";
static const char echo_reply[] = "{\"parameters\":{\"a\":1}}";

/* Messages */

static void message_split_into_bytes_is_one_call(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    for (size_t i = 0; i < sizeof(echo_call); i++) {
        assert_int_equal(s.n_echo, 0);
        raw_send(fd, echo_call + i, 1);
        loop_settle();
    }
    raw_expect(fd, echo_reply);
    assert_int_equal(s.n_echo, 1);
    close(fd);
    service_stop(&s);
}

static void messages_in_one_write_are_answered_in_order(void **state)
{
    static const char two[] = "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":1}}\0"
                              "{\"method\":\"io.test.Echo\"}\0"
                              "{\"method\":\"io.test.Ec";
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_send(fd, two, sizeof(two) - 1);
    n_updates = 0;
    raw_expect(fd, echo_reply);
    raw_expect(fd, "{\"parameters\":{}}");
    raw_expect_silence(fd);
    assert_int_equal(n_updates, 0);
    raw_send(fd, "ho\"}", 5);
    raw_expect(fd, "{\"parameters\":{}}");
    close(fd);
    service_stop(&s);
}

static void garbage_gets_an_error_and_harms_only_its_sender(void **state)
{
    static const char *const cases[][2] = {
        {"", "message"},
        {"hello", "message"},
        {"[]", "message"},
        {"null", "message"},
        {"{}", "method"},
        {"{\"method\":1}", "method"},
        {"{\"method\":\"a\",\"method\":\"b\"}", "message"},
        {"{\"method\":\"io.test.Echo\",\"parameters\":[]}", "parameters"},
        {"{\"method\":\"io.test.Echo\",\"oneway\":1}", "oneway"},
        {"{\"method\":\"io.test.Echo\",\"more\":\"yes\"}", "more"},
        {"{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":NaN}}", "message"},
    };
    struct service s;
    int good;

    (void)state;
    service_start(&s, plain);
    good = raw_connect(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = raw_connect(&s);
        char error[200];

        snprintf(error, sizeof(error),
                 "{\"error\":\"org.varlink.service.InvalidParameter\","
                 "\"parameters\":{\"parameter\":\"%s\"}}",
                 cases[i][1]);
        raw_call(fd, cases[i][0]);
        raw_call(fd, echo_call);
        raw_expect(fd, error);
        raw_expect_closed(fd);
        close(fd);
    }
    assert_int_equal(s.n_echo, 0);
    raw_call(good, echo_call);
    raw_expect(good, echo_reply);
    close(good);
    service_stop(&s);
}

static void deep_nesting_is_refused(void **state)
{
    char text[4096] = "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":";
    size_t used = strlen(text);
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    memset(text + used, '[', 2000);
    raw_send(fd, text, used + 2001);
    raw_expect(fd, "{\"error\":\"org.varlink.service.InvalidParameter\","
                   "\"parameters\":{\"parameter\":\"message\"}}");
    raw_expect_closed(fd);
    close(fd);
    service_stop(&s);
}

static void call_size_is_bounded_exactly(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    char text[202];
    int fd;

    (void)state;
    config.max_call_bytes = 200;
    service_start(&s, config);
    fd = raw_connect(&s);
    memset(text, ' ', sizeof(text));
    memcpy(text, echo_call, sizeof(echo_call) - 1);
    text[200] = '\0';
    raw_send(fd, text, 201);
    raw_expect(fd, echo_reply);
    /* Also when its end comes late. */
    raw_send(fd, text, 200);
    raw_expect_silence(fd);
    raw_send(fd, "", 1);
    raw_expect(fd, echo_reply);
    /* Also when it fills the buffer behind another one. */
    raw_send(fd, text, 201);
    raw_send(fd, text, 201);
    raw_expect(fd, echo_reply);
    raw_expect(fd, echo_reply);
    text[200] = ' ';
    raw_send(fd, text, 201);
    raw_expect(fd, "{\"error\":\"org.varlink.service.InvalidParameter\","
                   "\"parameters\":{\"parameter\":\"message\"}}");
    raw_expect_closed(fd);
    close(fd);
    service_stop(&s);
}

/* Methods */

static void service_describes_itself(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
    raw_expect(fd,
               "{\"parameters\":{\"vendor\":\"Vendor\",\"product\":\"Product\",\"version\":\"1\","
               "\"url\":\"https://example.org/\","
               "\"interfaces\":[\"org.varlink.service\",\"io.test\"]}}");
    raw_call(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                 "\"parameters\":{\"interface\":\"io.test\"}}");
    raw_expect(fd, "{\"parameters\":{\"description\":"
                   "\"interface io.test\\n\\nmethod Echo() -> ()\\n\"}}");
    raw_call(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
                 "\"parameters\":{\"interface\":\"org.varlink.service\"}}");
    loop_settle();
    {
        char buf[4096] = "";

        assert_true(recv(fd, buf, sizeof(buf), 0) > 0);
        assert_non_null(strstr(buf, "\\ninterface org.varlink.service\\n"));
        assert_non_null(strstr(buf, "\\nerror ExpectedMore ()\\n"));
    }
    close(fd);
    service_stop(&s);
}

static void every_failure_has_its_error(void **state)
{
    static const char *const cases[][2] = {
        {"{\"method\":\"io.test.Nope\"}", "{\"error\":\"org.varlink.service.MethodNotFound\","
                                          "\"parameters\":{\"method\":\"io.test.Nope\"}}"},
        {"{\"method\":\"org.varlink.service.Nope\"}",
         "{\"error\":\"org.varlink.service.MethodNotFound\","
         "\"parameters\":{\"method\":\"org.varlink.service.Nope\"}}"},
        {"{\"method\":\"io.test.sub.Echo\"}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\","
         "\"parameters\":{\"interface\":\"io.test.sub\"}}"},
        {"{\"method\":\"Echo\"}", "{\"error\":\"org.varlink.service.InvalidParameter\","
                                  "\"parameters\":{\"parameter\":\"method\"}}"},
        {"{\"method\":\"io.test.Later\"}",
         "{\"error\":\"org.varlink.service.MethodNotImplemented\","
         "\"parameters\":{\"method\":\"io.test.Later\"}}"},
        {"{\"method\":\"io.test.Echo\",\"upgrade\":true}",
         "{\"error\":\"org.varlink.service.MethodNotImplemented\","
         "\"parameters\":{\"method\":\"io.test.Echo\"}}"},
        {"{\"method\":\"io.test.Forbidden\"}",
         "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}"},
        {"{\"method\":\"io.test.Broken\"}", "{\"error\":\"io.test.InternalError\",\"parameters\":{"
                                            "\"reason\":\"Input/output error\"}}"},
        {"{\"method\":\"io.test.Count\"}",
         "{\"error\":\"org.varlink.service.ExpectedMore\",\"parameters\":{}}"},
        {"{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
         "{\"error\":\"org.varlink.service.InvalidParameter\","
         "\"parameters\":{\"parameter\":\"interface\"}}"},
        {"{\"method\":\"org.varlink.service.GetInterfaceDescription\","
         "\"parameters\":{\"interface\":\"x.y\"}}",
         "{\"error\":\"org.varlink.service.InterfaceNotFound\","
         "\"parameters\":{\"interface\":\"x.y\"}}"},
    };
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        raw_call(fd, cases[i][0]);
        raw_expect(fd, cases[i][1]);
    }
    close(fd);
    service_stop(&s);
}

static void oneway_call_gets_no_reply(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    raw_call(fd, "{\"method\":\"io.test.Nope\",\"oneway\":true}");
    raw_expect_silence(fd);
    assert_int_equal(s.n_echo, 1);
    raw_call(fd, echo_call);
    raw_expect(fd, echo_reply);
    close(fd);
    service_stop(&s);
}

static void oneway_calls_of_a_peer_already_gone_are_carried_out(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    for (int i = 0; i < 150; i++)
        raw_call(fd, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    close(fd);
    loop_settle();
    assert_int_equal(s.n_echo, 150);
    service_stop(&s);
}

static void more_streams_until_the_last_reply(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Count\",\"more\":true}");
    raw_expect(fd, "{\"continues\":true,\"parameters\":{\"n\":1}}");
    raw_expect(fd, "{\"continues\":true,\"parameters\":{\"n\":2}}");
    raw_expect(fd, "{\"parameters\":{\"n\":3}}");
    close(fd);
    service_stop(&s);
}

static void peer_is_known_to_the_handler(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.WhoAmI\"}");
    raw_expect(fd, "{\"parameters\":{}}");
    close(fd);
    service_stop(&s);
}

/* Deferred answers */

static void later_calls_wait_for_a_deferred_answer(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    raw_call(fd, echo_call);
    raw_expect_silence(fd);
    assert_int_equal(s.n_echo, 0);
    assert_int_equal(varlink_reply(s.kept, NULL), 0);
    assert_int_equal(s.n_echo, 0); /* no handler runs inside an answer */
    raw_expect(fd, "{\"parameters\":{}}");
    raw_expect(fd, echo_reply);
    close(fd);
    loop_settle();
    assert_int_equal(s.n_gone, 0);
    service_stop(&s);
}

static void disconnect_is_told_once_and_the_call_stays_valid(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\",\"more\":true}");
    loop_settle();
    close(fd);
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    assert_int_equal(varlink_reply_more(s.kept, json_object_new_object()), -ECONNRESET);
    assert_int_equal(varlink_call_peer(s.kept)->uid, getuid());
    service_stop(&s);
    assert_int_equal(varlink_reply(s.kept, json_object_new_object()), -ECONNRESET);
    assert_int_equal(s.n_gone, 1);
}

static void stream_learns_of_a_disconnect_it_wrote_into(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\",\"more\":true}");
    loop_settle();
    close(fd);
    assert_int_equal(varlink_reply_more(s.kept, NULL), -ECONNRESET);
    assert_int_equal(s.n_gone, 0); /* no callback runs inside an answer */
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    service_stop(&s);
}

static void disconnect_is_noticed_while_input_is_full(void **state)
{
    struct varlink_config config = plain;
    char junk[400];
    struct service s;
    int fd;

    (void)state;
    config.max_call_bytes = 100;
    service_start(&s, config);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    memset(junk, 'x', sizeof(junk));
    raw_send(fd, junk, sizeof(junk));
    raw_expect_silence(fd);
    close(fd);
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    service_stop(&s);
}

static void server_may_go_before_its_calls(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    loop_settle();
    service_stop(&s);
    assert_int_equal(s.n_gone, 1);
    assert_int_equal(varlink_error(s.kept, "io.test.Gone", NULL), -ECONNRESET);
    close(fd);
}

static void half_closed_peer_still_gets_its_answers(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, echo_call);
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    raw_call(fd, echo_call);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    raw_expect(fd, echo_reply);
    raw_expect_silence(fd);
    varlink_reply(s.kept, NULL);
    raw_expect(fd, "{\"parameters\":{}}");
    raw_expect(fd, echo_reply);
    raw_expect_closed(fd);
    assert_int_equal(s.n_gone, 0);
    close(fd);
    service_stop(&s);
}

/* Bounds */

static void slow_reader_is_disconnected_at_the_output_bound(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd, good, r, sent = 0;

    (void)state;
    config.max_queued_bytes = 100000;
    service_start(&s, config);
    good = raw_connect(&s);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Keep\",\"more\":true}");
    loop_settle();
    do {
        struct json_object *obj = json_object_new_object();
        char text[10001];

        memset(text, 'x', 10000);
        text[10000] = '\0';
        json_object_object_add(obj, "text", json_object_new_string(text));
        r = varlink_reply_more(s.kept, obj);
    } while (r == 0 && ++sent < 1000);
    assert_int_equal(r, -ENOBUFS);
    assert_true(sent >= 10);
    assert_int_equal(s.n_gone, 0);
    loop_settle();
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    raw_call(good, echo_call);
    raw_expect(good, echo_reply);
    close(fd);
    close(good);
    service_stop(&s);
}

static void reply_larger_than_the_bound_becomes_an_error(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd;

    (void)state;
    config.max_queued_bytes = 4096;
    service_start(&s, config);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Big\",\"parameters\":{\"n\":5000}}");
    raw_expect(fd, "{\"error\":\"io.test.InternalError\","
                   "\"parameters\":{\"reason\":\"reply too large\"}}");
    raw_call(fd, echo_call);
    raw_expect(fd, echo_reply);
    close(fd);
    service_stop(&s);
}

static void large_reply_arrives_whole_as_the_peer_reads(void **state)
{
    size_t total = 0, wanted = 3000000 + strlen("{\"parameters\":{\"text\":\"\"}}") + 1;
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Big\",\"parameters\":{\"n\":3000000}}");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (int i = 0; i < 1000 && total < wanted; i++) {
        static char buf[65536];
        ssize_t n;

        loop_settle();
        n = recv(fd, buf, sizeof(buf), 0);
        assert_true(n > 0);
        total += (size_t)n;
    }
    assert_int_equal(total, wanted);
    raw_expect_closed(fd);
    close(fd);
    service_stop(&s);
}

static void calls_beyond_the_rate_wait_for_the_next_second(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd, other;

    (void)state;
    config.max_calls = 5;
    service_start(&s, config);
    fd = raw_connect(&s);
    other = raw_connect(&s);
    varlink_server_tick(s.server, 10 * SECOND_NS);
    for (int i = 0; i < 8; i++)
        raw_call(fd, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    loop_settle();
    assert_int_equal(s.n_echo, 5);
    raw_call(other, echo_call);
    raw_expect(other, echo_reply);
    varlink_server_tick(s.server, 10 * SECOND_NS + SECOND_NS / 2);
    loop_settle();
    assert_int_equal(s.n_echo, 6);
    varlink_server_tick(s.server, 11 * SECOND_NS);
    loop_settle();
    assert_int_equal(s.n_echo, 9);
    close(fd);
    close(other);
    service_stop(&s);
}

static void idle_peer_is_disconnected_but_a_waiting_one_is_not(void **state)
{
    struct service s;
    int idle, busy, dripping, waiting;

    (void)state;
    service_start(&s, plain);
    idle = raw_connect(&s);
    busy = raw_connect(&s);
    dripping = raw_connect(&s);
    waiting = raw_connect(&s);
    raw_call(waiting, "{\"method\":\"io.test.Keep\"}");
    for (uint64_t t = 1; t <= 62; t++) {
        raw_call(busy, echo_call);
        raw_expect(busy, echo_reply);
        if (t < 60)
            raw_send(dripping, " ", 1);
        varlink_server_tick(s.server, t * SECOND_NS);
        if (t == 61)
            raw_expect_silence(idle);
    }
    raw_expect_closed(idle);
    raw_expect_closed(dripping);
    raw_expect_silence(waiting);
    varlink_reply(s.kept, NULL);
    raw_expect(waiting, "{\"parameters\":{}}");
    close(idle);
    close(busy);
    close(dripping);
    close(waiting);
    service_stop(&s);
}

static void peer_that_never_reads_is_disconnected_in_time(void **state)
{
    struct service s;
    int fd;

    (void)state;
    service_start(&s, plain);
    fd = raw_connect(&s);
    raw_call(fd, "{\"method\":\"io.test.Big\",\"parameters\":{\"n\":3000000}}");
    raw_call(fd, "{\"method\":\"io.test.Keep\"}");
    loop_settle();
    varlink_server_tick(s.server, 1 * SECOND_NS);
    varlink_server_tick(s.server, 61 * SECOND_NS);
    assert_int_equal(s.n_gone, 0);
    varlink_server_tick(s.server, 62 * SECOND_NS);
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    close(fd);
    service_stop(&s);
}

/* Sockets */

static void service_listen(struct service *s)
{
    int fd;

    strcpy(s->dir, "/tmp/test-varlink-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
    assert_int_equal(varlink_listen(s->path, (gid_t)-1, 0660, &fd), 0);
    assert_int_equal(varlink_server_add_listener(s->server, fd), 0);
}

static void service_unlisten(struct service *s)
{
    unlink(s->path);
    assert_int_equal(rmdir(s->dir), 0);
}

static int unix_connect(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void one_user_cannot_take_every_connection(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fds[3];

    (void)state;
    config.max_clients = 4;
    service_start(&s, config);
    service_listen(&s);
    for (int i = 0; i < 3; i++)
        fds[i] = unix_connect(s.path);
    raw_expect(fds[2], "{\"error\":\"io.test.Busy\","
                       "\"parameters\":{\"reason\":\"too many connections\"}}");
    raw_expect_closed(fds[2]);
    close(fds[0]);
    loop_settle();
    fds[0] = unix_connect(s.path);
    for (int i = 0; i < 2; i++) {
        raw_call(fds[i], echo_call);
        raw_expect(fds[i], echo_reply);
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    service_unlisten(&s);
    service_stop(&s);
}

/* Whether who connects now is privileged. */
static bool privileged;

static bool is_privileged(const struct varlink_peer *peer, void *userdata)
{
    (void)peer;
    (void)userdata;
    return privileged;
}

static void no_number_of_users_takes_the_places_of_the_privileged(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fds[8];

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can be several users */
    config.max_clients = 8;
    config.is_privileged = is_privileged;
    service_start(&s, config);
    for (int i = 0; i < 8; i++) {
        int pair[2];
        int r = i < 6 ? 0 : -EUSERS;

        /* Not even two users with half of them each get more than six of the eight. */
        assert_int_equal(seteuid(i < 4 ? 1 : 2), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(varlink_server_add_connection(s.server, pair[0]), r);
        if (r < 0)
            close(pair[0]);
        fds[i] = pair[1];
    }
    privileged = true;
    close(fds[6]);
    close(fds[7]);
    fds[6] = raw_connect(&s);
    fds[7] = raw_connect(&s);
    privileged = false;
    raw_call(fds[7], echo_call);
    raw_expect(fds[7], echo_reply);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    loop_settle();
    service_stop(&s);
}

/* Turns */

static void raw_echoes(int fd, int a, int count)
{
    char text[80];

    snprintf(text, sizeof(text), "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":%d}}", a);
    for (int i = 0; i < count; i++)
        raw_call(fd, text);
}

static void peer_with_many_calls_gets_one_of_them_in_a_turn(void **state)
{
    struct service s;
    int one, many;

    (void)state;
    service_start(&s, plain);
    one = raw_connect(&s);
    many = raw_connect(&s);
    raw_echoes(many, 1, 4);
    raw_echoes(one, 2, 1);
    loop_settle();
    assert_string_equal(s.order, "12111");
    close(one);
    close(many);
    loop_settle();
    service_stop(&s);
}

static void peer_that_left_calls_behind_gets_one_of_them_in_a_turn(void **state)
{
    struct service s;
    int one, many;

    (void)state;
    service_start(&s, plain);
    one = raw_connect(&s);
    many = raw_connect(&s);
    for (int i = 0; i < 3; i++)
        raw_call(many, "{\"method\":\"io.test.Echo\",\"oneway\":true}");
    close(many);
    raw_echoes(one, 2, 1);
    loop_settle();
    assert_string_equal(s.order, "0200");
    close(one);
    loop_settle();
    service_stop(&s);
}

static void turn_ends_when_its_time_is_over(void **state)
{
    struct service s;
    int fds[6];

    (void)state;
    service_start(&s, plain);
    s.echo_takes_ns = SECOND_NS / 500; /* a turn has 5 ms: three of these */
    for (int i = 0; i < 6; i++) {
        fds[i] = raw_connect(&s);
        raw_echoes(fds[i], i, 1);
    }
    while (s.n_echo == 0)
        assert_true(loop_once(0));
    assert_int_equal(s.n_echo, 3);
    loop_once(0);
    assert_int_equal(s.n_echo, 6);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    loop_settle();
    service_stop(&s);
}

static void privileged_call_passes_those_of_others_but_one(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fds[5];

    (void)state;
    config.is_privileged = is_privileged;
    service_start(&s, config);
    s.echo_takes_ns = SECOND_NS; /* longer than a turn */
    for (int i = 0; i < 5; i++) {
        privileged = i == 0;
        fds[i] = raw_connect(&s);
        raw_echoes(fds[i], privileged ? 9 : 1, 2);
    }
    loop_settle();
    assert_string_equal(s.order, "1919111111");
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    loop_settle();
    service_stop(&s);
}

static void who_has_used_little_time_comes_before_who_has_used_much(void **state)
{
    struct service s;
    int fresh, busy;

    (void)state;
    service_start(&s, plain);
    fresh = raw_connect(&s);
    busy = raw_connect(&s); /* what is served first else */
    s.echo_takes_ns = 1000;
    raw_echoes(busy, 1, 1);
    loop_settle();
    raw_echoes(busy, 1, 1);
    raw_echoes(fresh, 2, 1);
    loop_settle();
    assert_string_equal(s.order, "121");
    close(fresh);
    close(busy);
    loop_settle();
    service_stop(&s);
}

static void socket_has_the_mode_and_group_asked_for(void **state)
{
    gid_t gid = geteuid() == 0 ? getgid() + 1 : getgid();
    struct service s;
    struct stat st;
    int fd;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0660);
    unlink(s.path);
    assert_int_equal(varlink_listen(s.path, gid, 0600, &fd), 0);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    assert_int_equal(st.st_gid, gid);
    close(fd);
    service_unlisten(&s);
    service_stop(&s);
}

static void stale_socket_is_replaced_but_a_live_one_is_not(void **state)
{
    struct service s;
    int fd = -1, other = -1;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    assert_int_equal(varlink_listen(s.path, (gid_t)-1, 0660, &fd), -EADDRINUSE);
    assert_int_equal(fd, -1);
    varlink_server_free(s.server); /* leaves the path behind */
    assert_int_equal(varlink_listen(s.path, (gid_t)-1, 0660, &other), 0);
    close(unix_connect(s.path));
    close(other);
    service_unlisten(&s);
}

static void what_is_not_a_socket_is_never_removed(void **state)
{
    struct service s;
    struct stat st;
    FILE *f;
    int fd;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    unlink(s.path);
    f = fopen(s.path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(varlink_listen(s.path, (gid_t)-1, 0660, &fd), -EEXIST);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(varlink_server_add_listener(s.server, 0), -EBUSY);
    service_unlisten(&s);
    service_stop(&s);
}

static void only_a_listening_unix_socket_is_inherited(void **state)
{
    struct service s;
    int fds[2];

    (void)state;
    service_start(&s, plain);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(varlink_server_add_listener(s.server, fds[0]), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(varlink_server_add_listener(s.server, fds[0]), -EINVAL);
    close(fds[0]);
    close(fds[1]);
    service_stop(&s);
}

/* The client, in a thread of its own because it blocks */

struct client_run {
    void (*body)(const char *path);
    const char *path;
    bool done;
};

static void *client_thread(void *arg)
{
    struct client_run *run = arg;

    run->body(run->path);
    __atomic_store_n(&run->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void run_client(struct service *s, void (*body)(const char *path))
{
    struct client_run run = {.body = body, .path = s->path};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, client_thread, &run), 0);
    while (!__atomic_load_n(&run.done, __ATOMIC_SEQ_CST))
        loop_once(5);
    pthread_join(thread, NULL);
    loop_settle();
}

/* cmocka's assertions belong to the main thread. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static int sum(struct json_object *parameters, void *userdata)
{
    *(int *)userdata += json_object_get_int(json_object_object_get(parameters, "n"));
    return 0;
}

static int stop(struct json_object *parameters, void *userdata)
{
    (void)parameters;
    (void)userdata;
    return -ECANCELED;
}

static void client_body(const char *path)
{
    struct json_object *in = json_object_new_object(), *out;
    struct varlink_client *client;
    char *error;
    int total = 0;

    CHECK(varlink_client_connect(path, PATIENCE_MS, &client) == 0);
    json_object_object_add(in, "a", json_object_new_int(1));
    CHECK(varlink_client_call(client, "io.test.Echo", in, PATIENCE_MS, &error, &out) == 0);
    CHECK(!error && json_object_equal(in, out));
    json_object_put(out);
    CHECK(varlink_client_call(client, "io.test.Forbidden", NULL, PATIENCE_MS, &error, &out) == 0);
    CHECK(error && strcmp(error, VARLINK_ERROR_PERMISSION_DENIED) == 0);
    free(error);
    json_object_put(out);

    json_object_object_add(in, "n", json_object_new_int(3000000));
    CHECK(varlink_client_call(client, "io.test.Big", in, PATIENCE_MS, &error, &out) == 0);
    CHECK(!error && json_object_get_string_len(json_object_object_get(out, "text")) == 3000000);
    json_object_put(out);

    CHECK(varlink_client_call_more(client, "io.test.Count", NULL, PATIENCE_MS, sum, &total, &error,
                                   &out) == 0);
    CHECK(!error && total == 3);
    CHECK(json_object_get_int(json_object_object_get(out, "n")) == 3);
    json_object_put(out);
    CHECK(varlink_client_call_more(client, "io.test.Count", NULL, PATIENCE_MS, stop, NULL, &error,
                                   &out) == -ECANCELED);
    CHECK(varlink_client_call(client, "io.test.Echo", in, PATIENCE_MS, &error, &out) == -ENOTCONN);
    json_object_put(in);
    varlink_client_free(client);
}

static void client_and_server_understand_each_other(void **state)
{
    struct service s;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    run_client(&s, client_body);
    service_unlisten(&s);
    service_stop(&s);
}

static void timeout_body(const char *path)
{
    struct varlink_client *client;
    struct json_object *out;
    char *error;

    CHECK(varlink_client_connect(path, PATIENCE_MS, &client) == 0);
    CHECK(varlink_client_call(client, "io.test.Keep", NULL, 50, &error, &out) == -ETIMEDOUT);
    CHECK(varlink_client_call(client, "io.test.Echo", NULL, 50, &error, &out) == -ENOTCONN);
    varlink_client_free(client);
}

static void client_gives_up_in_time(void **state)
{
    struct service s;

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    run_client(&s, timeout_body);
    assert_int_equal(s.n_gone, 1);
    varlink_reply(s.kept, NULL);
    service_unlisten(&s);
    service_stop(&s);
}

static void busy_body(const char *path)
{
    struct varlink_client *client;
    struct json_object *out;
    char *error;

    CHECK(varlink_client_connect(path, PATIENCE_MS, &client) == 0);
    CHECK(varlink_client_call(client, "io.test.Echo", NULL, PATIENCE_MS, &error, &out) == 0);
    CHECK(error && strcmp(error, "io.test.Busy") == 0);
    free(error);
    json_object_put(out);
    CHECK(varlink_client_call(client, "io.test.Echo", NULL, PATIENCE_MS, &error, &out) ==
          -ECONNRESET);
    varlink_client_free(client);
}

static void client_turned_away_learns_why(void **state)
{
    struct varlink_config config = plain;
    struct service s;
    int fd;

    (void)state;
    config.max_clients = 1;
    service_start(&s, config);
    service_listen(&s);
    fd = unix_connect(s.path);
    loop_settle();
    run_client(&s, busy_body);
    close(fd);
    service_unlisten(&s);
    service_stop(&s);
}

static void missing_server_has_a_clear_error(void **state)
{
    struct varlink_client *client = NULL;
    struct service s;
    char longer[200];

    (void)state;
    service_start(&s, plain);
    service_listen(&s);
    service_stop(&s);
    assert_int_equal(varlink_client_connect(s.path, 100, &client), -ECONNREFUSED);
    unlink(s.path);
    assert_int_equal(varlink_client_connect(s.path, 100, &client), -ENOENT);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(varlink_client_connect(longer, 100, &client), -ENAMETOOLONG);
    assert_null(client);
    service_unlisten(&s);
}

static void full_backlog_times_out(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct varlink_client *clients[8] = {0};
    char dir[] = "/tmp/test-varlink-XXXXXX";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 1), 0);
    for (int i = 0; i < 8 && r == 0; i++)
        r = varlink_client_connect(addr.sun_path, 30, &clients[i]);
    assert_int_equal(r, -ETIMEDOUT);
    for (int i = 0; i < 8; i++)
        varlink_client_free(clients[i]);
    close(fd);
    unlink(addr.sun_path);
    rmdir(dir);
}

static void reply_that_is_no_varlink_is_a_protocol_error(void **state)
{
    static const char *const replies[] = {"{", "[]", "{\"parameters\":1}", "{\"error\":{}}",
                                          "{\"continues\":true}"};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/test-varlink-XXXXXX";
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 1), 0);
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        struct varlink_client *client;
        struct json_object *out = NULL;
        char *error = NULL;
        int fd;

        assert_int_equal(varlink_client_connect(addr.sun_path, PATIENCE_MS, &client), 0);
        fd = accept(listener, NULL, NULL);
        raw_call(fd, replies[i]);
        assert_int_equal(varlink_client_call(client, "a.B", NULL, PATIENCE_MS, &error, &out),
                         -EPROTO);
        assert_null(out);
        close(fd);
        varlink_client_free(client);
    }
    close(listener);
    unlink(addr.sun_path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_split_into_bytes_is_one_call),
        cmocka_unit_test(messages_in_one_write_are_answered_in_order),
        cmocka_unit_test(garbage_gets_an_error_and_harms_only_its_sender),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(call_size_is_bounded_exactly),
        cmocka_unit_test(service_describes_itself),
        cmocka_unit_test(every_failure_has_its_error),
        cmocka_unit_test(oneway_call_gets_no_reply),
        cmocka_unit_test(oneway_calls_of_a_peer_already_gone_are_carried_out),
        cmocka_unit_test(more_streams_until_the_last_reply),
        cmocka_unit_test(peer_is_known_to_the_handler),
        cmocka_unit_test(later_calls_wait_for_a_deferred_answer),
        cmocka_unit_test(disconnect_is_told_once_and_the_call_stays_valid),
        cmocka_unit_test(stream_learns_of_a_disconnect_it_wrote_into),
        cmocka_unit_test(disconnect_is_noticed_while_input_is_full),
        cmocka_unit_test(server_may_go_before_its_calls),
        cmocka_unit_test(half_closed_peer_still_gets_its_answers),
        cmocka_unit_test(slow_reader_is_disconnected_at_the_output_bound),
        cmocka_unit_test(reply_larger_than_the_bound_becomes_an_error),
        cmocka_unit_test(large_reply_arrives_whole_as_the_peer_reads),
        cmocka_unit_test(calls_beyond_the_rate_wait_for_the_next_second),
        cmocka_unit_test(idle_peer_is_disconnected_but_a_waiting_one_is_not),
        cmocka_unit_test(peer_that_never_reads_is_disconnected_in_time),
        cmocka_unit_test(one_user_cannot_take_every_connection),
        cmocka_unit_test(no_number_of_users_takes_the_places_of_the_privileged),
        cmocka_unit_test(peer_with_many_calls_gets_one_of_them_in_a_turn),
        cmocka_unit_test(peer_that_left_calls_behind_gets_one_of_them_in_a_turn),
        cmocka_unit_test(turn_ends_when_its_time_is_over),
        cmocka_unit_test(privileged_call_passes_those_of_others_but_one),
        cmocka_unit_test(who_has_used_little_time_comes_before_who_has_used_much),
        cmocka_unit_test(socket_has_the_mode_and_group_asked_for),
        cmocka_unit_test(stale_socket_is_replaced_but_a_live_one_is_not),
        cmocka_unit_test(what_is_not_a_socket_is_never_removed),
        cmocka_unit_test(only_a_listening_unix_socket_is_inherited),
        cmocka_unit_test(client_and_server_understand_each_other),
        cmocka_unit_test(client_gives_up_in_time),
        cmocka_unit_test(client_turned_away_learns_why),
        cmocka_unit_test(missing_server_has_a_clear_error),
        cmocka_unit_test(full_backlog_times_out),
        cmocka_unit_test(reply_that_is_no_varlink_is_a_protocol_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
