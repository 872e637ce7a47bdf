/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about attributes, and how long the kernel may believe them: long for an owner, not at
 * all otherwise (DESIGN §2).
 */
#ifndef MIGFS_FS_ATTRIBUTES_H
#define MIGFS_FS_ATTRIBUTES_H

#include "inode.h"

/* The inode's attributes as its state asks for them: cached below, or from the server. */
int attributes_read(struct context *context, struct inode *inode, int fd, struct stat *attributes);

void attributes_get(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void attributes_set(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int to_set,
                    struct fuse_file_info *fi);
void attributes_access(fuse_req_t req, fuse_ino_t ino, int mask);
void attributes_statfs(fuse_req_t req, fuse_ino_t ino);

#endif
