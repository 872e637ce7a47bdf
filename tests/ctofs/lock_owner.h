/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who on this host holds which locks of an inode: each lock owner, with its description at the
 * store and its ranges, in order. All of it with the inode's lock held.
 */
#ifndef CTOFS_LOCK_OWNER_H
#define CTOFS_LOCK_OWNER_H

#include "inode.h"

#include <fcntl.h>

/* One range that an owner holds, and the handle that it was taken through. [start, end], inclusive.
 */
struct held {
    off_t start;
    off_t end;
    short type;
    struct handle *handle;
};

/* `fd` is read without the inode's lock, by who is counted in `users`. */
struct lock_owner {
    struct lock_owner *next;
    uint64_t id;
    pid_t pid;
    int fd;         /* its description at the store; -1 after its locks were lost */
    unsigned users; /* lock calls under way */
    struct held *held;
    size_t count;
    size_t room;
    struct handle *flock_handle; /* holds a flock through this one, or NULL */
};

struct lock_owner *owner_find(const struct inode *inode, uint64_t id);

/* Finds or makes it and counts a user. NULL with errno set. */
struct lock_owner *owner_use(struct inode *inode, uint64_t id, pid_t pid);

/* Ends one use; the last one of an owner without locks ends the owner. */
void owner_unuse(struct inode *inode, struct lock_owner *owner);

/* The last byte of a lock, and a lock of [start, end]. */
off_t range_end(const struct flock *lock);
struct flock range_flock(short type, off_t start, off_t end);

/* Makes room for one owner_set. Returns an errno. */
int owner_reserve(struct lock_owner *owner);

/* The range is held, or with F_UNLCK not, from now on, whatever was there. Has room for it. */
void owner_set(struct lock_owner *owner, struct held range);

/* Gives a range back at the store alone. */
void owner_unlock(const struct lock_owner *owner, off_t start, off_t end);

/* Gives back what was taken through the handle, here and at the store. */
void owner_drop_handle(struct lock_owner *owner, const struct handle *handle);

/* An unlock of everything on a handle that lost its lock: its writes land again (as on NFS). */
void owner_forgive(const struct inode *inode, struct handle *handle);

/* A range of another owner on this host that stands against the lock, and that owner. NULL: none.
 */
const struct held *owner_conflict(const struct inode *inode, uint64_t id, const struct flock *lock,
                                  const struct lock_owner **holder);

#endif
