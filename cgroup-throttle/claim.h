/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may write the quotas of a domain: an open throttle, or whoever restores it from its journal.
 * One at a time in this process; other processes are kept off by the lock of the run directory.
 * Thread-safe.
 */
#ifndef MIGPOLICY_CLAIM_H
#define MIGPOLICY_CLAIM_H

#include "cgroup-throttle/vcpugroups.h"

#include <stdbool.h>

/* The caller's from claim_take() to claim_drop(). All zeroes: none. */
struct claim {
    struct claim *next;
    char uuid[UUID_TEXT_LEN + 1]; /* "": none */
};

/* Waits up to wait_s seconds while another has the domain. uuid is a valid one. 0 or -EBUSY. */
int claim_take(struct claim *claim, const char *uuid, unsigned int wait_s);

/* Harmless without a claim. */
void claim_drop(struct claim *claim);

/* Has anybody a claim on it? */
bool claim_is_taken(const char *uuid);

#endif
