/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a file is, and what the log calls it. */
#ifndef MIGFS_FS_FILE_NAME_H
#define MIGFS_FS_FILE_NAME_H

#include "inode.h"

/*
 * An inode's path below SOURCE, or of the file of a descriptor, "" for the root; the caller frees
 * it. NULL: out of memory. As the kernel names it: no filesystem is asked. With none of the inode's
 * locks held.
 */
char *file_path(struct context *context, struct inode *inode);
char *file_path_of(const struct context *context, int fd);

/* With a prefix and what is said of the file it fits a line of the log. */
#define FILE_NAME_MOST 400

struct file_name {
    char text[FILE_NAME_MOST + 1];
};

/*
 * By its path below the mountpoint, as the guests' definitions have it, of a long one its end; by
 * its inode where there is none. With none of the inode's locks held.
 */
struct file_name file_name(struct context *context, struct inode *inode);

#endif
