/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's log: stderr, with priorities the journal understands when it listens. Thread-safe.
 */
#ifndef MIGPOLICY_LOG_H
#define MIGPOLICY_LOG_H

#include <syslog.h>

/* Decides once whether stderr is the journal. */
void log_init(void);

/* One line, without its newline; control characters are replaced. */
__attribute__((format(printf, 2, 3))) void log_at(int priority, const char *format, ...);

#define log_error(...)   log_at(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_INFO, __VA_ARGS__)

#endif
