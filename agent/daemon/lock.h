/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One agent per run directory: a second one must not restore what the first has throttled. The lock
 * goes with the process, however it ends. Its file says who has it, and by its time that the main
 * loop of that process still runs.
 */
#ifndef MIGPOLICY_LOCK_H
#define MIGPOLICY_LOCK_H

#include <stdbool.h>
#include <stddef.h>

/* Who has not beaten for so long hangs. A loop beats each second. */
#define LOCK_SILENT_S 5

/* Takes RUN_DIR/lock, for as long as *ret_fd stays open. -EBUSY: another has it; or -errno. */
int lock_take(const char *run_dir, int *ret_fd);

/* The main loop runs. */
void lock_beat(int fd);

/*
 * Who has it, in words: "process 12, which is stopped". Returns whether that process is in no state
 * to restore anything by itself: it is stopped, or has not beaten for LOCK_SILENT_S. One that
 * cannot be told is none of that.
 */
bool lock_is_helpless(const char *run_dir, char *text, size_t size);

#endif
