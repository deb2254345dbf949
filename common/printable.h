/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text from outside on its way to a terminal: names of VMs and messages of others may hold what a
 * terminal obeys (C0 and C1 controls) or what reorders and hides the text around it (bidirectional
 * controls, characters without a shape). Thread-safe.
 */
#ifndef MIGPOLICY_PRINTABLE_H
#define MIGPOLICY_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one UTF-8 sequence; returns its length or 0 if it is not well formed (RFC 3629). */
size_t printable_decode(const char *text, size_t len, uint32_t *ret_code);

/* Is that character, of Unicode, safe to show? */
bool printable_is(uint32_t character);

/* Puts a '?' for each character that is not, and for each byte that is no UTF-8. */
void printable_replace(char *text);

/*
 * The JSON document `text` with the characters that are not, which can only be in its strings, as
 * \u escapes: it means the same. The caller frees it. ret_len may be NULL.
 */
char *printable_json(const char *text, size_t len, size_t *ret_len);

#endif
