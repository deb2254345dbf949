/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/log.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static bool to_journal;

void log_init(void)
{
    to_journal = getenv("JOURNAL_STREAM") != NULL;
}

void log_at(int priority, const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *c = line; *c; c++) {
        if (iscntrl((unsigned char)*c))
            *c = '?';
    }
    if (to_journal)
        fprintf(stderr, "<%d>%s\n", priority, line);
    else
        fprintf(stderr, "migpolicyd: %s\n", line);
}
