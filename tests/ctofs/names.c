/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names and directories: asked at the store each time, so that what tests see stale is data.
 */
#include "control.h"
#include "handle.h"
#include "mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Lookup -------------------------------------------------------------------------------------- */

static void entry_control(struct mount *mount, struct fuse_entry_param *entry)
{
    *entry = (struct fuse_entry_param){.ino = inode_nodeid(&mount->inodes, mount->inodes.control),
                                       .generation = 1};
    control_attributes(&entry->attr);
}

/* Takes `path_fd` over. The attributes of an open file are those that this host believes. */
static int entry_of(struct mount *mount, int path_fd, struct fuse_entry_param *entry)
{
    struct stat attributes;

    if (fstat(path_fd, &attributes) < 0) {
        const int err = errno;

        close(path_fd);
        return err;
    }
    struct inode *inode = inode_enter(&mount->inodes, path_fd, &attributes);

    if (!inode)
        return ENOMEM;
    *entry = (struct fuse_entry_param){.ino = inode_nodeid(&mount->inodes, inode),
                                       .generation = inode->generation};
    pthread_mutex_lock(&inode->lock);
    int err = 0;

    if (inode->open_count == 0 || inode->attributes_until_ns <= clock_ns())
        err = inode_refresh(mount, inode);
    inode_attributes(inode, &entry->attr, &entry->attr_timeout);
    pthread_mutex_unlock(&inode->lock);
    if (err)
        inode_forget(&mount->inodes, inode, 1);
    return err;
}

