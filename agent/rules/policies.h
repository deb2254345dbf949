/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All policies of this host: the configuration's rules and the overrides of `migpolicy set`, merged
 * for one VM on demand. Overrides are keyed by UUID.
 *
 * Thread-safe.
 */
#ifndef MIGPOLICY_POLICIES_H
#define MIGPOLICY_POLICIES_H

#include <stddef.h>

#include "agent/rules/config.h"
#include "agent/rules/overrides.h"
#include "agent/rules/paused.h"
#include "agent/virt/description.h"
#include "agent/virt/hypervisor.h"
#include "agent/virt/metadata.h"
#include "policy/policy.h"

struct policies;

/*
 * Takes over *config (which is cleared) and reads the stored overrides, as overrides_load() has it.
 * A VM whose entry cannot be read is observed only, until policies_set(), policies_unset() or
 * policies_apply() has changed what is stored for it. Returns 0 or -errno.
 */
int policies_new(struct config *config, const char *state_dir, struct paused *paused,
                 struct policies **ret, struct error *ret_warning);
void policies_free(struct policies *p);

/* Replaces the configuration; takes over *config, which is cleared. */
void policies_reload(struct policies *p, struct config *config);

/*
 * Reads a domain's own metadata, the XML element or NULL; or notes that it could not be read. What
 * is wrong with it is logged once. policies_set_metadata() takes it as it was read, copied; it
 * returns true if that is news. policies_set_description() takes over what *d holds, which is
 * emptied. policies_forget_domain(): it is not on this host any more.
 */
void policies_learn_metadata(struct policies *p, const char *uuid, int error, const char *xml);
bool policies_set_metadata(struct policies *p, const char *uuid, const struct metadata *metadata);
void policies_set_description(struct policies *p, const char *uuid, struct description *d);
void policies_forget_domain(struct policies *p, const char *uuid);

/* What was set last; nothing if nothing was. */
void policies_get_metadata(struct policies *p, const char *uuid, struct metadata *ret);

/*
 * The effective policy of a VM: the layers of the configuration, its metadata where that is
 * trusted, and its overrides, one over the other; then narrowed by the rules that select by what
 * its owner may write (selector.h), and by its metadata where that is not trusted.
 */
void policies_resolve(struct policies *p, const char *name, const char *uuid, struct policy *ret);

/* A policy kept by somebody who asks for it again and again. All zeroes at first. */
struct policy_kept {
    struct policy policy;
    uint64_t version;
    int64_t resolved_s;
};

/*
 * Brings what is kept up to date: resolved anew if anything has changed, and each second, since
 * that is what overrides end at.
 */
void policies_refresh(struct policies *p, const char *name, const char *uuid,
                      struct policy_kept *kept);

/*
 * Lays the fields of `layer` over the VM's override of this kind, or takes the fields of the bit
 * set `fields` out of all its overrides, and stores the result before it takes effect. The fields
 * end at `expires_s` of the wall clock, unless that is 0; they are gone at the first look after it.
 * `who` goes into the record as the source. With ret_after (may be NULL) nothing is changed, and it
 * is what would be in effect. uuid "": for any VM of that name, be it here or not; policies_unset()
 * takes out what there is for the VM's name, too. Returns 0 or -errno (nothing changed then).
 */
int policies_set(struct policies *p, enum policies_kind kind, const char *name, const char *uuid,
                 const struct policy_layer *layer, int64_t expires_s, const char *who,
                 struct policy *ret_after);
int policies_unset(struct policies *p, const char *name, const char *uuid, unsigned fields);

/* When that field ends by itself, RFC 3339, borrowed from its source; NULL: it does not. */
const char *policies_until(const struct policy *policy, enum policy_field field);

/* One VM's part of policies_apply(). */
struct policies_change {
    struct hv_domain domain;
    struct policy_layer layer;
    int64_t expires_s;           /* as in policies_set() */
    struct policy before, after; /* in effect */
};

/*
 * Makes each layer all of its VM's stored override, or of the one that expires, all at once or
 * none; if dry_run, only finds out what would come of it. No VM may be in there twice. Returns 0 or
 * -errno (nothing changed then).
 */
int policies_apply(struct policies *p, struct policies_change *change, size_t count,
                   const char *who, bool dry_run);

/* All overrides, an array of the type StoredOverride of io.migpolicy but for `here`. */
struct json_object *policies_list(struct policies *p);

/* How many entries of the store could not be read and have not been dealt with. */
size_t policies_unread(struct policies *p);

/* For how long a VM may be gone from the host before its overrides are dropped. */
enum { POLICIES_GONE_DAYS = 90 };

/*
 * Tells which domains there are on this host, sorted: overrides of VMs that are gone are dropped in
 * the end, but for those that could not be read.
 */
void policies_note_domains(struct policies *p, char (*uuid)[HV_UUID_MAX], size_t count);

/*
 * The UUID of an override by the name or UUID of its VM, for VMs that are not here; "" if it is for
 * any VM of that name. -ENOENT.
 */
int policies_find(struct policies *p, const char *name, char *ret_uuid, size_t size);

/* How many rules and overrides there are, and domains with a policy in their metadata. */
void policies_count(struct policies *p, size_t *ret_rules, size_t *ret_overrides,
                    size_t *ret_metadata);

#endif
