/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guard of an inode (DESIGN §3): open file descriptions below that hold bytes by which it is
 * locked for writing. All that changes its data goes by one of them, so that a server which took
 * the locks away, for the host was cut off too long, refuses it. When that is seen the inode is
 * fenced, and stays so until it is acquired anew by a description that never held those locks.
 *
 * A store that does not tie its writes to locks (NFS before version 4, a local disk) refuses
 * nothing, and nothing is seen.
 */
#ifndef MIGFS_FS_GUARD_H
#define MIGFS_FS_GUARD_H

#include "handle.h"

struct lock_change;

/*
 * Chooses anew by which descriptions the inode is written: as its locks are, or (`change` not NULL)
 * will be. When one is not to be used any more, returns after the last change by it has ended. From
 * the inode's jobs: before bytes are given, and after they were taken or given.
 */
void guard_choose(struct context *context, struct inode *inode, const struct lock_change *change);

/* By which descriptor a change by this handle goes; -1: by a path. With the inode's mutex held. */
int guard_descriptor(const struct inode *inode, const struct handle *handle, bool *is_others);

/*
 * A change by the guard failed so: what the caller is told. An error that a lost lock gives has the
 * inode looked at soon, by a thread of its own.
 */
int guard_failed(struct context *context, struct inode *inode, int error);

/*
 * Looks whether the locks are there still, as far as the store tells; fences the inode where they
 * are not. -EAGAIN: it tells neither; else 0. For a thread that may wait for the store.
 */
int guard_check(struct context *context, struct handle *handle);

/*
 * Whether the locks on a description are there still, as far as the store tells: 0, also where it
 * refuses the description's user; -EIO or -EBADF: they are lost; or another negative errno.
 */
int guard_probe(int fd);

/* Locks could not be taken anew: the inode is fenced soon, by a thread of the guard's own. */
void guard_lost(struct context *context, struct inode *inode);

/*
 * The same before locks are given back, unless they were there so lately that the server cannot
 * have taken them: what is lost is not handed over, and stays fenced. From the inode's jobs.
 */
void guard_confirm(struct context *context, struct inode *inode);

/* The inode was acquired: a fence that was latched has ended. */
void guard_acquired(struct context *context, struct inode *inode);

/* The last handle is closing: no guard any more. */
void guard_last_close(struct context *context, struct inode *inode);

/*
 * Looks at each owned inode every third of the store's lease, and at once where asked to. Nothing
 * to be done where the mount has no fence.
 */
struct guard_watch;
struct guard_watch *guard_watch_new(struct context *context);
int guard_watch_start(struct guard_watch *watch);
/* Ends its thread, which needs the pool; takes NULL, and one never started. */
void guard_watch_stop(struct guard_watch *watch);
void guard_watch_free(struct guard_watch *watch);

#endif
