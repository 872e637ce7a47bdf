/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "names.h"

#include "acting.h"
#include "close.h"
#include "record_directory.h"
#include "removed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool names_hidden(const struct context *context, uint64_t parent, const char *name)
{
    return parent == FUSE_ROOT_ID && context->options.coherence &&
           strcmp(name, RECORD_DIRECTORY) == 0;
}

static void let_go(struct context *context, struct inode *inode)
{
    inode_forget(context->inodes, inode, 1);
    inode_unref(context->inodes, inode);
}

/* Kept for good, so that no later file is taken for it. Without one the name alone is hidden. */
void names_find_hidden(struct context *context)
{
    struct inode *inode;
    struct stat attributes;

    if (context->options.coherence &&
        inode_lookup(context->inodes, context->source_fd, RECORD_DIRECTORY, false, &inode,
                     &attributes) == 0)
        context->record_inode = inode;
}

bool names_hidden_there(struct context *context, int parent_fd, const char *name)
{
    struct inode *inode;
    struct stat attributes;

    if (!context->record_inode ||
        inode_lookup(context->inodes, parent_fd, name, false, &inode, &attributes) != 0)
        return false;
    const bool hidden = inode == context->record_inode;
    let_go(context, inode);
    return hidden;
}

struct fuse_entry_param names_entry(struct context *context, struct inode *inode,
                                    const struct stat *attributes)
{
    return (struct fuse_entry_param){
        .ino = inode->node_id,
        .attr = *attributes,
        .attr_timeout = inode_attributes_timeout(context, inode),
        .entry_timeout = context->options.coherence ? 0 : INODE_INCOHERENT_TIMEOUT,
    };
}

static int look_up(struct context *context, int parent_fd, const char *name, bool crosses,
                   struct inode **inode, struct stat *attributes)
{
    const int error = inode_lookup(context->inodes, parent_fd, name, crosses, inode, attributes);

    if (error == 0 && *inode == context->record_inode) {
        let_go(context, *inode);
        return -ENOENT;
    }
    if (error != 0 || !S_ISREG((*inode)->type) || !inode_asks_server(*inode))
        return error;

    const int again = inode_stat_at_server(context->inodes, *inode, attributes);
    if (again != 0)
        let_go(context, *inode);
    return again;
}

/*
 * A store's client may believe a name that another host has given to another file. A question that
 * ends with ESTALE it asks again, past what it believes (linux/fs/stat.c, vfs_statx), and knows
 * better from then on; an O_PATH open asks nothing.
 */
static void ask_for_name(int parent_fd, const char *name)
{
    struct statx seen;

    (void)statx(parent_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC,
                STATX_BASIC_STATS, &seen); /* the look-up after it tells what it tells */
}

int names_look_up(struct context *context, int parent_fd, const char *name, bool crosses,
                  struct inode **inode, struct stat *attributes)
{
    int error = look_up(context, parent_fd, name, crosses, inode, attributes);

    if (error != -ESTALE && (error != 0 || !atomic_load(&(*inode)->is_stale)))
        return error;
    if (error == 0)
        let_go(context, *inode);
    ask_for_name(parent_fd, name);
    error = look_up(context, parent_fd, name, crosses, inode, attributes);
    if (error == 0)
        atomic_store(&(*inode)->is_stale, false);
    return error;
}

/* Replies with the entry, or the error; the kernel's lookup is taken back if it never hears. */
static void reply_entry(fuse_req_t req, int error, struct inode *inode,
                        const struct stat *attributes)
{
    struct context *context = context_of(req);

    if (error != 0) {
        fuse_reply_err(req, -error);
        return;
    }
    const struct fuse_entry_param entry = names_entry(context, inode, attributes);
    if (fuse_reply_entry(req, &entry) != 0)
        inode_forget(context->inodes, inode, 1);
    inode_unref(context->inodes, inode);
}

static int lookup(fuse_req_t req, fuse_ino_t parent, const char *name, struct inode **inode,
                  struct stat *attributes)
{
    struct context *context = context_of(req);

    if (names_hidden(context, parent, name))
        return -ENOENT;

    _cleanup_acting_ struct acting acting = acting_begin(req, inode_find(context->inodes, parent));
    if (acting.fd < 0)
        return acting.fd;
    return names_look_up(context, acting.fd, name, true, inode, attributes);
}

void names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct inode *inode = NULL;
    struct stat attributes;
    const int error = lookup(req, parent, name, &inode, &attributes);

    reply_entry(req, error, inode, &attributes);
}

static void forget(struct context *context, fuse_ino_t ino, uint64_t count)
{
    struct inode *inode = inode_find(context->inodes, ino);

    if (inode)
        inode_forget(context->inodes, inode, count);
}

void names_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    forget(context_of(req), ino, count);
    fuse_reply_none(req);
}

void names_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(context_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* What a new name is to be; made by one call below, then looked up. */
struct creation {
    mode_t mode;
    dev_t rdev;
    const char *target;     /* symlink */
    struct inode *existing; /* link */
};

static int make_link(struct context *context, int directory, const char *name,
                     struct inode *existing)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, existing);

    if (pin.fd < 0)
        return pin.fd;
    return linkat(AT_FDCWD, proc_path(pin.fd).text, directory, name, AT_SYMLINK_FOLLOW) == 0
               ? 0
               : -errno;
}

static int make(struct context *context, int directory, const char *name,
                const struct creation *creation)
{
    int result;

    if (creation->existing)
        return make_link(context, directory, name, creation->existing);
    if (creation->target)
        result = symlinkat(creation->target, directory, name);
    else if (S_ISDIR(creation->mode))
        result = mkdirat(directory, name, creation->mode & ~(mode_t)S_IFMT);
    else
        result = mknodat(directory, name, creation->mode, creation->rdev);
    return result == 0 ? 0 : -errno;
}

