/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A Varlink service and its raw peer, in one thread on a loop that tests turn by hand. It behaves
 * as libvirt's does where that matters: descriptors with no events asked for are skipped, watches
 * may vanish inside callbacks. What fails here fails the test.
 */
#ifndef MIGPOLICY_VARLINK_PEER_H
#define MIGPOLICY_VARLINK_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/control/varlink.h"
#include "common/json.h"
#include "common/unix_listen.h"

#define SECOND_NS UINT64_C(1000000000)

/* The clock of the loop, and how often a watch was changed. */
extern uint64_t clock_ns;
extern unsigned n_updates;

/* Polls once; returns whether anything happened. */
bool loop_once(int timeout_ms);

/* Until nothing is left to do; a loop that never comes to rest is a bug of the server. */
void loop_settle(void);

/* Methods of "io.test": Echo, Keep, Count, Big, WhoAmI, Broken, Forbidden, and Later without code.
 */
struct service {
    struct varlink_server *server;
    struct varlink_call *kept;
    int n_echo, n_gone;
    char order[64]; /* the digits "a" of the echoes */
    uint64_t echo_takes_ns;
    char dir[64], path[96];
};

extern const struct varlink_config plain;
static const char echo_call[] = "{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":1}}";
static const char echo_reply[] = "{\"parameters\":{\"a\":1}}";
void service_start(struct service *s, struct varlink_config config);
void service_stop(struct service *s);

/* On a socket of its own in s->path. */
void service_listen(struct service *s);
void service_unlisten(struct service *s);
int unix_connect(const char *path);

int raw_connect(struct service *s);
void raw_send(int fd, const char *data, size_t len);

/* Sends a call with the NUL that ends it. */
void raw_call(int fd, const char *text);

/* The next message must be this one; there is none; the connection is closed. */
void raw_expect(int fd, const char *text);
void raw_expect_silence(int fd);
void raw_expect_closed(int fd);

#endif
