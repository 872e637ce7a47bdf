/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hand-over record of one file (DESIGN §6) as bytes: two slots of 4 KiB, each with a checksum.
 * The valid slot with the higher generation (then the higher sequence) counts; a writer overwrites
 * the other one, so a torn write loses the newer record only, never both. This module encodes,
 * decodes and judges; reading and writing the file is fs/record_file's.
 *
 * Version 1 ended with the host name and had zeroes from there on: it is read as a record without
 * what came later, and written no more.
 *
 * Slot layout, little-endian, offsets in bytes:
 *
 *     0  magic "MIGFSREC"            8
 *     8  version                     4   2
 *    12  slot length                 4   4096
 *    16  checksum                   16   XXH3-128 (canonical form) of the slot with these 16 zero
 *    32  sequence                    8   raised by each write, whichever slot
 *    40  generation                  8   raised by each hand-over of a writing owner
 *    48  state                       4   enum record_state
 *    52  reserved                    4   0
 *    56  inode number                8
 *    64  file handle hash            8   XXH3-64 of type and bytes, 0 where the store gives none
 *    72  birth time, ns              8   since 1970, 0 where the store gives none
 *    80  time of writing, ns         8   CLOCK_REALTIME of the writer
 *    88  length, bytes               8   of the file, when written
 *    96  ctime, ns                   8   of the file, when written
 *   104  host: machine id           16
 *   120  host: boot id              16
 *   136  host: mount instance        8   drawn at mount: two mounts on one host are two hosts
 *   144  host name                  64   for people; NUL-padded
 *   208  digest count                4   up to 112
 *   212  reserved                    4   0
 *   216  mtime, ns                   8   of the file, when written; 0: not known
 *   224  bytes                       8   that the hand-over had to write back first
 *   232  duration, ns                8   of the hand-over, from the unlock to this write
 *   240  file handle: type           4
 *   244  file handle: length         4   0: none; up to 128
 *   248  reserved                    8   0
 *   256  digests                112*32   of written extents (cache/digest), newest first: offset 8,
 *                                        length 4, reserved 4 (0), XXH3-128 (canonical form) 16
 *  3840  file handle               128   of the store: whether the file is there still; NUL-padded
 *  3968  zero to the end
 */
#ifndef MIGFS_CACHE_RECORD_H
#define MIGFS_CACHE_RECORD_H

#include "digest.h"
#include "trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_SLOT_BYTES 4096
#define RECORD_SLOTS 2
#define RECORD_FILE_BYTES (RECORD_SLOT_BYTES * RECORD_SLOTS)
#define RECORD_VERSION 2
#define RECORD_HOST_NAME_BYTES 64
#define RECORD_FILE_HANDLE_BYTES 128 /* MAX_HANDLE_SZ */

enum record_state {
    RECORD_OWNED = 1,    /* `host` owns the file for writing, or died owning it */
    RECORD_RELEASED = 2, /* `host` was the last owner and handed it over */
};

struct record_host {
    uint8_t machine_id[16];
    uint8_t boot_id[16];
    uint64_t instance;
    char name[RECORD_HOST_NAME_BYTES]; /* always NUL-terminated */
};

/* Which file a record speaks of; 0 means not known and matches anything but in `ino`. */
struct record_identity {
    uint64_t ino;
    uint64_t handle_hash;
    int64_t birth_ns;
};

/* The store's file handle, name_to_handle_at(2). */
struct record_file_handle {
    int32_t type;
    uint32_t length; /* 0: the store has none */
    uint8_t bytes[RECORD_FILE_HANDLE_BYTES];
};

struct record {
    uint64_t sequence;
    uint64_t generation;
    enum record_state state;
    struct record_identity identity;
    struct record_host host;
    int64_t time_ns;
    struct trace trace;
    uint64_t flushed_bytes;
    uint64_t duration_ns;
    struct record_file_handle file_handle;
    uint32_t digest_count;
    struct digest_extent digests[DIGEST_EXTENTS]; /* newest first */
};

/* What a record file is worth. Only RECORD_VALID gives a record. */
enum record_verdict {
    RECORD_VALID,
    RECORD_MISSING, /* empty, or nothing but zeroes */
    RECORD_TORN,    /* too short or too long, bad magic, length, checksum or field in every slot */
    RECORD_FUTURE,  /* a slot is whole but of a version that this code does not know */
    RECORD_ALIEN,   /* valid, but of another file */
};

/*
 * Encodes one slot, of the newest version; `slot` has RECORD_SLOT_BYTES. Cannot fail; the name is
 * cut to fit.
 */
void record_encode(const struct record *record, uint8_t *slot);

/*
 * Judges a whole record file of `size` bytes against the file that it should speak of. On
 * RECORD_VALID fills *record and *slot_index (0 or 1: the slot that counts). A future-version slot
 * beside a valid one is RECORD_FUTURE: somebody newer has been here. Reads no byte beyond `size`,
 * whatever the bytes are. `record` and `slot_index` are untouched on any other verdict.
 */
enum record_verdict record_decode(const uint8_t *file, size_t size,
                                  const struct record_identity *identity, struct record *record,
                                  unsigned *slot_index);

/* Whether both speak of one file; what one of them does not know does not count. */
bool record_identity_matches(const struct record_identity *a, const struct record_identity *b);

/* Whether the two are one mount on one boot of one machine. The name does not count. */
bool record_same_host(const struct record_host *a, const struct record_host *b);

/* What a record shows to be odd about the host that wrote it; nothing depends on it. */
enum record_oddity {
    RECORD_HOST_FINE,
    RECORD_HOST_CLONED, /* it has the machine id of the host that reads, and is another one */
    RECORD_HOST_AHEAD,  /* its clock is, of the reader's, by more than RECORD_CLOCK_GRACE_NS */
};
#define RECORD_CLOCK_GRACE_NS (INT64_C(60) * 1000000000)

/* `now_ns` and `booted_ns`: CLOCK_REALTIME of the host that reads, which is `here`. */
enum record_oddity record_host_oddity(const struct record *record, const struct record_host *here,
                                      int64_t now_ns, int64_t booted_ns);

/* "valid", "missing", "torn", … for the log. */
const char *record_verdict_name(enum record_verdict verdict);

/* XXH3-64 of a file handle's type and bytes, never 0. */
uint64_t record_handle_hash(int32_t type, const void *bytes, size_t size);

#endif
