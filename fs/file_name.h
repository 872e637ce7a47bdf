/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the log calls a file: by its path below the mountpoint, as the guests' definitions have it,
 * of a long one its end; by its inode where there is none.
 */
#ifndef MIGFS_FS_FILE_NAME_H
#define MIGFS_FS_FILE_NAME_H

#include "inode.h"

/* With a prefix and what is said of the file it fits a line of the log. */
#define FILE_NAME_MOST 400

struct file_name {
    char text[FILE_NAME_MOST + 1];
};

/* As status_path: with none of the inode's locks held. */
struct file_name file_name(struct context *context, struct inode *inode);

#endif
