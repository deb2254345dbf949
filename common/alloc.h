/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory, or the end of the process: the one way in which running out of it is handled.
 *
 * Nobody could do anything sensible with such an error, and every path that tried would be one that
 * no test walks. What must survive is on disk before it is needed: the undo journal is written
 * before a quota is, and after any exit systemd has the quotas put back and starts the daemon
 * again.
 */
#ifndef MIGPOLICY_ALLOC_H
#define MIGPOLICY_ALLOC_H

/* Says so on stderr and aborts. */
_Noreturn void alloc_failed(void);

/* Returns p, which is never NULL: alloc_need(strdup(text)). */
void *alloc_need(void *p) __attribute__((returns_nonnull));

/* For what returns a length, or something negative only if there is no memory: asprintf(). */
int alloc_need_length(int length);

#endif
