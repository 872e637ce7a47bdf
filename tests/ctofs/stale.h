/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A store that breaks its promise: what was open when it began is read as it was then, past every
 * drop and by O_DIRECT too, while lengths and times are told as they are.
 */
#ifndef CTOFS_STALE_H
#define CTOFS_STALE_H

#include "inode.h"

#include <sys/types.h>

/* Visits of inode_each_open. */
void stale_begin(struct mount *mount, struct inode *inode);
void stale_end(struct mount *mount, struct inode *inode);

/* With the inode's lock held: puts the old bytes over `got` of them that were read at `off`. */
void stale_overlay(const struct inode *inode, char *bytes, size_t got, off_t off);

#endif
