/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/cli/varlink_client.h"

#include "agent/control/varlink.h"
#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/json_strict.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/json.h"

#define FIRST_BUFFER_BYTES ((size_t)4096)

struct varlink_client {
    int fd;
    pid_t pid;   /* of the command behind it; 0: none */
    bool broken; /* a reply may still be under way that belongs to no call */
    char *buf;   /* what was received and not yet taken */
    size_t used, size;
};

struct reply {
    char *error;
    struct json_object *parameters;
    bool continues;
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The end of a wait of timeout_ms that begins now; negative for none. */
static int64_t deadline_after(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

static int wait_until(int fd, short events, int64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
        int r = poll(&p, 1, deadline_ms >= 0 && left < 0 ? 0 : (int)left);

        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int varlink_client_connect(const char *path, int timeout_ms, struct varlink_client **ret)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000L};
    struct varlink_client *client;
    AUTO_CLOSE int fd = -1;
    int r;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    if (path[0] == '\0')
        return -ENOENT;
    strcpy(addr.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* connect() to a full backlog waits as long as sending would; a zero here means for ever. */
    if (timeout_ms == 0)
        timeout.tv_usec = 1;
    if (timeout_ms >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return -errno;
    do
        r = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
    while (r == -EINTR);
    if (r == 0)
        r = set_nonblocking(fd);
    if (r < 0)
        return r == -EAGAIN ? -ETIMEDOUT : r;
    client = alloc_need(calloc(1, sizeof(*client)));
    client->fd = fd;
    fd = -1;
    *ret = client;
    return 0;
}

int varlink_client_run(const char *const argv[], struct varlink_client **ret)
{
    posix_spawn_file_actions_t actions;
    struct varlink_client *client;
    int fd[2];
    pid_t pid;
    int r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
        return -errno;
    if (posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, fd[1], STDIN_FILENO) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO) != 0)
        alloc_failed();
    r = -posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fd[1]);
    if (r == 0)
        r = set_nonblocking(fd[0]);
    if (r < 0) {
        close(fd[0]);
        return r;
    }
    client = alloc_need(calloc(1, sizeof(*client)));
    client->fd = fd[0];
    client->pid = pid;
    *ret = client;
    return 0;
}

int varlink_client_status(struct varlink_client *client)
{
    int status = -1;

    if (client->pid == 0)
        return -1;
    shutdown(client->fd, SHUT_RDWR);
    while (waitpid(client->pid, &status, 0) < 0 && errno == EINTR)
        ;
    client->pid = 0;
    return status;
}

void varlink_client_free(struct varlink_client *client)
{
    if (!client)
        return;
    if (client->pid > 0)
        kill(client->pid, SIGTERM);
    varlink_client_status(client);
    close(client->fd);
    free(client->buf);
    free(client);
}

static int send_all(const struct varlink_client *client, const char *data, size_t len,
                    int64_t deadline_ms)
{
    while (len > 0) {
        ssize_t n = send(client->fd, data, len, MSG_NOSIGNAL);
        int r;

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
            continue;
        }
        /* A service that hung up may have said why before: that is found by reading. */
        if (errno == EPIPE || errno == ECONNRESET)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        r = wait_until(client->fd, POLLOUT, deadline_ms);
        if (r < 0)
            return r;
    }
    return 0;
}

static int send_call(const struct varlink_client *client, const char *method,
                     struct json_object *parameters, bool more, int64_t deadline_ms)
{
    struct json_object *call = json_object_new_object();
    const char *text;
    size_t len;
    int r;

