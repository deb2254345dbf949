/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: the methods of io.migpolicy.varlink. All runs in the event loop's thread and
 * is answered from memory, but for what takes its time: that has threads (work.c).
 */
#ifndef MIGPOLICY_CONTROL_H
#define MIGPOLICY_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/control/env.h"

/* Names for the metrics' closed sets, ended by NULL. */
extern const char *const control_method_names[];
extern const char *const control_result_names[];

struct control;

/* Listens. -EADDRINUSE: another daemon answers on the socket. */
int control_new(const struct control_env *env, struct control **ret);

/*
 * Disconnects everybody and removes the socket. Returns false if a thread hangs: what it uses must
 * then stay until the process ends.
 */
bool control_free(struct control *control);

/* To be called about once a second. */
void control_tick(struct control *control, int64_t now_ns);

#endif
