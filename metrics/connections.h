/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may hold a connection to the HTTP server, and for how long. There is always room for one who
 * comes: whoever has been at the same request for longest goes, of the address with the most
 * connections. So peers that send or read a byte now and then keep out nobody but themselves.
 *
 * Thread-safe.
 */
#ifndef MIGPOLICY_METRICS_CONNECTIONS_H
#define MIGPOLICY_METRICS_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    CONNECTIONS_MAX = 32,
    CONNECTIONS_PER_ADDRESS = 16,
    /* Those that are told to go count until they have gone. */
    CONNECTIONS_SLOTS = 2 * CONNECTIONS_MAX,
};

/* From the connection, or the last answer, to the end of the next one. */
#define CONNECTIONS_DEADLINE_NS INT64_C(10000000000)

struct connection {
    int fd;             /* -1: a free slot */
    uint8_t address[8]; /* IPv4, the network part of IPv6, or the user at a Unix socket */
    uint64_t order;     /* of the beginnings of requests */
    int64_t since_ns;   /* that beginning, at the tick after it; 0: before that */
    bool leaving;
};

struct connections {
    pthread_mutex_t lock; /* guards the rest */
    struct connection slot[CONNECTIONS_SLOTS];
    uint64_t order;
};

void connections_init(struct connections *all);
void connections_destroy(struct connections *all);

/* A connection, borrowed until connections_remove(); others make room for it. NULL: no slot. */
struct connection *connections_add(struct connections *all, int fd, const struct sockaddr *address);
void connections_remove(struct connections *all, struct connection *c);

/* A request was answered to its end. */
void connections_answered(struct connections *all, struct connection *c);

/* Tells the time, and ends what is past its deadline. */
void connections_tick(struct connections *all, int64_t now_ns);

#endif
