/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors kept aside, so that quotas can be restored when the process, or the machine, has none
 * left. Of the whole process. Thread-safe.
 */
#ifndef MIGPOLICY_SPARE_H
#define MIGPOLICY_SPARE_H

#include <stdbool.h>

/* Keep them, as far as there are any to be had. */
void spare_keep(void);

/* Was it descriptors that r, a result, was for the want of? Then the spare ones are given up:
 * try again, and spare_keep(). */
bool spare_use(int r);

#endif
