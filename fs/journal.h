/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entries with fields of their own for systemd's journal, by its native protocol
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL). Not by libsystemd: its call waits for a journal that does
 * not read, which a filesystem must not, and says nothing where there is none, so that the line
 * could not go to syslog instead. No state; callable from any thread.
 */
#ifndef MIGFS_FS_JOURNAL_H
#define MIGFS_FS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two paths, a line and some more always fit. `size` 0 is an entry without fields. */
struct journal_entry {
    size_t size;
    char bytes[12288];
};

/* `name`: capitals, digits and _; the value is any text. What does not fit is left out. */
void journal_text(struct journal_entry *entry, const char *name, const char *value);
void journal_number(struct journal_entry *entry, const char *name, uint64_t value);

/* Never waits. 0 or a negative errno; -EAGAIN: there is a journal, and it does not read. */
int journal_send(const struct journal_entry *entry);

/* Whether the descriptor leads to the journal, as standard error of a unit does: systemd.exec(5),
 * $JOURNAL_STREAM. */
bool journal_is_stream(int fd);

#endif
