/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocked requests for locks (F_SETLKW, flock without LOCK_NB): each waits below on a thread of its
 * own, so that it holds up nobody, ends when the lock is had or the caller is interrupted, and is
 * refused where waiting could never end.
 */
#ifndef MIGFS_FS_LOCK_WAIT_H
#define MIGFS_FS_LOCK_WAIT_H

#include "transition.h"

/* So many may wait on one mount; more get ENOLCK. */
#define LOCK_WAIT_MOST 1024

/*
 * Takes over the transition, whose LOCK met a conflict: waits for it, then submits it again with
 * the lock held, or answers with the error (EDEADLK, ENOLCK, EINTR, what the store says). Called on
 * a pool thread by the inode's job.
 */
void lock_wait_begin(struct context *context, struct transition *transition);

/* Interrupts all that wait, at the end of the mount, and returns when none does. */
void lock_wait_end_all(struct context *context);

/* Prepares the signal that interrupts a wait (SIGUSR1). Once, before any thread is started. */
int lock_wait_init(void);

#endif
