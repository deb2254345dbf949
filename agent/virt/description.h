/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What operators know a domain by, from the XML that libvirt describes it with: its size, its
 * title, what Nova writes into its metadata (namespaces 1.0 and 1.1) and what oVirt does.
 *
 * Pure, but for memory. Not thread-safe: one user of a struct description at a time.
 */
#ifndef MIGPOLICY_DESCRIPTION_H
#define MIGPOLICY_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum description_text {
    DESCRIPTION_TITLE,
    DESCRIPTION_FLAVOR,        /* Nova's */
    DESCRIPTION_PROJECT,       /* its name */
    DESCRIPTION_PROJECT_UUID,  /* as Keystone has it */
    DESCRIPTION_INSTANCE_NAME, /* Nova's display name; the VM's owner may write it */
    DESCRIPTION_TEXTS,
};

/* All zeroes: nothing is known. */
struct description {
    uint64_t memory_bytes;         /* the most it may have; 0: unknown */
    unsigned vcpus;                /* the most it may have; 0: unknown */
    char *text[DESCRIPTION_TEXTS]; /* NULL: not told */
    char *metadata;                /* the element, as XML; NULL: none */
};

struct description_namespace {
    char *prefix;
    char *uri;
};

/*
 * Reads the XML of a domain; NULL: there is none, and nothing is known. Returns 0, or -EINVAL (not
 * a domain's), -E2BIG (its metadata is larger than 64 KiB) with *ret untouched. Free what it holds
 * with description_clear().
 */
int description_parse(const char *xml, struct description *ret);
void description_clear(struct description *d);
bool description_equal(const struct description *a, const struct description *b);

/*
 * Does an element of oVirt's metadata, named by its path below ovirt-vm:vm ("custom/tier"), have a
 * text that fits the pattern? `test` is "PATH=PATTERN".
 */
bool description_has_ovirt(const struct description *d, const char *test);

/*
 * XPath, with the element metadata as the context: is it true (of sets: not empty)? An expression
 * that fails, or takes a million steps, is not. description_check_xpath() returns NULL if it is one
 * and all its prefixes are declared, else why not.
 */
bool description_fits_xpath(const struct description *d, const char *xpath,
                            const struct description_namespace *namespace, size_t namespaces);
const char *description_check_xpath(const char *xpath,
                                    const struct description_namespace *namespace,
                                    size_t namespaces);

#endif
