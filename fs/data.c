/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "data.h"

#include "backing.h"
#include "caller.h"
#include "close.h"
#include "fault.h"
#include "gate.h"
#include "guard.h"
#include "metadata.h"
#include "pages.h"
#include "protect.h"
#include "refresh.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- reading ---- */

static ssize_t read_cached(const struct handle *handle, char *buffer, size_t size, off_t offset)
{
    const ssize_t count = pread(handle->fd, buffer, size, offset);
    return count >= 0 ? count : -errno;
}

/*
 * What is not whole blocks is left to a handle of O_DIRECT, however: a VMM finds out by it which
 * alignment its writes will have to keep.
 */
static bool may_be_prefetched(const struct handle *handle, size_t size, off_t offset)
{
    return (handle->flags & O_DIRECT) == 0 ||
           (size % BACKING_ALIGNMENT == 0 && offset % (off_t)BACKING_ALIGNMENT == 0);
}

/* A handle that bypasses every cache is fresh as it is, and gives its own errors. */
static ssize_t read_once(struct context *context, struct handle *handle, size_t size, off_t offset,
                         const char **bytes)
{
    struct inode *inode = handle->inode;
    char *buffer = backing_buffer();
    ssize_t count;

    if (!buffer)
        return -ENOMEM;
    *bytes = buffer;
    if (size > BACKING_MOST_BYTES)
        size = BACKING_MOST_BYTES;
    pthread_mutex_lock(&inode->mutex);
    const bool is_fenced =
        owner_state(&inode->owner) == OWNER_FENCED && handle->open_number <= inode->opens_at_fence;
    const bool fresh = owner_asks_server(&inode->owner) || inode->distrusts_below;
    const bool prefetched = !fresh && may_be_prefetched(handle, size, offset) &&
                            metadata_copy(inode, buffer, size, offset);
    pthread_mutex_unlock(&inode->mutex);
    if (is_fenced && context->options.fence != FENCE_OFF)
        return -EIO;
    if (prefetched)
        return (ssize_t)size;
    if (!fresh || !context->options.coherence || handle->flags & O_DIRECT)
        return read_cached(handle, buffer, size, offset);

    count = backing_read_fresh(handle, size, offset, bytes);
    /* The kernel may have kept what it was given, for a mapping even of a DIRECT_IO open. */
    refresh_drop_later(context, inode);
    return count;
}

static ssize_t read_bytes(struct context *context, struct handle *handle, size_t size, off_t offset,
                          const char **bytes)
{
    unsigned tries = 0;
    ssize_t count;

    do
        count = read_once(context, handle, size, offset, bytes);
    while (protect_again(context, handle->inode, count, &tries));
    return count;
}

void data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct handle *handle;
    const char *bytes = NULL;
    ssize_t count = backing_handle(context, fi->fh, &handle);

    (void)ino;
    if (count < 0) {
        fuse_reply_err(req, (int)-count);
        return;
    }
    atomic_store(&handle->may_be_closing, false);
    pages_note(handle->inode, fi->lock_owner, size);
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

/* One request's. */
struct write {
    const struct handle *handle;
    const struct gate_pass *pass;
    const char *bytes;
    size_t size;
    off_t offset;
    bool is_writeback; /* of a page of a mapping, by the kernel */
};

/* O_DIRECT wants aligned memory, which the request's need not be: then it is copied. */
static const char *aligned_bytes(const struct write *write)
{
    char *buffer;

    if ((uintptr_t)write->bytes % BACKING_ALIGNMENT == 0)
        return write->bytes;
    buffer = write->size <= BACKING_MOST_BYTES ? backing_buffer() : NULL;
    return buffer ? memcpy(buffer, write->bytes, write->size) : NULL;
}

/* `flags` as of pwritev2(2). */
static ssize_t write_by(const struct write *write, int fd, bool is_direct, int flags)
{
    const char *bytes = is_direct ? aligned_bytes(write) : write->bytes;
    const struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = write->size};
    ssize_t count;

    if (!bytes)
        return -ENOMEM;
    count = flags == 0 ? pwrite(fd, bytes, write->size, write->offset)
                       : pwritev2(fd, &vector, 1, write->offset, flags);
    return count >= 0 ? count : -errno;
}

#ifndef RWF_NOAPPEND /* headers older than Linux 6.9 */
#define RWF_NOAPPEND 0x20
#endif

/*
 * A page of a mapping comes without regard to its handle's flags: O_APPEND would put it at the end
 * of the file, O_DIRECT may refuse the last one.
 */
static ssize_t write_page(const struct write *write)
{
    const int flags = write->handle->flags;
    const bool appends = (flags & O_APPEND) != 0, is_direct = (flags & O_DIRECT) != 0;
    ssize_t count;
    int fd;

    count = write_by(write, write->handle->fd, is_direct, appends ? RWF_NOAPPEND : 0);
    if ((count != -EINVAL && count != -EOPNOTSUPP) || !(appends || is_direct))
        return count;
    fd = backing_reopen(write->handle, O_WRONLY);
    if (fd < 0)
        return fd;
    count = write_by(write, fd, false, 0);
    return close(fd) == 0 || count < 0 ? count : -errno;
}

