/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds a domain's vCPUs back as an agent does, says so, and waits to be killed. */
#include "cgroup-throttle/throttle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct throttle_roots roots = {.proc = "/proc"};
    struct throttle *t = NULL;
    pid_t pid;
    int r;

    if (argc != 3) {
        fprintf(stderr, "usage: throttle-until-killed RUN_DIR UUID\n");
        return 2;
    }
    roots.run_dir = argv[1];
    r = throttle_find_pid(&roots, argv[2], &pid);
    if (r == 0)
        r = throttle_open(&roots, argv[2], "vm1", pid, &t);
    if (r == 0)
        r = throttle_set(t, 0.2, 10000);
    if (r < 0) {
        fprintf(stderr, "cannot throttle: %s\n", strerror(-r));
        return 1;
    }
    puts("throttled");
    fflush(stdout);
    for (;;)
        pause();
}
