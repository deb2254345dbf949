/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strict reading of JSON (RFC 8259). json-c forgives too much even in its strict mode, and what it
 * forgives an administrator did not mean: a key given twice, a number that does not fit, a comment.
 * Text is therefore checked here first, and only then handed to json-c.
 *
 * Refused on top of what the grammar refuses: duplicate keys (compared after unescaping), integers
 * outside int64_t, numbers whose magnitude overflows a double, \u0000, lone surrogates, invalid
 * UTF-8, a byte order mark, nesting beyond JSON_STRICT_MAX_DEPTH, text beyond
 * JSON_STRICT_MAX_BYTES.
 *
 * All functions are pure and may be called from any thread.
 */
#ifndef MIGPOLICY_JSON_STRICT_H
#define MIGPOLICY_JSON_STRICT_H

#include <stddef.h>

#include "common/error.h"

#define JSON_STRICT_MAX_DEPTH 32
#define JSON_STRICT_MAX_BYTES ((size_t)4 * 1024 * 1024)

struct json_object;

/*
 * Parses the len bytes at text (no NUL terminator needed), which must hold exactly one JSON value.
 * A caller with a tighter bound than JSON_STRICT_MAX_BYTES checks len itself.
 *
 * *ret receives a reference the caller releases with json_object_put(); it is NULL for the document
 * "null". Returns 0; -EINVAL (refused), -E2BIG (too long or too deep).
 *
 * ret_err may be NULL. It is told line, column and, as an RFC 6901 pointer, where; in the pointer,
 * which ends in "..." if it is cut, control characters and backslashes are written as in JSON. All
 * of it is valid UTF-8 without control or text-direction characters, so it can be put into one line
 * of a log or terminal.
 */
int json_strict_parse(const char *text, size_t len, struct json_object **ret,
                      struct error *ret_err);

/*
 * The line (from 1) on which the value at an RFC 6901 pointer begins, for errors of meaning found
 * after parsing. pointer is the plain form ("" = whole document, "~0" and "~1" escapes, no others),
 * not the printable one of struct error. Returns 0 if there is no such value before the end or
 * before the first error of the text.
 */
int json_strict_line(const char *text, size_t len, const char *pointer);

#endif
