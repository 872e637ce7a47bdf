/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "data.h"

#include "backing.h"
#include "caller.h"
#include "close.h"
#include "fault.h"
#include "gate.h"
#include "refresh.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ---- */

static ssize_t read_cached(const struct handle *handle, size_t size, off_t offset,
                           const char **bytes)
{
    char *buffer = backing_buffer();

    if (!buffer)
        return -ENOMEM;
    *bytes = buffer;
    const ssize_t count = pread(handle->fd, buffer, size, offset);
    return count >= 0 ? count : -errno;
}

/* A handle that bypasses every cache is fresh as it is, and gives its own errors. */
static ssize_t read_bytes(struct context *context, struct handle *handle, size_t size, off_t offset,
                          const char **bytes)
{
    struct inode *inode = handle->inode;
    ssize_t count;

    if (size > BACKING_MOST_BYTES)
        size = BACKING_MOST_BYTES;
    pthread_mutex_lock(&inode->mutex);
    const enum owner_state state = owner_state(&inode->owner);
    const bool fresh = owner_asks_server(&inode->owner) || inode->distrusts_below;
    pthread_mutex_unlock(&inode->mutex);
    if (state == OWNER_FENCED && context->options.fence != FENCE_OFF)
        return -EIO;
    if (!fresh || !context->options.coherence || handle->flags & O_DIRECT)
        return read_cached(handle, size, offset, bytes);

    count = backing_read_fresh(handle, size, offset, bytes);
    /* The kernel may have kept what it was given, for a mapping even of a DIRECT_IO open. */
    refresh_drop_later(context, inode);
    return count;
}

void data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct handle *handle = handle_find(context->handles, fi->fh);
    const char *bytes = NULL;
    ssize_t count;

    (void)ino;
    if (!handle) {
        fuse_reply_err(req, EBADF);
        return;
    }
    atomic_store(&handle->may_be_closing, false);
    handle_follow_flags(handle, fi->flags);
    count = read_bytes(context, handle, size, offset, &bytes);
    if (count < 0) {
        fuse_reply_err(req, (int)-count);
        return;
    }
    pthread_mutex_lock(&handle->inode->mutex);
    handle->inode->bytes_read += (uint64_t)count;
    pthread_mutex_unlock(&handle->inode->mutex);
    fuse_reply_buf(req, bytes, (size_t)count);
}

/* ---- writing ---- */

/* O_DIRECT wants aligned memory, which the request's need not be: then it is copied. */
static const char *aligned_for(const struct handle *handle, const char *bytes, size_t size)
{
    char *buffer;

    if (!(handle->flags & O_DIRECT) || (uintptr_t)bytes % BACKING_ALIGNMENT == 0)
        return bytes;
    buffer = size <= BACKING_MOST_BYTES ? backing_buffer() : NULL;
    return buffer ? memcpy(buffer, bytes, size) : NULL;
}

static ssize_t write_below(const struct handle *handle, const char *bytes, size_t size,
                           off_t offset)
{
    bytes = aligned_for(handle, bytes, size);
    if (!bytes)
        return -ENOMEM;
    const ssize_t count = pwrite(handle->fd, bytes, size, offset);
    return count >= 0 ? count : -errno;
}

/*
 * A page of a mapping comes without regard to its handle's flags: O_APPEND would put it at the end
 * of the file, O_DIRECT refuse the last one.
 */
static ssize_t write_page(const struct handle *handle, const char *bytes, size_t size, off_t offset)
{
    int fd;

    if (!(handle->flags & (O_APPEND | O_DIRECT)))
        return write_below(handle, bytes, size, offset);
    fd = backing_reopen(handle, O_WRONLY);
    if (fd < 0)
        return fd;
    const ssize_t written = pwrite(fd, bytes, size, offset);
    const ssize_t count = written >= 0 ? written : -errno;
    return close(fd) == 0 || count < 0 ? count : -errno;
}

/*
 * Set-id bits go when another user writes: the thread takes the writer's ids, and with them loses
 * the capability that keeps the bits. Pages that the kernel writes back later have no writer but
 * whoever opened the file.
 */
static ssize_t write_as(fuse_req_t req, const struct handle *handle, const char *bytes, size_t size,
                        off_t offset, bool is_writeback)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const bool may_have_setid = inode->may_have_setid;
    pthread_mutex_unlock(&inode->mutex);
    caller_limit(is_writeback ? handle->uid : fuse_req_ctx(req)->uid);
    if (is_writeback)
        return write_page(handle, bytes, size, offset);
    if (!may_have_setid || caller_is_root(req))
        return write_below(handle, bytes, size, offset);

    _cleanup_caller_ struct caller caller = caller_begin(req);
    return caller.error != 0 ? caller.error : write_below(handle, bytes, size, offset);
}

/*
 * Where a page cannot be written back nobody is told but the next fsync, and a release's flush. The
 * kernel keeps the page as if it were written: where the server is to be asked it must go.
 */
static void note_writeback_error(struct context *context, struct inode *inode, int error)
{
    pthread_mutex_lock(&inode->mutex);
    inode->writeback_error = error;
    pthread_mutex_unlock(&inode->mutex);
    refresh_drop_later(context, inode);
}

/*
 * The kernel keeps what was written, too. Where another host may write it, that must go as what was
 * read does.
 */
