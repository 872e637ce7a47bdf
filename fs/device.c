/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device.h"

#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

struct clone {
    struct clone *next;
    int fd;
};

struct device {
    struct stats *stats;
    int fd;                         /* the session's */
    _Atomic(struct clone *) clones; /* only ever grows */
};

static _Thread_local int present_fd = -1;

/* ---- counting ---- */

static const enum migfs_request kinds[] = {
    [FUSE_LOOKUP] = MIGFS_REQUEST_LOOKUP,       [FUSE_FORGET] = MIGFS_REQUEST_FORGET,
    [FUSE_BATCH_FORGET] = MIGFS_REQUEST_FORGET, [FUSE_GETATTR] = MIGFS_REQUEST_GETATTR,
    [FUSE_SETATTR] = MIGFS_REQUEST_SETATTR,     [FUSE_ACCESS] = MIGFS_REQUEST_ACCESS,
    [FUSE_READLINK] = MIGFS_REQUEST_READLINK,   [FUSE_MKNOD] = MIGFS_REQUEST_MAKE,
    [FUSE_MKDIR] = MIGFS_REQUEST_MAKE,          [FUSE_SYMLINK] = MIGFS_REQUEST_MAKE,
    [FUSE_LINK] = MIGFS_REQUEST_MAKE,           [FUSE_UNLINK] = MIGFS_REQUEST_REMOVE,
    [FUSE_RMDIR] = MIGFS_REQUEST_REMOVE,        [FUSE_RENAME] = MIGFS_REQUEST_RENAME,
    [FUSE_RENAME2] = MIGFS_REQUEST_RENAME,      [FUSE_STATFS] = MIGFS_REQUEST_STATFS,
    [FUSE_GETXATTR] = MIGFS_REQUEST_XATTR,      [FUSE_SETXATTR] = MIGFS_REQUEST_XATTR,
    [FUSE_LISTXATTR] = MIGFS_REQUEST_XATTR,     [FUSE_REMOVEXATTR] = MIGFS_REQUEST_XATTR,
    [FUSE_OPENDIR] = MIGFS_REQUEST_OPENDIR,     [FUSE_READDIR] = MIGFS_REQUEST_READDIR,
    [FUSE_READDIRPLUS] = MIGFS_REQUEST_READDIR, [FUSE_RELEASEDIR] = MIGFS_REQUEST_RELEASEDIR,
    [FUSE_OPEN] = MIGFS_REQUEST_OPEN,           [FUSE_CREATE] = MIGFS_REQUEST_OPEN,
    [FUSE_TMPFILE] = MIGFS_REQUEST_OPEN,        [FUSE_READ] = MIGFS_REQUEST_READ,
    [FUSE_WRITE] = MIGFS_REQUEST_WRITE,         [FUSE_FLUSH] = MIGFS_REQUEST_FLUSH,
    [FUSE_RELEASE] = MIGFS_REQUEST_RELEASE,     [FUSE_FSYNC] = MIGFS_REQUEST_FSYNC,
    [FUSE_FSYNCDIR] = MIGFS_REQUEST_FSYNC,      [FUSE_FALLOCATE] = MIGFS_REQUEST_FALLOCATE,
    [FUSE_LSEEK] = MIGFS_REQUEST_LSEEK,         [FUSE_COPY_FILE_RANGE] = MIGFS_REQUEST_COPY,
    [FUSE_GETLK] = MIGFS_REQUEST_GETLK,         [FUSE_SETLK] = MIGFS_REQUEST_SETLK,
    [FUSE_SETLKW] = MIGFS_REQUEST_SETLKW,       [FUSE_IOCTL] = MIGFS_REQUEST_IOCTL,
    [FUSE_INTERRUPT] = MIGFS_REQUEST_INTERRUPT,
};

static enum migfs_request kind_of(uint32_t opcode)
{
    return opcode < sizeof(kinds) / sizeof(kinds[0]) ? kinds[opcode] : MIGFS_REQUEST_OTHER;
}

