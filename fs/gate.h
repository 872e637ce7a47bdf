/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate before each change of what a file holds or how long it is: whether the inode's state
 * lets it pass, and a count that a release waits for (DESIGN §2, CLOSE_GATE and DRAIN). Never
 * waits.
 */
#ifndef MIGFS_FS_GATE_H
#define MIGFS_FS_GATE_H

#include "handle.h"

/*
 * With `handle` NULL (a change by path) nobody holds a write byte. 0, and gate_leave must follow
 * soon; or -EIO.
 */
int gate_enter(struct context *context, struct inode *inode, const struct handle *handle);

/* The change is over; it wrote `bytes`. */
void gate_leave(struct inode *inode, size_t bytes);

#endif
