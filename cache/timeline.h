/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When the steps of hand-overs ran, for people: what one host did in a row, from the first unlock
 * to the end of its release or from the first lock to the end of its acquire. Each of the two hosts
 * writes its side of a hand-over behind the history of the file (history.h), each in pages of its
 * own there, since both may write at once. Nothing is decided by it. No I/O, no clock.
 *
 * The file goes on behind HISTORY_FILE_BYTES with the sides of the last 64 releases, then with
 * those of the last 64 acquires, 512 bytes each; that of generation g is the (g % 64)th. Layout,
 * little-endian, offsets in bytes:
 *
 *     0  magic "MIGFSTML"            8
 *     8  version                     4   1
 *    12  side                        4   0 release, 1 acquire
 *    16  checksum                    8   XXH3-64 of the entry with these 8 zero
 *    24  generation                  8   that the hand-over began; of either side
 *    32  inode number                8   which file it speaks of, as in the record
 *    40  file handle hash            8
 *    48  birth time, ns              8
 *    56  begin, ns                   8   since 1970, by the host's clock
 *    64  duration, ns                8
 *    72  clock ahead, ns             8   of the store's, as the host's last beacon showed; signed
 *    80  unsure, ns                  8   more or less; 0: the two before are not known
 *    88  flags                       4   1: there were more spans, these are the last ones
 *    92  spans                       4   how many; up to 24
 *    96  boot id of the host        16
 *   112  name of the host           64   NUL-terminated
 *   176  spans                      12   each: begin and duration, µs, 4 each; transition and step,
 *                                        as fs/migfs.h numbers them, 2 each
 *   464  zero to the end
 */
#ifndef MIGFS_CACHE_TIMELINE_H
#define MIGFS_CACHE_TIMELINE_H

#include "handoff.h"
#include "history.h"

#define TIMELINE_SPANS 24
#define TIMELINE_ENTRY_BYTES 512

enum timeline_side {
    TIMELINE_RELEASE,
    TIMELINE_ACQUIRE,
};

struct timeline_span {
    uint32_t start_us; /* since the timeline's begin */
    uint32_t duration_us;
    uint16_t kind; /* enum handoff_kind */
    uint16_t step; /* enum handoff_step */
};

/* All zeroes is none. */
struct timeline {
    int64_t started_ns; /* by any clock that is not set */
    int64_t ended_ns;
    bool is_cut; /* there were more spans; the oldest went */
    uint32_t span_count;
    struct timeline_span spans[TIMELINE_SPANS];
};

/* Adds what began and ended then, by the clock of started_ns and not before it. */
void timeline_add(struct timeline *timeline, enum handoff_kind kind, enum handoff_step step,
                  int64_t began_ns, int64_t ended_ns);

/* Whether what `next` tells of came so soon that it belongs to it: QEMU unlocks byte by byte. */
bool timeline_continues(const struct timeline *timeline, const struct timeline *next);
void timeline_append(struct timeline *timeline, const struct timeline *next);

/* A side of a hand-over, as it is kept. `timeline.started_ns` is since 1970 here. */
struct timeline_entry {
    enum timeline_side side;
    uint64_t generation;
    struct record_identity identity;
    int64_t clock_ahead_ns;
    uint64_t clock_unsure_ns; /* 0: not known */
    uint8_t boot_id[16];
    char host[RECORD_HOST_NAME_BYTES]; /* always NUL-terminated */
    struct timeline timeline;
};

/* Where in the file it is, in bytes. */
size_t timeline_offset(enum timeline_side side, uint64_t generation);

/* `bytes` has TIMELINE_ENTRY_BYTES. Cannot fail; the name is cut to fit. */
void timeline_encode(const struct timeline_entry *entry, uint8_t *bytes);

/*
 * Whether `size` bytes, any size, are a whole entry of that side, generation and file; fills
 * *entry then.
 */
bool timeline_decode(const uint8_t *bytes, size_t size, enum timeline_side side,
                     uint64_t generation, const struct record_identity *identity,
                     struct timeline_entry *entry);

#endif
