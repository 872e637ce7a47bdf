/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notify.h"

#include "pages.h"

#include <errno.h>

/* linux/fs/fuse/inode.c, fuse_reverse_inval_inode: offset -1 for no page, length 0 for all. */
static int notify(struct context *context, const struct inode *inode, off_t offset, off_t length)
{
    const int error =
        fuse_lowlevel_notify_inval_inode(context->session, inode->node_id, offset, length);

    return error == -ENOENT ? 0 : error;
}

int notify_attributes(struct context *context, const struct inode *inode)
{
    return notify(context, inode, -1, 0);
}

int notify_range(struct context *context, const struct inode *inode, uint64_t offset,
                 uint64_t length_bytes)
{
    return notify(context, inode, (off_t)offset, (off_t)length_bytes);
}

int notify_inode(struct context *context, struct inode *inode)
{
    struct pages_before before;
    int error;

    if (!pages_drop_begin(inode, &before))
        return notify_attributes(context, inode);
    error = notify(context, inode, 0, 0);
    pages_drop_end(inode, &before, error);
    return error;
}
