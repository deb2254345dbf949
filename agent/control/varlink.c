/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. A client has an input buffer, at most one unanswered call, and an output
 * queue. Calls are taken from the input buffer one at a time: while one is unanswered the next ones
 * wait, then the buffer fills, then the socket, so the peer waits as well.
 *
 * Two rules keep deferred answers safe. Handlers and disconnect callbacks run only from the loop's
 * callbacks (or tick and free), never from inside an answer: an answer given outside of them that
 * leaves something to do asks for POLLOUT, and a failed connection is shut down, so that the loop
 * comes back. And a client's descriptor is closed not where its watch is removed but on the next
 * way into the server, so the loop never sees its number reused while it is still handling it.
 *
 * A client is counted by the server, until its descriptor is closed, and by its call.
 */
#include "agent/control/varlink.h"

#include "common/cleanup.h"
#include "common/json_strict.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SERVICE_INTERFACE "org.varlink.service"

/* How many connections one wake-up accepts, so that a flood of them does not hold up the loop. */
#define ACCEPT_BATCH 16

#define FIRST_BUFFER_BYTES ((size_t)4096)

static const char service_description[] =
    "# Answered by every Varlink service: what it is and which interfaces it has.\n"
    "interface org.varlink.service\n"
    "\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "error InterfaceNotFound (interface: string)\n"
    "\n"
    "error MethodNotFound (method: string)\n"
    "\n"
    "error MethodNotImplemented (method: string)\n"
    "\n"
    "error InvalidParameter (parameter: string)\n"
    "\n"
    "error PermissionDenied ()\n"
    "\n"
    "error ExpectedMore ()\n";

struct buffer {
    char *data;
    size_t used, size;
};

struct client {
    struct client *next;
    struct varlink_server *server; /* valid until closed */
    unsigned refs;
    int fd, watch;
    struct varlink_peer peer;
    struct varlink_call *call; /* the unanswered one */

    struct buffer in, out;
    size_t scanned;  /* bytes of in known to hold no NUL */
    unsigned budget; /* calls left until the next refill */
    uint64_t active_ns;

    unsigned events; /* what the loop watches for */
    bool in_event;   /* in client_event(), which sets events in the end */
    bool active;     /* something happened since the last tick */
    bool reads_end;  /* the peer will send no more, or we listen no more */
    bool failed;     /* shut down by us; the loop will report it */
    bool wake;       /* come back soon */
    bool closed;
};

struct varlink_server {
    struct varlink_config config;
    struct varlink_loop loop;
    struct client *clients, *closed;
    unsigned n_clients;
    int listen_fd, listen_watch;
    bool accept_paused;
    bool ticked;
    uint64_t refilled_ns;
};

struct varlink_call {
    unsigned refs; /* the owner until it answers, and process_message() */
    struct client *client;
    char *method;
    bool more, oneway, answered;
    void (*on_disconnect)(struct varlink_call *call, void *userdata);
    void *on_disconnect_userdata;
};

/* Buffers */

static bool buffer_reserve(struct buffer *b, size_t extra, size_t max)
{
    size_t size = b->size ? b->size : FIRST_BUFFER_BYTES;
    char *data;

    if (b->size - b->used >= extra)
        return true;
    while (size - b->used < extra)
        size *= 2;
    if (size > max)
        size = max;
    if (size - b->used < extra)
        return false;
    data = realloc(b->data, size);
    if (!data)
        return false;
    b->data = data;
    b->size = size;
    return true;
}

static void buffer_consume(struct buffer *b, size_t n)
{
    b->used -= n;
    memmove(b->data, b->data + n, b->used);
}

/* Clients: life and death */

