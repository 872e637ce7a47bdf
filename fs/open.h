/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens of files, of new ones and of such without a name: judged by the store as the caller, a
 * moment to look at the record, and what the kernel may keep of it (DESIGN §2, fact 13).
 */
#ifndef MIGFS_FS_OPEN_H
#define MIGFS_FS_OPEN_H

#include <fuse_lowlevel.h>

/* Request handlers: OPEN, CREATE, TMPFILE. */
void open_existing(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void open_new(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
              struct fuse_file_info *fi);
void open_unnamed(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);

#endif
