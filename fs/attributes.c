/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attributes.h"

#include "acting.h"
#include "backing.h"
#include "data.h"
#include "gate.h"
#include "handle.h"
#include "protect.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/*
 * A VMM asks for the length of its image before it takes its locks. Where a record says that
 * another host is owner the state tells; without records any open file may be such an image.
 */
static bool must_ask_server(const struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool unknown =
        !context->records && inode->open_handles > 0 && !owner_may_cache(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return context->options.coherence && (unknown || inode_asks_server(inode));
}

int attributes_read(struct context *context, struct inode *inode, int fd, struct stat *attributes)
{
    const bool forced = must_ask_server(context, inode);

    return inode_stat(context->inodes, inode, fd, forced, attributes);
}

/*
 * `most`: the time-out before the attributes were read. An inode that became owner meanwhile may
 * have got them from before.
 */
static void reply_attributes(fuse_req_t req, int error, struct inode *inode,
                             const struct stat *attributes, double most)
{
    const double now = inode_attributes_timeout(context_of(req), inode);

    if (error != 0)
        fuse_reply_err(req, -error);
    else
        fuse_reply_attr(req, attributes, now < most ? now : most);
}

/* By any of its handles, which has no name to be taken for. -ESTALE: it is not open. */
static int get_nameless(struct context *context, struct inode *inode, struct stat *attributes)
{
    int error = -ESTALE;

    pthread_mutex_lock(&inode->description_mutex); /* until then no handle is closed */
    pthread_mutex_lock(&inode->mutex);
    const struct handle *handle = inode->handles;
    pthread_mutex_unlock(&inode->mutex);
    if (handle)
        error = inode_stat_open(context->inodes, inode, handle->fd, attributes);
    pthread_mutex_unlock(&inode->description_mutex);
    return error;
}

/* The open file's own description where there is one: it sees what it wrote itself. */
static int get_named(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
                     struct stat *attributes)
{
    struct context *context = context_of(req);
    const struct handle *handle = fi ? handle_find(context->handles, fi->fh) : NULL;

    if (handle && handle->inode == inode)
        return attributes_read(context, inode, handle->fd, attributes);

    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, inode);
    return pin.fd < 0 ? pin.fd : attributes_read(context, inode, pin.fd, attributes);
}

static int get(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi,
               struct stat *attributes)
{
    const int error = get_named(req, inode, fi, attributes);

    return error == -ESTALE ? get_nameless(context_of(req), inode, attributes) : error;
}

void attributes_get(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct inode *inode = inode_find(context_of(req)->inodes, ino);
    struct stat attributes;

    if (!inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    const double most = inode_attributes_timeout(context_of(req), inode);
    const int error = get(req, inode, fi, &attributes);
    reply_attributes(req, error, inode, &attributes, most);
}

static int set_owner(int fd, const struct stat *wanted, int to_set)
{
    const uid_t uid = to_set & FUSE_SET_ATTR_UID ? wanted->st_uid : (uid_t)-1;
    const gid_t gid = to_set & FUSE_SET_ATTR_GID ? wanted->st_gid : (gid_t)-1;

    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

static struct timespec time_to_set(const struct timespec *time, int to_set, int set, int now)
{
    if (to_set & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    return to_set & set ? *time : (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(struct inode *inode, int fd, const struct stat *wanted, int to_set)
{
    const struct timespec times[2] = {
        time_to_set(&wanted->st_atim, to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
        time_to_set(&wanted->st_mtim, to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
    };

    int error;

    gate_touch_begin(inode);
    error = utimensat(fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
    gate_touch_end(inode);
    return error;
}

/*
 * chown(2) to nobody, which takes set-id bits away and moves the ctime; or what the kernel sends
 * before a write by another user to a file with such bits. That user may not, and the write itself
 * takes them away.
 */
static int set_nothing(int fd)
{
    const int error = set_owner(fd, NULL, 0);

    return error == -EPERM ? 0 : error;
}

/* The order of chmod and chown matters where both come: chown clears set-id bits. */
static int set(struct context *context, struct inode *inode, struct handle *handle, int fd,
               const struct stat *wanted, int to_set)
{
    int error = 0;

    if (to_set == 0)
        return set_nothing(fd);
    if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        error = set_owner(fd, wanted, to_set);
    if (error == 0 && to_set & FUSE_SET_ATTR_MODE)
        error = chmod(proc_path(fd).text, wanted->st_mode & 07777) == 0 ? 0 : -errno;
    if (error == 0 && to_set & FUSE_SET_ATTR_SIZE)
        error = data_truncate(context, inode, handle, fd, wanted->st_size);
    if (error == 0 && to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |
                                FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW))
        error = set_times(inode, fd, wanted, to_set);
    return error;
}

static int set_as_caller(fuse_req_t req, struct inode *inode, struct handle *handle, int fd,
                         const struct stat *wanted, int to_set)
{
    _cleanup_caller_ struct caller caller = caller_begin(req);

    return caller.error != 0 ? caller.error
                             : set(context_of(req), inode, handle, fd, wanted, to_set);
}

void attributes_set(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int to_set,
                    struct fuse_file_info *fi)
{
    struct context *context = context_of(req);
    struct inode *inode = inode_find(context->inodes, ino);
    struct handle *handle = fi ? handle_find(context->handles, fi->fh) : NULL;
    struct stat attributes;
    int error;

    if (!inode) {
        fuse_reply_err(req, ESTALE);
        return;
    }
    const double most = inode_attributes_timeout(context, inode);
    {
        _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, inode);

        error = pin.fd < 0 ? pin.fd : 0;
        if (error == 0 && handle)
            error = backing_ready(handle);
        unsigned tries = 0;
        while (error == 0) {
            error = set_as_caller(req, inode, handle, pin.fd, wanted, to_set);
            if (!(to_set & FUSE_SET_ATTR_SIZE) || !protect_again(context, inode, error, &tries))
                break;
            error = 0;
        }
        if (error == 0 && to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_MODE))
            protect_changed(context, inode);
        if (error == 0)
            error = attributes_read(context, inode, handle ? handle->fd : pin.fd, &attributes);
    }
    reply_attributes(req, error, inode, &attributes, most);
}

static int may_access(fuse_req_t req, struct inode *inode, int mask)
{
    _cleanup_acting_ struct acting acting = acting_begin(req, inode);

    if (acting.fd < 0)
        return acting.fd;
    /* AT_EACCESS: by the thread's fsuid; the real uid stays the daemon's. */
    return faccessat(AT_FDCWD, acting.path.text, mask, AT_EACCESS) == 0 ? 0 : -errno;
}

void attributes_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    struct inode *inode = inode_find(context_of(req)->inodes, ino);

    fuse_reply_err(req, -may_access(req, inode, mask));
}

static int read_statfs(struct context *context, struct inode *inode, struct statvfs *result)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, inode);

    if (pin.fd < 0)
        return pin.fd;
    return fstatvfs(pin.fd, result) == 0 ? 0 : -errno;
}

void attributes_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct context *context = context_of(req);
    struct inode *inode = inode_find(context->inodes, ino ? ino : FUSE_ROOT_ID);
    struct statvfs result;
    const int error = inode ? read_statfs(context, inode, &result) : -ESTALE;

    if (error != 0)
        fuse_reply_err(req, -error);
    else
        fuse_reply_statfs(req, &result);
}
