/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The HTTP server, asked over real loopback sockets. */
#include "metrics/connections.h"
#include "metrics/metrics.h"
#include "metrics/webconfig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

/* Of "secret". */
#define SECRET "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"

static const char *const names[] = {"one", "two", NULL};
static const struct metrics_labels labels = {names, names, names, names, names, names};

static struct metrics *metrics;
static struct metrics_http *http;

/* Something of the caller's own, at one path. */
static unsigned ask_other(void *opaque, const struct metrics_request *request,
                          struct metrics_reply *ret)
{
    const char *since = request->since ? request->since : "-";

    (void)opaque;
    if (request->user || (strcmp(request->path, "/other") != 0 && !request->body))
        return 404;
    ret->content_type = "text/x-other";
    ret->security_policy = "default-src 'self'";
    if (request->body)
        metrics_buf_add(&ret->body, request->body, request->body_len);
    else
        metrics_buf_add(&ret->body, since, strlen(since));
    if (request->is_foreign)
        metrics_buf_add(&ret->body, " of another", strlen(" of another"));
    return request->peer_fd < 0 ? 203 : 202;
}

static int serve_at(const char *where, metrics_ask_fn ask, struct metrics_http **ret)
{
    int fd;
    int r = metrics_http_listen(where, (gid_t)-1, &fd);

    return r < 0 ? r : metrics_http_start(metrics, fd, NULL, ask, NULL, ret);
}

static int setup(void **state)
{
    (void)state;
    return metrics_new(&labels, &metrics) < 0 || serve_at("127.0.0.1:0", ask_other, &http) < 0;
}

static int teardown(void **state)
{
    (void)state;
    metrics_http_stop(http);
    metrics_free(metrics);
    return 0;
}

static int dial_from(const char *address)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(metrics_http_port(http)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = 240};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static int dial(void)
{
    return dial_from("127.0.0.1");
}

static char answer[1 << 20];

