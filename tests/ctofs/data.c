/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open, read, write, flush, fsync, fallocate, lseek.
 */
#include "control.h"
#include "handle.h"
#include "lock.h"
#include "mount.h"
#include "stale.h"
#include "thread.h"
#include "writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A writer that is faster than the store writes through from here on. */
#define DIRTY_MAX_BYTES ((size_t)32 << 20)

/* How long an open waits for a release of the same file that the kernel has sent before it. */
#define RELEASE_WAIT_MS 50

static bool is_control(const struct inode *inode)
{
    return inode->type == 0;
}

/* Open ---------------------------------------------------------------------------------------- */

static int open_truncate(fuse_req_t req, struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    writeback_flush(mount_of(req), inode);
    const int err = truncate(inode_path(inode).text, 0) < 0 ? errno : 0;

    if (!err)
        attributes_drop_set_id(req, inode);
    pthread_mutex_unlock(&inode->lock);
    return err;
}

static int open_now(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi)
{
    const struct opener anybody = {.uid = 0};
    const int gone = opener_judge(mount_of(req), inode, &anybody, 0);
    const int fd = gone ? -1 : open(inode_path(inode).text, handle_flags(fi->flags));

    if (fd < 0)
        return gone ? gone : errno;
    const int err = (fi->flags & O_TRUNC) ? open_truncate(req, inode) : 0;

    if (err) {
        close(fd);
        return err;
    }
    return handle_open(req, inode, fd, fi);
}

static void reply_open(fuse_req_t req, int err, struct fuse_file_info *fi)
{
    if (err)
        fuse_reply_err(req, err);
    else if (fuse_reply_open(req, fi) == -ENOENT)
        handle_release(mount_of(req), handle_of(fi));
}

struct waiting_open {
    fuse_req_t req;
    struct inode *inode;
    struct fuse_file_info fi;
};

static struct timespec in_ms(long ms)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

static void *waiting_open_run(void *argument)
{
    struct waiting_open *open = argument;
    struct inode *inode = open->inode;
    const struct timespec until = in_ms(RELEASE_WAIT_MS);

    pthread_mutex_lock(&inode->lock);
    while (handle_all_closing(inode))
        if (pthread_cond_timedwait(&inode->released, &inode->lock, &until) == ETIMEDOUT)
            handle_none_closing(inode);
    pthread_mutex_unlock(&inode->lock);
    reply_open(open->req, open_now(open->req, inode, &open->fi), &open->fi);
    inode_put(inode);
    free(open);
    return NULL;
}

/*
 * A release is asynchronous: after a close, this open may be served before it. Then it would not be
 * the first, and not fresh, which close-to-open promises. So it waits for what looks closed.
 */
static bool open_waits(fuse_req_t req, struct inode *inode, const struct fuse_file_info *fi)
{
    pthread_mutex_lock(&inode->lock);
    const bool waits = handle_all_closing(inode) && handle_would_drop(inode);

    pthread_mutex_unlock(&inode->lock);
    if (!waits)
        return false;
    struct waiting_open *open = malloc(sizeof(*open));

    if (!open)
        return false;
    *open = (struct waiting_open){.req = req, .inode = inode, .fi = *fi};
    inode_get(inode);
    if (thread_start(waiting_open_run, open) != 0) {
        inode_put(inode);
        free(open);
        return false;
    }
    return true;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);

    if (is_control(inode)) {
        control_open(req, fi);
        return;
    }
    const int err = fault_enter(mount, req, OP_OPEN);

    if (err)
        reply_open(req, err, fi);
    else if (!open_waits(req, inode, fi))
        reply_open(req, open_now(req, inode, fi), fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);

    if (is_control(inode_of(&mount->inodes, ino))) {
        control_release(req, fi);
        return;
    }
    /* A release that fails has no one to be told: its locks and its handle go all the same. */
    (void)fault_enter(mount, req, OP_RELEASE);
    handle_release(mount, handle_of(fi));
    fuse_reply_err(req, 0);
}

/* Read ---------------------------------------------------------------------------------------- */