static ssize_t write_own(const struct write *write)
{
    const struct handle *handle = write->handle;

    return write->is_writeback ? write_page(write)
                               : write_by(write, handle->fd, (handle->flags & O_DIRECT) != 0, 0);
}

static int guard_flags(const struct write *write)
{
    const int flags = write->handle->flags;

    if (write->is_writeback)
        return 0;
    return (flags & O_APPEND ? RWF_APPEND : 0) | (flags & O_DSYNC ? RWF_DSYNC : 0) |
           ((flags & O_SYNC) == O_SYNC ? RWF_SYNC : 0);
}

/*
 * By the guard as the handle would have it. Only a store that ties no writes to locks, a disk,
 * refuses what O_DIRECT of the guard does not take.
 */
static ssize_t write_below(const struct write *write)
{
    const struct gate_pass *pass = write->pass;
    ssize_t count;

    if (!pass->by_guard)
        return write_own(write);
    count = write_by(write, pass->fd, pass->is_direct, guard_flags(write));
    return count == -EINVAL && pass->is_direct ? write_own(write) : count;
}

/*
 * Set-id bits go when another user writes: the thread takes the writer's ids, and with them loses
 * the capability that keeps the bits. Pages that the kernel writes back later have no writer but
 * whoever opened the file.
 */
static ssize_t write_as(fuse_req_t req, const struct write *write)
{
    caller_limit(write->is_writeback ? write->handle->uid : fuse_req_ctx(req)->uid);
    if (write->is_writeback || !write->pass->may_have_setid || caller_is_root(req))
        return write_below(write);

    _cleanup_caller_ struct caller caller = caller_begin(req);
    return caller.error != 0 ? caller.error : write_below(write);
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

/* Where a request appends it lands at the end that the store knows, whatever its offset says. */
static bool appends(const struct handle *handle, bool is_writeback)
{
    return !is_writeback && (handle->flags & O_APPEND) != 0;
}

/*
 * The change is over: it has put these bytes there, or it is not known what is there now. F_SETFL
 * of another thread may have made an append of it meanwhile. The kernel keeps what was written,
 * too: where another host may write it, that must go as what was read does.
 */
static void leave_written(struct context *context, struct gate_pass *pass,
                          const struct write *write, ssize_t count)
{
    struct digest_extent written = {.offset = pass->change.start};
    const bool is_whole =
        count > 0 && (size_t)count == write->size && !appends(write->handle, write->is_writeback);
    const bool is_known = pass->wants_digest && is_whole;

    if (is_known) {
        written.length =
            (uint32_t)(write->size < DIGEST_MOST_BYTES ? write->size : DIGEST_MOST_BYTES);
        digest_of(write->bytes, written.length, written.digest);
    }
    const bool must_go = gate_leave(pass, &(struct gate_outcome){
                                              .bytes = count > 0 ? (size_t)count : 0,
                                              .written = is_known ? &written : NULL,
                                              .effect = is_whole ? TRACE_GROWS : TRACE_UNSURE,
                                              .length_bytes = pass->change.end,
                                          });
    if (must_go && count > 0 && !(write->handle->flags & O_DIRECT))
        refresh_drop_later(context, write->handle->inode);
}

static ssize_t write_bytes(fuse_req_t req, struct handle *handle, const char *bytes, size_t size,
                           off_t offset, bool is_writeback)
{
    struct context *context = context_of(req);
    const struct gate_range range =
        appends(handle, is_writeback) ? GATE_WHOLE_FILE : gate_range(offset, size);
    struct gate_pass pass;
    const int error = is_writeback ? gate_enter_page(context, handle, range, &pass)
                                   : gate_enter(context, handle->inode, handle, range, &pass);
    ssize_t count = error;

    if (error == 0) {
        const struct write write = {.handle = handle,
                                    .pass = &pass,
                                    .bytes = bytes,
                                    .size = size,
                                    .offset = offset,
                                    .is_writeback = is_writeback};

        unsigned tries = 0;

        fault_hold_write();
        do
            count = write_as(req, &write);
        while (protect_again(context, handle->inode, count, &tries));
        leave_written(context, &pass, &write, count);
        if (count < 0)
            count = guard_failed(context, handle->inode, (int)count);
    }
    if (count < 0 && is_writeback)
        note_writeback_error(context, handle->inode, (int)count);
    return count;
}

void data_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
    struct handle *handle;
    ssize_t count = backing_handle(context_of(req), fi->fh, &handle);

    (void)ino;
    if (count == 0) {
        atomic_store(&handle->may_be_closing, false);
        pages_note(handle->inode, fi->lock_owner, size);
        if (!fi->writepage)
            handle_follow_flags(handle, fi->flags);
        count = write_bytes(req, handle, bytes, size, offset, fi->writepage);
    }
    if (count < 0)
        fuse_reply_err(req, (int)-count);
    else
        fuse_reply_write(req, (size_t)count);
}

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
