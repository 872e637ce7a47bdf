/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "data.h"

#include "backing.h"
#include "caller.h"
#include "close.h"
#include "gate.h"
#include "guard.h"
#include "pages.h"
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

/* A path is judged as it would be without the guard. */
static int truncate_by(const struct gate_pass *pass, const struct handle *handle, int fd,
                       off_t length)
{
    const bool by_path = !(handle && handle_writes(handle));
    const struct proc_path path = proc_path(fd);

    if (!pass->by_guard && by_path)
        return truncate(path.text, length) == 0 ? 0 : -errno;
    if (by_path && faccessat(AT_FDCWD, path.text, W_OK, AT_EACCESS) != 0)
        return -errno;
    return ftruncate(pass->fd, length) == 0 ? 0 : -errno;
}

int data_truncate(struct context *context, struct inode *inode, const struct handle *handle, int fd,
                  off_t length)
{
    const struct gate_range range = {.start = (uint64_t)length, .end = DIGEST_TO_THE_END};
    struct gate_pass pass;
    const int error = gate_enter(context, inode, handle, range, &pass);
    int result;

    if (error != 0)
        return error;
    result = guard_failed(context, inode, truncate_by(&pass, handle, fd, length));
    gate_leave(&pass, &(struct gate_outcome){.effect = result == 0 ? TRACE_CUTS : TRACE_UNSURE,
                                             .length_bytes = (uint64_t)length});
    return result;
}

/* ---- the rest ---- */

/* What was written may not have come to the store, and whoever asked is told; once. */
static void forget_written(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    digest_ring_clear(&inode->digests);
    pthread_mutex_unlock(&inode->mutex);
}

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
    error = handle_settle(handle, close_below(handle));
    if (error != 0) {
        (void)protect_mends(context, handle->inode, error); /* for what is written later */
        forget_written(handle->inode);
        error = guard_failed(context, handle->inode, error);
    }
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
    struct handle *handle;
    int error;

    (void)ino;
    if (pages_answer_fsync(req, fi))
        return;
    error = backing_handle(context_of(req), fi->fh, &handle);
    if (error == 0) {
        error = (data_only ? fdatasync(handle->fd) : fsync(handle->fd)) == 0 ? 0 : -errno;
        error = handle_settle(handle, error);
        if (error != 0) {
            (void)protect_mends(context_of(req), handle->inode, error); /* as above */
            forget_written(handle->inode);
            error = guard_failed(context_of(req), handle->inode, error);
        }
    }
    fuse_reply_err(req, -error);
}

/* Two modes move all that follows. */
static struct gate_range allocated_range(int mode, off_t offset, off_t length)
{
    struct gate_range range = gate_range(offset, (size_t)length);

    if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
        range.end = DIGEST_TO_THE_END;
    return range;
}

static int allocate_below(fuse_req_t req, const struct handle *handle, int fd, int mode,
                          off_t offset, off_t length)
{
    _cleanup_caller_ struct caller caller = protect_caller_begin(req, handle);

    if (caller.error != 0)
        return caller.error;
    return fallocate(fd, mode, offset, length) == 0 ? 0 : -errno;
}

static int allocate(fuse_req_t req, const struct handle *handle, int mode, off_t offset,
                    off_t length)
{
    struct context *context = context_of(req);
    struct gate_pass pass;
    unsigned tries = 0;
    int error =
        gate_enter(context, handle->inode, handle, allocated_range(mode, offset, length), &pass);

    if (error != 0)
        return error;
    do
        error = allocate_below(req, handle, pass.fd, mode, offset, length);
    while (protect_again(context, handle->inode, error, &tries));
    error = guard_failed(context, handle->inode, error);
    gate_leave(&pass, &(struct gate_outcome){.effect = mode == 0 && error == 0 ? TRACE_GROWS
                                                                               : TRACE_UNSURE,
                                             .length_bytes = pass.change.end});
    return error;
}

void data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                    struct fuse_file_info *fi)
{
    struct handle *handle;
    int error = backing_handle(context_of(req), fi->fh, &handle);

    (void)ino;
    if (error == 0)
        error = allocate(req, handle, mode, offset, length);
    fuse_reply_err(req, -error);
}

