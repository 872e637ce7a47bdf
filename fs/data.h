/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a file holds and how long it is, beyond reads and writes (read.h, write.h); each change by
 * the gate.
 */
#ifndef MIGFS_FS_DATA_H
#define MIGFS_FS_DATA_H

#include "handle.h"

void data_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void data_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* Of a directory, too. */
void data_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                    struct fuse_file_info *fi);
void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                struct fuse_file_info *fi);
void data_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset,
                          struct fuse_file_info *from_fi, fuse_ino_t to_ino, off_t to_offset,
                          struct fuse_file_info *to_fi, size_t size, int flags);

/*
 * Sets the length, for a request about attributes: by the handle where it writes, else by the
 * O_PATH descriptor `fd` as the calling thread may. 0 or a negative errno.
 */
int data_truncate(struct context *context, struct inode *inode, const struct handle *handle, int fd,
                  off_t length);

#endif
