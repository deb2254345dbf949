/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading the files of STATE_DIR that say what holds for VMs: a JSON object with its version. */
#ifndef MIGPOLICY_STORE_H
#define MIGPOLICY_STORE_H

#include <stddef.h>

#include "common/error.h"

enum { STORE_SCHEMA_VERSION = 1 };

struct json_object;

/*
 * Reads a file below the directory. Returns 0 and the object, which the caller puts; or -errno with
 * *ret_err set: what textfile_read() has, -EINVAL, -E2BIG (contents, or another version).
 */
int store_load(int dirfd, const char *name, size_t max_bytes, struct json_object **ret,
               struct error *ret_err);

#endif
