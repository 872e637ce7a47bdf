/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open directories. Offsets are the backing directory's own, so they stay good while entries come
 * and go; the records' directory does not show.
 */
#ifndef MIGFS_FS_DIRECTORY_H
#define MIGFS_FS_DIRECTORY_H

#include <fuse_lowlevel.h>

void directory_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void directory_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi);
void directory_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                         struct fuse_file_info *fi);
void directory_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
