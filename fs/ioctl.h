/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ioctls of migfs.h: who may ask, and whom to pass it to. ACQUIRE and RELEASE are transitions,
 * answered from the pool; STATUS is answered at once; EVENTS is answered when there is something
 * to tell. The flags of chattr(1) are file_flags's; all other ioctls get ENOTTY.
 */
#ifndef MIGFS_FS_IOCTL_H
#define MIGFS_FS_IOCTL_H

#include <fuse_lowlevel.h>

/* Request handler. */
void ioctl_serve(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
                 struct fuse_file_info *fi, unsigned flags, const void *in_buf, size_t in_bufsz,
                 size_t out_bufsz);

#endif
