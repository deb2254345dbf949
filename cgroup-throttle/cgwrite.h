/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing values of one cgroup. The implementation is the only file that knows libcgroup. */
#ifndef MIGPOLICY_CGWRITE_H
#define MIGPOLICY_CGWRITE_H

#include <stddef.h>

struct cgwrite_value {
    const char *name; /* file in the group, e.g. "cpu.max" */
    const char *text;
};

/*
 * Write count values, in order, to a group of the cpu controller. mount is where the controller is
 * mounted, group the path of the group beneath it, without a leading slash. The first failure ends
 * it: values before that one have been written.
 *
 * Errors: -ENOENT the group is gone, -EACCES, -EPERM or -EROFS no permission, -EINVAL refused by
 * the kernel, -EOPNOTSUPP no cpu controller at that mount, -ENAMETOOLONG, -EIO.
 * Thread-safe.
 */
int cgwrite(const char *mount, const char *group, const struct cgwrite_value *values, size_t count);

#endif
