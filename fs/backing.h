/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is asked of the store below beyond plain reads and writes: reads from the server past its
 * client's cache, dropping that cache, syncing, and further descriptions of an open file.
 */
#ifndef MIGFS_FS_BACKING_H
#define MIGFS_FS_BACKING_H

#include "handle.h"

/*
 * Another description of the handle's file, opened as whoever opened the handle (or, of a protected
 * one that is refused by now, as the file's owner: protect.h). `flags` as of
 * open(2). A descriptor, the caller's to close, or a negative errno.
 */
int backing_reopen(const struct handle *handle, int flags);

/* Of what `fd` is of, as the owner that the file has now, or as the daemon where that one may not.
 */
int backing_open_as_owner(int fd, int flags);

/*
 * The handle of a request that needs the file itself: one whose open was delayed is opened now, as
 * who opened it, with what the store says to that. 0 or a negative errno.
 */
int backing_handle(struct context *context, uint64_t number, struct handle **handle);
int backing_ready(struct handle *handle);

/* Room for reads of a thread: aligned for O_DIRECT. NULL: out of memory. Never freed by the user.
 */
#define BACKING_MOST_BYTES ((size_t)1 << 20)
#define BACKING_ALIGNMENT ((size_t)4096)
char *backing_buffer(void);

/* Whole blocks around some bytes, as O_DIRECT wants them: where those begin, and how long they are.
 */
struct backing_blocks {
    off_t start;
    size_t before, size; /* of which `before` lie before the bytes */
};
struct backing_blocks backing_blocks_around(off_t offset, size_t size);

/* Of a read of the blocks that gave `count`, how many of the `size` bytes are there; its error. */
ssize_t backing_blocks_part(const struct backing_blocks *blocks, ssize_t count, size_t size);

/*
 * Reads what the server has now. *bytes points into the thread's buffer. Returns how many there
 * are, 0 at the end of the file, or a negative errno.
 */
ssize_t backing_read_fresh(struct handle *handle, size_t size, off_t offset, const char **bytes);

/*
 * The description of fresh reads, read-only and of O_DIRECT, until backing_fresh_end. -EINVAL: the
 * store refuses O_DIRECT; or another negative errno.
 */
int backing_fresh_begin(struct handle *handle);
void backing_fresh_end(struct inode *inode);

/* The description of fresh reads is no longer needed: closed now, or by its last reader. */
void backing_close_fresh(struct inode *inode);

/* What a drop found and left. */
struct backing_drop {
    uint64_t pages_cached; /* before; 0 where the kernel cannot tell */
    bool stayed;           /* some could not be dropped, or it cannot be told */
};

/* Syncs and drops the store client's pages of the handle's file. 0 or a negative errno. */
int backing_drop(const struct handle *handle, struct backing_drop *result);

#endif
