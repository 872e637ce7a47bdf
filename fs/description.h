/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open file descriptions below that hold locks: one a lock owner of an inode, so that owners of one
 * process conflict as they should. Made, used and closed by the inode's jobs with its
 * description_mutex held, since protect.h replaces what they are open by; the list of an inode and
 * the counts of waiters are guarded by lock_table.mutex.
 */
#ifndef MIGFS_FS_DESCRIPTION_H
#define MIGFS_FS_DESCRIPTION_H

#include "handle.h"

#include <fcntl.h>

struct lock_change;

struct description {
    struct description *next;
    uint64_t owner;
    int fd;
    uint64_t handle; /* whose description it shares; 0: one of its own */
    bool is_lost;    /* the store took its locks away; lock_table.mutex */
    int access;      /* O_RDONLY, O_WRONLY or O_RDWR */
    struct opened_as opened;
    unsigned waiters; /* blocked requests on it; lock_table.mutex */
};

/* fcntl(2)'s form of a range, and of its type. */
struct flock description_flock(const struct range *range, short type);
short description_type(const struct range *range);

/*
 * F_OFD_SETLK of the range. 0, -EAGAIN for a conflict, or another negative errno: -EACCES where the
 * store takes the description for that of somebody who may not.
 */
int description_set(int fd, const struct range *range, short type);

/* The owner's, or NULL. */
struct description *description_find(const struct inode *inode, uint64_t owner);

/* The description that would take the change's range, opened when there is none. */
int description_of(struct context *context, struct inode *inode, const struct lock_change *change,
                   struct description **description);

/* The owner's is closed if it holds nothing any more and nobody waits on it. */
void description_drop(struct context *context, struct inode *inode, uint64_t owner);

/* One that is in no list any more; what it holds goes, unless a handle shares it. */
void description_close(struct description *description);

#endif