    json_object_object_add(call, "method", json_object_new_string(method));
    if (parameters)
        json_object_object_add(call, "parameters", json_object_get(parameters));
    if (more)
        json_object_object_add(call, "more", json_object_new_boolean(true));
    text = json_object_to_json_string_length(
        call, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
    r = len > VARLINK_MAX_CALL_BYTES ? -E2BIG : send_all(client, text, len + 1, deadline_ms);
    json_object_put(call);
    return r;
}

static int receive_some(struct varlink_client *client, int64_t deadline_ms)
{
    ssize_t n;

    if (client->used > VARLINK_MAX_REPLY_BYTES)
        return -EPROTO;
    if (client->used == client->size) {
        size_t size = client->size ? 2 * client->size : FIRST_BUFFER_BYTES;
        client->buf = alloc_need(realloc(client->buf, size));
        client->size = size;
    }
    for (;;) {
        int r;

        n = recv(client->fd, client->buf + client->used, client->size - client->used, 0);
        if (n > 0) {
            client->used += (size_t)n;
            return 0;
        }
        if (n == 0)
            return -ECONNRESET;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        r = wait_until(client->fd, POLLIN, deadline_ms);
        if (r < 0)
            return r;
    }
}

static int read_reply(struct json_object *message, struct reply *ret)
{
    struct json_object *error = NULL, *parameters = NULL, *continues = NULL;
    struct reply reply = {0};

    if (!json_object_is_type(message, json_type_object))
        return -EPROTO;
    json_object_object_get_ex(message, "error", &error);
    json_object_object_get_ex(message, "parameters", &parameters);
    json_object_object_get_ex(message, "continues", &continues);
    if ((error && !json_object_is_type(error, json_type_string)) ||
        (parameters && !json_object_is_type(parameters, json_type_object)) ||
        (continues && !json_object_is_type(continues, json_type_boolean)))
        return -EPROTO;
    reply.continues = json_object_get_boolean(continues);
    if (error && reply.continues)
        return -EPROTO;
    if (error)
        reply.error = alloc_need(strdup(json_object_get_string(error)));
    reply.parameters = parameters ? json_object_get(parameters) : json_object_new_object();
    *ret = reply;
    return 0;
}

static int receive_reply(struct varlink_client *client, int64_t deadline_ms, struct reply *ret)
{
    struct json_object *message;
    size_t scanned = 0, len;
    char *nul;
    int r;

    while (!(nul = client->used > scanned ? memchr(client->buf + scanned, 0, client->used - scanned)
                                          : NULL)) {
        scanned = client->used;
        r = receive_some(client, deadline_ms);
        if (r < 0)
            return r;
    }
    len = (size_t)(nul - client->buf);
    r = json_strict_parse(client->buf, len, &message, NULL);
    if (r < 0)
        return -EPROTO;
    client->used -= len + 1;
    memmove(client->buf, nul + 1, client->used);
    r = read_reply(message, ret);
    json_object_put(message);
    return r;
}

int varlink_client_begin(struct varlink_client *client, const char *method,
                         struct json_object *parameters, int timeout_ms)
{
    int r = client->broken
                ? -ENOTCONN
                : send_call(client, method, parameters, true, deadline_after(timeout_ms));

    client->broken |= r < 0;
    return r;
}

int varlink_client_next(struct varlink_client *client, int timeout_ms, bool *ret_continues,
                        char **ret_error, struct json_object **ret_parameters)
{
    struct reply reply;
    int r = client->broken ? -ENOTCONN : receive_reply(client, deadline_after(timeout_ms), &reply);

    client->broken |= r < 0 && r != -ETIMEDOUT;
    if (r < 0)
        return r;
    *ret_continues = reply.continues;
    *ret_error = reply.error;
    *ret_parameters = reply.parameters;
    return 0;
}

int varlink_client_fd(const struct varlink_client *client)
{
    return client->fd;
}

int varlink_client_call(struct varlink_client *client, const char *method,
                        struct json_object *parameters, int timeout_ms, char **ret_error,
                        struct json_object **ret_parameters)
{
    int64_t deadline_ms = deadline_after(timeout_ms);
    struct reply reply = {0};
    int r = client->broken ? -ENOTCONN : send_call(client, method, parameters, false, deadline_ms);

    if (r == 0)
        r = receive_reply(client, deadline_ms, &reply);
    if (r == 0 && reply.continues) {
        json_object_put(reply.parameters);
        r = -EPROTO;
    }
    if (r < 0) {
        client->broken = true;
        return r;
    }
    *ret_error = reply.error;
    *ret_parameters = reply.parameters;
    return 0;
}
