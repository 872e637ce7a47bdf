/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "writeback.h"

#include "handle.h"
#include "mount.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

int writeback_descriptor(struct inode *inode)
{
    if (inode->write_fd < 0)
        inode->write_fd = open(inode_path(inode).text, O_WRONLY | O_CLOEXEC);
    return inode->write_fd;
}

static int write_all(int fd, const struct extent *extent)
{
    size_t done = 0;

    while (done < extent->length) {
        const ssize_t n =
            pwrite(fd, extent->data + done, extent->length - done, extent->start + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        done += (size_t)n;
    }
    return 0;
}

static int write_extent(struct mount *mount, struct inode *inode, const struct extent *extent)
{
    const int fd = writeback_descriptor(inode);

    if (fd < 0)
        return errno;
    int err = fault_take(mount, OP_WRITE);

    if (!err)
        err = opener_judge(mount, inode, &inode->dirty_opener, W_OK);
    if (!err)
        err = write_all(fd, extent);
    if (!err) {
        mount->counters.writes++;
        mount->counters.bytes_written += extent->length;
    }
    return err;
}

void writeback_flush(struct mount *mount, struct inode *inode)
{
    if (inode->dirty.count == 0)
        return;
    for (size_t i = 0; i < inode->dirty.count; i++) {
        const int err = write_extent(mount, inode, &inode->dirty.items[i]);

        if (err) {
            inode->write_error = err;
            inode->write_errors++;
            mount->counters.write_errors++;
        }
    }
    extent_clear(&inode->dirty);
    inode_changed_here(inode);
}

int writeback_error(struct handle *handle)
{
    if (handle->seen_errors == handle->inode->write_errors)
        return 0;
    handle->seen_errors = handle->inode->write_errors;
    return handle->inode->write_error;
}

static void flush(struct mount *mount, struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    writeback_flush(mount, inode);
    pthread_mutex_unlock(&inode->lock);
}

void writeback_drop(struct mount *mount, struct inode *inode)
{
    flush(mount, inode);
    /* Dirty mapped pages come out here, as WRITEs into the buffer. ENOENT: nothing was cached. */
    (void)fuse_lowlevel_notify_inval_inode(mount->session, inode_nodeid(&mount->inodes, inode), 0,
                                           0);
    mount->counters.invalidations++;
    pthread_mutex_lock(&inode->lock);
    writeback_flush(mount, inode);
    if (inode_refresh(mount, inode) == 0) {
        inode->version = inode->attributes;
        inode->version_known = true;
    }
    pthread_mutex_unlock(&inode->lock);
}

static void flush_old(struct mount *mount, struct inode *inode)
{
    const int64_t before = clock_ns() - (int64_t)(mount->flush_seconds * 1e9);

    pthread_mutex_lock(&inode->lock);
    if (inode->dirty.count > 0 && inode->dirty_since_ns < before)
        writeback_flush(mount, inode);
    pthread_mutex_unlock(&inode->lock);
}

static void *flusher_run(void *argument)
{
    struct mount *mount = argument;
    const struct timespec pause = {.tv_nsec = 500000000};

    for (;;) {
        nanosleep(&pause, NULL);
        if (!fault_frozen(mount, OP_WRITE))
            inode_each_open(&mount->inodes, flush_old, mount);
    }
    return NULL;
}

int writeback_start(struct mount *mount)
{
    return thread_start(flusher_run, mount);
}

void writeback_all(struct mount *mount)
{
    inode_each_open(&mount->inodes, flush, mount);
}
