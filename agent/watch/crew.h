/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A few threads for many tasks, each of which has a little to do from time to time, and any of
 * which may hang.
 *
 * Theory of operation
 *
 * A task is a function that does one step and returns when it wants to be called again. Tasks wait
 * in a heap, the one due first on top. A worker is a thread that takes the first task, runs its
 * step, and puts it back. A step may hang: that worker is lost for as long, and its task with it,
 * but no other task.
 *
 *   leader  sleeps until the first task is due, and works through all that are due: as long as it
 *           keeps up, nobody else runs, and a thousand tasks cost no switch of threads.
 *   deputy  is idle. It looks whether the first task is overdue by more than a moment (GRACE_NS):
 *           then the leader hangs, or has too much to do, and the deputy is the leader from then
 *           on. Another one becomes deputy: a spare worker, or a new thread.
 *   helper  is a former leader. When it comes back from its step it helps with what is overdue;
 *           with nothing overdue it is deputy if there is none, or spare.
 *   spare   sleeps, and ends after a while.
 *
 * So there are two threads more than steps that run at a time, at most; each hanging one has cost
 * the others one moment, once; and where steps wait for something (a round trip to libvirtd), there
 * are soon as many workers as it takes. If no thread can be started for lack of resources, that is
 * tried again at every step and every waking.
 *
 * Times are on the clock of common/wakeup.h. All functions are thread-safe unless stated.
 */
#ifndef MIGPOLICY_CREW_H
#define MIGPOLICY_CREW_H

#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct crew;

/* What a step returns when there are none to follow. */
#define CREW_DONE INT64_MAX

/*
 * One step of a task, in any worker's thread, but never in two at once, and what one step wrote the
 * next one sees. Returns when the next is due (in the past: at once), or CREW_DONE.
 */
typedef int64_t (*crew_step_fn)(void *opaque);

/* Memory is the caller's, from crew_add() to crew_join(); the contents are the crew's. */
struct crew_task {
    struct crew *crew;
    crew_step_fn step;
    void *opaque;
    size_t at; /* its place in the heap */
    enum { CREW_WAITING, CREW_RUNNING, CREW_OVER } state;
    bool woken; /* while it ran */
    sem_t over;
};

/* Starts the first two threads, which are named `name` (15 characters). Returns 0 or -errno. */
int crew_new(const char *name, struct crew **ret);

/* Ends all threads, and waits for them. All tasks must have been joined. */
void crew_free(struct crew *crew);

/* Adds a task, which is due at once. Never waits for a step. Returns 0, or -ENOMEM. */
int crew_add(struct crew *crew, struct crew_task *task, crew_step_fn step, void *opaque);

/*
 * The task is due now; however often that is said, once. If it runs just now, another step follows
 * at once. Nothing happens to one that is over. Never waits for a step.
 */
void crew_wake(struct crew_task *task);

/*
 * Waits for a task's last step until a time of CLOCK_REALTIME, like pthread_timedjoin_np(). Returns
 * 0: nothing refers to the task any more; or -ETIMEDOUT. Once for a task.
 */
int crew_join(struct crew_task *task, const struct timespec *until);

#endif
