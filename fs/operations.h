/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of request handlers that libfuse is given; its rows are the other files of this folder.
 */
#ifndef MIGFS_FS_OPERATIONS_H
#define MIGFS_FS_OPERATIONS_H

#include <fuse_lowlevel.h>

extern const struct fuse_lowlevel_ops operations;

#endif
