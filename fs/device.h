/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE device, where every request comes in and every answer goes out, by whichever thread:
 * both are counted here, and no handler has to.
 */
#ifndef MIGFS_FS_DEVICE_H
#define MIGFS_FS_DEVICE_H

#include "context.h"

/* From now on; the context's session is mounted. 0 or a negative errno. */
int device_count(struct context *context);

/* Reads a request, as read(2). */
ssize_t device_read(struct context *context, int fd, void *buffer, size_t size);

#endif
