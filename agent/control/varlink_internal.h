/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the Varlink server share: connections, turns and calls. Event loop's thread
 * only.
 */
#ifndef MIGPOLICY_VARLINK_INTERNAL_H
#define MIGPOLICY_VARLINK_INTERNAL_H

#include "agent/control/varlink.h"

/* How long one way into the server carries out calls, or accepts, before the loop goes on. */
#define VL_TURN_NS UINT64_C(5000000)

struct buffer {
    char *data;
    size_t used, size;
};

struct client {
    struct client *next;
    struct varlink_server *server; /* valid until closed */
    unsigned refs;
    int fd, watch;
    struct peer peer;
    struct varlink_call *call; /* the unanswered one */

    struct buffer in, out;
    size_t scanned;  /* bytes of in known to hold no NUL */
    unsigned budget; /* calls left until the next refill */
    uint64_t active_ns;
    uint64_t used_ns; /* by its calls; halved every second */
    uint64_t turn;    /* the last one in which it was served */

    unsigned events; /* what the loop watches for */
    bool privileged;
    bool ready;     /* to be looked at in a turn */
    bool active;    /* something happened since the last tick */
    bool reads_end; /* the peer will send no more, or we listen no more */
    bool gone;      /* the peer is, but it may have left calls that want no answer */
    bool failed;    /* shut down by us; the loop will report it */
    bool closed;
};

struct varlink_server {
    struct varlink_config config;
    struct varlink_loop loop;
    struct client *clients, *closed;
    unsigned n_clients;
    int listen_fd, listen_watch;
    int turn_fd, turn_watch;
    uint64_t turn; /* counts them */
    bool accept_paused;
    bool ticked;
    uint64_t refilled_ns;
};

struct varlink_call {
    unsigned refs; /* the owner until it answers, and vl_process_message() */
    struct client *client;
    char *method;
    bool more, oneway, answered;
    void (*on_disconnect)(struct varlink_call *call, void *userdata);
    void *on_disconnect_userdata;
};

/* varlink_server.c */

void vl_client_unref(struct client *c);

/* Gives the connection up from wherever we are; the loop reports the hang-up and closes it. */
void vl_client_fail(struct client *c);

/* Has the loop call us back for what there is to do now. */
void vl_client_watch(struct client *c);

/* Carries out one call, if there is one and it may. */
void vl_client_process(struct client *c);

/* After anything that happened to it: closes it, or has it go on. From the loop's callbacks only.
 */
void vl_client_settle(struct client *c);

/* Closes the descriptors of clients whose watch was removed on an earlier way into the server. */
void vl_server_reap(struct varlink_server *server);

/* {key: value}, or NULL without memory. The caller's. */
struct json_object *vl_one_string(const char *key, const char *value);

/* Sends an answer, an error if it has a name. Takes the parameters over. Returns 0 or -errno. */
int vl_client_reply(struct client *c, const char *error, struct json_object *parameters,
                    bool continues);

/* An error in the name of the served interface. Returns as vl_client_reply(). */
int vl_client_own_error(struct client *c, const char *name, const char *reason);

/* The peer does not speak the protocol: nothing after this can be trusted. */
void vl_client_protocol_error(struct client *c, const char *parameter);

/* varlink_turn.c */

/* Has the client looked at in one of the next turns. From anywhere. */
void vl_client_ready(struct client *c);

/* Returns 0 or -errno. */
int vl_turns_init(struct varlink_server *server);
void vl_turns_end(struct varlink_server *server);

/* varlink_call.c */

void vl_call_unref(struct varlink_call *call);

/* Takes one message for a call, and has it answered. */
void vl_process_message(struct client *c, const char *text, size_t len);

#endif
