/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "read.h"

#include "backing.h"
#include "deferred.h"
#include "metadata.h"
#include "pages.h"
#include "protect.h"
#include "refresh.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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

enum read_way {
    READ_REFUSED,
    READ_PREFETCHED, /* `buffer` is filled */
    READ_BELOW,      /* as the handle has it */
    READ_FOR_GOOD,   /* the same, for pages that the kernel keeps above until a transition */
    READ_FRESH,      /* from the server, past its client's cache */
};

/* A handle that bypasses every cache is fresh as it is, and gives its own errors. */
static enum read_way read_way(struct context *context, const struct handle *handle, char *buffer,
                              size_t size, off_t offset, bool by_pages)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const bool is_kept = by_pages && owner_may_cache(&inode->owner);
    const bool is_fenced =
        owner_state(&inode->owner) == OWNER_FENCED && handle->open_number <= inode->opens_at_fence;
    const bool fresh = owner_asks_server(&inode->owner) || inode->distrusts_below;
    const bool prefetched = !fresh && may_be_prefetched(handle, size, offset) &&
                            metadata_copy(inode, buffer, size, offset);
    pthread_mutex_unlock(&inode->mutex);
    if (is_fenced && context->options.fence != FENCE_OFF)
        return READ_REFUSED;
    if (prefetched)
        return READ_PREFETCHED;
    if (fresh && context->options.coherence && !(handle->flags & O_DIRECT))
        return READ_FRESH;
    return is_kept ? READ_FOR_GOOD : READ_BELOW;
}

/*
 * The kernel's pages above serve from now on, whatever is opened: the store's client need not keep
 * them, too. A page of it that is large goes with its last part, and so what is behind is covered.
 */
#define LARGEST_PAGE ((off_t)2 << 20)

static void forget_below(const struct handle *handle, off_t offset, ssize_t count)
{
    const off_t start = offset > LARGEST_PAGE ? offset - LARGEST_PAGE : 0;

    if (count > 0) /* advice: an error has no meaning */
        (void)posix_fadvise(handle->fd, start, offset + count - start, POSIX_FADV_DONTNEED);
}

static ssize_t read_once(struct context *context, struct handle *handle, size_t size, off_t offset,
                         bool by_pages, const char **bytes)
{
    char *buffer = backing_buffer();
    ssize_t count;

    if (!buffer)
        return -ENOMEM;
    *bytes = buffer;
    if (size > BACKING_MOST_BYTES)
        size = BACKING_MOST_BYTES;
    switch (read_way(context, handle, buffer, size, offset, by_pages)) {
    case READ_REFUSED:
        return -EIO;
    case READ_PREFETCHED:
        return (ssize_t)size;
    case READ_BELOW:
        return read_cached(handle, buffer, size, offset);
    case READ_FOR_GOOD:
        count = read_cached(handle, buffer, size, offset);
        forget_below(handle, offset, count);
        return count;
    case READ_FRESH:
        break;
    }
    count = backing_read_fresh(handle, size, offset, bytes);
    /* The kernel may have kept what it was given, for a mapping even of a DIRECT_IO open. */
    refresh_drop_later(context, handle->inode);
    return count;
}

static ssize_t read_bytes(struct context *context, struct handle *handle, size_t size, off_t offset,
                          bool by_pages, const char **bytes)
{
    unsigned tries = 0;
    ssize_t count;

    do
        count = read_once(context, handle, size, offset, by_pages, bytes);
    while (protect_again(context, handle->inode, count, &tries));
    return count;
}

/* The last step of each: the handle may be gone after it. */
static void reply(fuse_req_t req, struct inode *inode, const char *bytes, ssize_t count)
{
    if (count < 0) {
        fuse_reply_err(req, (int)-count);
        return;
    }
    atomic_fetch_add_explicit(&inode->bytes_read, (uint64_t)count, memory_order_relaxed);
    fuse_reply_buf(req, bytes, (size_t)count);
}

static void read_now(fuse_req_t req, struct handle *handle, size_t size, off_t offset,
                     bool by_pages)
{
    loop_wait_begin();

    const char *bytes = NULL;
    const ssize_t count = read_bytes(context_of(req), handle, size, offset, by_pages, &bytes);

    loop_wait_end();
    reply(req, handle->inode, bytes, count);
}

/* ---- on a ring ---- */

struct reading {
    struct deferred deferred;
    fuse_req_t req;
    struct handle *handle;
    size_t size;
    off_t offset;
    const char *bytes;
};

static void answer(struct deferred *deferred, ssize_t count)
{
    const struct reading *reading = (struct reading *)deferred;

    reply(reading->req, reading->handle->inode, reading->bytes, count);
}

static ssize_t again(struct deferred *deferred)
{
    struct reading *reading = (struct reading *)deferred;

    return read_bytes(deferred->context, reading->handle, reading->size, reading->offset, false,
                      &reading->bytes);
}

static void begin(struct reading *reading)
{
    struct deferred *deferred = &reading->deferred;

    reading->bytes = deferred->room;
    switch (read_way(deferred->context, reading->handle, deferred->room, reading->size,
                     reading->offset, false)) {
    case READ_REFUSED:
        deferred_answer(deferred, -EIO);
        break;
    case READ_PREFETCHED:
        deferred_answer(deferred, (ssize_t)reading->size);
        break;
    case READ_BELOW:
    case READ_FOR_GOOD: /* not of O_DIRECT */
        deferred_read(deferred, reading->handle->fd, reading->size, reading->offset);
        break;
    case READ_FRESH:
        deferred_again(deferred);
        break;
    }
}

static bool read_deferred(fuse_req_t req, struct handle *handle, size_t size, off_t offset)
{
    struct reading *reading = NULL;

    if (deferred_may(handle, size))
        reading = (struct reading *)deferred_new(context_of(req), sizeof(*reading), answer, again);
    if (!reading)
        return false;
    reading->req = req;
    reading->handle = handle;
    reading->size = size;
    reading->offset = offset;
    begin(reading);
    return true;
}

void read_serve(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
    struct handle *handle;
    const int error = backing_handle(context_of(req), fi->fh, &handle);

    (void)ino;
    if (error < 0) {
        fuse_reply_err(req, -error);
        return;
    }
    atomic_store(&handle->may_be_closing, false);
    pages_note(handle->inode, fi->lock_owner, size);
    handle_follow_flags(handle, fi->flags);
    if (!read_deferred(req, handle, size, offset))
        read_now(req, handle, size, offset, fi->lock_owner == 0);
}
