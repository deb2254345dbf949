/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/wakeup.h"

#include <errno.h>
#include <time.h>

#include "policy/units.h"

static _Atomic double speed = 1;
static _Atomic int64_t origin_ns; /* where the kernel's clock and ours agreed; speed != 1 */

static int64_t kernel_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t monotonic_ns(void)
{
    int64_t now = kernel_ns();

    return speed == 1 ? now : origin_ns + (int64_t)((double)(now - origin_ns) * speed);
}

void monotonic_set_speed(double factor)
{
    origin_ns = monotonic_ns();
    speed = factor;
}

void wakeup_init(struct wakeup *w)
{
    pthread_condattr_t attr;

    *w = (struct wakeup){0};
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->cond, &attr);
    pthread_condattr_destroy(&attr);
}

void wakeup_destroy(struct wakeup *w)
{
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->lock);
}

static void wake(struct wakeup *w, bool end)
{
    pthread_mutex_lock(&w->lock);
    w->signalled = true;
    w->ended |= end;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

void wakeup_signal(struct wakeup *w)
{
    wake(w, false);
}

void wakeup_end(struct wakeup *w)
{
    wake(w, true);
}

int wakeup_wait(struct wakeup *w, int64_t until_ns)
{
    struct timespec until;
    int r = 0;

    if (speed != 1)
        until_ns = origin_ns + (int64_t)((double)(until_ns - origin_ns) / speed);
    until = (struct timespec){.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    pthread_mutex_lock(&w->lock);
    while (!w->signalled && r == 0)
        r = pthread_cond_timedwait(&w->cond, &w->lock, &until);
    w->signalled = w->ended;
    r = w->ended ? -ESHUTDOWN : 0;
    pthread_mutex_unlock(&w->lock);
    return r;
}
