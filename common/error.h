/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is wrong, said for the person who has to put it right: the one way in which a function tells
 * more than an errno.
 *
 * A function that can say more takes `struct error *ret_err` last. It returns -errno as all others
 * do, and then *ret_err is set; it is not touched on success. A function that goes on after trouble
 * has `ret_warning` instead, whose text is "" where there was none.
 *
 * Who reads a text without knowing whose it is sets `line` and `where`, and `text` is the bare
 * reason. Who knows the file says all of it in the text, "FILE:LINE: WHERE: reason", once: what is
 * above hands it on, or puts in front what it adds.
 */
#ifndef MIGPOLICY_ERROR_H
#define MIGPOLICY_ERROR_H

#include <stdarg.h>

struct error {
    char text[512];  /* one line without control characters, cut to fit; never empty when set */
    char where[256]; /* the part of what was read: a JSON pointer, a field; "": all of it */
    unsigned line;   /* of what was read, from 1; 0: not known */
    unsigned column; /* from 1, in characters; 0: not known */
};

/*
 * Sets the text; the place becomes unknown. Returns `error`, a negative errno, or 0 for a warning:
 * `return error_set(ret_err, -EINVAL, ...)`. err may be NULL; its own text is no argument.
 * Pure; thread-safe.
 */
__attribute__((format(printf, 3, 4))) int error_set(struct error *err, int error,
                                                    const char *format, ...);
__attribute__((format(printf, 3, 0))) int error_set_list(struct error *err, int error,
                                                         const char *format, va_list args);

#endif