/* linux/fs/fuse/dev.c: for these nobody waits, or another request's answer is theirs. */
static bool has_answer(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
           opcode != FUSE_NOTIFY_REPLY && opcode != FUSE_DESTROY;
}

static void count_request(struct stats *stats, const struct fuse_in_header *header)
{
    stats_request_begin(stats, kind_of(header->opcode),
                        has_answer(header->opcode) ? header->unique : 0);
}

static uint32_t bytes_taken(const struct iovec *vector, int count)
{
    const struct fuse_write_out *written = count == 2 ? vector[1].iov_base : NULL;

    return written && vector[1].iov_len == sizeof(*written) ? written->size : 0;
}

static void count_answer(struct stats *stats, const struct iovec *vector, int count)
{
    const struct fuse_out_header *header = vector[0].iov_base;
    const struct stats_answer answer = {
        .error = header->error,
        .bytes_carried = header->len - sizeof(*header),
        .bytes_taken = bytes_taken(vector, count),
    };

    stats_request_end(stats, header->unique, &answer);
}

/* ---- reading ---- */

ssize_t device_read(struct device *device, int fd, void *buffer, size_t size)
{
    const ssize_t count = read(fd, buffer, size);

    if (count >= (ssize_t)sizeof(struct fuse_in_header)) {
        count_request(device->stats, buffer);
        present_fd = fd;
    }
    return count;
}

int device_present(void)
{
    return present_fd;
}

void device_resume(int fd)
{
    present_fd = fd;
}

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
    const struct context *context = userdata;

    return device_read(context->device, fd, buffer, size);
}

/* ---- answering ---- */

/*
 * Of a request that another thread has read, or the answer to an interrupt that came by another way
 * than what it is about: no other descriptor knows the request.
 */
static ssize_t answer_anywhere(const struct device *device, const struct iovec *vector, int count)
{
    ssize_t written = writev(device->fd, vector, count);

    for (const struct clone *clone = atomic_load(&device->clones);
         clone && written < 0 && errno == ENOENT; clone = clone->next)
        written = writev(clone->fd, vector, count);
    return written;
}

/* Counted before it goes: who has the answer finds it counted. */
static ssize_t write_answer(int fd, struct iovec *vector, int count, void *userdata)
{
    const struct context *context = userdata;
    const struct fuse_out_header *header = vector[0].iov_base;
    ssize_t written;

    if (header->unique == 0) /* a notification */
        return writev(fd, vector, count);
    count_answer(context->device->stats, vector, count);
    if (present_fd < 0)
        return answer_anywhere(context->device, vector, count);
    written = writev(present_fd, vector, count);
    return written < 0 && errno == ENOENT ? answer_anywhere(context->device, vector, count)
                                          : written;
}

/* ---- the descriptors ---- */

static int clone_open(int device_fd)
{
    const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    uint32_t number = (uint32_t)device_fd;

    if (fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &number) != 0) {
        const int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

int device_clone(struct device *device)
{
    struct clone *clone = calloc(1, sizeof(*clone));

    if (!clone)
        return -1;
    clone->fd = clone_open(device->fd);
    if (clone->fd < 0) {
        const int error = errno;

        free(clone);
        errno = error;
        return -1;
    }
    clone->next = atomic_load(&device->clones);
    while (!atomic_compare_exchange_weak(&device->clones, &clone->next, clone))
        ;
    return clone->fd;
}

int device_descriptor(const struct device *device)
{
    return device->fd;
}

struct device *device_new(struct context *context)
{
    static const struct fuse_custom_io io = {.read = read_request, .writev = write_answer};
    struct device *device = calloc(1, sizeof(*device));

    if (!device)
        return NULL;
    device->stats = context->stats;
    device->fd = fuse_session_fd(context->session);
    if (fuse_session_custom_io(context->session, &io, sizeof(io), device->fd) == 0)
        return device;
    free(device);
    return NULL;
}

void device_free(struct device *device)
{
    struct clone *clone, *next;

    if (!device)
        return;
    for (clone = atomic_load(&device->clones); clone; clone = next) {
        next = clone->next;
        close(clone->fd);
        free(clone);
    }
    free(device);
}
