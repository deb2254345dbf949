/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/watch/crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/units.h"
#include "common/wakeup.h"

/* A task overdue by this much needs another worker. */
#define GRACE_NS (5 * NS_PER_MS / 2)
/* How long a spare worker waits to be needed. */
#define SPARE_NS (10 * NS_PER_S)
/* The longest sleep; there is none without an end. */
#define SLEEP_NS (3600 * NS_PER_S)

enum role { LEADER, DEPUTY, HELPER, SPARE };

struct worker {
    struct crew *crew;
    struct worker *next; /* SPARE */
    enum role role;
    int64_t since_ns; /* DEPUTY, SPARE: has been so */
    bool asleep;
    int64_t until_ns; /* asleep: at most */
    struct wakeup wake;
};

/* In the heap, with what it is ordered by: tasks are cold memory. */
struct place {
    int64_t due_ns;
    struct crew_task *task;
};

struct crew {
    char name[16];
    pthread_mutex_t lock; /* guards the rest, workers and tasks */
    struct place *heap;
    size_t waiting;
    size_t tasks; /* waiting or running */
    size_t room;  /* in the heap: for all tasks, so that putting one back never fails */
    struct worker *leader;
    struct worker *deputy; /* NULL: could not be started */
    struct worker *spare;  /* a list */
    unsigned workers;
    bool ending;
    sem_t ended; /* a worker has, that was told to */
};

/* ---- the heap; locked, as all that follows unless it says otherwise ---- */

static void put(struct crew *c, struct place p, size_t at)
{
    c->heap[at] = p;
    p.task->at = at;
}

static void rise(struct crew *c, struct place p, size_t at)
{
    for (; at > 0 && p.due_ns < c->heap[(at - 1) / 2].due_ns; at = (at - 1) / 2)
        put(c, c->heap[(at - 1) / 2], at);
    put(c, p, at);
}

static struct crew_task *take_first(struct crew *c)
{
    struct crew_task *first = c->heap[0].task;
    struct place last = c->heap[--c->waiting];
    size_t at = 0;

    for (size_t child = 1; child < c->waiting; child = 2 * at + 1) {
        if (child + 1 < c->waiting && c->heap[child + 1].due_ns < c->heap[child].due_ns)
            child++;
        if (last.due_ns <= c->heap[child].due_ns)
            break;
        put(c, c->heap[child], at);
        at = child;
    }
    if (c->waiting > 0)
        put(c, last, at);
    return first;
}

static void put_back(struct crew *c, struct crew_task *t, int64_t due_ns)
{
    t->state = CREW_WAITING;
    rise(c, (struct place){due_ns, t}, c->waiting++);
}

/* ---- who works ---- */

/* When the worker has to take the first task, if that is still there then. */
static int64_t turn_ns(const struct worker *w)
{
    int64_t due_ns = w->crew->waiting > 0 ? w->crew->heap[0].due_ns : INT64_MAX;

    if (w->role == LEADER || due_ns == INT64_MAX)
        return due_ns;
    if (w->role == SPARE)
        return INT64_MAX;
    /* A new deputy gives the leader time in any case: not all are to come at once. */
    if (w->role == DEPUTY && due_ns < w->since_ns)
        due_ns = w->since_ns;
    return due_ns + GRACE_NS;
}

static void *worker_main(void *arg);

static struct worker *start_worker(struct crew *c, enum role role)
{
    struct worker *w = calloc(1, sizeof(*w));
    pthread_t thread;

    if (!w)
        return NULL;
    w->crew = c;
    w->role = role;
    w->since_ns = monotonic_ns();
    wakeup_init(&w->wake);
    if (pthread_create(&thread, NULL, worker_main, w) != 0) {
        wakeup_destroy(&w->wake);
        free(w);
        return NULL;
    }
    pthread_setname_np(thread, c->name);
    pthread_detach(thread);
    c->workers++;
    return w;
}

static void make_deputy(struct crew *c, struct worker *w)
{
    w->role = DEPUTY;
    w->since_ns = monotonic_ns();
    c->deputy = w;
}

/* Sees to it that there is a deputy, and that the one who has to take the first task will. */
static void rouse(struct crew *c)
{
    struct worker *w;
    int64_t turn;

    if (!c->deputy && c->spare) {
        w = c->spare;
        c->spare = w->next;
        make_deputy(c, w);
    } else if (!c->deputy) {
        c->deputy = start_worker(c, DEPUTY);
    }
    w = c->leader->asleep ? c->leader : c->deputy;
    if (!w || !w->asleep)
        return;
    turn = turn_ns(w);
    if (turn < w->until_ns) {
        w->until_ns = turn;
        wakeup_signal(&w->wake);
    }
}

static void take_over(struct crew *c, struct worker *w)
{
    struct worker *before = c->leader;

    w->role = LEADER;
    c->leader = w;
    c->deputy = NULL;
    if (before->asleep) /* the kernel let it sleep too long */
        make_deputy(c, before);
    else
        before->role = HELPER;
}

