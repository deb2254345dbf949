/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which VMs a rule is about: by what operators know them by. All that a rule names must fit; of a
 * list, any one text.
 *
 * What the owner of a VM may write (its name in Nova, custom properties in oVirt, whatever an XPath
 * reads) must not get it more than its host allows: a rule that selects by that only narrows,
 * unless it says that the owner is trusted.
 */
#ifndef MIGPOLICY_SELECTOR_H
#define MIGPOLICY_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/virt/description.h"
#include "agent/virt/metadata.h"

struct json_object;

/* X(constant, key, may the owner of the VM write it, description for the schema) */
/* clang-format off */
#define SELECTOR_TABLE(X) \
    X(NAME, "name", false, "patterns for the name of the VM") \
    X(UUID, "uuid", false, "UUIDs of VMs") \
    X(LABEL, "label", false, "labels in the metadata of the VM") \
    X(TITLE, "title", false, "patterns for the title of the domain") \
    X(FLAVOR, "flavor", false, "patterns for Nova's flavor") \
    X(PROJECT, "project", false, "patterns for the name of the project in Nova, or its ID") \
    X(INSTANCE_NAME, "instance_name", true, "patterns for the name of the instance in Nova") \
    X(OVIRT, "ovirt", true, "PATH=PATTERN for an element of oVirt's metadata") \
    X(XPATH, "xpath", true, "XPath expressions, from the element metadata on")
/* clang-format on */

enum selector_kind {
#define X(constant, ...) SELECT_##constant,
    SELECTOR_TABLE(X)
#undef X
        SELECTORS
};

/* All zeroes: every VM. */
struct selector {
    char **text[SELECTORS];                     /* lists, ended by NULL; NULL: not asked for */
    int64_t min_memory_bytes, max_memory_bytes; /* 0: no bound, here and below */
    int64_t min_vcpus, max_vcpus;
    bool trust_owner;
};

/* What is known of a VM. */
struct selector_subject {
    const char *name, *uuid;
    const struct metadata *metadata;
    const struct description *description;
    const struct description_namespace *namespace;
    size_t namespaces;
};

const char *selector_key(enum selector_kind kind);

/*
 * Reads the member of a rule by that key into *selector. Returns 0, -ENOENT (no key of ours), or
 * -EINVAL with what it must be in *ret_expected, borrowed.
 */
int selector_take(struct selector *selector, const char *key, struct json_object *value,
                  const struct description_namespace *namespace, size_t namespaces,
                  const char **ret_expected);

void selector_clear(struct selector *selector);

bool selector_is_empty(const struct selector *selector);

/* Does it select by what the owner may write, without trusting it? */
bool selector_narrows(const struct selector *selector);

/* Does it select that VM? By what goes to `by`, cut to size: "flavor m1.*, project shop". */
bool selector_selects(const struct selector *selector, const struct selector_subject *subject,
                      char *by, size_t size);

#endif
