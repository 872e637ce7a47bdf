/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads back from the server, past every cache, what was written, and compares it with digests:
 * extents that lie near each other by one read, since each costs a round trip.
 */
#ifndef MIGFS_FS_READ_BACK_H
#define MIGFS_FS_READ_BACK_H

#include "batch.h"

/* Of one extent: 0 or these, or the negative errno of its read. */
#define READ_BACK_DIFFERS 1
#define READ_BACK_NOT_YET (-ETIMEDOUT)

/* Extents that are read at once: `count` of them from `first` on, in the order of offsets. */
struct read_back_run {
    struct batch_read read; /* first */
    struct read_back *reading;
    size_t first, count;
};

/* The caller's, until the batch has run. */
struct read_back {
    struct batch *batch;
    const struct digest_extent *extents;
    const struct digest_extent *ordered[DIGEST_EXTENTS]; /* those that are to be read */
    int *results;                                        /* in the order of `extents` */
    struct read_back_run runs[DIGEST_EXTENTS];
    struct read_back_run alone[DIGEST_EXTENTS]; /* in the order of `ordered`: read once more */
};

/*
 * Has the batch read those of the extents, DIGEST_EXTENTS at most, whose result is not 0, and set
 * it; of one that it does not begin to read in time it stays.
 */
void read_back_add(struct read_back *reading, struct batch *batch,
                   const struct digest_extent *extents, size_t count, int *results);

#endif
