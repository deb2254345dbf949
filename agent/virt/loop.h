/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The main thread's event loop: libvirt's default implementation, which hosts our descriptors and
 * timers beside libvirt's own. Adding, updating and removing is thread-safe; callbacks run in the
 * thread that calls loop_run_once().
 */
#ifndef MIGPOLICY_LOOP_H
#define MIGPOLICY_LOOP_H

/* Once, before all else, from the thread that will run the loop. Returns 0 or -EIO. */
int loop_init(void);

typedef void (*loop_fd_fn)(int fd, unsigned events, void *opaque); /* events as of poll(2) */
typedef void (*loop_timer_fn)(void *opaque);

/* Returns a watch >= 0, or -EIO. */
int loop_add_fd(int fd, unsigned events, loop_fd_fn fn, void *opaque);
void loop_update_fd(int watch, unsigned events);
/* The callback's opaque must stay valid until the loop has run once more. */
void loop_remove_fd(int watch);

/* Calls fn every interval_ms. Returns a timer >= 0, or -EIO. */
int loop_add_timer(int interval_ms, loop_timer_fn fn, void *opaque);

/* Waits for and serves one round of events. */
int loop_run_once(void);

#endif