static void client_unref(struct client *c)
{
    if (--c->refs > 0)
        return;
    free(c->peer.groups);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

static void call_unref(struct varlink_call *call)
{
    if (--call->refs > 0)
        return;
    client_unref(call->client);
    free(call->method);
    free(call);
}

static void client_watch(struct client *c)
{
    unsigned events = POLLHUP | POLLERR;

    if (c->closed || c->in_event)
        return;
    if (!c->reads_end && c->in.used <= c->server->config.max_call_bytes)
        events |= POLLIN;
    if (c->out.used > 0 || c->wake)
        events |= POLLOUT;
    if (events == c->events)
        return;
    c->events = events;
    c->server->loop.update(c->server->loop.ctx, c->watch, events);
}

/* Gives the connection up from wherever we are; the loop reports the hang-up and closes it. */
static void client_fail(struct client *c)
{
    c->failed = true;
    c->wake = true;
    shutdown(c->fd, SHUT_RDWR);
    client_watch(c);
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

/* Closes the descriptors of clients whose watch was removed on an earlier way into the server. */
static void server_reap(struct varlink_server *server)
{
    while (server->closed) {
        struct client *c = server->closed;

        server->closed = c->next;
        close(c->fd);
        client_unref(c);
    }
}

static int peer_groups(int fd, struct varlink_peer *peer)
{
    gid_t *groups = NULL;
    socklen_t size = 0;

    while (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
        gid_t *larger;

        if (errno != ERANGE) {
            int r = -errno;

            free(groups);
            return r;
        }
        larger = realloc(groups, size);
        if (!larger) {
            free(groups);
            return -ENOMEM;
        }
        groups = larger;
    }
    peer->groups = groups;
    peer->n_groups = size / sizeof(*groups);
    return 0;
}

static int peer_read(int fd, struct varlink_peer *peer)
{
    struct ucred cred;
    socklen_t size = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return -errno;
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    peer->pid = cred.pid;
    return peer_groups(fd, peer);
}

/* Whether there is room for one more connection of this user, who may not take all there is. */
static bool server_has_room(const struct varlink_server *server, uid_t uid)
{
    unsigned max = server->config.max_clients, of_uid = 0;

    for (const struct client *c = server->clients; c; c = c->next)
        of_uid += c->peer.uid == uid;
    return server->n_clients < max && of_uid < max - max / 4;
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
                client_fail(c);
            return;
        }
        buffer_consume(&c->out, (size_t)n);
        c->active = true;
    }
}

