/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extended attributes, POSIX ACLs among them: the backing filesystem judges and keeps them.
 * trusted.* is root's alone, and must be refused here: a thread that takes another's fsuid keeps
 * the capability that opens them (DESIGN §5).
 */
#ifndef MIGFS_FS_XATTR_H
#define MIGFS_FS_XATTR_H

#include <fuse_lowlevel.h>

void xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
               int flags);
void xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size);
void xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
