/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The undo journal: one file per domain, RUN_DIR/undo/UUID.json, there for as long as a quota of
 * that domain may differ from its original. Files are whole or absent. No shared state; one writer
 * per domain at a time.
 */
#ifndef MIGPOLICY_JOURNAL_H
#define MIGPOLICY_JOURNAL_H

#include "cgroup-throttle/vcpugroups.h"

/* Write or replace the journal of a domain; when this returns 0 it survives a crash. */
int journal_save(const char *run_dir, const struct vcpu_groups *groups);

/* -ENOENT: there is none. -EBADMSG: it is not one we can have written, or a symlink. */
int journal_load(const char *run_dir, const char *uuid, struct vcpu_groups **ret_groups);

/* Remove a domain's journal. None there is success. */
int journal_remove(const char *run_dir, const char *uuid);

/*
 * Calls fn for each journal: with error 0 and its content, or with -errno and groups NULL. One
 * that is malformed is renamed to NAME.bad first, or NAME.bad.1 and so on. fn may remove the
 * journal it is called for. No directory is an empty one.
 */
typedef void (*journal_fn)(const char *uuid, int error, const struct vcpu_groups *groups,
                           void *opaque);
int journal_foreach(const char *run_dir, journal_fn fn, void *opaque);

#endif
