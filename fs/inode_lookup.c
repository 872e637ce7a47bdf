/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inode_table.h"

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

static int64_t time_ns(const struct statx_timestamp *time)
{
    return time->tv_sec * INT64_C(1000000000) + time->tv_nsec;
}

/* Whether the filesystem of `dev` has handles to identify inodes by. */
static bool has_handles(struct inode_table *table, dev_t dev, int path_fd)
{
    const struct crossed_mount *mount = crossed_mounts_learn(&table->mounts, dev, path_fd);

    return mount && mount->fd >= 0;
}

/* All but the handle. */
static struct inode_identity identity_seen(const struct statx *seen)
{
    return (struct inode_identity){
        .dev = makedev(seen->stx_dev_major, seen->stx_dev_minor),
        .ino = seen->stx_ino,
        .birth_ns = seen->stx_mask & STATX_BTIME ? time_ns(&seen->stx_btime) : 0,
    };
}

/*
 * A directory that something is mounted on when it is walked into: an export below an export, an
 * automounter's. O_PATH alone stays in front of it.
 */
static bool may_be_crossed(const struct inode_table *table, const struct statx *seen)
{
    const bool is_elsewhere = table->root_dev != 0 &&
                              makedev(seen->stx_dev_major, seen->stx_dev_minor) != table->root_dev;

    return S_ISDIR(seen->stx_mode) &&
           (is_elsewhere || (seen->stx_attributes & STATX_ATTR_AUTOMOUNT));
}

static bool is_gone_below(struct inode_table *table, struct inode *known, const struct statx *seen)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(table, known);
    struct statx at_known;
    int error = pin.fd < 0 ? pin.fd : inode_statx(pin.fd, 0, &at_known);

    if (error == 0 && time_ns(&at_known.stx_ctime) != time_ns(&seen->stx_ctime))
        error = inode_statx(pin.fd, AT_STATX_FORCE_SYNC, &at_known);
    return error == -ESTALE;
}

/*
 * Where there is neither a handle nor a birth time (an NFS 4.0 client tells none), a file whose
 * number was that of another one before is taken for it: unless it differs from what the kept
 * descriptor of that shows, and the server says that that is gone.
 */
static void retire_if_gone(struct inode_table *table, const struct inode_identity *identity,
                           const struct statx *seen)
{
    struct inode *known;

    if (identity->handle_type != 0 || identity->birth_ns != 0 || fault_skips_retire())
        return;
    pthread_mutex_lock(&table->lock);
    known = inode_hold_known(table, identity);
    pthread_mutex_unlock(&table->lock);
    if (!known)
        return;
    if (is_gone_below(table, known, seen)) {
        pthread_mutex_lock(&table->lock);
        known->is_retired = true;
        pthread_mutex_unlock(&table->lock);
    }
    inode_unref(table, known);
}

/* An O_PATH descriptor of what inode_lookup looks up, and what it is. */
static int open_seen(int parent_fd, const char *name, int flags, struct statx *seen)
{
    const int fd = name[0] ? openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC | flags)
                           : open(proc_path(parent_fd).text, O_PATH | O_CLOEXEC);
    const int error = fd < 0 ? -errno : inode_statx(fd, 0, seen);

    if (error == 0)
        return fd;
    close_if_open(fd);
    return error;
}

int inode_lookup(struct inode_table *table, int parent_fd, const char *name, bool crosses,
                 struct inode **inode, struct stat *attributes)
{
    struct inode *found;
    struct statx seen = {0};
    int fd = open_seen(parent_fd, name, 0, &seen);

    if (fd >= 0 && name[0] && crosses && may_be_crossed(table, &seen)) {
        close(fd);
        fd = open_seen(parent_fd, name, O_DIRECTORY, &seen);
    }
    if (fd < 0)
        return fd;

    struct inode_identity identity = identity_seen(&seen);
    if (has_handles(table, identity.dev, fd))
        identity_take_handle(&identity, fd, "");
    retire_if_gone(table, &identity, &seen);
    found = inode_take_or_make(table, &identity, seen.stx_mode & S_IFMT, fd);
    if (!found)
        return -ENOMEM;
    inode_note_seen(table, found, &seen, attributes);
    *inode = found;
    return 0;
}

struct inode *inode_renamed_if_open(struct inode_table *table, int parent_fd, const char *name)
{
    struct statx seen;

    if (statx(parent_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, INODE_STATX_WANTED, &seen) !=
            0 ||
        S_ISDIR(seen.stx_mode))
        return NULL;

    struct inode_identity identity = identity_seen(&seen);
    identity_take_handle(&identity, parent_fd, name);
    pthread_mutex_lock(&table->lock);
    const struct crossed_mount *mount = crossed_mounts_find(&table->mounts, identity.dev);
    struct inode *inode = mount && mount->renames_open ? inode_hold_known(table, &identity) : NULL;
    pthread_mutex_unlock(&table->lock);
    return inode;
}

bool inode_handles_last(struct inode_table *table)
{
    return inode_mount_fd(table, table->root_dev) >= 0;
}

int inode_handle_exists(struct inode_table *table, int type, const uint8_t *bytes, size_t length)
{
    struct inode_identity identity = {.handle_type = type, .handle_bytes = (unsigned)length};
    const int mount_fd = inode_mount_fd(table, table->root_dev);
    struct statx seen;
    int fd;

    if (mount_fd < 0 || length > sizeof(identity.handle))
        return -EOPNOTSUPP;
    memcpy(identity.handle, bytes, length);
    fd = identity_open(mount_fd, &identity);
    if (fd < 0)
        return fd;
    /* An NFS client opens what it remembers; the server is asked for its attributes alone. */
    const int error = inode_statx(fd, AT_STATX_FORCE_SYNC, &seen);
    close_if_open(fd);
    return error;
}
