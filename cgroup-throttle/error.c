/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cgroup-throttle/throttle.h"

#include <errno.h>
#include <string.h>

const char *throttle_error(int error)
{
    switch (-error) {
    case ENODATA:
        return "its process or its cgroups cannot be seen from here, but may be there";
    case EPROTONOSUPPORT:
        return "its journal is of another version of migpolicyd";
    case EBADMSG:
        return "its journal cannot be understood";
    case EINVAL:
        return "a group above its own now allows less than its original quota; until that changes "
               "it has no quota of its own";
    case EPERM:
        return "it is not permitted; or the directory of the journals is another user's, or others "
               "may write in it, so that nothing in it is believed";
    case ESTALE:
        return "a vCPU thread is not in the group on record any more";
    default:
        return strerror(-error);
    }
}
