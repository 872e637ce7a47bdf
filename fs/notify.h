/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The only caller of the kernel's invalidation. Never on a thread that serves requests: a
 * notification waits for reads under way, and those for a thread to serve them (DESIGN §2).
 */
#ifndef MIGFS_FS_NOTIFY_H
#define MIGFS_FS_NOTIFY_H

#include "inode.h"

/*
 * Writes the kernel's dirty pages of the inode out, as WRITEs, then drops all pages and the
 * attributes. 0, also where the kernel knows nothing of the inode; else a negative errno.
 */
int notify_inode(struct context *context, struct inode *inode);

/* The same where nobody is to be told but the log; and that alone. */
void notify_inode_said(struct context *context, struct inode *inode);
void notify_say(struct context *context, struct inode *inode, int error);

/* Drops the attributes alone. */
int notify_attributes(struct context *context, const struct inode *inode);

/* As notify_inode, of the pages from `offset` on; `length_bytes` 0: to the end. */
int notify_range(struct context *context, const struct inode *inode, uint64_t offset,
                 uint64_t length_bytes);

#endif
