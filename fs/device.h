/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE device, where every request comes in and every answer goes out, by whichever thread:
 * both are counted here, and no handler has to. Beside the session's descriptor there are clones of
 * it. The kernel takes an answer at the one alone that its request was read from
 * (linux/fs/fuse/dev.c, fuse_dev_do_write): that is seen to here, too.
 */
#ifndef MIGFS_FS_DEVICE_H
#define MIGFS_FS_DEVICE_H

#include "context.h"

struct device;

/* For the context's session, which is mounted; from now on libfuse goes this way. NULL: it has said
 * why, or out of memory. */
struct device *device_new(struct context *context);

/* When nobody answers any more; closes the clones. Takes NULL. */
void device_free(struct device *device);

/*
 * Another descriptor for the same requests, of which none is waited for; the device's to close.
 * -1 with errno.
 */
int device_clone(struct device *device);

/* The session's descriptor, which waits for requests. */
int device_descriptor(const struct device *device);

/* Reads a request, as read(2): the one that the calling thread serves from now on. */
ssize_t device_read(struct device *device, int fd, void *buffer, size_t size);

/* Where that was read; and: the thread serves one now that was read there. */
int device_present(void);
void device_resume(int fd);

#endif
