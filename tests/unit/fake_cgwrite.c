/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_cgwrite.h"

#include "cgroup-throttle/cgwrite.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

struct fake_cgwrite fake_cgwrite;

static int write_one(const char *mount, const char *group, const struct cgwrite_value *value)
{
    AUTO_FREE char *file = NULL;
    AUTO_CLOSE int fd = -1;

    if (fake_cgwrite.before)
        fake_cgwrite.before();
    fake_cgwrite.writes++;
    if (fake_cgwrite.fail_from && fake_cgwrite.writes >= fake_cgwrite.fail_from &&
        fake_cgwrite.writes <= fake_cgwrite.fail_to)
        return fake_cgwrite.error;
    if (asprintf(&file, "%s/%s/%s", mount, group, value->name) < 0)
        return -ENOMEM;
    fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return dprintf(fd, "%s\n", value->text) < 0 ? -EIO : 0;
}

int cgwrite(const char *mount, const char *group, const struct cgwrite_value *values, size_t count)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = write_one(mount, group, &values[i]);
    return r;
}
