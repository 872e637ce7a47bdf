/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "device.h"

#include "loop.h"
#include "stats.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <sys/uio.h>
#include <unistd.h>

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

ssize_t device_read(struct context *context, int fd, void *buffer, size_t size)
{
    const struct fuse_in_header *header = buffer;
    const ssize_t count = read(fd, buffer, size);

    if (count >= (ssize_t)sizeof(*header))
        stats_request_begin(context->stats, kind_of(header->opcode),
                            has_answer(header->opcode) ? header->unique : 0);
    return count;
}

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
    return device_read(userdata, fd, buffer, size);
}

static uint32_t bytes_taken(const struct iovec *vector, int count)
{
    const struct fuse_write_out *written = count == 2 ? vector[1].iov_base : NULL;

    return written && vector[1].iov_len == sizeof(*written) ? written->size : 0;
}

/* Counted before it goes: who has the answer finds it counted. */
static ssize_t write_answer(int fd, struct iovec *vector, int count, void *userdata)
{
    const struct context *context = userdata;
    const struct fuse_out_header *header = vector[0].iov_base;
    const struct stats_answer answer = {
        .error = header->error,
        .bytes_carried = header->len - sizeof(*header),
        .bytes_taken = bytes_taken(vector, count),
    };

    if (header->unique != 0) /* else a notification */
        stats_request_end(context->stats, header->unique, &answer);
    return context->loop ? loop_answer(context->loop, vector, count) : writev(fd, vector, count);
}

int device_count(struct context *context)
{
    static const struct fuse_custom_io io = {.read = read_request, .writev = write_answer};

    return fuse_session_custom_io(context->session, &io, sizeof(io),
                                  fuse_session_fd(context->session));
}
