/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was read of one file before its lock was granted, and answers reads after it: parts of the
 * file, each served only as long as no change that was made here could have touched it. That begins
 * before the part is read: what changes meanwhile is not known to be in it. Who made it sees to it
 * that nobody else changes the file, and gives it up when that ends. No I/O, no lock: the caller
 * serialises.
 */
#ifndef MIGFS_CACHE_PREFETCH_H
#define MIGFS_CACHE_PREFETCH_H

#include "digest.h"
#include "qcow2.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parts are whole units: what the kernel reads ahead of a cached open is as much. */
#define PREFETCH_UNIT_BYTES ((uint64_t)128 * 1024)
/* Of all parts of a file. What lies behind is not read: an L1 table of 1 MiB is of a 64 TiB disk.
 */
#define PREFETCH_MOST_BYTES ((uint64_t)2 << 20)
/* The head and the tables. */
#define PREFETCH_MOST_PARTS (1 + QCOW2_MOST_TABLES)

struct prefetch_part {
    uint64_t offset;
    size_t wanted_bytes;
    uint8_t *bytes;    /* NULL: not read */
    size_t size;       /* read: less at the end of the file, or of the time */
    bool is_forgotten; /* changed since, or while it was read */
};

struct prefetch {
    struct prefetch_part parts[PREFETCH_MOST_PARTS]; /* apart from each other, in their order */
    size_t count;
};

/*
 * The parts that hold the beginning of the file and these tables; none is read yet, and those that
 * the changes under way in `ring` may touch are forgotten already. Cannot fail.
 */
void prefetch_plan(struct prefetch *prefetch, const struct qcow2_tables *tables,
                   const struct digest_ring *ring);

/* Frees what was read, and is as after a plan of nothing. */
void prefetch_clear(struct prefetch *prefetch);

/* A change of the bytes from `start` to `end`, DIGEST_TO_THE_END where it is not known, begins. */
void prefetch_touch(struct prefetch *prefetch, uint64_t start, uint64_t end);

/* The bytes of all that may be served. */
uint64_t prefetch_bytes(const struct prefetch *prefetch);

/* `size` bytes at `offset`, good until the next call that is told of a change; NULL: not all of
 * them are there. */
const uint8_t *prefetch_find(const struct prefetch *prefetch, uint64_t offset, size_t size);

#endif
