/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's log: stderr, with priorities that systemd's log understands. Thread-safe.
 */
#ifndef MIGPOLICY_LOG_H
#define MIGPOLICY_LOG_H

#include <syslog.h>

/* Finds out once whether stderr is systemd's log. */
void log_init(void);

/* One line, without its newline; what is not printable (printable.h) is replaced. */
__attribute__((format(printf, 2, 3))) void log_at(int priority, const char *format, ...);

/* What a line tells of, for systemd's log: field MIGPOLICY_NAME; NULL or empty values are left out.
 */
struct log_field {
    const char *name; /* NULL ends an array of them */
    const char *value;
};

/* As log_at(); where stderr is systemd's log, the entry has these fields as well. */
__attribute__((format(printf, 3, 4))) void log_fields(int priority, const struct log_field *fields,
                                                      const char *format, ...);

#define log_error(...)   log_at(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_INFO, __VA_ARGS__)

#endif
