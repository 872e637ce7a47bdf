/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backing.h"

#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Another description of what `fd` is of; as uid 0: as the daemon. */
static int open_as(uid_t uid, gid_t gid, int fd, int flags)
{
    _cleanup_caller_ struct caller caller = caller_begin_as(uid, gid);
    int opened;

    if (caller.error != 0)
        return caller.error;
    opened = open(proc_path(fd).text, flags | O_CLOEXEC);
    return opened >= 0 ? opened : -errno;
}

int backing_reopen(const struct handle *handle, int flags)
{
    struct inode *inode = handle->inode;
    int fd;

    pthread_mutex_lock(&inode->mutex);
    const struct opened_as opened = handle->opened;
    pthread_mutex_unlock(&inode->mutex);
    fd = open_as(opened.uid, opened.gid, handle->fd, flags);
    /* Opened by a group of theirs that is not known any more: the handle has the right already. */
    if (fd == -EACCES)
        fd = open_as(0, 0, handle->fd, flags);
    return fd == -EACCES && handle->is_protected ? backing_open_as_owner(handle->fd, flags) : fd;
}

int backing_open_as_owner(int fd, int flags)
{
    struct stat attributes;
    int opened;

    if (fstat(fd, &attributes) != 0)
        return -errno;
    opened = open_as(attributes.st_uid, attributes.st_gid, fd, flags);
    return opened == -EACCES ? open_as(0, 0, fd, flags) : opened;
}

/* The descriptor's number stays: whoever uses it by then finds the file open. */
static int open_delayed(struct handle *handle)
{
    const int kept = O_ACCMODE | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME | O_NONBLOCK;
    const int opened = backing_reopen(handle, handle->flags & kept);
    int error = 0;

    if (opened < 0)
        return opened;
    if (dup3(opened, handle->fd, O_CLOEXEC) < 0) {
        error = -errno;
    } else {
        atomic_store(&handle->is_delayed, false);
        handle_apply_flags(handle); /* F_SETFL may have come meanwhile */
    }
    close(opened);
    return error;
}

int backing_ready(struct handle *handle)
{
    int error = 0;

    if (!atomic_load(&handle->is_delayed))
        return 0;
    pthread_mutex_lock(&handle->open_mutex);
    if (atomic_load(&handle->is_delayed))
        error = open_delayed(handle);
    pthread_mutex_unlock(&handle->open_mutex);
    return error;
}

int backing_handle(struct context *context, uint64_t number, struct handle **handle)
{
    *handle = handle_find(context->handles, number);
    return *handle ? backing_ready(*handle) : -EBADF;
}

/* ---- a thread's buffer ---- */

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;
static bool buffer_has_key;

static void make_buffer_key(void)
{
    buffer_has_key = pthread_key_create(&buffer_key, free) == 0;
}

char *backing_buffer(void)
{
    /* One block more at each end than a request has: a fresh read is widened to whole blocks. */
    const size_t bytes = BACKING_MOST_BYTES + 2 * BACKING_ALIGNMENT;
    char *buffer;

    pthread_once(&buffer_once, make_buffer_key);
    if (!buffer_has_key)
        return NULL;
    buffer = pthread_getspecific(buffer_key);
    if (buffer)
        return buffer;
    buffer = aligned_alloc(BACKING_ALIGNMENT, bytes);
    if (buffer && pthread_setspecific(buffer_key, buffer) != 0) {
        free(buffer);
        return NULL;
    }
    return buffer;
}

/* ---- fresh reads ---- */

int backing_fresh_begin(struct handle *handle)
{
    struct inode *inode = handle->inode;
    int fd, opened = -1;

    pthread_mutex_lock(&inode->mutex);
    fd = inode->direct_refused ? -EINVAL : inode->direct_fd;
    if (fd >= 0)
        inode->direct_readers++;
    pthread_mutex_unlock(&inode->mutex);
    if (fd != -1)
        return fd;

    opened = backing_reopen(handle, O_RDONLY | O_DIRECT | O_NOATIME);
    if (opened == -EPERM) /* O_NOATIME is the file owner's right */
        opened = backing_reopen(handle, O_RDONLY | O_DIRECT);
    if (opened < 0 && opened != -EINVAL)
        return opened;

    pthread_mutex_lock(&inode->mutex);
    if (opened == -EINVAL)
        inode->direct_refused = true;
    else if (inode->direct_fd < 0) {
        inode->direct_fd = opened;
        inode->direct_is_over = false;
        opened = -1;
    }
    fd = inode->direct_refused ? -EINVAL : inode->direct_fd;
    if (fd >= 0)
        inode->direct_readers++;
    pthread_mutex_unlock(&inode->mutex);
    if (opened >= 0)
        close(opened);
    return fd;
}

/* With the mutex held: the descriptor to close when the last reader is gone, else -1. */
static int take_unused_fresh(struct inode *inode)
{
    if (inode->direct_readers > 0 || !inode->direct_is_over)
        return -1;

    const int fd = inode->direct_fd;
    inode->direct_fd = -1;
    return fd;
}

void backing_fresh_end(struct inode *inode)
{
    int unused;

    pthread_mutex_lock(&inode->mutex);
    inode->direct_readers--;
    unused = take_unused_fresh(inode);
    pthread_mutex_unlock(&inode->mutex);
    if (unused >= 0)
        close(unused);
}

void backing_close_fresh(struct inode *inode)
{
    int unused;

    pthread_mutex_lock(&inode->mutex);
    inode->direct_is_over = true;
    unused = take_unused_fresh(inode);
    pthread_mutex_unlock(&inode->mutex);
    if (unused >= 0)
        close(unused);
}

