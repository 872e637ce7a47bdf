/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes below that go on while their thread does something else: one io_uring a thread.
 * A ring belongs to the thread that made it, and all of these are that thread's to call.
 */
#ifndef MIGFS_FS_RING_H
#define MIGFS_FS_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ring;

/* One that is under way; embedded in what it is for, whose it stays. */
struct ring_io {
    /* With the number of bytes or a negative errno, by ring_wait. May begin others, or free this.
     */
    void (*done)(struct ring_io *io, ssize_t result);
};

/* At most so many may be under way. */
#define RING_MOST 128

/* NULL with errno: EPERM or ENOSYS where io_uring is not to be had (io_uring_setup(2)). */
struct ring *ring_new(void);
void ring_free(struct ring *ring);

/*
 * As pread(2) and pwritev2(2), with `buffer` and `fd` good until it is done. Begins with the next
 * ring_submit or ring_wait, as who the thread is then.
 */
void ring_read(struct ring *ring, struct ring_io *io, int fd, void *buffer, size_t size,
               off_t offset);
void ring_write(struct ring *ring, struct ring_io *io, int fd, const void *bytes, size_t size,
                off_t offset, int flags);
void ring_submit(struct ring *ring);

/* How many are under way, those that were not submitted yet among them. */
unsigned ring_under_way(const struct ring *ring);

/*
 * Submits, waits for one to be done or, with `device` not -1, for that to be readable; then tells
 * all that are done.
 */
void ring_wait(struct ring *ring, int device);

#endif
