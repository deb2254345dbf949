/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/wakeup.h"

#include <errno.h>
#include <time.h>

#include "common/units.h"

void wakeup_init(struct wakeup *w)
{
    atomic_init(&w->ended, false);
    sem_init(&w->signals, 0, 0);
}

void wakeup_destroy(struct wakeup *w)
{
    sem_destroy(&w->signals);
}

void wakeup_signal(struct wakeup *w)
{
    sem_post(&w->signals);
}

void wakeup_end(struct wakeup *w)
{
    atomic_store(&w->ended, true);
    sem_post(&w->signals);
}

int wakeup_wait(struct wakeup *w, int64_t until_ns)
{
    struct timespec until;

    until_ns = monotonic_to_kernel_ns(until_ns);
    until = (struct timespec){.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    while (!atomic_load(&w->ended) && sem_clockwait(&w->signals, CLOCK_MONOTONIC, &until) < 0) {
        if (errno != EINTR)
            break;
    }
    /* However often it was signalled, it is woken once. */
    while (sem_trywait(&w->signals) == 0)
        ;
    return atomic_load(&w->ended) ? -ESHUTDOWN : 0;
}
