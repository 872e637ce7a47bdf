/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks lie at the store, so every mount of it sees them: each lock owner has a description of its
 * own there, with OFD locks and flock on it. A lock that is granted drops what is cached here.
 */
#ifndef CTOFS_LOCK_H
#define CTOFS_LOCK_H

#include "mount.h"

/* Drops all locks of one owner, as a close of a POSIX lock's holder does. */
void lock_release_owner(struct mount *mount, struct inode *inode, uint64_t id);

/* Drops the locks that were taken through this handle, as the end of an OFD lock's holder does. */
void lock_release_handle(struct mount *mount, struct handle *handle);

/* The lease is over: the locks are gone at the store, and their handles may not write. */
void lock_lose_all(struct mount *mount, struct inode *inode);

#endif
