/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A call that waits for a lock, and ends when its request is interrupted. */
#ifndef CTOFS_LOCK_WAIT_H
#define CTOFS_LOCK_WAIT_H

#include "mount.h"

/* Once, before the first request. */
void lock_wait_init(void);

/*
 * Runs `block` on this thread, which may wait as long as it takes: again while it returns EINTR, a
 * signal's, and the request is not interrupted. Returns its errno; ENOLCK: out of memory.
 */
int lock_wait(fuse_req_t req, int (*block)(void *data), void *data);

#endif
