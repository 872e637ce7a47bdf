/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening and releasing: where close-to-open coherence is decided. The first open of an inode on
 * this mount asks the store, and drops the kernel's pages when the file is not as they were read
 * (or written here). A further open while it is open drops nothing: the client takes the change for
 * its own.
 */
#ifndef CTOFS_HANDLE_H
#define CTOFS_HANDLE_H

#include "mount.h"

/* Takes `fd` over as a handle of `inode` and fills `fi`. Returns an errno, the descriptor closed.
 */
int handle_open(fuse_req_t req, struct inode *inode, int fd, struct fuse_file_info *fi);

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

/* Flags that the descriptor below gets: what the kernel does above is not done twice. */
int handle_flags(int flags);

/* With the inode's lock held: is it open, and does each handle look as if its release were on the
 * way? */
bool handle_all_closing(const struct inode *inode);

/* With the inode's lock held: they were not; a descriptor was only duplicated and closed. */
void handle_none_closing(struct inode *inode);

/* With the inode's lock held: would a first open now find the file changed? */
bool handle_would_drop(const struct inode *inode);

/*
 * As an NFS server, which judges each call by who opened the file: 0, EACCES where its owner or
 * mode were changed since so that this one may not (R_OK, W_OK), ESTALE where it is gone. The owner
 * may.
 */
int opener_judge(const struct mount *mount, const struct inode *inode, const struct opener *opener,
                 int wanted);

void handle_release(struct mount *mount, struct handle *handle);

#endif
