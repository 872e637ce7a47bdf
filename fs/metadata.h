/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables of a qcow2 image, which a VMM reads as soon as it has its locks: an acquire reads them
 * from the server while it verifies the file, and they answer the VMM's reads after it, O_DIRECT
 * ones too. They are served only by the owner that read them, in the epoch that its acquire began
 * and for a while, and none that was changed here since before it was read. What cannot be read
 * ahead the VMM reads itself.
 */
#ifndef MIGFS_FS_METADATA_H
#define MIGFS_FS_METADATA_H

#include "batch.h"
#include "cache/prefetch.h"

struct metadata_reading;

/* A part, unit by unit. */
struct metadata_part_read {
    struct batch_read read; /* first */
    struct metadata_reading *reading;
    struct prefetch_part *part;
};

/* The caller's, from metadata_read_begin to metadata_read_end; the batch has run in between. */
struct metadata_reading {
    struct batch_read head; /* first */
    struct batch *batch;    /* NULL: nothing is read */
    struct metadata_part_read parts[PREFETCH_MOST_PARTS];
    int error; /* of the first read that failed */
};

/*
 * VERIFY, in the inode's turn and after its DROP: has the batch read what is known to be an image's
 * tables. Not where data goes past this program. metadata_read_end drops it all unless it
 * `is_good`.
 */
void metadata_read_begin(struct metadata_reading *reading, struct batch *batch);
void metadata_read_end(struct metadata_reading *reading, bool is_good);

/* The acquire has ended well: what it read is served from now on. How many bytes that are. */
uint64_t metadata_serve(struct inode *inode);

/* Nothing that was read ahead is served any more. Any thread; takes the mutex. */
void metadata_drop(struct inode *inode);

/* What is served no more is freed. Any thread; takes the mutex. */
void metadata_expire(struct inode *inode);

/* With the inode's mutex held: before a change, as prefetch_touch has it. */
void metadata_touch(struct inode *inode, uint64_t start, uint64_t end);

/* With the mutex held: copies `size` bytes at `offset` if all of them are there. */
bool metadata_copy(struct inode *inode, char *buffer, size_t size, off_t offset);

/* With the inode, when nobody knows it any more. */
struct metadata;
void metadata_free(struct metadata *metadata);

#endif
