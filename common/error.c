/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common/error.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>

int error_set_list(struct error *err, int error, const char *format, va_list args)
{
    if (!err)
        return error;
    vsnprintf(err->text, sizeof(err->text), format, args);
    for (char *c = err->text; *c; c++) {
        if (iscntrl((unsigned char)*c))
            *c = '?';
    }
    err->where[0] = '\0';
    err->line = err->column = 0;
    return error;
}

int error_set(struct error *err, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_set_list(err, error, format, args);
    va_end(args);
    return error;
}
