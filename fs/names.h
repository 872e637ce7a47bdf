/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about names: lookup and all that makes, moves and removes them. A name is asked for
 * below each time; nothing of it is kept. Each acts as its caller.
 */
#ifndef MIGFS_FS_NAMES_H
#define MIGFS_FS_NAMES_H

#include "inode.h"

/* Whether the mount hides `name`, of the records' directory, in the directory `parent`. */
bool names_hidden(const struct context *context, uint64_t parent, const char *name);

/*
 * The same of what is there: on a store that folds case, or by a bind mount, the directory has
 * other names, too. names_find_hidden is called once, when it has been made.
 */
void names_find_hidden(struct context *context);
bool names_hidden_there(struct context *context, int parent_fd, const char *name);

/*
 * What a reply about a found inode carries: attributes and the times that the kernel may believe
 * them. Takes nothing over.
 */
struct fuse_entry_param names_entry(struct context *context, struct inode *inode,
                                    const struct stat *attributes);

/*
 * The one way to answer with an entry: looked up below `parent_fd` as the calling thread
 * (`crosses`: see inode_lookup; a listing does not), attributes as the inode's state asks for them.
 * 0 with *inode referenced, or a negative errno; what is hidden is not there.
 */
int names_look_up(struct context *context, int parent_fd, const char *name, bool crosses,
                  struct inode **inode, struct stat *attributes);

void names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void names_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void names_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void names_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void names_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void names_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void names_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void names_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                  const char *new_name, unsigned flags);
void names_readlink(fuse_req_t req, fuse_ino_t ino);

#endif
