/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `.ctofs-control` at the root, which no listing shows: read, it prints the counters; written, each
 * line is a command (ctofs.c has the list).
 */
#ifndef CTOFS_CONTROL_H
#define CTOFS_CONTROL_H

#include "mount.h"

void control_attributes(struct stat *attributes);
void control_open(fuse_req_t req, struct fuse_file_info *fi);
void control_release(fuse_req_t req, struct fuse_file_info *fi);
void control_read(fuse_req_t req, size_t size, off_t off, struct fuse_file_info *fi);
/* Carried out on a thread of its own, before the writer goes on. EINVAL: an unknown command. */
void control_write(fuse_req_t req, const char *buf, size_t size);

#endif
