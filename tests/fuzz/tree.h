/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory for one fuzzer process: input reaches the code under test as the files it reads. */
#ifndef MIGPOLICY_FUZZ_TREE_H
#define MIGPOLICY_FUZZ_TREE_H

#include <stddef.h>

/* The directory, made in TMPDIR at the first call. Whoever set TMPDIR removes it. */
const char *tree(void);

/* Replaces tree()/NAME. Directories on the way are made. */
void tree_put(const char *name, const void *data, size_t size);

#endif