/* Queues one message and sends what the socket takes. */
static int client_send(struct client *c, struct json_object *message)
{
    size_t max = c->server->config.max_queued_bytes, len;
    const char *text = json_object_to_json_string_length(
        message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    int r = 0;

    if (!text)
        r = -ENOMEM;
    else if (len >= max)
        return -E2BIG;
    else if (max - c->out.used <= len)
        r = -ENOBUFS;
    else if (!buffer_reserve(&c->out, len + 1, max))
        r = -ENOMEM;
    if (r < 0) {
        client_fail(c);
        return r;
    }
    memcpy(c->out.data + c->out.used, text, len + 1);
    c->out.used += len + 1;
    client_flush(c);
    client_watch(c);
    return c->failed ? -ECONNRESET : 0;
}

/* {"error": …, "parameters": …, "continues": true}; consumes parameters. */
static struct json_object *reply_new(const char *error, struct json_object *parameters,
                                     bool continues)
{
    struct json_object *reply = json_object_new_object();

    if (!parameters)
        parameters = json_object_new_object();
    if (!reply || !parameters)
        goto fail;
    if (error && json_object_object_add(reply, "error", json_object_new_string(error)) < 0)
        goto fail;
    if (continues && json_object_object_add(reply, "continues", json_object_new_boolean(true)) < 0)
        goto fail;
    if (json_object_object_add(reply, "parameters", parameters) < 0)
        goto fail;
    return reply;
fail:
    json_object_put(parameters);
    json_object_put(reply);
    return NULL;
}

static struct json_object *one_string(const char *key, const char *value)
{
    struct json_object *obj = json_object_new_object();

    if (obj)
        json_object_object_add(obj, key, json_object_new_string(value));
    return obj;
}

/* Consumes parameters. */
static int client_reply(struct client *c, const char *error, struct json_object *parameters,
                        bool continues)
{
    struct json_object *reply;
    int r;

    if (c->closed || c->failed) {
        json_object_put(parameters);
        return -ECONNRESET;
    }
    reply = reply_new(error, parameters, continues);
    if (!reply) {
        client_fail(c);
        return -ENOMEM;
    }
    r = client_send(c, reply);
    json_object_put(reply);
    return r;
}

/* An error in the name of the served interface. */
static int client_own_error(struct client *c, const char *name, const char *reason)
{
    char error[256];

    snprintf(error, sizeof(error), "%s.%s", c->server->config.interface, name);
    return client_reply(c, error, one_string("reason", reason), false);
}

/* The peer does not speak the protocol: nothing after this can be trusted. */
static void client_protocol_error(struct client *c, const char *parameter)
{
    c->reads_end = true;
    c->in.used = 0;
    client_reply(c, VARLINK_ERROR_INVALID_PARAMETER, one_string("parameter", parameter), false);
}

/* Tells a peer there is no room for why it is turned away, if its socket takes it at once. */
static void refuse(const struct varlink_server *server, int fd)
{
    struct json_object *reply;
    char error[256];
    const char *text;
    size_t len;

    snprintf(error, sizeof(error), "%s.Busy", server->config.interface);
    reply = reply_new(error, one_string("reason", "too many connections"), false);
    if (!reply)
        return;
    text = json_object_to_json_string_length(reply, JSON_C_TO_STRING_PLAIN, &len);
    if (text)
        send(fd, text, len + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    json_object_put(reply);
}

/* Answers */

/* Consumes parameters; the final reply also the owner's reference to the call. */
static int call_answer(struct varlink_call *call, const char *error, struct json_object *parameters,
                       bool final)
{
    struct client *c = call->client;
    int r = 0;

    if (call->oneway)
        json_object_put(parameters);
    else
        r = client_reply(c, error, parameters, !final);
    if (!final)
        return r;
    if (r == -E2BIG)
        client_own_error(c, "InternalError", "reply too large");
    call->answered = true;
    if (c->call == call) {
        c->call = NULL;
        c->active = true;
        c->wake = true;
        client_watch(c);
    }
    call_unref(call);
    return r;
}

int varlink_reply(struct varlink_call *call, struct json_object *parameters)
{
    return call_answer(call, NULL, parameters, true);
}

int varlink_error(struct varlink_call *call, const char *error, struct json_object *parameters)
{
    return call_answer(call, error, parameters, true);
}

int varlink_error_invalid_parameter(struct varlink_call *call, const char *parameter)
{
    return varlink_error(call, VARLINK_ERROR_INVALID_PARAMETER, one_string("parameter", parameter));
}

int varlink_reply_more(struct varlink_call *call, struct json_object *parameters)
{
    if (!call->more) {
        json_object_put(parameters);
        return -EINVAL;
    }
    return call_answer(call, NULL, parameters, false);
}

bool varlink_call_wants_more(const struct varlink_call *call)
{
    return call->more;
}

const struct varlink_peer *varlink_call_peer(const struct varlink_call *call)
{
    return &call->client->peer;
}

const char *varlink_call_method(const struct varlink_call *call)
{
    return call->method;
}

void varlink_call_on_disconnect(struct varlink_call *call,
                                void (*cb)(struct varlink_call *call, void *userdata),
                                void *userdata)
{
    call->on_disconnect = cb;
    call->on_disconnect_userdata = userdata;
}

/* Methods */

static int service_get_info(struct varlink_call *call, const struct varlink_config *config)
{
    struct json_object *info = json_object_new_object(), *interfaces = json_object_new_array();

    if (!info || !interfaces) {
        json_object_put(info);
        json_object_put(interfaces);
        return -ENOMEM;
    }
    json_object_object_add(info, "vendor", json_object_new_string(config->vendor));
    json_object_object_add(info, "product", json_object_new_string(config->product));
    json_object_object_add(info, "version", json_object_new_string(config->version));
    json_object_object_add(info, "url", json_object_new_string(config->url));
    json_object_array_add(interfaces, json_object_new_string(SERVICE_INTERFACE));
    json_object_array_add(interfaces, json_object_new_string(config->interface));
    json_object_object_add(info, "interfaces", interfaces);
    varlink_reply(call, info);
    return 0;
}

static int service_get_description(struct varlink_call *call, struct json_object *parameters,
                                   const struct varlink_config *config)
{
    struct json_object *value;
    const char *name;

    if (!json_object_object_get_ex(parameters, "interface", &value) ||
        !json_object_is_type(value, json_type_string)) {
        varlink_error_invalid_parameter(call, "interface");
        return 0;
    }
    name = json_object_get_string(value);
    if (strcmp(name, SERVICE_INTERFACE) == 0)
        varlink_reply(call, one_string("description", service_description));
    else if (strcmp(name, config->interface) == 0)
        varlink_reply(call, one_string("description", config->description));
    else
        varlink_error(call, VARLINK_ERROR_INTERFACE_NOT_FOUND, one_string("interface", name));
    return 0;
}

static int method_not_found(struct varlink_call *call)
{
    varlink_error(call, VARLINK_ERROR_METHOD_NOT_FOUND, one_string("method", call->method));
    return 0;
}

/* If method is "<interface>.NAME" returns NAME, else NULL. */
static const char *method_of(const char *method, const char *interface)
{
    size_t n = strlen(interface);

    if (strncmp(method, interface, n) != 0 || method[n] != '.' || strchr(method + n + 1, '.'))
        return NULL;
    return method + n + 1;
}

static int call_dispatch(struct varlink_call *call, struct json_object *parameters)
{
    const struct varlink_config *config = &call->client->server->config;
    const char *name = method_of(call->method, SERVICE_INTERFACE);
    const char *dot;

    if (name && strcmp(name, "GetInfo") == 0)
        return service_get_info(call, config);
    if (name && strcmp(name, "GetInterfaceDescription") == 0)
        return service_get_description(call, parameters, config);
    if (name)
        return method_not_found(call);

    name = method_of(call->method, config->interface);
    for (const struct varlink_method *m = config->methods; name && m->name; m++) {
        if (strcmp(m->name, name) == 0)
            return m->handler ? m->handler(call, parameters, config->userdata) : -ENOSYS;
    }
    if (name)
        return method_not_found(call);

    dot = strrchr(call->method, '.');
    if (dot) {
        AUTO_FREE char *interface = strndup(call->method, (size_t)(dot - call->method));

        if (!interface)
            return -ENOMEM;
        varlink_error(call, VARLINK_ERROR_INTERFACE_NOT_FOUND, one_string("interface", interface));
        return 0;
    }
    return varlink_error_invalid_parameter(call, "method");
}

/* A handler failed without having answered. */
static void call_failed(struct varlink_call *call, int error)
{
    if (error == -EPERM || error == -EACCES)
        varlink_error(call, VARLINK_ERROR_PERMISSION_DENIED, NULL);
    else if (error == -ENOSYS)
        varlink_error(call, VARLINK_ERROR_METHOD_NOT_IMPLEMENTED,
                      one_string("method", call->method));
    else {
        const char *reason = strerrordesc_np(-error);
        char name[256];

        snprintf(name, sizeof(name), "%s.InternalError", call->client->server->config.interface);
        varlink_error(call, name, one_string("reason", reason ? reason : "unknown error"));
    }
}

/* Reads an optional flag of a call; false, with the error sent, if it is there but no boolean. */
static bool read_flag(struct client *c, struct json_object *message, const char *name, bool *ret)
{
    struct json_object *value;

    *ret = false;
    if (!json_object_object_get_ex(message, name, &value) || !value)
        return true;
    if (!json_object_is_type(value, json_type_boolean)) {
        client_protocol_error(c, name);
        return false;
    }
    *ret = json_object_get_boolean(value);
    return true;
}

static struct varlink_call *call_new(struct client *c, const char *method)
{
    struct varlink_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->method = strdup(method);
    if (!call->method) {
        free(call);
        return NULL;
    }
    call->refs = 2;
    call->client = c;
    c->refs++;
    return call;
}

static void process_call(struct client *c, struct json_object *message)
{
    struct json_object *method, *parameters = NULL;
    struct varlink_call *call;
    bool more, oneway, upgrade;
    int r;

    if (!json_object_object_get_ex(message, "method", &method) ||
        !json_object_is_type(method, json_type_string)) {
        client_protocol_error(c, "method");
        return;
    }
    if (!read_flag(c, message, "more", &more) || !read_flag(c, message, "oneway", &oneway) ||
        !read_flag(c, message, "upgrade", &upgrade))
        return;
    json_object_object_get_ex(message, "parameters", &parameters);
    if (parameters && !json_object_is_type(parameters, json_type_object)) {
        client_protocol_error(c, "parameters");
        return;
    }
    parameters = parameters ? json_object_get(parameters) : json_object_new_object();
    call = parameters ? call_new(c, json_object_get_string(method)) : NULL;
    if (!call) {
        json_object_put(parameters);
        client_fail(c);
        return;
    }
    call->more = more && !oneway;
    call->oneway = oneway;
    c->call = call;
    r = upgrade ? -ENOSYS : call_dispatch(call, parameters);
    if (r < 0 && !call->answered)
        call_failed(call, r);
    call_unref(call);
    json_object_put(parameters);
}

static void process_message(struct client *c, const char *text, size_t len)
{
    struct json_object *message;

    if (json_strict_parse(text, len, &message, NULL) < 0) {
        client_protocol_error(c, "message");
        return;
    }
    if (json_object_is_type(message, json_type_object))
        process_call(c, message);
    else
        client_protocol_error(c, "message");
    json_object_put(message);
}

/* Input */

static void client_process(struct client *c)
{
    size_t done = 0;

    if (c->in.used == 0)
        return;
    while (!c->call && !c->failed && c->budget > 0) {
        char *start = c->in.data + done;
        size_t left = c->in.used - done;
        char *nul = left > c->scanned ? memchr(start + c->scanned, 0, left - c->scanned) : NULL;

        if (!nul) {
            c->scanned = left;
            break;
        }
        c->scanned = 0;
        c->budget--;
        done += (size_t)(nul - start) + 1;
        process_message(c, start, (size_t)(nul - start));
        if (c->in.used == 0)
            return;
    }
    if (done > 0)
        buffer_consume(&c->in, done);
    if (c->scanned > c->server->config.max_call_bytes && !c->call && !c->failed)
        client_protocol_error(c, "message");
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
        client_fail(c);
        return false;
    }
    n = recv(c->fd, c->in.data + c->in.used, c->in.size - c->in.used, MSG_DONTWAIT);
    if (n > 0)
        c->in.used += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        c->reads_end = true;
    return n > 0;
}

static bool client_finished(const struct client *c)
{
    /* Without a call and with budget left, what is still in the buffer is an unfinished message. */
    return c->failed || (c->reads_end && !c->call && c->out.used == 0 && c->budget > 0);
}

static void client_event(int fd, unsigned events, void *opaque)
{
    struct client *c = opaque;

    (void)fd;
    server_reap(c->server);
    c->in_event = true;
    if (events & (POLLHUP | POLLERR)) {
        /* A peer that is gone may have left calls that want no answer. */
        while (client_read(c))
            client_process(c);
        client_close(c);
        return;
    }
    client_flush(c);
    if (events & POLLIN)
        client_read(c);
    client_process(c);
    c->in_event = false;
    c->wake = false;
    if (client_finished(c))
        client_close(c);
    else
        client_watch(c);
}

/* The server */

static void listener_event(int fd, unsigned events, void *opaque)
{
    struct varlink_server *server = opaque;

    (void)events;
    server_reap(server);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
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
    }
}

