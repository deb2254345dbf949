/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup-throttle/spare.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

/* A restore has at most three open at once, and libcgroup one more. */
enum { SPARES = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int spare[SPARES]; /* 0: none */

void spare_keep(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SPARES; i++) {
        if (spare[i] == 0)
            spare[i] = open("/", O_PATH | O_CLOEXEC);
        if (spare[i] < 0)
            spare[i] = 0;
    }
    pthread_mutex_unlock(&lock);
}

bool spare_use(int r)
{
    if (r != -EMFILE && r != -ENFILE)
        return false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SPARES; i++) {
        if (spare[i] > 0)
            close(spare[i]);
        spare[i] = 0;
    }
    pthread_mutex_unlock(&lock);
    return true;
}
