/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the buffer to the store, and dropping what the kernel has cached. `writeback_flush` and its
 * like may run on a serving thread, `writeback_drop` must not: it notifies the kernel.
 */
#ifndef CTOFS_WRITEBACK_H
#define CTOFS_WRITEBACK_H

#include "inode.h"

struct mount;

/* With the inode's lock held: writes the buffer out. What fails is dropped, and the error kept for
 * each handle that is open (`writeback_error`). */
void writeback_flush(struct mount *mount, struct inode *inode);

/* With the inode's lock held: the error that this handle has not been told yet, once; or 0. */
int writeback_error(struct handle *handle);

/* With the inode's lock held: a descriptor to write by, or -1 with errno set. */
int writeback_descriptor(struct inode *inode);

/* Flushes, drops the kernel's pages and attributes, and believes what the store says now. */
void writeback_drop(struct mount *mount, struct inode *inode);

/* Starts the thread that writes out what has been buffered for long. Returns an errno. */
int writeback_start(struct mount *mount);

/* Writes everything out. */
void writeback_all(struct mount *mount);

#endif
