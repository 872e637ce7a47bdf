/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io=passthrough: the kernel reads and writes the backing file itself (Linux >= 6.9, root). One
 * backing id an open inode: the kernel does not mix them, nor with opens that have none (fact 14).
 */
#ifndef MIGFS_FS_PASSTHROUGH_H
#define MIGFS_FS_PASSTHROUGH_H

#include "handle.h"

/* Puts the inode's backing id, registered at its first open, into the reply. 0 or an errno. */
int passthrough_open(fuse_req_t req, struct handle *handle, struct fuse_file_info *fi);

/* The inode has no open handle any more. */
void passthrough_last_close(struct context *context, struct inode *inode);

#endif
