/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup-throttle/cgwrite.h"

#include "common/alloc.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* libcgroup keeps one table of mounts and one "last errno" for the process. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;
static bool library_ready;

static void free_group(struct cgroup **group)
{
    if (*group)
        cgroup_free(group);
}

/* libcgroup writes below the mount it found by itself: that must be the one the caller means. */
static int check_mount(const char *mount)
{
    AUTO_FREE char *found = NULL;

    if (!library_ready && cgroup_init() != 0)
        return -EOPNOTSUPP;
    library_ready = true;
    if (cgroup_get_subsys_mount_point("cpu", &found) != 0 || strcmp(found, mount) != 0)
        return -EOPNOTSUPP;
    return 0;
}

/* One libcgroup code covers whatever keeps a file from being opened, so ask the files. */
static int find_cause(int code, const char *mount, const char *group,
                      const struct cgwrite_value *values, size_t count)
{
    if (code == ECGOTHER)
        return cgroup_get_last_errno() > 0 ? -cgroup_get_last_errno() : -EIO;
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *file = NULL;
        AUTO_CLOSE int fd = -1;

        alloc_need_length(asprintf(&file, "%s/%s/%s", mount, group, values[i].name));
        fd = open(file, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return -errno;
    }
    return -EIO;
}

static int write_locked(const char *mount, const char *group, const struct cgwrite_value *values,
                        size_t count)
{
    CLEANUP(free_group) struct cgroup *g = NULL;
    struct cgroup_controller *cpu;
    int r;

    r = check_mount(mount);
    if (r < 0)
        return r;
    g = alloc_need(cgroup_new_cgroup(group));
    cpu = alloc_need(cgroup_add_controller(g, "cpu"));
    for (size_t i = 0; i < count; i++)
        if (cgroup_add_value_string(cpu, values[i].name, values[i].text) != 0)
            alloc_failed();
    r = cgroup_modify_cgroup(g);
    return r ? find_cause(r, mount, group, values, count) : 0;
}

int cgwrite(const char *mount, const char *group, const struct cgwrite_value *values, size_t count)
{
    int r;

    /* libcgroup silently cuts what is longer, and would write to another file. */
    for (size_t i = 0; i < count; i++)
        if (strlen(mount) + strlen(group) + strlen(values[i].name) + 4 > FILENAME_MAX)
            return -ENAMETOOLONG;
    pthread_mutex_lock(&library_lock);
    r = write_locked(mount, group, values, count);
    pthread_mutex_unlock(&library_lock);
    return r;
}