static int entry_find(struct mount *mount, const struct inode *parent, const char *name,
                      struct fuse_entry_param *entry)
{
    if (parent->type == 0)
        return ENOTDIR;
    if (parent == mount->inodes.root && strcmp(name, CONTROL_NAME) == 0) {
        entry_control(mount, entry);
        return 0;
    }
    const int fd = openat(parent->path_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? errno : entry_of(mount, fd, entry);
}

static void reply_entry(fuse_req_t req, int err, const struct fuse_entry_param *entry)
{
    struct inode_table *inodes = &mount_of(req)->inodes;

    if (err)
        fuse_reply_err(req, err);
    else if (fuse_reply_entry(req, entry) == -ENOENT)
        inode_forget(inodes, inode_of(inodes, entry->ino), 1);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *mount = mount_of(req);
    struct fuse_entry_param entry = {0};
    /* The way to `thaw` must stay open. */
    const bool control = parent == FUSE_ROOT_ID && strcmp(name, CONTROL_NAME) == 0;
    int err = control ? 0 : fault_enter(mount, req, OP_LOOKUP);

    if (!err)
        err = entry_find(mount, inode_of(&mount->inodes, parent), name, &entry);
    reply_entry(req, err, &entry);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    struct inode_table *inodes = &mount_of(req)->inodes;

    inode_forget(inodes, inode_of(inodes, ino), lookups);
    fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct inode_table *inodes = &mount_of(req)->inodes;

    for (size_t i = 0; i < count; i++)
        inode_forget(inodes, inode_of(inodes, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[PATH_MAX + 1];
    const struct inode *inode = inode_of(&mount_of(req)->inodes, ino);
    const ssize_t length = readlinkat(inode->path_fd, "", target, sizeof(target) - 1);

    if (length < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    target[length] = '\0';
    fuse_reply_readlink(req, target);
}

/* Making -------------------------------------------------------------------------------------- */

/* What the daemon made belongs to its caller; a set-group-id directory has given the group. */
static gid_t group_of_new(fuse_req_t req, int directory)
{
    struct stat parent;

    if (fstat(directory, &parent) == 0 && (parent.st_mode & S_ISGID))
        return (gid_t)-1;
    return fuse_req_ctx(req)->gid;
}

/* The mode again: the change of owner has cleared the set-id bits. */
static int give_away(fuse_req_t req, int directory, const char *name, mode_t mode)
{
    if (fchownat(directory, name, fuse_req_ctx(req)->uid, group_of_new(req, directory),
                 AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    if ((mode & (S_ISUID | S_ISGID)) && fchmodat(directory, name, mode & 07777, 0) < 0)
        return errno;
    return 0;
}

static int give_away_unnamed(fuse_req_t req, int directory, int fd, mode_t mode)
{
    if (fchown(fd, fuse_req_ctx(req)->uid, group_of_new(req, directory)) < 0)
        return errno;
    if ((mode & (S_ISUID | S_ISGID)) && fchmod(fd, mode & 07777) < 0)
        return errno;
    return 0;
}

enum kind { KIND_NODE, KIND_DIRECTORY, KIND_SYMLINK };

static int make(fuse_req_t req, const struct inode *parent, const char *name, enum kind kind,
                mode_t mode, dev_t device, const char *target)
{
    int result;

    if (parent->type == 0)
        return ENOTDIR;
    if (parent == mount_of(req)->inodes.root && strcmp(name, CONTROL_NAME) == 0)
        return EEXIST;
    if (kind == KIND_DIRECTORY)
        result = mkdirat(parent->path_fd, name, mode);
    else if (kind == KIND_SYMLINK)
        result = symlinkat(target, parent->path_fd, name);
    else
        result = mknodat(parent->path_fd, name, mode, device);
    if (result < 0)
        return errno;
    const int err = give_away(req, parent->path_fd, name, kind == KIND_NODE ? mode : 0);

    if (err)
        unlinkat(parent->path_fd, name, kind == KIND_DIRECTORY ? AT_REMOVEDIR : 0);
    return err;
}

static void make_and_reply(fuse_req_t req, fuse_ino_t parent_ino, const char *name, enum kind kind,
                           mode_t mode, dev_t device, const char *target)
{
    struct mount *mount = mount_of(req);
    const struct inode *parent = inode_of(&mount->inodes, parent_ino);
    struct fuse_entry_param entry = {0};
    int err = fault_enter(mount, req, OP_NAMES);

    if (!err)
        err = make(req, parent, name, kind, mode, device, target);
    if (!err)
        err = entry_find(mount, parent, name, &entry);
    reply_entry(req, err, &entry);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    make_and_reply(req, parent, name, KIND_NODE, mode, device, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make_and_reply(req, parent, name, KIND_DIRECTORY, mode, 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make_and_reply(req, parent, name, KIND_SYMLINK, 0, 0, target);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
    struct mount *mount = mount_of(req);
    struct inode *inode = inode_of(&mount->inodes, ino);
    const struct inode *parent = inode_of(&mount->inodes, new_parent);
    struct fuse_entry_param entry = {0};
    int err = inode->type == 0 ? EPERM : fault_enter(mount, req, OP_NAMES);

    if (!err && linkat(inode->path_fd, "", parent->path_fd, new_name, AT_EMPTY_PATH) < 0)
        err = errno;
    if (!err) {
        pthread_mutex_lock(&inode->lock);
        inode_changed_here(inode);
        pthread_mutex_unlock(&inode->lock);
        err = entry_find(mount, parent, new_name, &entry);
    }
    reply_entry(req, err, &entry);
}

/* Removing and moving ------------------------------------------------------------------------ */

/* What this name stands for, with a reference, if it is known here: its link count will change. */
static struct inode *named_inode(struct mount *mount, const struct inode *parent, const char *name)
{
    struct stat attributes;

    if (fstatat(parent->path_fd, name, &attributes, AT_SYMLINK_NOFOLLOW) < 0)
        return NULL;
    return inode_find(&mount->inodes, &attributes);
}

/* Gives the reference back; `inode` may be NULL. */
static void named_changed(struct inode *inode)
{
    if (!inode)
        return;
    pthread_mutex_lock(&inode->lock);
    inode_changed_here(inode);
    pthread_mutex_unlock(&inode->lock);
    inode_put(inode);
}

static void remove_and_reply(fuse_req_t req, fuse_ino_t parent_ino, const char *name, int flags)
{
    struct mount *mount = mount_of(req);
    const struct inode *parent = inode_of(&mount->inodes, parent_ino);
    int err = fault_enter(mount, req, OP_NAMES);
    struct inode *removed = err ? NULL : named_inode(mount, parent, name);

    if (!err && unlinkat(parent->path_fd, name, flags) < 0)
        err = errno;
    named_changed(removed);
    fuse_reply_err(req, err);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_and_reply(req, parent, name, 0);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_and_reply(req, parent, name, AT_REMOVEDIR);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned int flags)
{
    struct mount *mount = mount_of(req);
    const struct inode *from = inode_of(&mount->inodes, parent);
    const struct inode *to = inode_of(&mount->inodes, new_parent);
    int err = fault_enter(mount, req, OP_NAMES);
    struct inode *moved = err ? NULL : named_inode(mount, from, name);
    struct inode *replaced = err ? NULL : named_inode(mount, to, new_name);

    if (!err && renameat2(from->path_fd, name, to->path_fd, new_name, flags) < 0)
        err = errno;
    named_changed(moved);
    named_changed(replaced);
    fuse_reply_err(req, err);
}

/* Create -------------------------------------------------------------------------------------- */

static int create_descriptor(fuse_req_t req, const struct inode *parent, const char *name,
                             mode_t mode, int flags)
{
    const int kept = handle_flags(flags);
    int fd = openat(parent->path_fd, name, kept | O_CREAT | O_EXCL, mode);

    if (fd < 0 && errno == EEXIST && !(flags & O_EXCL)) /* another host was quicker */
        return openat(parent->path_fd, name, kept | (flags & O_TRUNC) | O_NOFOLLOW);
    if (fd < 0)
        return fd;
    const int err = give_away(req, parent->path_fd, name, mode);

    if (!err)
        return fd;
    close(fd);
    errno = err;
    return -1;
}

static void reply_create(fuse_req_t req, int err, const struct fuse_entry_param *entry,
                         struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);

    if (err) {
        fuse_reply_err(req, err);
    } else if (fuse_reply_create(req, entry, fi) == -ENOENT) {
        handle_release(mount, handle_of(fi));
        inode_forget(&mount->inodes, inode_of(&mount->inodes, entry->ino), 1);
    }
}

static int create_handle(fuse_req_t req, int fd, struct fuse_file_info *fi,
                         struct fuse_entry_param *entry)
{
    struct mount *mount = mount_of(req);
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const int path_fd = open(path, O_PATH | O_CLOEXEC);
    int err = path_fd < 0 ? errno : entry_of(mount, path_fd, entry);

    if (err) {
        close(fd);
        return err;
    }
    struct inode *inode = inode_of(&mount->inodes, entry->ino);

    err = handle_open(req, inode, fd, fi);
    if (err)
        inode_forget(&mount->inodes, inode, 1);
    return err;
}

static void op_create(fuse_req_t req, fuse_ino_t parent_ino, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    const struct inode *parent = inode_of(&mount->inodes, parent_ino);
    struct fuse_entry_param entry = {0};
    int err = fault_enter(mount, req, OP_NAMES);
    int fd = -1;

    if (!err) {
        fd = create_descriptor(req, parent, name, mode, fi->flags);
        err = fd < 0 ? errno : 0;
    }
    if (!err)
        err = create_handle(req, fd, fi, &entry);
    reply_create(req, err, &entry, fi);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent_ino, mode_t mode,
                       struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    const struct inode *parent = inode_of(&mount->inodes, parent_ino);
    struct fuse_entry_param entry = {0};
    int err = fault_enter(mount, req, OP_NAMES);
    int fd = -1;

    if (!err) {
        fd = openat(parent->path_fd, ".",
                    handle_flags(fi->flags) | O_TMPFILE | (fi->flags & O_EXCL), mode);
        err = fd < 0 ? errno : 0;
    }
    if (!err) {
        err = give_away_unnamed(req, parent->path_fd, fd, mode);
        if (err)
            close(fd);
    }
    if (!err)
        err = create_handle(req, fd, fi, &entry);
    reply_create(req, err, &entry, fi);
}

/* Directories --------------------------------------------------------------------------------- */

struct directory {
    pthread_mutex_t lock;
    int fd;
};

static struct directory *directory_of(const struct fuse_file_info *fi)
{
    return (struct directory *)(uintptr_t)fi->fh;
}

static void directory_free(struct directory *directory)
{
    close(directory->fd);
    pthread_mutex_destroy(&directory->lock);
    free(directory);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *mount = mount_of(req);
    const struct inode *inode = inode_of(&mount->inodes, ino);
    struct directory *directory = malloc(sizeof(*directory));
    int err = directory ? fault_enter(mount, req, OP_READDIR) : ENOMEM;

    if (!err) {
        directory->fd = openat(inode->path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = directory->fd < 0 ? errno : 0;
    }
    if (err) {
        free(directory);
        fuse_reply_err(req, err);
        return;
    }
    pthread_mutex_init(&directory->lock, NULL);
    fi->fh = (uint64_t)(uintptr_t)directory;
    if (fuse_reply_open(req, fi) == -ENOENT)
        directory_free(directory);
}

/* Fills `reply` with entries from `bytes` of getdents; returns how much of it is used. */
static size_t fill_entries(fuse_req_t req, char *reply, size_t size, const char *entries,
                           size_t bytes)
{
    size_t used = 0;

    for (size_t at = 0; at < bytes;) {
        const struct dirent64 *found = (const struct dirent64 *)(const void *)(entries + at);
        const struct stat attributes = {.st_ino = found->d_ino,
                                        .st_mode = (mode_t)DTTOIF(found->d_type)};
        const size_t needed = fuse_add_direntry(req, reply + used, size - used, found->d_name,
                                                &attributes, found->d_off);

        if (needed > size - used)
            break;
        used += needed;
        at += found->d_reclen;
    }
    return used;
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                       struct fuse_file_info *fi)
{
    struct directory *directory = directory_of(fi);
    char *entries = malloc(size * 2);
    char *reply = entries ? entries + size : NULL;
    int err = entries ? fault_enter(mount_of(req), req, OP_READDIR) : ENOMEM;
    size_t used = 0;

    (void)ino;
    if (!err) {
        pthread_mutex_lock(&directory->lock);
        long bytes = lseek(directory->fd, off, SEEK_SET);

        if (bytes >= 0)
            bytes = syscall(SYS_getdents64, directory->fd, entries, size);
        err = bytes < 0 ? errno : 0;
        pthread_mutex_unlock(&directory->lock);
        if (!err)
            used = fill_entries(req, reply, size, entries, (size_t)bytes);
    }
    if (err)
        fuse_reply_err(req, err);
    else
        fuse_reply_buf(req, reply, used);
    free(entries);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    directory_free(directory_of(fi));
    fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    int err = fault_enter(mount_of(req), req, OP_FSYNC);

    (void)ino;
    if (!err && (datasync ? fdatasync(directory_of(fi)->fd) : fsync(directory_of(fi)->fd)) < 0)
        err = errno;
    fuse_reply_err(req, err);
}

void names_operations(struct fuse_lowlevel_ops *operations)
{
    operations->lookup = op_lookup;
    operations->forget = op_forget;
    operations->forget_multi = op_forget_multi;
    operations->readlink = op_readlink;
    operations->mknod = op_mknod;
    operations->mkdir = op_mkdir;
    operations->symlink = op_symlink;
    operations->link = op_link;
    operations->unlink = op_unlink;
    operations->rmdir = op_rmdir;
    operations->rename = op_rename;
    operations->create = op_create;
    operations->tmpfile = op_tmpfile;
    operations->opendir = op_opendir;
    operations->readdir = op_readdir;
    operations->releasedir = op_releasedir;
    operations->fsyncdir = op_fsyncdir;
}
