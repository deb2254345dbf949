/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/virt/loop.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <stdlib.h>

#include "common/alloc.h"

/* libvirt prints every error to stderr unless told otherwise; we report what matters ourselves. */
static void quiet(void *opaque, virErrorPtr error)
{
    (void)opaque;
    (void)error;
}

int loop_init(void)
{
    virSetErrorFunc(NULL, quiet);
    return virEventRegisterDefaultImpl() < 0 ? -EIO : 0;
}

struct fd_watch {
    loop_fd_fn fn;
    void *opaque;
};

struct timer {
    loop_timer_fn fn;
    void *opaque;
};

static const struct {
    unsigned poll;
    int vir;
} event_bits[] = {
    {POLLIN, VIR_EVENT_HANDLE_READABLE},
    {POLLOUT, VIR_EVENT_HANDLE_WRITABLE},
    {POLLERR, VIR_EVENT_HANDLE_ERROR},
    {POLLHUP, VIR_EVENT_HANDLE_HANGUP},
};

static int to_vir(unsigned events)
{
    int bits = 0;

    for (size_t i = 0; i < sizeof(event_bits) / sizeof(event_bits[0]); i++)
        bits |= events & event_bits[i].poll ? event_bits[i].vir : 0;
    return bits;
}

static void on_fd(int watch, int fd, int bits, void *opaque)
{
    struct fd_watch *w = opaque;
    unsigned events = 0;

    (void)watch;
    for (size_t i = 0; i < sizeof(event_bits) / sizeof(event_bits[0]); i++)
        events |= bits & event_bits[i].vir ? event_bits[i].poll : 0;
    w->fn(fd, events, w->opaque);
}

int loop_add_fd(int fd, unsigned events, loop_fd_fn fn, void *opaque)
{
    struct fd_watch *w = alloc_need(malloc(sizeof(*w)));
    int watch;

    *w = (struct fd_watch){.fn = fn, .opaque = opaque};
    watch = virEventAddHandle(fd, to_vir(events), on_fd, w, free);
    if (watch < 0) {
        free(w);
        return -EIO;
    }
    return watch;
}

void loop_update_fd(int watch, unsigned events)
{
    virEventUpdateHandle(watch, to_vir(events));
}

void loop_remove_fd(int watch)
{
    virEventRemoveHandle(watch);
}

static void on_timer(int timer, void *opaque)
{
    struct timer *t = opaque;

    (void)timer;
    t->fn(t->opaque);
}

int loop_add_timer(int interval_ms, loop_timer_fn fn, void *opaque)
{
    struct timer *t = alloc_need(malloc(sizeof(*t)));
    int timer;

    *t = (struct timer){.fn = fn, .opaque = opaque};
    timer = virEventAddTimeout(interval_ms, on_timer, t, free);
    if (timer < 0) {
        free(t);
        return -EIO;
    }
    return timer;
}

int loop_run_once(void)
{
    return virEventRunDefaultImpl() < 0 ? -EIO : 0;
}
