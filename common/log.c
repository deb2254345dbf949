/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The location in the source is nothing that systemd's log needs to know. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "common/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "common/alloc.h"
#include "common/printable.h"

enum { FIELDS_MAX = 12, LINE_MAX_BYTES = 1024 };

static bool to_journal;

void log_init(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* DEVICE:INODE of what systemd made stderr */
    uintmax_t device, inode;
    struct stat st;

    to_journal = stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

__attribute__((format(printf, 2, 0))) static void format_line(char line[LINE_MAX_BYTES],
                                                              const char *format, va_list args)
{
    vsnprintf(line, LINE_MAX_BYTES, format, args);
    printable_replace(line);
}

static void print(int priority, const char *line)
{
    if (to_journal)
        fprintf(stderr, "<%d>%s\n", priority, line);
    else
        fprintf(stderr, "migpolicyd: %s\n", line);
}

void log_at(int priority, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    va_start(args, format);
    format_line(line, format, args);
    va_end(args);
    print(priority, line);
}

/* One more NAME=VALUE. */
static void add(struct iovec *field, int *n, const char *prefix, const char *name,
                const char *value)
{
    char *text;
    int len = alloc_need_length(asprintf(&text, "%s%s=%s", prefix, name, value));

    field[(*n)++] = (struct iovec){text, (size_t)len};
}

static int send_to_journal(int priority, const struct log_field *fields, const char *line)
{
    struct iovec field[FIELDS_MAX + 2];
    char level[] = {(char)('0' + priority), '\0'};
    int n = 0;
    int r;

    add(field, &n, "", "MESSAGE", line);
    add(field, &n, "", "PRIORITY", level);
    for (; fields->name && n < FIELDS_MAX + 2; fields++) {
        if (fields->value && *fields->value)
            add(field, &n, "MIGPOLICY_", fields->name, fields->value);
    }
    r = sd_journal_sendv(field, n);
    while (n > 0)
        free(field[--n].iov_base);
    return r;
}

void log_fields(int priority, const struct log_field *fields, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    va_start(args, format);
    format_line(line, format, args);
    va_end(args);
    if (!to_journal || send_to_journal(priority, fields, line) < 0)
        print(priority, line);
}