int varlink_server_new(const struct varlink_config *config, const struct varlink_loop *loop,
                       struct varlink_server **ret)
{
    struct varlink_server *server = calloc(1, sizeof(*server));

    if (!server)
        return -ENOMEM;
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
    *ret = server;
    return 0;
}

void varlink_server_free(struct varlink_server *server)
{
    if (!server)
        return;
    while (server->clients)
        client_close(server->clients);
    server_reap(server);
    if (server->listen_fd >= 0) {
        server->loop.remove(server->loop.ctx, server->listen_watch);
        close(server->listen_fd);
    }
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
    struct client *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->refs = 1;
    c->server = server;
    c->fd = fd;
    c->budget = server->config.max_calls;
    c->active = true;
    c->events = POLLIN | POLLHUP | POLLERR;
    r = peer_read(fd, &c->peer);
    if (r == 0 && !server_has_room(server, c->peer.uid))
        r = -EUSERS;
    if (r == 0)
        r = set_nonblocking(fd);
    if (r == 0)
        r = server->loop.add(server->loop.ctx, fd, c->events, client_event, c);
    if (r < 0) {
        client_unref(c);
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
    if (refill && c->budget < c->server->config.max_calls) {
        /* Calls that waited for this make no socket readable. */
        c->wake |= c->budget == 0;
        c->budget = c->server->config.max_calls;
    }
    client_watch(c);
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

    server_reap(server);
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

/* Listening */

/* Removes the socket at path if nobody listens on it. */
static int remove_stale(const struct sockaddr_un *addr)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;

    if (lstat(addr->sun_path, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno != ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(addr->sun_path) < 0 ? -errno : 0;
}

static int bind_with_mode(int fd, const struct sockaddr_un *addr, mode_t mode)
{
    mode_t old = umask(~mode & 0777);
    int r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

    umask(old);
    return r;
}

int varlink_listen(const char *path, gid_t gid, mode_t mode, int *ret_fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = -1;
    int r;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    if (path[0] == '\0')
        return -ENOENT;
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    r = bind_with_mode(fd, &addr, mode);
    if (r == -EADDRINUSE) {
        r = remove_stale(&addr);
        if (r == 0)
            r = bind_with_mode(fd, &addr, mode);
    }
    if (r < 0)
        return r;
    /* Until listen() every connection is refused, so the order of these cannot let anyone in. */
    if ((gid != (gid_t)-1 && lchown(path, (uid_t)-1, gid) < 0) || listen(fd, SOMAXCONN) < 0) {
        r = -errno;
        unlink(path);
        return r;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}
