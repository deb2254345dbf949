/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kill switch: which VMs, or whether the whole host, an administrator has paused. What is
 * paused is still watched and judged, and nothing is done about it; a throttle is released at once.
 *
 * Kept in STATE_DIR/paused.json, which is whole or absent and only ever replaced atomically. Doubt
 * means paused: a file that cannot be read pauses the host, and what cannot be stored is paused
 * nevertheless, for as long as the daemon runs.
 *
 * Thread-safe.
 */
#ifndef MIGPOLICY_PAUSED_H
#define MIGPOLICY_PAUSED_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "policy/policy.h"

enum { PAUSED_WHO_MAX = 64 };

struct paused;

/*
 * Reads what is stored. A file that makes no sense is renamed to paused.json.bad (.bad.1, ...),
 * reported through *ret_warning ("" if all is well), and the host is paused. Returns 0 or -errno.
 */
int paused_new(const char *state_dir, struct paused **ret, struct error *ret_warning);
void paused_free(struct paused *p);

/*
 * Pauses a VM, or the host (uuid NULL), in the name of `who`. Returns 0, or -errno when it is
 * paused but could not be stored, and so will not be after a restart.
 */
int paused_set(struct paused *p, const char *uuid, const char *who);

/*
 * The same for the end of it. A VM is still paused while its host is. Returns 0 (also if it was not
 * paused), or -errno when that could not be stored: it is paused still then.
 */
int paused_unset(struct paused *p, const char *uuid);

/* Whether that VM itself, or the host (uuid NULL), is paused, and by whom (ret_who may be NULL). */
bool paused_is(struct paused *p, const char *uuid, char ret_who[PAUSED_WHO_MAX]);

/* Pauses the host because a file of that name could not be read, until somebody resumes it. */
int paused_in_doubt(struct paused *p, const char *file);

/* Whether that, and nobody, is who has paused it. */
bool paused_by_doubt(const char *who);

/* How many VMs are paused by themselves. */
size_t paused_count(struct paused *p);

/* If the VM or its host is paused: mode observe, by whom. Returns whether it is. */
bool paused_overlay(struct paused *p, const char *uuid, struct policy *policy);

#endif
