/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes, each by the gate (gate.h) and, of an owned inode, by its guard (guard.h). */
#ifndef MIGFS_FS_WRITE_H
#define MIGFS_FS_WRITE_H

#include "handle.h"

void write_serve(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                 struct fuse_file_info *fi);

#endif
