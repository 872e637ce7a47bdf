/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File names on a terminal and in JSON: any byte may be in one.
 */
#ifndef MIGFS_CTL_TEXT_H
#define MIGFS_CTL_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the UTF-8 character at `text`, 0 where there is none. RFC 3629, section 4. */
size_t text_character_length(const char *text);

/*
 * The name as one line without control characters: these, and what is not UTF-8, become "\ooo".
 * The caller frees it. NULL: out of memory.
 */
char *text_printable(const char *name);

/* Columns that a printable text takes: one a character. */
size_t text_width(const char *text);

/* "999 B", "1.5 KiB", … in `buffer`. */
struct text_size {
    char text[24];
};
struct text_size text_size(uint64_t bytes);

/* Local date and time, "2026-11-25 10:30:59.123". */
struct text_time {
    char text[48];
};
struct text_time text_time(int64_t time_ns);

/* "1.8 µs", "12.3 ms", "4.5 s", with three digits. */
struct text_duration {
    char text[24];
};
struct text_duration text_duration(double us);

#endif
