/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A read or write that is begun on its thread's ring and answered when it is done (loop.h, ring.h):
 * what both have in common. It owns the request's memory.
 */
#ifndef MIGFS_FS_DEFERRED_H
#define MIGFS_FS_DEFERRED_H

#include "handle.h"
#include "loop.h"

/* Embedded, as the first member, in what the read or write needs. */
struct deferred {
    struct ring_io io;
    struct loop_task task;
    struct context *context;
    char *room; /* loop.h: a write's bytes, or where a read's go */
    int device;

    /* Answers the request: with a count, or a negative errno. */
    void (*answer)(struct deferred *deferred, ssize_t count);
    /* It failed on the ring. Makes it anew, waiting as it needs to, and returns what to answer. */
    ssize_t (*again)(struct deferred *deferred);
};

/*
 * Whether a request as it was read from the kernel, of `size` bytes, is a read or write that
 * bypasses every cache of a file that lets others go on meanwhile (not so NFS: there io_uring would
 * only put a thread of the kernel's in the place of ours).
 */
bool deferred_fits(struct context *context, const void *request, size_t size);

/*
 * Whether the request that the calling thread serves may be deferred: the loop has it so, and the
 * handle is still as it was found fit.
 */
bool deferred_may(struct handle *handle, size_t size);

/* Of `bytes` bytes, zeroed. NULL: out of memory. After deferred_may. */
struct deferred *deferred_new(struct context *context, size_t bytes,
                              void (*answer)(struct deferred *, ssize_t),
                              ssize_t (*again)(struct deferred *));

/* One of these follows, as the last use. */
void deferred_read(struct deferred *deferred, int fd, size_t size, off_t offset);
void deferred_write(struct deferred *deferred, int fd, uid_t writer, size_t size, off_t offset,
                    int flags);
void deferred_answer(struct deferred *deferred, ssize_t count); /* at once */
void deferred_again(struct deferred *deferred);                 /* at once, by `again` */

#endif
