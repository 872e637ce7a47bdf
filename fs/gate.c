/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "gate.h"

#include "lock.h"

int gate_enter(struct context *context, struct inode *inode, const struct handle *handle)
{
    const bool strict = context->options.fence == FENCE_STRICT;
    const bool holds = strict && handle && lock_handle_writes(context, inode, handle);
    int error;

    pthread_mutex_lock(&inode->mutex);
    error = owner_write_permitted(&inode->owner, context->options.fence, holds);
    if (error == 0)
        inode->writes_under_way++;
    pthread_mutex_unlock(&inode->mutex);
    return error;
}

void gate_leave(struct inode *inode, size_t bytes)
{
    pthread_mutex_lock(&inode->mutex);
    inode->bytes_written += bytes;
    if (--inode->writes_under_way == 0)
        pthread_cond_broadcast(&inode->drained);
    pthread_mutex_unlock(&inode->mutex);
}
