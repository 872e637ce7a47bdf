/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Closes of open files: what POSIX says of locks at each close, and what a hand-over needs before
 * the last one. In the order of the inode's jobs.
 */
#ifndef MIGFS_FS_CLOSE_H
#define MIGFS_FS_CLOSE_H

#include "handle.h"

/*
 * The handle's last close: its locks go, then it does, then `req` is answered. NULL: nobody waits,
 * since the kernel never heard of its open.
 */
void close_last(struct context *context, struct handle *handle, fuse_req_t req);

/* One close of it (FLUSH): the locks of that lock owner go, then `req` gets `close_error`. */
void close_one(struct context *context, struct handle *handle, uint64_t owner, int close_error,
               fuse_req_t req);

/*
 * The kernel tells of a last close after close(2) has returned. Waits for it, a moment at most,
 * while nobody is known to have the inode open for longer.
 */
void close_await(struct inode *inode);

#endif
