/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notify.h"

#include "file_name.h"
#include "log.h"
#include "pages.h"

#include <errno.h>
#include <string.h>

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

void notify_say(struct context *context, struct inode *inode, int error)
{
    log_warning(
        "%s: the kernel's pages of it could not be dropped: %s; open it anew where it reads "
        "old data",
        file_name(context, inode).text, strerror(-error));
}

void notify_inode_said(struct context *context, struct inode *inode)
{
    const int error = notify_inode(context, inode);

    if (error != 0)
        notify_say(context, inode, error);
}