/* Unlocks meanwhile. */
static void run_first(struct crew *c, struct worker *w)
{
    struct crew_task *t = take_first(c);
    int64_t due_ns;
    int64_t now_ns;

    if (w->role == DEPUTY)
        take_over(c, w);
    t->state = CREW_RUNNING;
    t->woken = false;
    rouse(c);
    pthread_mutex_unlock(&c->lock);
    due_ns = t->step(t->opaque);
    pthread_mutex_lock(&c->lock);
    if (due_ns == CREW_DONE) {
        t->state = CREW_OVER;
        c->tasks--;
        sem_post(&t->over); /* and it may be gone */
        return;
    }
    now_ns = monotonic_ns();
    put_back(c, t, t->woken || due_ns < now_ns ? now_ns : due_ns);
    rouse(c);
}

static void stand_by(struct crew *c, struct worker *w)
{
    if (!c->deputy) {
        make_deputy(c, w);
        return;
    }
    w->role = SPARE;
    w->since_ns = monotonic_ns();
    w->next = c->spare;
    c->spare = w;
}

/* Unlocks meanwhile. */
static void sleep_until(struct crew *c, struct worker *w, int64_t until_ns)
{
    w->asleep = true;
    w->until_ns = until_ns;
    pthread_mutex_unlock(&c->lock);
    (void)wakeup_wait(&w->wake, until_ns);
    pthread_mutex_lock(&c->lock);
    w->asleep = false;
}

static void leave_spares(struct crew *c, const struct worker *w)
{
    struct worker **at = &c->spare;

    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct crew *c = w->crew;
    bool ending;

    pthread_mutex_lock(&c->lock);
    while (!c->ending) {
        int64_t now_ns = monotonic_ns();
        int64_t turn = turn_ns(w);

        if (turn <= now_ns) {
            run_first(c, w);
            continue;
        }
        if (w->role == HELPER) {
            stand_by(c, w);
            continue;
        }
        if (w->role == SPARE)
            turn = w->since_ns + SPARE_NS;
        if (turn <= now_ns) {
            leave_spares(c, w);
            break;
        }
        sleep_until(c, w, turn < now_ns + SLEEP_NS ? turn : now_ns + SLEEP_NS);
    }
    ending = c->ending;
    c->workers--;
    pthread_mutex_unlock(&c->lock);
    wakeup_destroy(&w->wake);
    free(w);
    if (ending)
        sem_post(&c->ended);
    return NULL;
}

/* ---- for all ---- */

int crew_new(const char *name, struct crew **ret)
{
    struct crew *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    snprintf(c->name, sizeof(c->name), "%s", name);
    pthread_mutex_init(&c->lock, NULL);
    sem_init(&c->ended, 0, 0);
    pthread_mutex_lock(&c->lock);
    c->leader = start_worker(c, LEADER);
    if (c->leader)
        c->deputy = start_worker(c, DEPUTY);
    pthread_mutex_unlock(&c->lock);
    if (!c->deputy) {
        crew_free(c);
        return -EAGAIN;
    }
    *ret = c;
    return 0;
}

void crew_free(struct crew *c)
{
    unsigned workers;

    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    workers = c->workers;
    if (c->leader)
        wakeup_signal(&c->leader->wake);
    if (c->deputy)
        wakeup_signal(&c->deputy->wake);
    for (struct worker *w = c->spare; w; w = w->next)
        wakeup_signal(&w->wake);
    pthread_mutex_unlock(&c->lock);
    while (workers > 0) {
        if (sem_wait(&c->ended) == 0)
            workers--;
    }
    sem_destroy(&c->ended);
    pthread_mutex_destroy(&c->lock);
    free(c->heap);
    free(c);
}

/* Makes room for one more task. */
static int grow(struct crew *c)
{
    size_t room = c->room > 0 ? 2 * c->room : 16;
    struct place *heap;

    if (c->tasks < c->room)
        return 0;
    heap = reallocarray(c->heap, room, sizeof(*heap));
    if (!heap)
        return -ENOMEM;
    c->heap = heap;
    c->room = room;
    return 0;
}

int crew_add(struct crew *c, struct crew_task *t, crew_step_fn step, void *opaque)
{
    int r;

    *t = (struct crew_task){.crew = c, .step = step, .opaque = opaque};
    sem_init(&t->over, 0, 0);
    pthread_mutex_lock(&c->lock);
    r = grow(c);
    if (r == 0) {
        c->tasks++;
        put_back(c, t, monotonic_ns());
        rouse(c);
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

void crew_wake(struct crew_task *t)
{
    struct crew *c = t->crew;
    int64_t now_ns = monotonic_ns();

    pthread_mutex_lock(&c->lock);
    t->woken = true;
    if (t->state == CREW_WAITING && now_ns < c->heap[t->at].due_ns) {
        rise(c, (struct place){now_ns, t}, t->at);
        rouse(c);
    }
    pthread_mutex_unlock(&c->lock);
}

int crew_join(struct crew_task *t, const struct timespec *until)
{
    while (sem_timedwait(&t->over, until) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    sem_destroy(&t->over);
    return 0;
}