static int read_store(const struct handle *handle, char *reply, size_t size, off_t off, size_t *got)
{
    size_t done = 0;

    while (done < size) {
        const ssize_t n = pread(handle->fd, reply + done, size - done, off + (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return 0;
}

static int read_data(struct mount *mount, struct handle *handle, char *reply, size_t size,
                     off_t off, size_t *got)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->lock);
    handle->closing = false;
    if (handle->flags & O_DIRECT)
        writeback_flush(mount, inode);
    const int err = read_store(handle, reply, size, off, got);

    if (!err)
        stale_overlay(inode, reply, *got, off);
    if (!err)
        *got = extent_overlay(&inode->dirty, off, reply, *got, size);
    pthread_mutex_unlock(&inode->lock);
    mount->counters.reads++;
    mount->counters.bytes_read += *got;
    return err;
}

/* As an NFS client, which has nothing but the lost lock to ask the server by. */
static int lost_error(struct inode *inode, const struct handle *handle)
{
    pthread_mutex_lock(&inode->lock);
    const bool lost = handle->lock_lost;
    pthread_mutex_unlock(&inode->lock);
    return lost ? EIO : 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    size_t got = 0;

    if (is_control(inode_of(&mount->inodes, ino))) {
        control_read(req, size, off, fi);
        return;
    }
    char *reply = malloc(size);
    int err = reply ? fault_enter(mount, req, OP_READ) : ENOMEM;

    if (!err)
        err = lost_error(inode_of(&mount->inodes, ino), handle_of(fi));
    if (!err)
        err = opener_judge(mount, inode_of(&mount->inodes, ino), &handle_of(fi)->opener, R_OK);
    if (!err)
        err = read_data(mount, handle_of(fi), reply, size, off, &got);
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_buf(req, reply, got);
    free(reply);
}

/* Write --------------------------------------------------------------------------------------- */

static int write_through(struct mount *mount, struct inode *inode, const struct opener *opener,
                         const char *data, size_t size, off_t off, bool stable)
{
    writeback_flush(mount, inode);
    const int fd = writeback_descriptor(inode);

    if (fd < 0)
        return errno;
    int err = fault_take(mount, OP_WRITE);

    if (!err)
        err = opener_judge(mount, inode, opener, W_OK);

    for (size_t done = 0; !err && done < size;) {
        const ssize_t n = pwrite(fd, data + done, size - done, off + (off_t)done);

        if (n < 0 && errno != EINTR)
            err = errno;
        else if (n > 0)
            done += (size_t)n;
    }
    if (!err && stable)
        err = fdatasync(fd) < 0 ? errno : 0;
    if (!err) {
        mount->counters.writes++;
        mount->counters.bytes_written += size;
    }
    inode_changed_here(inode);
    return err;
}

static int write_buffered(struct mount *mount, struct inode *inode, const struct opener *opener,
                          const char *data, size_t size, off_t off)
{
    if (inode->dirty.bytes + size > DIRTY_MAX_BYTES)
        return write_through(mount, inode, opener, data, size, off, false);
    if (memcmp(opener, &inode->dirty_opener, sizeof(*opener)) != 0)
        writeback_flush(mount, inode);
    if (inode->dirty.count == 0)
        inode->dirty_since_ns = clock_ns();
    inode->dirty_opener = *opener;
    const int err = extent_write(&inode->dirty, off, data, size);

    inode->attributes_until_ns = 0;
    mount->counters.buffered_writes++;
    return err;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);

    if (is_control(inode)) {
        control_write(req, buf, size);
        return;
    }
    struct handle *handle = handle_of(fi);
    const bool direct = (fi->flags & (O_DIRECT | O_SYNC | O_DSYNC)) != 0 && !fi->writepage;
    int err = 0;

    pthread_mutex_lock(&inode->lock);
    const bool full = inode->dirty.bytes + size > DIRTY_MAX_BYTES;

    pthread_mutex_unlock(&inode->lock);
    if ((direct || full) && fault_frozen(mount, OP_WRITE))
        err = fault_wait(mount, req, OP_WRITE);

    pthread_mutex_lock(&inode->lock);
    handle->closing = false;
    if (!err && handle->lock_lost)
        err = EIO;
    if (!err && direct)
        err = write_through(mount, inode, &handle->opener, buf, size, off,
                            (fi->flags & (O_SYNC | O_DSYNC)) != 0);
    else if (!err)
        err = write_buffered(mount, inode, &handle->opener, buf, size, off);
    if (!err)
        attributes_drop_set_id(req, inode);
    pthread_mutex_unlock(&inode->lock);

    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_write(req, size);
}

/* Flush and fsync ----------------------------------------------------------------------------- */

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);

    if (is_control(inode)) {
        fuse_reply_err(req, 0);
        return;
    }
    struct handle *handle = handle_of(fi);
    int err = fault_enter(mount, req, OP_FLUSH);

    pthread_mutex_lock(&inode->lock);
    if (err != ENOTCONN)
        writeback_flush(mount, inode);
    if (!err)
        err = writeback_error(handle);
    handle->closing = true;
    pthread_mutex_unlock(&inode->lock);
    lock_release_owner(mount, inode, fi->lock_owner);
    fuse_reply_err(req, err);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);

    if (is_control(inode)) {
        fuse_reply_err(req, 0);
        return;
    }
    struct handle *handle = handle_of(fi);
    int err = fault_wait(mount, req, OP_FSYNC);

    if (!err) {
        pthread_mutex_lock(&inode->lock);
        handle->closing = false;
        writeback_flush(mount, inode);
        err = writeback_error(handle);
        pthread_mutex_unlock(&inode->lock);
    }
    if (!err)
        err = fault_take(mount, OP_FSYNC);
    if (!err && (datasync ? fdatasync(handle->fd) : fsync(handle->fd)) < 0)
        err = errno;
    mount->counters.fsyncs++;
    fuse_reply_err(req, err);
}

/* The rest ------------------------------------------------------------------------------------ */

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                         struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    struct handle *handle = handle_of(fi);
    int err = is_control(inode) ? EOPNOTSUPP : fault_enter(mount, req, OP_FALLOCATE);

    if (!err) {
        pthread_mutex_lock(&inode->lock);
        handle->closing = false;
        writeback_flush(mount, inode);
        err = handle->lock_lost ? EIO : opener_judge(mount, inode, &handle->opener, W_OK);
        if (!err && fallocate(handle->fd, mode, offset, length) < 0)
            err = errno;
        if (!err)
            attributes_drop_set_id(req, inode);
        inode_changed_here(inode);
        pthread_mutex_unlock(&inode->lock);
    }
    fuse_reply_err(req, err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    int err = is_control(inode) ? EINVAL : fault_enter(mount, req, OP_LSEEK);
    off_t found = 0;

    if (!err) {
        pthread_mutex_lock(&inode->lock);
        writeback_flush(mount, inode);
        found = lseek(handle_of(fi)->fd, off, whence);
        err = found < 0 ? errno : 0;
        pthread_mutex_unlock(&inode->lock);
    }
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_lseek(req, found);
}

void data_operations(struct fuse_lowlevel_ops *operations)
{
    operations->open = op_open;
    operations->release = op_release;
    operations->read = op_read;
    operations->write = op_write;
    operations->flush = op_flush;
    operations->fsync = op_fsync;
    operations->fallocate = op_fallocate;
    operations->lseek = op_lseek;
}
