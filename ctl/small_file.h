/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of /proc, /sys and /etc that are read as a whole.
 */
#ifndef MIGFS_CTL_SMALL_FILE_H
#define MIGFS_CTL_SMALL_FILE_H

#include <stdbool.h>
#include <stddef.h>

/* Its first line, without the newline and cut to fit. False: there is none. */
bool small_file_line(const char *path, char *line, size_t size);

/* All of it, up to 16 MiB, with a NUL behind; the caller frees it. NULL with errno. */
char *small_file_read(const char *path);

#endif
