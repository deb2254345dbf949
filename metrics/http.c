/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread, run by libmicrohttpd, serves all connections; answering is formatting memory, so
 * none waits for another. We open the listening socket ourselves to tell its errors apart.
 */
#include "common/cleanup.h"
#include "metrics/connections.h"
#include "metrics/internal.h"
#include "metrics/webconfig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/alloc.h"
#include "common/unix_listen.h"

#define CONNECTION_BYTES ((size_t)16 * 1024) /* holds the whole request header */

union address {
    struct sockaddr any;
    struct sockaddr_in ip4;
    struct sockaddr_in6 ip6;
    struct sockaddr_un local;
};

struct metrics_http {
    struct MHD_Daemon *daemon; /* NULL: it could not be started again */
    struct webconfig *web;     /* NULL: anybody, and no TLS */
    struct metrics *metrics;
    metrics_ask_fn ask; /* NULL: none */
    void *opaque;
    struct connections connections;
    union address at;
};

/* What libmicrohttpd keeps for us with a request. */
struct request {
    bool is_post;
    size_t len;
    char body[METRICS_BODY_BYTES];
};

static bool port_parse(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;

    if (!*text || strlen(text) > 5 || text[strspn(text, "0123456789")])
        return false;
    port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool address_parse(const char *text, union address *ret_address, socklen_t *ret_len)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    union address a = {0};
    uint16_t port;

    if (!colon || (size_t)(colon - text) >= sizeof(host) || !port_parse(colon + 1, &port))
        return false;
    size_t len = (size_t)(colon - text);
    memcpy(host, text, len);
    host[len] = '\0';

    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        a.ip6.sin6_family = AF_INET6;
        a.ip6.sin6_port = htons(port);
        *ret_len = sizeof(a.ip6);
        if (inet_pton(AF_INET6, host + 1, &a.ip6.sin6_addr) != 1)
            return false;
    } else {
        a.ip4.sin_family = AF_INET;
        a.ip4.sin_port = htons(port);
        *ret_len = sizeof(a.ip4);
        if (inet_pton(AF_INET, host, &a.ip4.sin_addr) != 1)
            return false;
    }
    *ret_address = a;
    return true;
}

