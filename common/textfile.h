/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small text files: reading /proc, cgroup values, journals; replacing state files whole. */
#ifndef MIGPOLICY_TEXTFILE_H
#define MIGPOLICY_TEXTFILE_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Read the whole of a regular file into a NUL-terminated buffer the caller frees. dirfd and path as
 * in openat(2); a symlink as the last component is refused (-ELOOP), so is anything but a regular
 * file (-EINVAL) and a file of more than max_bytes (-EFBIG). ret_len may be NULL.
 */
int textfile_read(int dirfd, const char *path, size_t max_bytes, char **ret_text, size_t *ret_len);

/*
 * Put text in the place of a file, whole or not at all: NAME.tmp is written, synced and renamed,
 * and the directory is synced. NAME.tmp must not be in use by anybody else. Returns 0 or -errno;
 * the old file is untouched then, unless only the last sync failed.
 */
int textfile_replace(int dirfd, const char *name, mode_t mode, const char *text);

/* Append text to a file, all of it or nothing. fd must be writable. Returns 0 or -errno. */
int textfile_append(int fd, const char *text, size_t len);

/*
 * Rename a file that cannot be understood to NAME.bad, or NAME.bad.1 and so on if that is taken;
 * the new name is stored. Returns 0 or -errno (-EEXIST: too many of them).
 */
int textfile_set_aside(int dirfd, const char *name, char ret_name[static NAME_MAX + 1]);

#endif
