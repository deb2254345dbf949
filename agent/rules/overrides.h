/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The overrides of `migpolicy set` as they are kept, in memory and in STATE_DIR/overrides.json,
 * which is whole or absent and is only ever replaced atomically. What they come to is policies.c's.
 *
 * What cannot be read must not be forgotten, for it may have been a restriction. An entry that
 * cannot is kept as it is and written back with the others. If the file as a whole cannot be read,
 * nobody knows whom it was about: the host is paused.
 *
 * Not thread-safe.
 */
#ifndef MIGPOLICY_OVERRIDES_H
#define MIGPOLICY_OVERRIDES_H

#include <stddef.h>

#include "agent/rules/config.h"
#include "agent/rules/paused.h"
#include "policy/policy.h"

enum { OVERRIDES_UUID_SIZE = 37 };

/* The overrides a VM may have, each laid over the one before. */
enum policies_kind {
    POLICIES_STORED,   /* on disk */
    POLICIES_EXPIRING, /* on disk; each field has an end, on the wall clock */
    POLICIES_RUNTIME,  /* in memory; a field may have an end */
    POLICIES_KINDS,
};

struct json_object;

/* One without a UUID is for any VM of that name, expected before it is here. */
struct override {
    char uuid[OVERRIDES_UUID_SIZE];
    enum policies_kind kind;
    char *name;
    char who[POLICY_SOURCE_MAX];
    struct policy_layer layer;
    int64_t expires_s[POLICY_FIELDS]; /* 0: never */
    int64_t gone_since_s;             /* of the wall clock: its VM is not on this host; 0: it is */
    struct json_object *unread;       /* as it is stored, since it could not be read; else NULL */
};

struct overrides {
    int state_dir; /* a descriptor */
    size_t count;
    struct override *override;
};

/*
 * Reads what is stored into an empty list. A file that cannot be read as a whole pauses the host,
 * is renamed to overrides.json.bad (.bad.1, ...) and reported through *ret_warning, "" if all is
 * well; dir is what to call the directory. Returns 0 or -errno.
 */
int overrides_load(struct overrides *o, const char *dir, struct paused *paused,
                   struct error *ret_warning);

/* Stores what belongs on disk. Returns 0 or -errno; -EFBIG: overrides_load() would not read it. */
int overrides_save(const struct overrides *o);

/* Adds an empty one; pointers to others are not valid any more. */
struct override *overrides_add(struct overrides *o, enum policies_kind kind, const char *uuid,
                               const char *name);

/* As the type StoredOverride of io.migpolicy; the caller's. */
struct json_object *overrides_describe(const struct override *o);

/* The last one takes its place. */
void overrides_drop(struct overrides *o, struct override *dropped);

#endif