static int ip_listen(const union address *a, socklen_t len, int *ret_fd)
{
    const int on = 1;
    AUTO_CLOSE int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (a->any.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
        return -errno;
    if (bind(fd, &a->any, len) < 0 || listen(fd, SOMAXCONN) < 0)
        return -errno;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

const char *metrics_http_path(const char *where)
{
    return strncmp(where, "unix:/", strlen("unix:/")) == 0 ? where + strlen("unix:") : NULL;
}

int metrics_http_listen(const char *where, gid_t gid, int *ret_fd)
{
    const char *path = metrics_http_path(where);
    union address a;
    socklen_t len;

    if (path)
        return unix_listen(path, gid, gid == (gid_t)-1 ? 0600 : 0660, ret_fd);
    if (!address_parse(where, &a, &len))
        return -EINVAL;
    return ip_listen(&a, len, ret_fd);
}

#define NO_SOURCES "default-src 'none'; frame-ancestors 'none'"

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *content_type,
                             const char *security_policy, struct metrics_buf *body)
{
    bool zipped = metrics_accepts_gzip(header(c, "Accept-Encoding")) && metrics_gzip(body);
    char *data = body->data;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(body->len, data, MHD_RESPMEM_MUST_FREE);

    if (!r) {
        metrics_buf_free(body);
        return MHD_NO;
    }
    *body = (struct metrics_buf){0};
    MHD_add_response_header(r, "Content-Type", content_type);
    MHD_add_response_header(r, "Vary", "Accept-Encoding");
    if (zipped)
        MHD_add_response_header(r, "Content-Encoding", "gzip");
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(r, "Content-Security-Policy", security_policy);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    enum MHD_Result result = status == MHD_HTTP_UNAUTHORIZED
                                 ? MHD_queue_basic_auth_fail_response(c, "migpolicy", r)
                                 : MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result reply_plain(struct MHD_Connection *c, unsigned status, const char *text)
{
    struct metrics_buf body = {0};

    metrics_buf_str(&body, text);
    return reply(c, status, "text/plain; charset=utf-8", NO_SOURCES, &body);
}

static enum MHD_Result reply_rendered(struct MHD_Connection *c, struct metrics *m,
                                      enum metrics_format format)
{
    static const char *const content_types[] = {
        [METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
        [METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
    };
    struct metrics_buf body = {0};

    metrics_render(m, format, &body);
    return reply(c, MHD_HTTP_OK, content_types[format], NO_SOURCES, &body);
}

static bool is_unix(const struct metrics_http *http)
{
    return http->at.any.sa_family == AF_UNIX;
}

static bool is_tls(const struct metrics_http *http)
{
    return http->web && http->web->cert;
}

/* Who may answer is either known by the kernel, or by a password that was told over TLS. */
static bool takes_posts(const struct metrics_http *http)
{
    return http->ask && (is_unix(http) || (is_tls(http) && webconfig_has_answering(http->web)));
}

static enum MHD_Result reply_other(struct MHD_Connection *c, struct metrics_http *http,
                                   const char *path, const struct request *request)
{
    char *name = http->web ? MHD_basic_auth_get_username_password(c, NULL) : NULL;
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    const struct metrics_request q = {
        .path = path,
        .since = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "since"),
        .user = is_tls(http) && webconfig_may_answer(http->web, name) ? name : NULL,
        .peer_fd = is_unix(http) && fd ? fd->connect_fd : -1,
        .body = request->is_post ? request->body : NULL,
        .body_len = request->len,
        .is_foreign = !metrics_is_same_origin(header(c, "Origin"), header(c, "Sec-Fetch-Site"),
                                              header(c, "Host"), is_tls(http), is_unix(http)),
    };
    struct metrics_reply r = {0};
    unsigned status = MHD_HTTP_NOT_FOUND;

    if (http->ask)
        status = http->ask(http->opaque, &q, &r);
    MHD_free(name);
    if (!r.content_type)
        return reply_plain(c, status, "not found: try /, /metrics, /healthz or /api/v1/status\n");
    return reply(c, status, r.content_type, r.security_policy, &r.body);
}

static bool has_body(struct MHD_Connection *c)
{
    const char *length = header(c, "Content-Length");

    return header(c, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

/* What is wrong with the header of a POST; 0: nothing. */
static unsigned refuse_post(struct MHD_Connection *c)
{
    static const char json[] = "application/json";
    const char *length = header(c, "Content-Length");
    const char *type = header(c, "Content-Type");

    if (!length || header(c, "Transfer-Encoding"))
        return MHD_HTTP_LENGTH_REQUIRED;
    if (strlen(length) > 4 || strtoul(length, NULL, 10) > METRICS_BODY_BYTES)
        return MHD_HTTP_CONTENT_TOO_LARGE;
    /* Which no form can send, and no script of another page without asking first. */
    if (!type || strncasecmp(type, json, strlen(json)) != 0 || !strchr("; \t", type[strlen(json)]))
        return MHD_HTTP_UNSUPPORTED_MEDIA_TYPE;
    return 0;
}

static const char *refusal_text(unsigned status)
{
    return status == MHD_HTTP_UNAUTHORIZED         ? "a name and a password are needed\n"
           : status == MHD_HTTP_METHOD_NOT_ALLOWED ? "only GET and HEAD\n"
           : status == MHD_HTTP_LENGTH_REQUIRED    ? "the length must be told\n"
           : status == MHD_HTTP_UNSUPPORTED_MEDIA_TYPE
               ? "only application/json\n"
               : "no body expected, or none of this length\n";
}

static bool is_allowed(struct metrics_http *http, struct MHD_Connection *c)
{
    char *password = NULL, *name = NULL;
    bool allowed;

    if (!http->web || http->web->users == 0)
        return true;
    name = MHD_basic_auth_get_username_password(c, &password);
    allowed = webconfig_allows(http->web, name, password);
    MHD_free(name);
    if (password)
        explicit_bzero(password, strlen(password));
    MHD_free(password);
    return allowed;
}

/* What is wrong with a request by its header; 0: nothing. */
static unsigned refuse(struct metrics_http *http, struct MHD_Connection *c, const char *path,
                       const char *method, bool *ret_is_post)
{
    *ret_is_post =
        strcmp(method, "POST") == 0 && strcmp(path, METRICS_POST_PATH) == 0 && takes_posts(http);
    if (!is_allowed(http, c))
        return MHD_HTTP_UNAUTHORIZED;
    if (*ret_is_post)
        return refuse_post(c);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return MHD_HTTP_METHOD_NOT_ALLOWED;
    return has_body(c) ? MHD_HTTP_CONTENT_TOO_LARGE : 0;
}

static enum MHD_Result take_body(struct request *request, const char *data, size_t *len)
{
    if (!request->is_post || *len > sizeof(request->body) - request->len)
        return MHD_NO;
    memcpy(request->body + request->len, data, *len);
    request->len += *len;
    *len = 0;
    return MHD_YES;
}

/*
 * libmicrohttpd calls this once after the header, for each piece of a body, and again at the end of
 * the request. A refusal is given the first time, which also ends the connection without reading
 * what else comes.
 */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **context)
{
    struct request *request = *context;
    struct metrics_http *http = cls;

    (void)version;
    if (!request) {
        unsigned status;

        *context = request = alloc_need(calloc(1, sizeof(*request)));
        status = refuse(http, c, path, method, &request->is_post);
        return status ? reply_plain(c, status, refusal_text(status)) : MHD_YES;
    }
    if (*upload_size)
        return take_body(request, upload, upload_size);

    if (strcmp(path, "/metrics") == 0)
        return reply_rendered(c, http->metrics, metrics_negotiate(header(c, "Accept")));
    if (strcmp(path, "/healthz") == 0)
        return reply_plain(c, MHD_HTTP_OK, "ok\n");
    return reply_other(c, http, path, request);
}

/* ---- connections; in the library's one thread, which closes a socket after telling us ---- */

static void on_connection(void *cls, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    const union MHD_ConnectionInfo *fd, *address;
    struct metrics_http *http = cls;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*context)
            connections_remove(&http->connections, *context);
        return;
    }
    fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    address = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (fd && address)
        *context = connections_add(&http->connections, fd->connect_fd, address->client_addr);
}

static void on_answered(void *cls, struct MHD_Connection *c, void **request,
                        enum MHD_RequestTerminationCode how)
{
    const union MHD_ConnectionInfo *context =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct metrics_http *http = cls;

    free(*request);
    *request = NULL;
    if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK && context && context->socket_context)
        connections_answered(&http->connections, context->socket_context);
}

void metrics_http_tick(struct metrics_http *http, int64_t now_ns)
{
    if (http)
        connections_tick(&http->connections, now_ns);
}

/* The socket is the library's from here on, even on failure: closing it twice in a program with
 * threads would be worse than losing it. */
static int serve(struct metrics_http *http, int fd)
{
    const struct webconfig *web = http->web;
    const char *const versions = web && web->tls13_only
                                     ? "NORMAL:-VERS-ALL:+VERS-TLS1.3"
                                     : "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_END, 0, NULL}, {.value = 0}, {.value = 0}, {.value = 0}};

    if (http->at.any.sa_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    if (web && web->cert) {
        flags |= MHD_USE_TLS;
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, web->cert};
        tls[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, web->key};
        tls[2] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(intptr_t)versions};
        tls[3] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http,
                                    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                    (unsigned)CONNECTIONS_SLOTS, MHD_OPTION_NOTIFY_CONNECTION,
                                    on_connection, http, MHD_OPTION_NOTIFY_COMPLETED, on_answered,
                                    http, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES,
                                    MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    return http->daemon ? 0 : -ENOMEM;
}

int metrics_http_start(struct metrics *m, int fd, struct webconfig *web, metrics_ask_fn ask,
                       void *opaque, struct metrics_http **ret_http)
{
    AUTO_FREE struct metrics_http *http = alloc_need(calloc(1, sizeof(*http)));
    socklen_t len = sizeof(http->at);

    if (getsockname(fd, &http->at.any, &len) < 0) {
        int r = -errno;

        close(fd);
        return r;
    }
    http->web = web;
    http->metrics = m;
    http->ask = ask;
    http->opaque = opaque;
    connections_init(&http->connections);
    if (serve(http, fd) < 0) {
        connections_destroy(&http->connections);
        return -EIO; /* it says no more than that */
    }
    *ret_http = STEAL(http);
    return 0;
}

int metrics_http_replace(struct metrics_http *http, struct webconfig *web)
{
    int fd = http->daemon ? MHD_quiesce_daemon(http->daemon) : -1;

    if (fd < 0)
        return -ENOMEM;
    MHD_stop_daemon(http->daemon);
    webconfig_free(http->web);
    http->web = web;
    return serve(http, fd);
}

uint16_t metrics_http_port(const struct metrics_http *http)
{
    const union address *at = &http->at;

    return at->any.sa_family == AF_INET6  ? ntohs(at->ip6.sin6_port)
           : at->any.sa_family == AF_INET ? ntohs(at->ip4.sin_port)
                                          : 0;
}

void metrics_http_stop(struct metrics_http *http)
{
    if (!http)
        return;
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    connections_destroy(&http->connections);
    webconfig_free(http->web);
    free(http);
}
