/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standing in the way of unlink and of a rename over it (DESIGN §5, protect=on): an image that
 * loses its last name through this mount while a guest holds it, anywhere, gets one in
 * `.migfs/removed/`, its inode number, so that the server keeps it. It is collected when no record
 * says that somebody owns it. Files that were never owned for writing go as without migfs.
 */
#ifndef MIGFS_FS_REMOVED_H
#define MIGFS_FS_REMOVED_H

#include "inode.h"

#include "file_name.h"

/* A name that is about to go, and its file if that must not go with it. */
struct removed {
    struct context *context;
    struct inode *inode;   /* a reference; NULL: nothing is in the way */
    bool is_linked;        /* it has the other name, beside this one */
    struct file_name name; /* as it was called */
};

/*
 * Looks who holds the file of that name, which the request's caller is to find. removed_end must
 * follow. Not while acting as a caller.
 */
struct removed removed_begin(fuse_req_t req, struct inode *parent, const char *name);

/*
 * The name itself moves away, where its caller may remove it. False: it is there still, and to be
 * removed as it would be without this.
 */
bool removed_move(fuse_req_t req, struct inode *parent, const char *name, struct removed *removed);

/* The file has the other name from now on, so that this one may go; said where that fails. */
void removed_link(struct removed *removed);

/* The name went, or (`error`) did not: then nothing is left of this. */
void removed_end(struct removed *removed, int error);

/* Whether others took its last name, which is then said, and shown. May wait for the store. */
void removed_look(struct context *context, struct inode *inode);

/* Removes what nobody holds any more. On the pool. */
void removed_collect(struct context *context);

/* Collects again and again while there is anything. */
struct removed_watch;
struct removed_watch *removed_watch_new(struct context *context);
int removed_watch_start(struct removed_watch *watch);
/* Ends its thread, which needs the pool; takes NULL, and one never started. */
void removed_watch_stop(struct removed_watch *watch);
void removed_watch_free(struct removed_watch *watch);

#endif