/* As the daemon, or as whom the handle had to be opened anew. */
static off_t seek_below(fuse_req_t req, const struct handle *handle, off_t offset, int whence)
{
    const bool is_renewed = protect_has_renewed(handle);
    _cleanup_caller_ struct caller caller =
        is_renewed ? protect_caller_begin(req, handle) : (struct caller){.error = 0};
    if (caller.error != 0)
        return caller.error;
    const off_t found = lseek(handle->fd, offset, whence);
    return found >= 0 ? found : -errno;
}

/* Where the server must be asked, its length first: the client seeks within the one it knows. */
static off_t seek(fuse_req_t req, const struct handle *handle, off_t offset, int whence)
{
    struct context *context = context_of(req);
    struct stat attributes;
    unsigned tries = 0;
    off_t found;

    if (inode_asks_server(handle->inode)) {
        const int error = inode_stat(context->inodes, handle->inode, handle->fd, true, &attributes);

        if (error != 0)
            return error;
    }
    do
        found = seek_below(req, handle, offset, whence);
    while (protect_again(context, handle->inode, found, &tries));
    return found;
}

void data_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct handle *handle;
    off_t found = backing_handle(context, fi->fh, &handle);

    (void)ino;
    if (found == 0)
        found = seek(req, handle, offset, whence);
    if (found < 0)
        fuse_reply_err(req, (int)-found);
    else
        fuse_reply_lseek(req, found);
}

static enum trace_effect copied_effect(ssize_t count)
{
    if (count == 0)
        return TRACE_KEEPS;
    return count > 0 ? TRACE_GROWS : TRACE_UNSURE;
}

/* `to_offset` moves on with what is copied. */
static ssize_t copy_below(fuse_req_t req, const struct handle *from, off_t from_offset,
                          const struct handle *to, int to_fd, off_t *to_offset, size_t size,
                          unsigned flags)
{
    _cleanup_caller_ struct caller caller = protect_caller_begin(req, to);
    ssize_t count;

    if (caller.error != 0)
        return caller.error;
    count = copy_file_range(from->fd, &from_offset, to_fd, to_offset, size, flags);
    return count >= 0 ? count : -errno;
}

/* The refusal may have been either one's. */
static bool copy_again(struct context *context, const struct handle *from, const struct handle *to,
                       ssize_t count, unsigned *tries)
{
    const bool is_mended =
        count < 0 && from->inode != to->inode && protect_mends(context, from->inode, (int)count);

    return protect_again(context, to->inode, count, tries) || (is_mended && *tries < PROTECT_TRIES);
}

/* What must be read from the server the kernel copies itself, by reads that are served so. */
static ssize_t copy(fuse_req_t req, const struct handle *from, off_t from_offset,
                    const struct handle *to, off_t to_offset, size_t size, unsigned flags)
{
    struct context *context = context_of(req);
    struct gate_pass pass;
    unsigned tries = 0;
    ssize_t count;
    int error;

    if (inode_asks_server(from->inode))
        return -EOPNOTSUPP;
    error = gate_enter(context, to->inode, to, gate_range(to_offset, size), &pass);
    if (error != 0)
        return error;
    do
        count = copy_below(req, from, from_offset, to, pass.fd, &to_offset, size, flags);
    while (copy_again(context, from, to, count, &tries));
    if (count < 0)
        count = guard_failed(context, to->inode, (int)count);
    gate_leave(&pass, &(struct gate_outcome){.bytes = count > 0 ? (size_t)count : 0,
                                             .effect = copied_effect(count),
                                             .length_bytes = (uint64_t)to_offset /* moved on */});
    return count;
}

void data_copy_file_range(fuse_req_t req, fuse_ino_t from_ino, off_t from_offset,
                          struct fuse_file_info *from_fi, fuse_ino_t to_ino, off_t to_offset,
                          struct fuse_file_info *to_fi, size_t size, int flags)
{
    struct context *context = context_of(req);
    struct handle *from, *to;
    ssize_t count = backing_handle(context, from_fi->fh, &from);

    (void)from_ino;
    (void)to_ino;
    if (count == 0)
        count = backing_handle(context, to_fi->fh, &to);
    if (count == 0)
        count = copy(req, from, from_offset, to, to_offset, size, (unsigned)flags);
    if (count < 0)
        fuse_reply_err(req, (int)-count);
    else
        fuse_reply_write(req, (size_t)count);
}
