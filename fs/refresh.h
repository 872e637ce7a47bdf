/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What makes an inode fresh outside a transition: pages dropped after reads from the server, and
 * its record looked at when the list of records has moved. On pool threads.
 */
#ifndef MIGFS_FS_REFRESH_H
#define MIGFS_FS_REFRESH_H

#include "inode.h"

/* One drop of the kernel's pages for all standby reads until then, in some milliseconds. */
void refresh_drop_later(struct context *context, struct inode *inode);

/*
 * As pages_leave has it: they are dropped in a moment, in pieces between which the inode's other
 * jobs have their turn. False: out of memory, and they stay.
 */
bool refresh_drop_left(struct context *context, struct inode *inode);

/* The inode's record is read anew on a pool thread, and its pages dropped if that changes it. */
void refresh_look(struct context *context, struct inode *inode);

/* The same in a while, if it is in standby by then. */
void refresh_look_in_standby(struct context *context, struct inode *inode);

/* After an acquire: takes the lock on the record (record_file_guard), in a while. */
void refresh_guard_record(struct context *context, struct inode *inode);

#endif
