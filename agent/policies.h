/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All policies of this host: the configuration's rules and the overrides stored by `migpolicy set`,
 * merged for one VM on demand. Overrides are keyed by UUID and kept in STATE_DIR/overrides.json,
 * which is whole or absent and is only ever replaced atomically.
 *
 * Thread-safe.
 */
#ifndef MIGPOLICY_POLICIES_H
#define MIGPOLICY_POLICIES_H

#include <stddef.h>

#include "agent/config.h"
#include "policy/policy.h"

struct policies;

/*
 * Takes over *config (which is cleared) and reads the stored overrides. An unreadable store is
 * renamed to overrides.json.bad (.bad.1, ...) and reported through *ret_warning (static size, "" if
 * all is well); the daemon then starts without overrides. Returns 0 or -errno.
 */
int policies_new(struct config *config, const char *state_dir, struct policies **ret,
                 struct config_error *ret_warning);
void policies_free(struct policies *p);

/* Replaces the configuration; takes over *config, which is cleared. */
void policies_reload(struct policies *p, struct config *config);

/* The effective policy of a VM. */
void policies_resolve(struct policies *p, const char *name, const char *uuid, struct policy *ret);

/*
 * Lays the fields of `layer` over the VM's stored override, or takes the fields of the bit set
 * `fields` out of it, and stores the result before it takes effect. `who` goes into the record as
 * the source. Returns 0 or -errno (nothing changed then).
 */
int policies_set(struct policies *p, const char *name, const char *uuid,
                 const struct policy_layer *layer, const char *who);
int policies_unset(struct policies *p, const char *uuid, unsigned fields);

/* The UUID of a stored override by VM name, for VMs that are gone. -ENOENT. */
int policies_find(struct policies *p, const char *name, char *ret_uuid, size_t size);

/* How many rules and overrides there are. */
void policies_count(struct policies *p, size_t *ret_rules, size_t *ret_overrides);

#endif
