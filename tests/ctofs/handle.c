/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handle.h"

#include "lock.h"
#include "writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int handle_flags(int flags)
{
    return (flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC |
                      O_NOFOLLOW | O_TMPFILE)) |
           O_CLOEXEC;
}

static bool is_changed(const struct stat *now, const struct stat *known)
{
    return now->st_size != known->st_size || now->st_mtim.tv_sec != known->st_mtim.tv_sec ||
           now->st_mtim.tv_nsec != known->st_mtim.tv_nsec ||
           now->st_ctim.tv_sec != known->st_ctim.tv_sec ||
           now->st_ctim.tv_nsec != known->st_ctim.tv_nsec;
}

/* True when the kernel may keep its pages over this open. */
static bool open_keeps_pages(struct mount *mount, struct inode *inode)
{
    if (inode->open_count > 0 || inode_refresh(mount, inode) != 0)
        return true;
    const bool changed = inode->version_known && is_changed(&inode->attributes, &inode->version);

    inode->version = inode->attributes;
    inode->version_known = true;
    if (changed)
        mount->counters.fresh_opens++;
    return !changed;
}

static struct opener opener_of(fuse_req_t req, int fd)
{
    const struct fuse_ctx *caller = fuse_req_ctx(req);
    struct stat file = {.st_mode = 0};

    (void)fstat(fd, &file); /* of an open file: cannot fail */
    return (struct opener){.uid = caller->uid,
                           .gid = caller->gid,
                           .file_uid = file.st_uid,
                           .file_gid = file.st_gid,
                           .file_mode = file.st_mode};
}

int opener_judge(const struct mount *mount, const struct inode *inode, const struct opener *opener,
                 int wanted)
{
    struct stat now;

    if (fstatat(inode->path_fd, "", &now, AT_EMPTY_PATH) < 0)
        return errno;
    if (now.st_nlink == 0 && mount->forgets_removed)
        return ESTALE;
    const bool is_same = now.st_uid == opener->file_uid && now.st_gid == opener->file_gid &&
                         now.st_mode == opener->file_mode;

    if (is_same || opener->uid == 0 || opener->uid == now.st_uid)
        return 0;
    const mode_t bits = opener->gid == now.st_gid ? now.st_mode >> 3 : now.st_mode;

    return (bits & (mode_t)wanted) == (mode_t)wanted ? 0 : EACCES;
}

int handle_open(fuse_req_t req, struct inode *inode, int fd, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct handle *handle = calloc(1, sizeof(*handle));

    if (!handle) {
        close(fd);
        return ENOMEM;
    }
    handle->inode = inode;
    handle->fd = fd;
    handle->flags = fi->flags;
    handle->opener = opener_of(req, fd);
    inode_get(inode);

    pthread_mutex_lock(&inode->lock);
    fi->keep_cache = open_keeps_pages(mount, inode);
    handle->seen_errors = inode->write_errors;
    handle->next = inode->handles;
    inode->handles = handle;
    inode->open_count++;
    if (fi->flags & O_TRUNC)
        inode_changed_here(inode);
    pthread_mutex_unlock(&inode->lock);

    fi->direct_io = (fi->flags & O_DIRECT) != 0;
    fi->parallel_direct_writes = fi->direct_io;
    fi->fh = (uint64_t)(uintptr_t)handle;
    mount->counters.opens++;
    return 0;
}

bool handle_all_closing(const struct inode *inode)
{
    for (const struct handle *handle = inode->handles; handle; handle = handle->next)
        if (!handle->closing)
            return false;
    return inode->handles != NULL;
}

void handle_none_closing(struct inode *inode)
{
    for (struct handle *handle = inode->handles; handle; handle = handle->next)
        handle->closing = false;
}

bool handle_would_drop(const struct inode *inode)
{
    struct stat now;

    return inode->version_known && fstatat(inode->path_fd, "", &now, AT_EMPTY_PATH) == 0 &&
           is_changed(&now, &inode->version);
}

void handle_release(struct mount *mount, struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->lock);
    writeback_flush(mount, inode);
    pthread_mutex_unlock(&inode->lock);
    lock_release_handle(mount, handle);

    pthread_mutex_lock(&inode->lock);
    struct handle **link = &inode->handles;

    while (*link != handle)
        link = &(*link)->next;
    *link = handle->next;
    inode->open_count--;
    if (inode->open_count == 0 && inode->write_fd >= 0) {
        close(inode->write_fd);
        inode->write_fd = -1;
    }
    pthread_cond_broadcast(&inode->released);
    pthread_mutex_unlock(&inode->lock);

    close(handle->fd);
    free(handle);
    inode_put(inode);
}
