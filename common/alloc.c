/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void alloc_failed(void)
{
    dprintf(2, "%s: out of memory\n", program_invocation_short_name);
    abort();
}

void *alloc_need(void *p)
{
    if (!p)
        alloc_failed();
    return p;
}

int alloc_need_length(int length)
{
    if (length < 0)
        alloc_failed();
    return length;
}
