/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sleeping until woken. Thread-safe. */
#ifndef MIGPOLICY_WAKEUP_H
#define MIGPOLICY_WAKEUP_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"

/*
 * Something to sleep on, on the monotonic clock, for one thread. A semaphore: after a wait on a
 * condition, glibc takes the next unlocking of its mutex for a contended one, and with a thousand
 * watchers that is a thousand needless system calls a round.
 */
struct wakeup {
    sem_t signals;
    atomic_bool ended;
};

void wakeup_init(struct wakeup *w);
void wakeup_destroy(struct wakeup *w);
void wakeup_signal(struct wakeup *w);
void wakeup_end(struct wakeup *w); /* every later wait returns at once */

/* Sleeps until signalled or until_ns. Returns 0, or -ESHUTDOWN after wakeup_end(). */
int wakeup_wait(struct wakeup *w, int64_t until_ns);

#endif
