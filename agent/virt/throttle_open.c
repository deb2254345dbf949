/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/virt/throttle_open.h"

#include <errno.h>
#include <stdio.h>

#include "common/alloc.h"
#include "common/cleanup.h"
#include "common/textfile.h"

/* libvirt's pid file first: during a migration within one host /proc shows two such processes. */
static int find_pid(const struct throttle_place *place, const struct hv_domain *domain, pid_t *ret)
{
    char *text AUTO_FREE = NULL;
    char *path AUTO_FREE = NULL;
    long pid;

    alloc_need_length(asprintf(&path, "%s/%s.pid", place->qemu_run_dir, domain->name));
    if (textfile_read(-1, path, 64, &text, NULL) == 0) {
        pid = strtol(text, NULL, 10);
        if (pid > 1) {
            *ret = (pid_t)pid;
            return 0;
        }
    }
    return throttle_find_pid(&place->roots, domain->uuid, ret);
}

int virt_throttle_open(const struct throttle_place *place, const struct hv_domain *domain,
                       struct throttle **ret)
{
    pid_t pid = 0;
    int r = find_pid(place, domain, &pid);

    return r < 0 ? r : throttle_open(&place->roots, domain->uuid, domain->name, pid, ret);
}
