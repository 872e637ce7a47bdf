/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flags of chattr(1) and the project attributes of an inode: the backing filesystem's to keep
 * and to judge. The kernel sends their ioctls for open files and, by a short open, for paths.
 */
#ifndef MIGFS_FS_FILE_FLAGS_H
#define MIGFS_FS_FILE_FLAGS_H

#include <fuse_lowlevel.h>

#include <stdbool.h>

/* Whether the ioctl is one of them. */
bool file_flags_is_call(unsigned int command);

/* Carries it out as the caller, on the open file of `fi`, and replies. */
void file_flags_serve(fuse_req_t req, const struct fuse_file_info *fi, unsigned int command,
                      const void *in, size_t in_size, size_t out_size);

#endif
