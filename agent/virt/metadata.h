/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy that a domain carries in its own metadata, and takes along when it migrates:
 *
 *   <migpolicy:policy xmlns:migpolicy="urn:migpolicy:policy:1" label="db tier-1" min_cpu="50%"/>
 *
 * One empty element. Its attributes are the keys and values of migpolicyd.json(5), and `label`:
 * words that the configuration's rules may ask for. Whoever may define a domain may write it, so it
 * is read strictly; what cannot be understood allows nothing (mode observe).
 */
#ifndef MIGPOLICY_METADATA_H
#define MIGPOLICY_METADATA_H

#include <stdbool.h>
#include <stddef.h>

#include "policy/policy.h"

#define METADATA_KEY "migpolicy"
#define METADATA_URI "urn:migpolicy:policy:1"

enum { METADATA_XML_MAX = 16 * 1024, METADATA_LABELS_MAX = 256 };

struct metadata {
    char labels[METADATA_LABELS_MAX]; /* separated by one space each */
    struct policy_layer layer;
    char error[160]; /* why it cannot be understood, printable; "": it can */
};

/* Reads the element; NULL: the domain has none. */
void metadata_parse(const char *xml, struct metadata *ret);

/* As for an element that cannot be understood, for this reason. */
void metadata_refuse(const char *why, struct metadata *ret);

/* Writes the element, which the caller frees. *ret is NULL if there is nothing to write. */
int metadata_format(const struct metadata *metadata, char **ret);

/* Replaces the labels by the words of a text. -EINVAL, and nothing changes, if one is no label. */
int metadata_set_labels(struct metadata *metadata, const char *text);

bool metadata_equal(const struct metadata *a, const struct metadata *b);

bool metadata_has_label(const struct metadata *metadata, const char *label);

#endif
