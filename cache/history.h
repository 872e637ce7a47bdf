/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last hand-overs of one file, for people: a ring file beside the record, an entry of 256 bytes
 * for each of the last 64 generations. It is no part of the record, since that has no room for it
 * and a release may cost no more than one write: the release leaves what it knows in the record,
 * and whoever acquires writes the entry, after the answer. So nobody waits for it, one that is lost
 * is missed by nobody, and writers do not meet: each holds the file's locks. This module encodes,
 * decodes and judges.
 *
 * The entry of generation g is the (g % 64)th. Layout, little-endian, offsets in bytes:
 *
 *     0  magic "MIGFSHIS"            8
 *     8  version                     4   1
 *    12  verified                    4   as fs/migfs.h numbers it; 0 … 3
 *    16  checksum                    8   XXH3-64 of the entry with these 8 zero
 *    24  generation                  8   that the hand-over began
 *    32  time, ns                    8   since 1970, of the acquire's answer
 *    40  release duration, ns        8   0: not known
 *    48  acquire duration, ns        8
 *    56  bytes                       8   that the release wrote back first
 *    64  inode number                8   which file it speaks of, as in the record
 *    72  file handle hash            8
 *    80  birth time, ns              8
 *    88  reserved                    8   0
 *    96  from                       64   name of the host that was owner; empty: there was none
 *   160  to                         64   and of the one that is
 *   224  zero to the end
 */
#ifndef MIGFS_CACHE_HISTORY_H
#define MIGFS_CACHE_HISTORY_H

#include "record.h"

#define HISTORY_ENTRIES 64
#define HISTORY_ENTRY_BYTES 256
#define HISTORY_FILE_BYTES (HISTORY_ENTRIES * HISTORY_ENTRY_BYTES)
#define HISTORY_VERIFIED_MOST 3

struct history_entry {
    uint64_t generation;
    uint32_t verified;
    int64_t time_ns;
    uint64_t release_ns, acquire_ns;
    uint64_t flushed_bytes;
    struct record_identity identity;
    char from[RECORD_HOST_NAME_BYTES], to[RECORD_HOST_NAME_BYTES]; /* always NUL-terminated */
};

/* Where in the file the entry of a generation is, in bytes. */
size_t history_offset(uint64_t generation);

/* `bytes` has HISTORY_ENTRY_BYTES. Cannot fail; names are cut to fit. */
void history_encode(const struct history_entry *entry, uint8_t *bytes);

/*
 * The whole entries of a file of `size` bytes, any size, that speak of that file; newest first.
 * Returns how many.
 */
size_t history_decode(const uint8_t *file, size_t size, const struct record_identity *identity,
                      struct history_entry entries[HISTORY_ENTRIES]);

#endif
