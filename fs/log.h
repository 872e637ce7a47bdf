/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line an event: to standard error in the foreground, else to syslog (the journal) as `migfs`.
 * Some have fields besides, for who reads them from the journal by program; the line is the same.
 * Callable from any thread.
 */
#ifndef MIGFS_FS_LOG_H
#define MIGFS_FS_LOG_H

#include "journal.h"

#include <stdbool.h>

/* Where lines go from now on. Until called, to standard error. */
void log_open(bool foreground);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * `priority` as of syslog(3). The fields go where the journal is, and nowhere else; where
 * log_takes_fields is false nobody needs to make any.
 */
bool log_takes_fields(void);
void log_with_fields(int priority, struct journal_entry *fields, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