/*
 * Where the store refuses O_DIRECT: drop what its client has of the range, and read. Pages that are
 * in it only in part would stay (posix_fadvise(2)), so it is widened to whole ones.
 */
static ssize_t read_dropped(const struct handle *handle, char *buffer, size_t size, off_t offset)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t before = (size_t)offset % page;
    const size_t wide = (before + size + page - 1) / page * page;
    const int error =
        posix_fadvise(handle->fd, offset - (off_t)before, (off_t)wide, POSIX_FADV_DONTNEED);

    if (error != 0)
        return -error;
    const ssize_t count = pread(handle->fd, buffer, size, offset);
    return count >= 0 ? count : -errno;
}

struct backing_blocks backing_blocks_around(off_t offset, size_t size)
{
    const size_t before = (size_t)offset % BACKING_ALIGNMENT;

    return (struct backing_blocks){
        .start = offset - (off_t)before,
        .before = before,
        .size = (before + size + BACKING_ALIGNMENT - 1) & ~(BACKING_ALIGNMENT - 1),
    };
}

ssize_t backing_blocks_part(const struct backing_blocks *blocks, ssize_t count, size_t size)
{
    if (count < 0)
        return count;
    if ((size_t)count <= blocks->before)
        return 0;
    return (size_t)count - blocks->before < size ? count - (ssize_t)blocks->before : (ssize_t)size;
}

static ssize_t read_direct(int fd, char *buffer, size_t size, off_t offset, const char **bytes)
{
    const struct backing_blocks blocks = backing_blocks_around(offset, size);
    const ssize_t count = pread(fd, buffer, blocks.size, blocks.start);

    *bytes = buffer + blocks.before;
    return backing_blocks_part(&blocks, count >= 0 ? count : -errno, size);
}

ssize_t backing_read_fresh(struct handle *handle, size_t size, off_t offset, const char **bytes)
{
    char *buffer = backing_buffer();
    ssize_t count;
    int fd;

    if (!buffer)
        return -ENOMEM;
    *bytes = buffer;
    fd = backing_fresh_begin(handle);
    if (fd == -EINVAL)
        return read_dropped(handle, buffer, size, offset);
    if (fd < 0)
        return fd;
    count = read_direct(fd, buffer, size, offset, bytes);
    backing_fresh_end(handle->inode);
    return count;
}

/* ---- dropping ---- */

/* cachestat(2), Linux 6.5; glibc has no wrapper yet. */
struct cachestat_range {
    uint64_t offset, length;
};
struct cachestat_result {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* What of a file its store's client has. */
struct pages_below {
    uint64_t cached;
    bool may_be_dirty; /* some, or it cannot be told */
};

static int count_pages(int fd, struct pages_below *pages)
{
    const struct cachestat_range all = {0, 0};
    struct cachestat_result result;

    if (syscall(SYS_cachestat, fd, &all, &result, 0) != 0)
        return -errno;
    *pages = (struct pages_below){.cached = result.cached,
                                  .may_be_dirty = result.dirty + result.writeback > 0};
    return 0;
}

/* Before cachestat: asks for each page of a mapping. */
static int count_pages_mapped(int fd, uint64_t *pages)
{
    const off_t size = lseek(fd, 0, SEEK_END);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t count = size > 0 ? ((size_t)size + page - 1) / page : 0;
    unsigned char *present;
    void *map;
    int error = 0;

    *pages = 0;
    if (size < 0)
        return -errno;
    if (count == 0)
        return 0;
    map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    present = malloc(count);
    if (!present || mincore(map, (size_t)size, present) != 0)
        error = present ? -errno : -ENOMEM;
    for (size_t i = 0; error == 0 && i < count; i++)
        *pages += present[i] & 1;
    free(present);
    munmap(map, (size_t)size);
    return error;
}

static int count_below(int fd, struct pages_below *pages)
{
    const int error = count_pages(fd, pages);

    if (error != -ENOSYS && error != -EOPNOTSUPP)
        return error;
    pages->may_be_dirty = true;
    return count_pages_mapped(fd, &pages->cached);
}

/* Whether any page stays, or it cannot be told. */
static int drop_clean(int fd, bool *stayed)
{
    struct pages_below after;
    const int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

    if (error != 0)
        return -error;
    *stayed = count_below(fd, &after) != 0 || after.cached > 0;
    return 0;
}

/*
 * What its client has not yet written shows by its pages, or, if it keeps that elsewhere, is known
 * here: but for what is written past the daemon.
 */
static bool may_be_dirty(const struct handle *handle, const struct pages_below *pages)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    const bool is_synced = inode->changes == inode->changes_synced && inode->backing_id == 0;
    pthread_mutex_unlock(&inode->mutex);
    return !is_synced || pages->may_be_dirty;
}

/*
 * A sync of what is clean makes a disk flush its own cache, for nothing. Pages that an NFS client
 * has sent but not committed count as clean: they stay, and then there is a sync.
 */
int backing_drop(const struct handle *handle, struct backing_drop *result)
{
    struct pages_below before = {.may_be_dirty = true};
    bool stayed = true;
    int error = count_below(handle->fd, &before) == 0 && !may_be_dirty(handle, &before)
                    ? drop_clean(handle->fd, &stayed)
                    : 0;

    if (error == 0 && stayed && handle_writes(handle) && fdatasync(handle->fd) != 0)
        error = -errno;
    if (error == 0 && stayed)
        error = drop_clean(handle->fd, &stayed);
    if (error == 0)
        *result = (struct backing_drop){.pages_cached = before.cached, .stayed = stayed};
    return error;
}