/* Everything the server says until it closes. */
static const char *hear(int fd)
{
    size_t len = 0;
    ssize_t n;

    while ((n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0)
        len += (size_t)n;
    answer[len] = '\0';
    close(fd);
    return answer;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static const char *ask(const char *method, const char *path, const char *headers, const char *body)
{
    char request[1024];
    int fd = dial();

    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n%s",
             method, path, headers, body);
    send_text(fd, request);
    return hear(fd);
}

#define assert_status(reply, status)                                                               \
    assert_memory_equal(reply, "HTTP/1.1 " status " ", strlen("HTTP/1.1 " status " "))

static const char *body_of(const char *reply)
{
    const char *end = strstr(reply, "\r\n\r\n");

    assert_non_null(end);
    return end + 4;
}

static void metrics_come_as_text_by_default(void **state)
{
    const char *reply = ask("GET", "/metrics", "", "");

    (void)state;
    assert_status(reply, "200");
    assert_non_null(strstr(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(body_of(reply), "\nmigpolicy_migrations_started_total 0\n"));
}

static void metrics_come_as_openmetrics_when_asked(void **state)
{
    const char *reply =
        ask("GET", "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n", "");

    (void)state;
    assert_status(reply, "200");
    assert_non_null(strstr(
        reply, "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert_non_null(strstr(body_of(reply), "\n# EOF\n"));
}

static void health_answers(void **state)
{
    (void)state;
    const char *reply = ask("GET", "/healthz", "", "");
    assert_status(reply, "200");
    assert_string_equal(body_of(reply), "ok\n");
    assert_non_null(strstr(reply, "Content-Security-Policy: default-src 'none'"));
}

static void what_is_not_of_the_metrics_is_answered_by_the_caller(void **state)
{
    (void)state;
    const char *reply = ask("GET", "/other", "", "");
    assert_status(reply, "203");
    assert_non_null(strstr(reply, "Content-Type: text/x-other\r\n"));
    assert_non_null(strstr(reply, "Content-Security-Policy: default-src 'self'\r\n"));
    assert_string_equal(body_of(reply), "-");
    assert_string_equal(body_of(ask("GET", "/other?since=1.5&x=2", "", "")), "1.5");
}

/* What is worth it, for whoever takes it; a small answer stays as it is. */
static void gzip_is_for_who_takes_it(void **state)
{
    (void)state;
    static unsigned char plain[1 << 20];
    char whole[1 << 16];
    z_stream z = {.next_out = plain, .avail_out = sizeof(plain) - 1};
    snprintf(whole, sizeof(whole), "%s", body_of(ask("GET", "/metrics", "", "")));
    const char *reply = ask("GET", "/metrics", "Accept-Encoding: br, gzip;q=0.5\r\n", "");
    const char *length = strstr(reply, "Content-Length: ");

    assert_status(reply, "200");
    assert_non_null(strstr(reply, "Content-Encoding: gzip\r\n"));
    assert_non_null(strstr(reply, "Vary: Accept-Encoding\r\n"));
    assert_non_null(length);
    z.next_in = (unsigned char *)(intptr_t)body_of(reply);
    z.avail_in = (unsigned)atoi(length + strlen("Content-Length: "));
    assert_int_equal(inflateInit2(&z, MAX_WBITS + 16), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    plain[z.total_out] = '\0';
    inflateEnd(&z);
    /* All but the values, which move. */
    assert_memory_equal(plain, whole, 200);
    assert_non_null(strstr((char *)plain, "\nmigpolicy_migrations_started_total 0\n"));

    assert_null(strstr(ask("GET", "/healthz", "Accept-Encoding: gzip\r\n", ""), "gzip\r\n"));
    assert_null(strstr(ask("GET", "/metrics", "Accept-Encoding: gzip;q=0\r\n", ""), "gzip\r\n"));
    assert_null(strstr(ask("GET", "/metrics", "Accept-Encoding: xgzip\r\n", ""), "gzip\r\n"));
}

static struct webconfig *who(const char *text)
{
    struct webconfig *web = NULL;
    struct error err;

    assert_int_equal(webconfig_parse(text, strlen(text), "FILE", &web, &err), 0);
    return web;
}

/* one:secret, one:other and nobody, in base64 */
#define RIGHT "Authorization: Basic b25lOnNlY3JldA==\r\n"
#define WRONG "Authorization: Basic b25lOm90aGVy\r\n"
#define EMPTY "Authorization: Basic\r\n"

static void who_has_no_password_reads_nothing(void **state)
{
    static const char *const paths[] = {"/metrics", "/healthz", "/other", "/none"};

    (void)state;
    assert_int_equal(metrics_http_replace(http, who("basic_auth_users: {one: " SECRET "}")), 0);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const char *reply = ask("GET", paths[i], "", "");

        assert_status(reply, "401");
        assert_non_null(strstr(reply, "WWW-Authenticate: Basic realm=\"migpolicy\""));
        assert_string_equal(body_of(reply), "a name and a password are needed\n");
        assert_status(ask("GET", paths[i], WRONG, ""), "401");
        assert_status(ask("GET", paths[i], EMPTY, ""), "401");
    }
    assert_status(ask("POST", "/metrics", "", ""), "401");
    assert_status(ask("GET", "/metrics", RIGHT, ""), "200");
    assert_status(ask("GET", "/other", RIGHT, ""), "203");
    assert_int_equal(metrics_http_replace(http, NULL), 0);
    assert_status(ask("GET", "/metrics", "", ""), "200");
}

static void head_gives_the_header_alone(void **state)
{
    const char *reply = ask("HEAD", "/healthz", "", "");

    (void)state;
    assert_status(reply, "200");
    assert_non_null(strstr(reply, "Content-Length: 3\r\n"));
    assert_string_equal(body_of(reply), "");
}

static void other_paths_are_not_found(void **state)
{
    (void)state;
    assert_status(ask("GET", "/metrics/", "", ""), "404");
    assert_status(ask("GET", "/../etc/passwd", "", ""), "404");
}

static void other_methods_are_refused(void **state)
{
    const char *reply = ask("POST", "/metrics", "Content-Length: 2\r\n", "hi");

    (void)state;
    assert_status(reply, "405");
    assert_non_null(strstr(reply, "Allow: GET, HEAD\r\n"));
    assert_status(ask("DELETE", "/", "", ""), "405");
}

#define JSON "Content-Type: application/json\r\n"

static void a_body_is_refused(void **state)
{
    (void)state;
    assert_status(ask("GET", "/metrics", "Content-Length: 2\r\n", "hi"), "413");
    assert_status(ask("GET", "/metrics", "Transfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n"),
                  "413");
    assert_status(ask("POST", METRICS_POST_PATH, JSON "Content-Length: 2\r\n", "{}"), "405");
}

static void a_huge_header_is_refused(void **state)
{
    static const char start[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ";
    static const char end[] = "\r\nConnection: close\r\n\r\n";
    char filler[32 * 1024];
    int fd = dial();

    (void)state;
    memset(filler, 'a', sizeof(filler));
    send_text(fd, start);
    /* These may be cut off, as they should; a server that took them all would answer. */
    send(fd, filler, sizeof(filler), MSG_NOSIGNAL);
    send(fd, end, strlen(end), MSG_NOSIGNAL);
    /* It may also reset the connection before we could read why. */
    const char *reply = hear(fd);
    assert_null(strstr(reply, "HTTP/1.1 200"));
    assert_status(ask("GET", "/healthz", "", ""), "200");
}

static void a_silent_client_keeps_nobody_waiting(void **state)
{
    int silent = dial();

    (void)state;
    send_text(silent, "GET /met");
    assert_status(ask("GET", "/metrics", "", ""), "200");
    close(silent);
}

static void a_connection_serves_several_requests(void **state)
{
    static const char two[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    int fd = dial();

    (void)state;
    send_text(fd, two);
    const char *first = strstr(hear(fd), "ok\n");
    assert_non_null(first);
    assert_non_null(strstr(first + 3, "ok\n"));
}

/* An answer on a connection that stays: the server knows it. */
static bool is_served(int fd)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    char reply[512];
    size_t len = 0;

    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return false;
    do {
        ssize_t n = recv(fd, reply + len, sizeof(reply) - len - 1, 0);

        if (n <= 0)
            return false;
        len += (size_t)n;
        reply[len] = '\0';
    } while (!strstr(reply, "ok\n"));
    return true;
}

static bool is_open(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void expect_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);

    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static void a_tick_that_comes_late_ends_no_request_that_has_just_begun(void **state)
{
    int fd;

    (void)state;
    metrics_http_tick(http, INT64_C(1000000000000));
    fd = dial();
    assert_true(is_served(fd));
    metrics_http_tick(http, INT64_C(1060000000000));
    assert_true(is_served(fd));
    close(fd);
}

static void one_address_loses_its_longest_request_when_it_wants_too_many(void **state)
{
    int other = dial_from("127.0.0.2");
    int held[17];

    (void)state;
    assert_true(is_served(other));
    for (size_t i = 0; i < 17; i++) {
        held[i] = dial_from("127.0.0.1");
        assert_true(is_served(held[i]));
    }
    expect_end(held[0]);
    assert_true(is_served(other));
    for (size_t i = 1; i < 17; i++) {
        assert_true(is_served(held[i]));
        close(held[i]);
    }
    close(held[0]);
    close(other);
}

static void there_is_room_for_one_more_address_whoever_holds_connections(void **state)
{
    static const char *const addresses[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    int held[33];

    (void)state;
    for (size_t i = 0; i < 33; i++) {
        held[i] = dial_from(addresses[i / 16]);
        assert_true(is_served(held[i]));
    }
    expect_end(held[0]);
    assert_true(is_served(held[32]));
    for (size_t i = 0; i < 33; i++)
        close(held[i]);
}

static void peers_that_send_a_byte_now_and_then_keep_nobody_out(void **state)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    int held[70];
    int fd;
    char byte;

    (void)state;
    for (size_t i = 0; i < 70; i++)
        held[i] = dial();
    fd = dial();
    send_text(fd, request);
    for (int round = 0; recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 1; round++) {
        /* Longer than any single timeout of an idle connection. */
        assert_true(round < 1200);
        for (size_t i = 0; i < 70; i++)
            send(held[i], "G", 1, MSG_NOSIGNAL);
        usleep(50000);
    }
    assert_status(hear(fd), "200");
    for (size_t i = 0; i < 70; i++)
        close(held[i]);
}

static void a_request_has_ten_seconds_in_all(void **state)
{
    const int64_t second_ns = 1000000000;
    int64_t now_ns = 1000 * second_ns;
    int slow, other;

    (void)state;
    metrics_http_tick(http, now_ns);
    slow = dial();
    other = dial();
    assert_true(is_served(slow) && is_served(other));
    send_text(slow, "GET /met");
    metrics_http_tick(http, now_ns += 9 * second_ns);
    assert_true(is_open(slow));
    send_text(slow, "rics");
    /* Whenever the server came to count what it had answered: the end is not far. */
    for (int i = 0; i < 240 && is_open(slow); i++) {
        assert_true(is_served(other));
        metrics_http_tick(http, now_ns += second_ns);
        usleep(50000);
    }
    assert_false(is_open(slow));
    assert_true(is_served(other));
    close(slow);
    close(other);
    metrics_http_tick(NULL, 0);
}

static void malformed_addresses_are_invalid(void **state)
{
    static const char *const addresses[] = {
        "",
        "9915",
        ":9915",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:+80",
        "127.0.0.1: 80",
        "127.0.0.1:80x",
        "127.0.0.1:000080",
        "127.0.0.256:80",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[]:80",
        "[127.0.0.1]:80",
        "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:80",
        "/run/http",
        "unix:",
        "unix:run/http",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        int fd = -1;

        if (metrics_http_listen(addresses[i], (gid_t)-1, &fd) != -EINVAL)
            fail_msg("taken for an address: %s", addresses[i]);
        assert_int_equal(fd, -1);
    }
}

static void a_port_in_use_is_told_apart(void **state)
{
    char address[32];
    int fd = -1;

    (void)state;
    snprintf(address, sizeof(address), "127.0.0.1:%u", metrics_http_port(http));
    assert_int_equal(metrics_http_listen(address, (gid_t)-1, &fd), -EADDRINUSE);
    assert_int_equal(fd, -1);
    metrics_http_stop(NULL);
}

static void a_port_is_free_again_after_stopping(void **state)
{
    struct metrics_http *other = NULL;
    char address[32];

    (void)state;
    assert_int_equal(serve_at("127.0.0.1:0", NULL, &other), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%u", metrics_http_port(other));
    metrics_http_stop(other);
    assert_int_equal(serve_at(address, NULL, &other), 0);
    metrics_http_stop(other);
}

static void ipv6_is_served_where_there_is_any(void **state)
{
    struct metrics_http *other = NULL;
    int r = serve_at("[::1]:0", NULL, &other);

    (void)state;
    if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT)
        skip();
    assert_int_equal(r, 0);

    struct sockaddr_in6 a = {.sin6_family = AF_INET6,
                             .sin6_port = htons(metrics_http_port(other)),
                             .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    static const char request[] = "GET /healthz HTTP/1.0\r\n\r\n";
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    send_text(fd, request);
    assert_non_null(strstr(hear(fd), " 200 "));
    metrics_http_stop(other);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 240};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static const char *ask_unix(const char *path, const char *method, const char *at,
                            const char *headers, const char *body)
{
    char request[2048];
    int fd = dial_unix(path);

    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n",
             method, at, headers);
    send_text(fd, request);
    for (; *body; body += strlen(body) > 100 ? 100 : strlen(body)) /* in pieces */
        send(fd, body, strlen(body) > 100 ? 100 : strlen(body), MSG_NOSIGNAL);
    return hear(fd);
}

static void a_body_is_taken_at_one_path_of_a_unix_socket(void **state)
{
    static const char other[] = JSON "Content-Length: 2\r\n";
    static const char *const refused[][3] = {
        {"413", JSON "Content-Length: 513\r\n", ""},
        {"413", JSON "Content-Length: 99999\r\n", ""},
        {"411", JSON "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"},
        {"411", JSON, ""},
        {"415", "Content-Length: 2\r\n", "{}"},
        {"415", "Content-Length: 2\r\nContent-Type: text/plain\r\n", "{}"},
        {"415", "Content-Length: 2\r\nContent-Type: application/jsonx\r\n", "{}"},
    };
    char dir[] = "/tmp/test-http-XXXXXX", where[64], body[513] = "";
    struct metrics_http *local = NULL;
    const char *path;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(where, sizeof(where), "unix:%s/http", dir);
    path = metrics_http_path(where);
    assert_int_equal(serve_at(where, ask_other, &local), 0);
    assert_status(ask_unix(path, "POST", METRICS_POST_PATH, other, "{}"), "202");
    assert_string_equal(body_of(answer), "{}");
    memset(body, 'a', sizeof(body) - 1);
    assert_status(ask_unix(path, "POST", METRICS_POST_PATH,
                           "Content-Type: application/json; charset=utf-8\r\n"
                           "Content-Length: 512\r\n",
                           body),
                  "202");
    assert_string_equal(body_of(answer), body);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_memory_equal(
            ask_unix(path, "POST", METRICS_POST_PATH, refused[i][1], refused[i][2]) + 9,
            refused[i][0], 3);
    assert_status(ask_unix(path, "POST", "/other", other, "{}"), "405");
    assert_status(ask_unix(path, "PUT", METRICS_POST_PATH, other, "{}"), "405");
    assert_status(ask_unix(path, "GET", METRICS_POST_PATH, other, "{}"), "413");
    assert_status(ask_unix(path, "GET", METRICS_POST_PATH, "", ""), "404");
    assert_status(ask_unix(path, "GET", "/other", "", ""), "202");
    ask_unix(path, "POST", METRICS_POST_PATH,
             JSON "Content-Length: 2\r\nOrigin: http://evil.example\r\n", "{}");
    assert_string_equal(body_of(answer), "{} of another");
    metrics_http_stop(local);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* Connections count by user there; that others have places of their own needs another user to try.
 */
static void a_unix_socket_is_served_and_its_connections_counted(void **state)
{
    char dir[] = "/tmp/test-http-XXXXXX", where[64];
    int peers[CONNECTIONS_PER_ADDRESS], stranger = -1;
    struct metrics_http *other = NULL;
    const char *path;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(where, sizeof(where), "unix:%s/http", dir);
    path = metrics_http_path(where);
    assert_int_equal(serve_at(where, NULL, &other), 0);
    assert_int_equal(metrics_http_port(other), 0);
    for (int i = 0; i < CONNECTIONS_PER_ADDRESS; i++) {
        peers[i] = dial_unix(path);
        assert_true(is_served(peers[i]));
    }
    if (geteuid() == 0) {
        assert_int_equal(chmod(dir, 0755) + chmod(path, 0666), 0);
        assert_int_equal(seteuid(65534), 0);
        stranger = dial_unix(path);
        assert_int_equal(seteuid(0), 0);
        assert_true(is_served(stranger));
        assert_true(is_open(peers[0]));
        close(stranger);
    }
    stranger = dial_unix(path);
    assert_true(is_served(stranger));
    expect_end(peers[0]);
    assert_true(is_served(peers[1]));
    close(stranger);
    for (int i = 0; i < CONNECTIONS_PER_ADDRESS; i++)
        close(peers[i]);
    metrics_http_stop(other);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tick_that_comes_late_ends_no_request_that_has_just_begun),
        cmocka_unit_test(metrics_come_as_text_by_default),
        cmocka_unit_test(metrics_come_as_openmetrics_when_asked),
        cmocka_unit_test(health_answers),
        cmocka_unit_test(what_is_not_of_the_metrics_is_answered_by_the_caller),
        cmocka_unit_test(gzip_is_for_who_takes_it),
        cmocka_unit_test(who_has_no_password_reads_nothing),
        cmocka_unit_test(head_gives_the_header_alone),
        cmocka_unit_test(other_paths_are_not_found),
        cmocka_unit_test(other_methods_are_refused),
        cmocka_unit_test(a_body_is_refused),
        cmocka_unit_test(a_huge_header_is_refused),
        cmocka_unit_test(a_silent_client_keeps_nobody_waiting),
        cmocka_unit_test(a_connection_serves_several_requests),
        cmocka_unit_test(one_address_loses_its_longest_request_when_it_wants_too_many),
        cmocka_unit_test(there_is_room_for_one_more_address_whoever_holds_connections),
        cmocka_unit_test(peers_that_send_a_byte_now_and_then_keep_nobody_out),
        cmocka_unit_test(a_request_has_ten_seconds_in_all),
        cmocka_unit_test(malformed_addresses_are_invalid),
        cmocka_unit_test(a_port_in_use_is_told_apart),
        cmocka_unit_test(a_port_is_free_again_after_stopping),
        cmocka_unit_test(ipv6_is_served_where_there_is_any),
        cmocka_unit_test(a_body_is_taken_at_one_path_of_a_unix_socket),
        cmocka_unit_test(a_unix_socket_is_served_and_its_connections_counted),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
