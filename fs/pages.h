/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel may hold of a file's data through this mount: whether it can hold any page, how
 * what is dirty is written out while the rest stays, and what a release has left to be dropped
 * after it. Of an inode of which nothing is known (a daemon started anew) `cached_bytes` is not to
 * be 0.
 */
#ifndef MIGFS_FS_PAGES_H
#define MIGFS_FS_PAGES_H

#include "inode.h"

/*
 * For each READ and WRITE, before it is answered. One of the page cache has no lock owner, one past
 * it has (linux/fs/fuse/file.c: fuse_direct_io alone gives one).
 */
static inline void pages_note(struct inode *inode, uint64_t lock_owner, size_t size)
{
    if (lock_owner == 0)
        atomic_fetch_add(&inode->cached_bytes, size);
}

/* Whether the kernel can hold any page of it: some came since all were dropped last. */
bool pages_may_be_there(struct inode *inode);

/* Whether it can hold so many that to drop them takes longer than to do without. */
bool pages_may_be_many(struct inode *inode);

/*
 * Around a drop of all pages: false where there is none to drop. What comes from the begin on
 * counts as new, and with an error all of it is there still.
 */
struct pages_before {
    uint64_t left; /* of the inode's pages_left */
    uint64_t cached_bytes;
};
bool pages_drop_begin(struct inode *inode, struct pages_before *before);
void pages_drop_end(struct inode *inode, const struct pages_before *before, int error);

/*
 * Writes the dirty pages of mappings out, as WRITEs; the clean ones stay, unless they are few or
 * there is no other way. `closing`: a handle whose RELEASE has come, and with which its mappings
 * have gone; or NULL. 0, with all WRITEs answered, however; or a negative errno. On pool threads:
 * it makes requests.
 */
int pages_write_out(struct context *context, struct inode *inode, const struct handle *closing);

/* What is there now is left to be dropped later. On any thread, beside a drop, too. */
void pages_leave(struct inode *inode);

/* Whether something was left and is not dropped yet. With the inode's mutex held. */
bool pages_are_left(const struct inode *inode);

/*
 * Drops all that is there when it begins, in pieces that take a few milliseconds each:
 * pages_drop_left drops one, and says whether some is left still.
 */
struct pages_left {
    uint64_t left;         /* of the inode's pages_left */
    uint64_t length_bytes; /* of the file, about */
    uint64_t offset;
    uint64_t piece_bytes;
};
struct pages_left pages_drop_left_begin(struct inode *inode, uint64_t length_bytes);
bool pages_drop_left(struct context *context, struct inode *inode, struct pages_left *left);

/*
 * The opens of this mount by the daemon itself, which pages_write_out makes: whether the request is
 * of one. Then it was answered, and nothing is asked of the store.
 */
struct own_opens;
struct own_opens *own_opens_new(void);
void own_opens_free(struct own_opens *opens);
bool pages_answer_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
bool pages_answer_fsync(fuse_req_t req, const struct fuse_file_info *fi);

#endif
