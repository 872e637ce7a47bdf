/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "passthrough.h"

#include "log.h"

#include <linux/fuse.h>

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef FUSE_DEV_IOC_BACKING_CLOSE /* headers older than Linux 6.9 */
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)
#endif

int passthrough_open(fuse_req_t req, struct handle *handle, struct fuse_file_info *fi)
{
    struct inode *inode = handle->inode;

    /* The mutex is held across the registration: one id an inode, and the call does not block. */
    pthread_mutex_lock(&inode->mutex);
    if (inode->backing_id == 0)
        inode->backing_id = fuse_passthrough_open(req, handle->fd);
    const int id = inode->backing_id;
    pthread_mutex_unlock(&inode->mutex);
    if (id <= 0) {
        log_error("inode %ju cannot be passed through to its filesystem; mount with io=daemon",
                  (uintmax_t)inode->identity.ino);
        return -EIO;
    }
    fi->backing_id = id;
    fi->keep_cache = 0;
    return 0;
}

void passthrough_last_close(struct context *context, struct inode *inode)
{
    uint32_t id;

    pthread_mutex_lock(&inode->mutex);
    id = inode->open_handles == 0 ? (uint32_t)inode->backing_id : 0; /* or opened again meanwhile */
    if (id != 0)
        inode->backing_id = 0;
    pthread_mutex_unlock(&inode->mutex);
    if (id != 0 && ioctl(fuse_session_fd(context->session), FUSE_DEV_IOC_BACKING_CLOSE, &id) != 0)
        log_warning("backing id %u cannot be given back: %s", id, strerror(errno));
}
