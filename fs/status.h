/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An open file as migfs.h tells of it: read out of the tables, without a call that could wait for
 * the store.
 */
#ifndef MIGFS_FS_STATUS_H
#define MIGFS_FS_STATUS_H

#include "inode.h"
#include "ioctl_argument.h"

/* Takes a look at the inode. 0, or -ENOMEM. What comes out is freed by file_status_deinit. */
int status_take(struct context *context, struct inode *inode, struct file_status *status);

/* Which files a caller asks about; the first of these that is set counts. */
struct status_scope {
    uint64_t ino;     /* that st_ino */
    uint64_t node_id; /* that inode */
    char *directory;  /* all below that path; owned */
    pid_t process;    /* of these only what it opened; 0: whoever did */
};

/* The scope of an ioctl on `inode`. 0 or -ENOMEM. */
int status_scope_init(struct status_scope *scope, struct context *context, struct inode *inode,
                      uint64_t ino);
void status_scope_deinit(struct status_scope *scope);

/* Whether the file is in it; `path` may be NULL where the scope is no directory. */
bool status_scope_has(const struct status_scope *scope, uint64_t node_id, uint64_t ino,
                      const char *path);

/*
 * The open files of an ioctl's scope, in the order of their node ids; both end at the first
 * negative errno. status_scope_visit calls `visit` with a reference on the inode and no lock.
 */
struct inode_list {
    struct inode **inodes; /* a reference on each */
    size_t count;
};
int inode_list_open(struct context *context, const struct status_scope *scope,
                    struct inode_list *list);
void inode_list_deinit(struct context *context, struct inode_list *list);

/* Serves STATUS from `cursor` on: fills *files. 0 or -ENOMEM. */
int status_files(struct context *context, const struct status_scope *scope, uint64_t cursor,
                 uid_t caller, struct migfs_files *files);

#endif