static void drop_written(struct context *context, const struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const bool asks = owner_asks_server(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    if (asks && !(handle->flags & O_DIRECT))
        refresh_drop_later(context, inode);
}

static ssize_t write_bytes(fuse_req_t req, struct handle *handle, const char *bytes, size_t size,
                           off_t offset, bool is_writeback)
{
    struct context *context = context_of(req);
    const int error = gate_enter(context, handle->inode, handle);
    ssize_t count = error;

    if (error == 0) {
        fault_hold_write();
        count = write_as(req, handle, bytes, size, offset, is_writeback);
        gate_leave(handle->inode, count > 0 ? (size_t)count : 0);
    }
    if (count > 0)
        drop_written(context, handle);
    else if (count < 0 && is_writeback)
        note_writeback_error(context, handle->inode, (int)count);
    return count;
}

void data_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
    struct handle *handle = handle_find(context_of(req)->handles, fi->fh);
    ssize_t count = -EBADF;

    (void)ino;
    if (handle) {
        atomic_store(&handle->may_be_closing, false);
        if (!fi->writepage)
            handle_follow_flags(handle, fi->flags);
        count = write_bytes(req, handle, bytes, size, offset, fi->writepage);
    }
    if (count < 0)
        fuse_reply_err(req, (int)-count);
    else
        fuse_reply_write(req, (size_t)count);
}

int data_truncate(struct context *context, struct inode *inode, const struct handle *handle, int fd,
                  off_t length)
{
    const int error = gate_enter(context, inode, handle);
    int result;

    if (error != 0)
        return error;
    if (handle && handle_writes(handle))
        result = ftruncate(handle->fd, length) == 0 ? 0 : -errno;
    else
        result = truncate(proc_path(fd).text, length) == 0 ? 0 : -errno;
    gate_leave(inode, 0);
    return result;
}

/* ---- the rest ---- */

/*
 * A close of any descriptor of the file: what it wrote must be at the server when it returns, and
 * an NFS client does that at the close of any description's descriptor.
 */
static int close_below(const struct handle *handle)
{
    int duplicate;

    if (!handle_writes(handle))
        return 0;
    duplicate = fcntl(handle->fd, F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0)
        return -errno;
    return close(duplicate) == 0 ? 0 : -errno;
}

void data_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct handle *handle = handle_find(context->handles, fi->fh);
    int error;

    (void)ino;
    if (!handle) {
        fuse_reply_err(req, EBADF);
        return;
    }
    error = close_below(handle);
    atomic_store(&handle->may_be_closing, true);
    close_one(context, handle, fi->lock_owner, error, req);
}

void data_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct handle *handle = handle_find(context->handles, fi->fh);

    (void)ino;
    if (handle)
        close_last(context, handle, req);
    else
        fuse_reply_err(req, EBADF);
}

void data_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
    struct handle *handle = handle_find(context_of(req)->handles, fi->fh);
    int result = -1;

    (void)ino;
    errno = EBADF;
    if (handle)
        result = data_only ? fdatasync(handle->fd) : fsync(handle->fd);
    fuse_reply_err(req, result == 0 ? 0 : errno);
}

static int allocate(fuse_req_t req, const struct handle *handle, int mode, off_t offset,
                    off_t length)
{
    struct context *context = context_of(req);
    int error = gate_enter(context, handle->inode, handle);

    if (error != 0)
        return error;
    {
        _cleanup_caller_ struct caller caller = caller_begin(req);

        error = caller.error;
        if (error == 0)
            error = fallocate(handle->fd, mode, offset, length) == 0 ? 0 : -errno;
    }
    gate_leave(handle->inode, 0);
    return error;
}

void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                    struct fuse_file_info *fi)
{
    const struct handle *handle = handle_find(context_of(req)->handles, fi->fh);

    (void)ino;
    fuse_reply_err(req, handle ? -allocate(req, handle, mode, offset, length) : EBADF);
}

/* Where the server must be asked, its length first: the client seeks within the one it knows. */
static off_t seek(struct context *context, const struct handle *handle, off_t offset, int whence)
{
    struct stat attributes;

    if (inode_asks_server(handle->inode)) {
        const int error = inode_stat(context->inodes, handle->inode, handle->fd, true, &attributes);

        if (error != 0)
            return error;
    }
    const off_t found = lseek(handle->fd, offset, whence);
    return found >= 0 ? found : -errno;
}

void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    const struct handle *handle = handle_find(context->handles, fi->fh);
    const off_t found = handle ? seek(context, handle, offset, whence) : -EBADF;

    (void)ino;
    if (found < 0)
        fuse_reply_err(req, (int)-found);
    else
        fuse_reply_lseek(req, found);
}

/* What must be read from the server the kernel copies itself, by reads that are served so. */
static ssize_t copy(fuse_req_t req, const struct handle *from, off_t from_offset,
                    const struct handle *to, off_t to_offset, size_t size, unsigned flags)
{
    struct context *context = context_of(req);
    ssize_t count;
    int error;

    if (inode_asks_server(from->inode))
        return -EOPNOTSUPP;
    error = gate_enter(context, to->inode, to);
    if (error != 0)
        return error;
    {
        _cleanup_caller_ struct caller caller = caller_begin(req);

        count = caller.error;
        if (count == 0) {
            count = copy_file_range(from->fd, &from_offset, to->fd, &to_offset, size, flags);
            count = count >= 0 ? count : -errno;
        }
    }
    gate_leave(to->inode, count > 0 ? (size_t)count : 0);
    return count;
}

void data_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset,
                          struct fuse_file_info *from_fi, fuse_ino_t to_ino, off_t to_offset,
                          struct fuse_file_info *to_fi, size_t size, int flags)
{
    struct context *context = context_of(req);
    const struct handle *from = handle_find(context->handles, from_fi->fh);
    const struct handle *to = handle_find(context->handles, to_fi->fh);
    const ssize_t count =
        from && to ? copy(req, from, from_offset, to, to_offset, size, (unsigned)flags) : -EBADF;

    (void)from_ino;
    (void)to_ino;
    if (count < 0)
        fuse_reply_err(req, (int)-count);
    else
        fuse_reply_write(req, (size_t)count);
}