static int create(fuse_req_t req, fuse_ino_t parent, const char *name,
                  const struct creation *creation, struct inode **inode, struct stat *attributes)
{
    struct context *context = context_of(req);

    if (names_hidden(context, parent, name))
        return -EPERM;

    _cleanup_acting_ struct acting acting = acting_begin(req, inode_find(context->inodes, parent));
    if (acting.fd < 0)
        return acting.fd;
    const int error = make(context, acting.fd, name, creation);
    if (error == 0 && creation->existing) /* it has a name again */
        atomic_store(&creation->existing->removal, REMOVAL_NONE);
    if (error == -EEXIST && names_hidden_there(context, acting.fd, name))
        return -EPERM;
    return error != 0 ? error : names_look_up(context, acting.fd, name, true, inode, attributes);
}

static void create_and_reply(fuse_req_t req, fuse_ino_t parent, const char *name,
                             const struct creation *creation)
{
    struct inode *inode = NULL;
    struct stat attributes;
    const int error = create(req, parent, name, creation, &inode, &attributes);

    reply_entry(req, error, inode, &attributes);
}

void names_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    create_and_reply(req, parent, name, &(struct creation){.mode = mode, .rdev = rdev});
}

void names_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    create_and_reply(req, parent, name, &(struct creation){.mode = mode | S_IFDIR});
}

void names_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    create_and_reply(req, parent, name, &(struct creation){.target = target});
}

void names_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct inode *existing = inode_find(context_of(req)->inodes, ino);

    if (!existing)
        fuse_reply_err(req, ESTALE);
    else
        create_and_reply(req, parent, name, &(struct creation){.existing = existing});
}

/* A name is about to go: what this program has open of its file for its own purposes is closed. */
static void let_name_go(struct context *context, int parent_fd, const char *name)
{
    struct inode *inode = inode_renamed_if_open(context->inodes, parent_fd, name);

    if (!inode)
        return;
    close_await(inode);
    inode_close_idle(context->inodes, inode);
    inode_unref(context->inodes, inode);
}

static int remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
    struct context *context = context_of(req);

    _cleanup_acting_ struct acting acting = acting_begin(req, inode_find(context->inodes, parent));
    if (acting.fd < 0)
        return acting.fd;
    let_name_go(context, acting.fd, name);
    return unlinkat(acting.fd, name, flags) == 0 ? 0 : -errno;
}

/* What a guest holds goes on, without a name of its own. */
static int unlink_file(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct inode *directory = inode_find(context_of(req)->inodes, parent);
    struct removed removed = removed_begin(req, directory, name);
    int error = 0;

    if (!removed.inode || !removed_move(req, directory, name, &removed)) {
        if (removed.inode)
            removed_link(&removed);
        error = remove_name(req, parent, name, 0);
    }
    removed_end(&removed, error);
    return error;
}

void names_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const bool hidden = names_hidden(context_of(req), parent, name);

    fuse_reply_err(req, hidden ? ENOENT : -unlink_file(req, parent, name));
}

void names_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    const bool hidden = names_hidden(context_of(req), parent, name);

    fuse_reply_err(req, hidden ? ENOENT : -remove_name(req, parent, name, AT_REMOVEDIR));
}

static int move(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                const char *new_name, unsigned flags)
{
    struct context *context = context_of(req);
    struct inode *to = inode_find(context->inodes, new_parent);

    if (!to)
        return -ESTALE;
    if (names_hidden(context, parent, name))
        return -ENOENT;
    if (names_hidden(context, new_parent, new_name))
        return -EPERM;

    _cleanup_pin_ struct inode_pin to_pin = inode_pin_scoped(context->inodes, to);
    _cleanup_acting_ struct acting from = acting_begin(req, inode_find(context->inodes, parent));
    if (from.fd < 0 || to_pin.fd < 0)
        return from.fd < 0 ? from.fd : to_pin.fd;
    if (new_parent == FUSE_ROOT_ID && names_hidden_there(context, to_pin.fd, new_name))
        return -EPERM; /* an empty directory would be replaced */
    if (flags == 0)
        let_name_go(context, to_pin.fd, new_name);
    return renameat2(from.fd, name, to_pin.fd, new_name, flags) == 0 ? 0 : -errno;
}

/* The name that is replaced always stands for a file: what it stood for gets its other one first.
 */
static int replace(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                   const char *new_name)
{
    struct inode *directory = inode_find(context_of(req)->inodes, new_parent);
    struct removed removed = removed_begin(req, directory, new_name);
    int error;

    if (removed.inode)
        removed_link(&removed);
    error = move(req, parent, name, new_parent, new_name, 0);
    removed_end(&removed, error);
    return error;
}

void names_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                  const char *new_name, unsigned flags)
{
    const int error = flags == 0 ? replace(req, parent, name, new_parent, new_name)
                                 : move(req, parent, name, new_parent, new_name, flags);

    fuse_reply_err(req, -error);
}

static int read_link(fuse_req_t req, fuse_ino_t ino, char *target, size_t size)
{
    struct context *context = context_of(req);
    struct inode *inode = inode_find(context->inodes, ino);
    ssize_t length;

    if (!inode)
        return -ESTALE;

    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(context->inodes, inode);
    if (pin.fd < 0)
        return pin.fd;
    length = readlinkat(pin.fd, "", target, size);
    if (length < 0)
        return -errno;
    if ((size_t)length == size)
        return -ENAMETOOLONG;
    target[length] = '\0';
    return 0;
}

void names_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char target[PATH_MAX + 1];
    const int error = read_link(req, ino, target, sizeof(target));

    if (error != 0)
        fuse_reply_err(req, -error);
    else
        fuse_reply_readlink(req, target);
}
