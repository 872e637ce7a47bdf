/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attributes, extended attributes, statfs. Attributes of an open regular file are believed for
 * `acreg` seconds, as NFS does, whatever happens at the store. Only a caller that forces it
 * (statx with AT_STATX_FORCE_SYNC) asks the store.
 */
#include "control.h"
#include "handle.h"
#include "mount.h"
#include "writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

/* How often the caller is looked at until it sleeps in its system call. */
#define CALLER_LOOKS 40
#define CALLER_PAUSE_NS 50000

/*
 * FUSE tells no sync flag, and asks after each read because it does not know the access time, and
 * before an open for the permissions. So the caller's system call is looked up.
 */
enum caller {
    CALLER_STATS,   /* is content with what is believed here */
    CALLER_FORCES,  /* wants the store's word */
    CALLER_UNKNOWN, /* gets it too */
};

static enum caller caller_of_call(const char *line)
{
    unsigned long arguments[3];
    long number;

    if (sscanf(line, "%ld %lx %lx %lx", &number, &arguments[0], &arguments[1], &arguments[2]) != 4)
        return CALLER_UNKNOWN;
    switch (number) {
    case SYS_statx:
        return (arguments[2] & AT_STATX_FORCE_SYNC) ? CALLER_FORCES : CALLER_STATS;
    case SYS_fstat:
#ifdef SYS_newfstatat
    case SYS_newfstatat:
#endif
#ifdef SYS_stat
    case SYS_stat:
    case SYS_lstat:
#endif
        return CALLER_STATS;
    default:
        return CALLER_UNKNOWN;
    }
}

static enum caller caller_of(pid_t pid)
{
    const struct timespec pause = {.tv_nsec = CALLER_PAUSE_NS};
    char path[48];
    char line[256];

    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    for (int look = 0; pid > 0 && look < CALLER_LOOKS; look++) {
        FILE *file = fopen(path, "re");

        if (!file)
            return CALLER_UNKNOWN;
        const bool read = fgets(line, sizeof(line), file) != NULL;

        fclose(file);
        if (!read)
            return CALLER_UNKNOWN;
        if (strncmp(line, "running", 7) != 0)
            return caller_of_call(line);
        nanosleep(&pause, NULL);
    }
    return CALLER_UNKNOWN;
}

static void reply_attributes(fuse_req_t req, struct inode *inode)
{
    struct stat attributes;
    double timeout;

    pthread_mutex_lock(&inode->lock);
    inode_attributes(inode, &attributes, &timeout);
    pthread_mutex_unlock(&inode->lock);
    fuse_reply_attr(req, &attributes, timeout);
}

/* With the lock held: are there attributes to believe? */
static bool has_believed(const struct inode *inode)
{
    return inode->open_count > 0 && inode->attributes_until_ns > clock_ns() &&
           inode->dirty.count == 0;
}

static int getattr_fresh(fuse_req_t req, struct inode *inode, bool flushes)
{
    struct mount *mount = mount_of(req);
    /* The root's answer is part of the way to the control file, and to `thaw`. */
    int err = inode == mount->inodes.root ? 0 : fault_enter(mount, req, OP_GETATTR);

    if (err)
        return err;
    pthread_mutex_lock(&inode->lock);
    if (flushes)
        writeback_flush(mount, inode);
    err = inode_refresh(mount, inode);
    pthread_mutex_unlock(&inode->lock);
    mount->counters.attributes_fresh++;
    return err;
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    int err = 0;

    if (inode->type == 0) {
        struct stat attributes;

        control_attributes(&attributes);
        fuse_reply_attr(req, &attributes, 0);
        return;
    }
    pthread_mutex_lock(&inode->lock);
    const bool believed = has_believed(inode);
    const bool dirty = inode->dirty.count > 0;

    pthread_mutex_unlock(&inode->lock);
    /* By handle: a read or a seek, which never forces. */
    enum caller caller = fi ? CALLER_STATS : CALLER_UNKNOWN;

    if (!fi && (believed || dirty))
        caller = caller_of(fuse_req_ctx(req)->pid);
    if (believed && caller == CALLER_STATS)
        mount->counters.attributes_cached++;
    else /* As NFS: the times that a stat tells are those of what has been written. */
        err = getattr_fresh(req, inode, dirty && !fi && caller != CALLER_UNKNOWN);
    if (err)
        fuse_reply_err(req, err);
    else
        reply_attributes(req, inode);
}

