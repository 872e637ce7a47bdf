/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notify.h"

#include <errno.h>

int notify_inode(struct context *context, const struct inode *inode)
{
    /* Offset 0, length 0: all pages (linux/fs/fuse/inode.c, fuse_reverse_inval_inode). */
    const int error = fuse_lowlevel_notify_inval_inode(context->session, inode->node_id, 0, 0);

    return error == -ENOENT ? 0 : error;
}
