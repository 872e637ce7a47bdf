/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "passthrough.h"

#include "caller.h"
#include "file_name.h"
#include "log.h"

#include <linux/fuse.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef FUSE_DEV_IOC_BACKING_CLOSE /* headers older than Linux 6.9 */
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)
#endif

/*
 * The kernel opens the backing file once more for each opener, and always as who registered it
 * (linux/fs/fuse/passthrough.c): whoever opens here, it has to be somebody who may. That is root,
 * or where the server takes root for nobody (root_squash) the file's owner. The opener has been
 * judged already, by the open of its own description.
 */
static struct caller become_able(int fd)
{
    const struct proc_path path = proc_path(fd);
    struct stat attributes;

    if (faccessat(AT_FDCWD, path.text, R_OK | W_OK, AT_EACCESS) == 0 || fstat(fd, &attributes) != 0)
        return (struct caller){0};
    return caller_begin_as(attributes.st_uid, attributes.st_gid);
}

static int backing_id_of(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const int id = inode->backing_id;
    pthread_mutex_unlock(&inode->mutex);
    return id;
}

/* One id an inode: the mutex is held across the registration, which asks no store. */
static int register_file(fuse_req_t req, struct handle *handle)
{
    _cleanup_caller_ struct caller caller = become_able(handle->fd);
    struct inode *inode = handle->inode;

    if (caller.error != 0)
        return 0;
    pthread_mutex_lock(&inode->mutex);
    if (inode->backing_id == 0)
        inode->backing_id = fuse_passthrough_open(req, handle->fd);
    const int id = inode->backing_id;
    pthread_mutex_unlock(&inode->mutex);
    return id;
}

int passthrough_open(fuse_req_t req, struct handle *handle, struct fuse_file_info *fi)
{
    struct inode *inode = handle->inode;
    int id = backing_id_of(inode);

    if (id <= 0)
        id = register_file(req, handle);
    if (id <= 0) {
        log_error("%s cannot be passed through to its filesystem; mount with io=daemon",
                  file_name(fuse_req_userdata(req), inode).text);
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
    if (id == 0 || ioctl(fuse_session_fd(context->session), FUSE_DEV_IOC_BACKING_CLOSE, &id) == 0)
        return;
    const int error = errno; /* before file_name changes it */
    log_warning(
        "%s: the kernel keeps it open for io=passthrough: %s; mount anew where it is in the "
        "way",
        file_name(context, inode).text, strerror(error));
}
