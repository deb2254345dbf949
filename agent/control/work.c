/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/control/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "agent/virt/loop.h"

/* How long the end waits for a work to be done. */
enum { END_WAIT_MS = 1000 };

static void *work_main(void *arg)
{
    struct control_work *w = arg;

    w->run(w);
    if (write(w->done_fd, &w, sizeof(w)) != sizeof(w))
        return NULL; /* the daemon is ending */
    return NULL;
}

static void on_done(int fd, unsigned events, void *opaque)
{
    struct control *c = opaque;
    struct control_work *w;

    (void)events;
    if (read(fd, &w, sizeof(w)) != sizeof(w))
        return;
    pthread_join(w->thread, NULL); /* all it has left to do is to end */
    c->works--;
    w->done(w);
}

int control_work_start(struct control *c, struct control_work *w)
{
    int r;

    w->done_fd = c->done[1];
    r = pthread_create(&w->thread, NULL, work_main, w);
    if (r != 0)
        return -r;
    pthread_setname_np(w->thread, "work");
    c->works++;
    return 0;
}

int control_work_init(struct control *c)
{
    if (pipe2(c->done, O_CLOEXEC) < 0)
        return -errno;
    c->done_watch = loop_add_fd(c->done[0], POLLIN, on_done, c);
    return c->done_watch < 0 ? c->done_watch : 0;
}

bool control_work_end(struct control *c)
{
    struct pollfd done = {.fd = c->done[0], .events = POLLIN};

    if (c->done_watch >= 0)
        loop_remove_fd(c->done_watch);
    while (c->works > 0 && poll(&done, 1, END_WAIT_MS) > 0)
        on_done(c->done[0], POLLIN, c);
    /* A thread that still hangs will write to it. */
    for (unsigned i = 0; i < 2 && c->works == 0; i++) {
        if (c->done[i] >= 0)
            close(c->done[i]);
    }
    return c->works == 0;
}