void attributes_drop_set_id(fuse_req_t req, struct inode *inode)
{
    const struct fuse_ctx *context = fuse_req_ctx(req);
    const mode_t mode = inode->attributes.st_mode;
    mode_t kept = mode & ~(mode_t)S_ISUID;

    if (context->uid == 0)
        return;
    if ((mode & S_IXGRP) || context->gid != inode->attributes.st_gid)
        kept &= ~(mode_t)S_ISGID;
    if (kept == mode)
        return;
    /* What cannot be cleared stays: the write itself is not refused for it. */
    (void)chmod(inode_path(inode).text, kept & 07777);
    inode->attributes_until_ns = 0;
}

/* Setattr ------------------------------------------------------------------------------------- */

static struct timespec time_wanted(struct timespec given, int to_set, int set, int now)
{
    if (to_set & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (to_set & set)
        return given;
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(const struct inode *inode, const struct stat *wanted, int to_set)
{
    const struct timespec times[2] = {
        time_wanted(wanted->st_atim, to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
        time_wanted(wanted->st_mtim, to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
    };

    return utimensat(inode->path_fd, "", times, AT_EMPTY_PATH) < 0 ? errno : 0;
}

static int set_attributes(struct inode *inode, const struct stat *wanted, int to_set)
{
    const struct proc_path path = inode_path(inode);

    if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
        const uid_t uid = (to_set & FUSE_SET_ATTR_UID) ? wanted->st_uid : (uid_t)-1;
        const gid_t gid = (to_set & FUSE_SET_ATTR_GID) ? wanted->st_gid : (gid_t)-1;

        if (fchownat(inode->path_fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
            return errno;
    }
    if ((to_set & FUSE_SET_ATTR_MODE) && chmod(path.text, wanted->st_mode & 07777) < 0)
        return errno;
    if ((to_set & FUSE_SET_ATTR_SIZE) && truncate(path.text, wanted->st_size) < 0)
        return errno;
    if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
                  FUSE_SET_ATTR_MTIME_NOW))
        return set_times(inode, wanted, to_set);
    return 0;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int to_set,
                       struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);

    if (inode->type == 0) {
        /* O_TRUNC of the control file: a shell's redirection. */
        op_getattr(req, ino, NULL);
        return;
    }
    int err = fault_enter(mount, req, OP_SETATTR);

    if (!err) {
        pthread_mutex_lock(&inode->lock);
        writeback_flush(mount, inode);
        if (fi && (to_set & FUSE_SET_ATTR_SIZE))
            err = handle_of(fi)->lock_lost
                      ? EIO
                      : opener_judge(mount, inode, &handle_of(fi)->opener, W_OK);
        if (!err)
            err = set_attributes(inode, wanted, to_set);
        if (!err && (to_set & FUSE_SET_ATTR_SIZE))
            attributes_drop_set_id(req, inode);
        inode_changed_here(inode);
        if (!err)
            err = inode_refresh(mount, inode);
        pthread_mutex_unlock(&inode->lock);
    }
    if (err)
        fuse_reply_err(req, err);
    else
        reply_attributes(req, inode);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    struct statvfs statistics;
    int err = fault_enter(mount, req, OP_STATFS);

    if (inode->type == 0)
        inode = mount->inodes.root;
    if (!err && fstatvfs(inode->path_fd, &statistics) < 0)
        err = errno;
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_statfs(req, &statistics);
}

/* Extended attributes ------------------------------------------------------------------------- */

static const char trusted[] = "trusted.";

static bool is_trusted(const char *name)
{
    return strncmp(name, trusted, sizeof(trusted) - 1) == 0;
}

/*
 * Linux has none on symbolic links for users; through /proc they could not be named anyway. What is
 * only root's does not pass NFS. `name` NULL: all of them.
 */
static int xattr_enter(fuse_req_t req, const struct inode *inode, const char *name)
{
    if (inode->type == 0 || S_ISLNK(inode->type) || (name && is_trusted(name)))
        return EOPNOTSUPP;
    return fault_enter(mount_of(req), req, OP_XATTR);
}

static void reply_xattr(fuse_req_t req, ssize_t length, int err, const char *value, size_t size)
{
    if (err)
        fuse_reply_err(req, err);
    else if (size == 0)
        fuse_reply_xattr(req, (size_t)length);
    else
        fuse_reply_buf(req, value, (size_t)length);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    const struct inode *inode = inode_of(&mount_of(req)->inodes, ino);
    char *value = size > 0 ? malloc(size) : NULL;
    int err = size > 0 && !value ? ENOMEM : xattr_enter(req, inode, name);
    const ssize_t length = err ? 0 : getxattr(inode_path(inode).text, name, value, size);

    if (length < 0)
        err = errno;
    reply_xattr(req, length, err, value, size);
    free(value);
}

/* Takes the names out that do not pass; returns the length that is left. */
static ssize_t hide_trusted(char *names, ssize_t length)
{
    ssize_t kept = 0;

    for (ssize_t at = 0; at < length;) {
        const ssize_t size = (ssize_t)strlen(names + at) + 1;

        if (!is_trusted(names + at)) {
            memmove(names + kept, names + at, (size_t)size);
            kept += size;
        }
        at += size;
    }
    return kept;
}

/* The names that pass; the buffer is the caller's to free. */
static int list_names(const struct inode *inode, char **names, ssize_t *length)
{
    ssize_t room = listxattr(inode_path(inode).text, NULL, 0);

    if (room < 0)
        return errno;
    *names = malloc((size_t)room + 1);
    if (!*names)
        return ENOMEM;
    *length = listxattr(inode_path(inode).text, *names, (size_t)room);
    if (*length < 0)
        return errno;
    *length = hide_trusted(*names, *length);
    return 0;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    const struct inode *inode = inode_of(&mount_of(req)->inodes, ino);
    char *names = NULL;
    ssize_t length = 0;
    int err = S_ISLNK(inode->type) ? 0 : xattr_enter(req, inode, NULL);

    if (!err && !S_ISLNK(inode->type))
        err = list_names(inode, &names, &length);
    if (!err && size > 0 && (size_t)length > size)
        err = ERANGE;
    reply_xattr(req, length, err, names, size);
    free(names);
}

static void xattr_changed(struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    inode_changed_here(inode);
    pthread_mutex_unlock(&inode->lock);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    struct inode *inode = inode_of(&mount_of(req)->inodes, ino);
    int err = xattr_enter(req, inode, name);

    if (!err && setxattr(inode_path(inode).text, name, value, size, flags) < 0)
        err = errno;
    xattr_changed(inode);
    fuse_reply_err(req, err);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct inode *inode = inode_of(&mount_of(req)->inodes, ino);
    int err = xattr_enter(req, inode, name);

    if (!err && removexattr(inode_path(inode).text, name) < 0)
        err = errno;
    xattr_changed(inode);
    fuse_reply_err(req, err);
}

void attributes_operations(struct fuse_lowlevel_ops *operations)
{
    operations->getattr = op_getattr;
    operations->setattr = op_setattr;
    operations->statfs = op_statfs;
    operations->getxattr = op_getxattr;
    operations->listxattr = op_listxattr;
    operations->setxattr = op_setxattr;
    operations->removexattr = op_removexattr;
}
