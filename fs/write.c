/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "write.h"

#include "backing.h"
#include "caller.h"
#include "deferred.h"
#include "fault.h"
#include "gate.h"
#include "guard.h"
#include "pages.h"
#include "protect.h"
#include "refresh.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* One request's. */
struct write {
    fuse_req_t req;
    struct context *context;
    struct handle *handle;
    struct gate_pass pass;
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
    const struct gate_pass *pass = &write->pass;
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
static bool drops_setid(const struct write *write)
{
    return !write->is_writeback && write->pass.may_have_setid && !caller_is_root(write->req);
}

static uid_t writer_of(const struct write *write)
{
    return write->is_writeback ? write->handle->uid : fuse_req_ctx(write->req)->uid;
}

static ssize_t write_as(const struct write *write)
{
    caller_limit(writer_of(write));
    if (!drops_setid(write))
        return write_below(write);

    _cleanup_caller_ struct caller caller = caller_begin(write->req);
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
static void leave_written(struct write *write, ssize_t count)
{
    struct gate_pass *pass = &write->pass;
    struct digest_extent written = {.offset = pass->change.start};
    const bool is_whole =
        count > 0 && (size_t)count == write->size && !appends(write->handle, write->is_writeback);
    const bool is_known = pass->wants_digest && is_whole;

    if (is_known) {
        written.length =
            (uint32_t)(write->size < DIGEST_KEPT_BYTES ? write->size : DIGEST_KEPT_BYTES);
        digest_of(write->bytes, written.length, written.digest);
    }
    const bool must_go = gate_leave(pass, &(struct gate_outcome){
                                              .bytes = count > 0 ? (size_t)count : 0,
                                              .written = is_known ? &written : NULL,
                                              .effect = is_whole ? TRACE_GROWS : TRACE_UNSURE,
                                              .length_bytes = pass->change.end,
                                          });
    if (must_go && count > 0 && !(write->handle->flags & O_DIRECT))
        refresh_drop_later(write->context, write->handle->inode);
}

static int write_begin(struct write *write)
{
    struct handle *handle = write->handle;
    const struct gate_range range = appends(handle, write->is_writeback)
                                        ? GATE_WHOLE_FILE
                                        : gate_range(write->offset, write->size);
    const int error = write->is_writeback
                          ? gate_enter_page(write->context, handle, range, &write->pass)
                          : gate_enter(write->context, handle->inode, handle, range, &write->pass);

    if (error == 0)
        fault_hold_write(loop_wait_begin);
    else if (write->is_writeback)
        note_writeback_error(write->context, handle->inode, error);
    return error;
}

static ssize_t write_waiting(const struct write *write)
{
    unsigned tries = 0;
    ssize_t count;

    do
        count = write_as(write);
    while (protect_again(write->context, write->handle->inode, count, &tries));
    fault_hold_written(loop_wait_begin);
    return count;
}

/* What the caller is told. */
static ssize_t write_end(struct write *write, ssize_t count)
{
    struct inode *inode = write->handle->inode;

    leave_written(write, count);
    if (count >= 0)
        return count;
    count = guard_failed(write->context, inode, (int)count);
    if (write->is_writeback)
        note_writeback_error(write->context, inode, (int)count);
    return count;
}

static void reply(fuse_req_t req, ssize_t count)
{
    if (count < 0)
        fuse_reply_err(req, (int)-count);
    else
        fuse_reply_write(req, (size_t)count);
}

static void write_now(struct write *write)
{
    ssize_t count;

    loop_wait_begin();
    count = write_begin(write);
    if (count == 0)
        count = write_end(write, write_waiting(write));
    loop_wait_end();
    reply(write->req, count);
}

/* ---- on a ring ---- */

struct writing {
    struct deferred deferred;
    struct write write;
    bool is_begun; /* and to be ended */
};

static void answer(struct deferred *deferred, ssize_t count)
{
    struct writing *writing = (struct writing *)deferred;

    if (writing->is_begun)
        count = write_end(&writing->write, count);
    reply(writing->write.req, count);
}

static ssize_t again(struct deferred *deferred)
{
    return write_waiting(&((struct writing *)deferred)->write);
}

static void begin(struct writing *writing)
{
    struct write *write = &writing->write;
    struct deferred *deferred = &writing->deferred;
    const int error = write_begin(write);

    writing->is_begun = error == 0;
    if (error != 0)
        deferred_answer(deferred, error);
    else if (drops_setid(write) || (write->pass.by_guard && !write->pass.is_direct))
        deferred_again(deferred);
    else
        deferred_write(deferred, write->pass.by_guard ? write->pass.fd : write->handle->fd,
                       writer_of(write), write->size, write->offset,
                       write->pass.by_guard ? guard_flags(write) : 0);
}

static bool write_deferred(const struct write *write)
{
    struct writing *writing = NULL;

    if (!write->is_writeback && !(write->handle->flags & O_APPEND) &&
        deferred_may(write->handle, write->size))
        writing = (struct writing *)deferred_new(write->context, sizeof(*writing), answer, again);
    if (!writing)
        return false;
    writing->write = *write;
    writing->write.bytes = writing->deferred.room;
    begin(writing);
    return true;
}

void write_serve(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                 struct fuse_file_info *fi)
{
    struct write write = {.req = req,
                          .context = context_of(req),
                          .bytes = bytes,
                          .size = size,
                          .offset = offset,
                          .is_writeback = fi->writepage};
    const int error = backing_handle(write.context, fi->fh, &write.handle);

    (void)ino;
    if (error != 0) {
        fuse_reply_err(req, -error);
        return;
    }
    atomic_store(&write.handle->may_be_closing, false);
    pages_note(write.handle->inode, fi->lock_owner, size);
    if (!write.is_writeback)
        handle_follow_flags(write.handle, fi->flags);
    if (!write_deferred(&write))
        write_now(&write);
}
