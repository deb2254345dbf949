/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int ok)
{
    if (!ok)
        abort();
}

const char *tree(void)
{
    static char dir[256];

    if (!dir[0]) {
        check(getenv("TMPDIR") != NULL);
        check(snprintf(dir, sizeof(dir), "%s/tree-XXXXXX", getenv("TMPDIR")) < (int)sizeof(dir));
        check(mkdtemp(dir) != NULL);
    }
    return dir;
}

void tree_put(const char *name, const void *data, size_t size)
{
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", tree(), name);
    for (char *slash = strchr(path + strlen(tree()) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        check(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}
