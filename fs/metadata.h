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

#include "handle.h"
#include "spares.h"

/* The caller's, from metadata_read_begin to metadata_read_end. */
struct metadata_reading {
    struct spare_task task;
    struct context *context;
    struct handle *handle;
    int64_t until_ns;
    bool is_due, is_begun;
};

/*
 * VERIFY, in the inode's turn and after its DROP: reads what is known to be an image's tables, by
 * a handle that stays open, and begins no read after `until_ns` (CLOCK_MONOTONIC). Not where data
 * goes past this program. metadata_read_end waits for it, as VERIFY does for its own reads, and
 * drops it all unless it `is_good`; it reads itself where no thread was to spare.
 */
void metadata_read_begin(struct metadata_reading *reading, struct context *context,
                         struct handle *handle, int64_t until_ns);
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
