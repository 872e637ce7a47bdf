/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "file_flags.h"

#include "backing.h"
#include "caller.h"
#include "handle.h"

#include <linux/fs.h>

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* What the kernel hands over and takes back: FS_IOC_*FLAGS say long, and mean int. */
union argument {
    unsigned int flags;
    struct fsxattr attributes;
};

static size_t size_of(unsigned int command)
{
    switch (command) {
    case FS_IOC_GETFLAGS:
    case FS_IOC_SETFLAGS:
        return sizeof(unsigned int);
    case FS_IOC_FSGETXATTR:
    case FS_IOC_FSSETXATTR:
        return sizeof(struct fsxattr);
    default:
        return 0;
    }
}

bool file_flags_is_call(unsigned int command)
{
    return size_of(command) > 0;
}

static int call(fuse_req_t req, const struct handle *handle, unsigned int command,
                union argument *argument)
{
    _cleanup_caller_ struct caller caller = caller_begin(req);

    if (caller.error != 0)
        return caller.error;
    return ioctl(handle->fd, command, argument) == 0 ? 0 : -errno;
}

void file_flags_serve(fuse_req_t req, const struct fuse_file_info *fi, unsigned int command,
                      const void *in, size_t in_size, size_t out_size)
{
    struct handle *handle;
    const size_t size = size_of(command);
    const bool sets = command == FS_IOC_SETFLAGS || command == FS_IOC_FSSETXATTR;
    union argument argument = {0};
    int error = backing_handle(context_of(req), fi->fh, &handle);

    if (error == 0 && (sets ? in_size : out_size) < size)
        error = -EINVAL;
    if (error == 0 && sets)
        memcpy(&argument, in, size);
    if (error == 0)
        error = call(req, handle, command, &argument);
    if (error != 0)
        fuse_reply_err(req, -error);
    else
        fuse_reply_ioctl(req, 0, &argument, sets ? 0 : size);
}
