/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads: from what was read ahead, from below, or past the store client's cache, as the inode's
 * state has it (DESIGN §2).
 */
#ifndef MIGFS_FS_READ_H
#define MIGFS_FS_READ_H

#include "handle.h"

void read_serve(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi);

#endif
