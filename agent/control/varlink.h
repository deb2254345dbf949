/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The server side of Varlink: JSON objects, each ended by a NUL byte, over a Unix stream socket.
 * One server offers one interface beside org.varlink.service, which it answers itself.
 *
 * The server has no event loop and no clock of its own: it is driven by the callbacks of struct
 * varlink_loop and by varlink_server_tick(). Nothing blocks. Everything a peer can consume is
 * bounded, time included, and a peer that breaks a bound loses only its own connection.
 *
 * All functions must be called from the one thread that runs the event loop.
 *
 * Beside what its methods return, an interface must declare the errors the server itself may send
 * in its name: "error Busy (reason: string)" (too many connections) and "error InternalError
 * (reason: string)" (a handler failed, or its reply was too large).
 */
#ifndef MIGPOLICY_VARLINK_H
#define MIGPOLICY_VARLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/peer.h"

#define VARLINK_ERROR_INTERFACE_NOT_FOUND    "org.varlink.service.InterfaceNotFound"
#define VARLINK_ERROR_METHOD_NOT_FOUND       "org.varlink.service.MethodNotFound"
#define VARLINK_ERROR_METHOD_NOT_IMPLEMENTED "org.varlink.service.MethodNotImplemented"
#define VARLINK_ERROR_INVALID_PARAMETER      "org.varlink.service.InvalidParameter"
#define VARLINK_ERROR_PERMISSION_DENIED      "org.varlink.service.PermissionDenied"
#define VARLINK_ERROR_EXPECTED_MORE          "org.varlink.service.ExpectedMore"

#define VARLINK_MAX_CALL_BYTES  ((size_t)256 * 1024)
#define VARLINK_MAX_REPLY_BYTES ((size_t)4 * 1024 * 1024)

struct json_object;
struct varlink_server;
struct varlink_call;

/*
 * The event loop and a monotonic clock. With the meaning of poll(2): events are POLLIN, POLLOUT,
 * POLLHUP, POLLERR. The server always asks for POLLHUP and POLLERR explicitly, so that loops which
 * skip descriptors with no events asked for still report a disconnect.
 */
struct varlink_loop {
    /* Watches fd. Returns a watch >= 0, or -errno. */
    int (*add)(void *ctx, int fd, unsigned events,
               void (*cb)(int fd, unsigned events, void *opaque), void *opaque);
    void (*update)(void *ctx, int watch, unsigned events);
    /* May be called from inside cb; afterwards cb must not be called again for this watch. The
       server closes fd only in a later callback or tick (or in varlink_server_free()). */
    void (*remove)(void *ctx, int watch);
    uint64_t (*now_ns)(void);
    void *ctx;
};

/*
 * A method. The handler either answers before it returns 0, or keeps call and answers later.
 * parameters is an object (empty if the caller sent none), borrowed for the time of the handler.
 * A handler that returns -errno without having answered makes the server answer: PermissionDenied
 * for -EPERM and -EACCES, MethodNotImplemented for -ENOSYS, else InternalError.
 * A handler must not call varlink_server_tick() or varlink_server_free().
 */
struct varlink_method {
    const char *name; /* without the interface, "List"; a table ends with a NULL name */
    /* NULL: declared but not implemented. */
    int (*handler)(struct varlink_call *call, struct json_object *parameters, void *userdata);
};

/* Zero in a bound means its default. All strings and tables must outlive the server. */
struct varlink_config {
    const char *vendor, *product, *version, *url; /* for GetInfo */
    const char *interface;                        /* its name, "io.migpolicy" */
    const char *description;                      /* its text in the interface language */
    const struct varlink_method *methods;
    void *userdata; /* for the handlers */

    /*
     * Whose calls come first, and for whom a quarter of the connections is reserved; of the rest no
     * single user gets more than half of all. NULL: nobody.
     */
    bool (*is_privileged)(const struct peer *peer, void *userdata);

    unsigned max_clients;     /* connections; 32 */
    size_t max_call_bytes;    /* of one call; VARLINK_MAX_CALL_BYTES */
    size_t max_queued_bytes;  /* of replies a peer has not read; VARLINK_MAX_REPLY_BYTES */
    unsigned max_calls;       /* of one connection per second; more of them wait; 200 */
    uint64_t idle_timeout_ns; /* without a call, or without reading its replies; 60 s */
};

/* Creates a server without sockets. config and loop are copied. Returns 0 or -errno. */
int varlink_server_new(const struct varlink_config *config, const struct varlink_loop *loop,
                       struct varlink_server **ret);

/*
 * Disconnects everyone, closes all descriptors; calls still unanswered are told (see
 * varlink_call_on_disconnect()) and stay valid until they are answered. Accepts NULL.
 */
void varlink_server_free(struct varlink_server *server);

/*
 * Accepts connections from fd, a listening Unix stream socket made by unix_listen() or
 * inherited. A server has one. It owns fd on success. Returns 0; -EINVAL (not such a socket),
 * -EBUSY (there is one already), -errno of the loop.
 */
int varlink_server_add_listener(struct varlink_server *server, int fd);

/*
 * Serves fd, a connected Unix stream socket, which it owns on success. Returns 0; -EUSERS (too many
 * connections), -errno of the socket or the loop.
 */
int varlink_server_add_connection(struct varlink_server *server, int fd);

/*
 * Enforces the idle timeout and refills the rate limit. To be called about once a second with a
 * monotonic clock.
 */
void varlink_server_tick(struct varlink_server *server, uint64_t now_ns);

/*
 * A call is answered once, by varlink_reply(), varlink_error() or one of its short forms, after any
 * number of varlink_reply_more(). Answering releases the call, whatever is returned: it must not be
 * used afterwards. A call kept beyond its handler must be answered even if the peer is gone; that
 * is then how it is released. The next call of the same connection waits until this one is
 * answered.
 *
 * All answers consume one reference to parameters, which may be NULL for none, also on failure.
 * They return 0; -ECONNRESET (the peer is gone), -ENOBUFS (it does not read: it will be
 * disconnected), -E2BIG (larger than max_queued_bytes: answered with InternalError instead).
 * Answers to "oneway" calls are dropped and return 0.
 */
int varlink_reply(struct varlink_call *call, struct json_object *parameters);
int varlink_error(struct varlink_call *call, const char *error, struct json_object *parameters);
int varlink_error_invalid_parameter(struct varlink_call *call, const char *parameter);

/*
 * Sends one reply of a stream; the call stays open. -EINVAL if the caller did not ask for "more".
 * After any failure the call must still be answered.
 */
int varlink_reply_more(struct varlink_call *call, struct json_object *parameters);

/* Bytes of answers that the peer has not taken yet. */
size_t varlink_call_queued(const struct varlink_call *call);

/* Whether the caller asked for a stream. */
bool varlink_call_wants_more(const struct varlink_call *call);

/* Whether the caller wants no answer. */
bool varlink_call_is_oneway(const struct varlink_call *call);

/* Valid as long as the call, also after a disconnect. */
const struct peer *varlink_call_peer(const struct varlink_call *call);

/* The full name of the method. Valid as long as the call. */
const char *varlink_call_method(const struct varlink_call *call);

/*
 * Has cb called once if the peer goes away before the call is answered. It is called from the event
 * loop or varlink_server_free(), never from inside one of the functions above; it may answer (and
 * so release) the call. Replaces an earlier cb; NULL removes it. It is not called for "oneway"
 * calls, whose caller need not stay.
 */
void varlink_call_on_disconnect(struct varlink_call *call,
                                void (*cb)(struct varlink_call *call, void *userdata),
                                void *userdata);

#endif
