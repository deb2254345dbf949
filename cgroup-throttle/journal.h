/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The undo journal: one file per domain, RUN_DIR/undo/UUID.json, there for as long as a quota of
 * that domain may differ from its original. Files are whole or absent. No shared state; one writer
 * per domain at a time.
 *
 * One that cannot be read stays where it is: it is the only trace of what may be left to undo.
 * Agents of other versions read each other's: a field that is added is optional when read, unknown
 * ones are passed over. The version of the format changes only when an older agent would undo
 * wrongly what it reads; the version before must still be read then.
 */
#ifndef MIGPOLICY_JOURNAL_H
#define MIGPOLICY_JOURNAL_H

#include "cgroup-throttle/vcpugroups.h"

#include <time.h>

/*
 * Write or replace the journal of a domain; when this returns 0 it survives a crash. -EBADMSG:
 * journal_load() could not read it again, so it is not written.
 */
int journal_save(const char *run_dir, const struct vcpu_groups *groups);

/* -ENOENT: there is none. -EBADMSG: it is not one we can have written, or a symlink.
 * -EPROTONOSUPPORT: it is of another version. */
int journal_load(const char *run_dir, const char *uuid, struct vcpu_groups **ret_groups);

/* Remove a domain's journal. None there is success. */
int journal_remove(const char *run_dir, const char *uuid);

/*
 * Calls fn for each journal, whatever is in it, with what should be the UUID of a domain. fn may
 * remove that journal. No directory is an empty one. -EPERM: it is another user's, or others may
 * write in it, so nothing in it is believed.
 */
typedef void (*journal_fn)(const char *uuid, void *opaque);
int journal_list(const char *run_dir, journal_fn fn, void *opaque);

/* Removes what was being written when an agent died. Nobody must be writing a journal. */
void journal_sweep(const char *run_dir);

/* When it was last written, by the system's clock. Returns 0 or -errno. */
int journal_written(const char *run_dir, const char *uuid, struct timespec *ret);

#endif
