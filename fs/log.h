/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line an event: to standard error in the foreground, else to syslog (the journal) as `migfs`.
 * Callable from any thread.
 */
#ifndef MIGFS_FS_LOG_H
#define MIGFS_FS_LOG_H

#include <stdbool.h>

/* Where lines go from now on. Until called, to standard error. */
void log_open(bool foreground);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
