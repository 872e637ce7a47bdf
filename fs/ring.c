/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>

struct ring {
    struct io_uring uring;
    unsigned under_way;
    bool polls; /* a poll is under way, too */
};

/* Those of Linux 6.1: what is done is told to the waiting thread alone, without an interrupt. */
#define WANTED_FLAGS (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

struct ring *ring_new(void)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    int error;

    if (!ring)
        return NULL;
    error = io_uring_queue_init(2 * RING_MOST, &ring->uring, WANTED_FLAGS);
    if (error == -EINVAL)
        error = io_uring_queue_init(2 * RING_MOST, &ring->uring, 0);
    if (error == 0)
        return ring;
    free(ring);
    errno = -error;
    return NULL;
}

void ring_free(struct ring *ring)
{
    if (!ring)
        return;
    io_uring_queue_exit(&ring->uring);
    free(ring);
}

void ring_submit(struct ring *ring)
{
    while (io_uring_sq_ready(&ring->uring) > 0) {
        const int count = io_uring_submit(&ring->uring);

        if (count < 0 && count != -EINTR && count != -EAGAIN && count != -EBUSY && count != -ENOMEM)
            abort(); /* the ring is ours and so are the entries: nothing else is left */
    }
}

/* There is room: more than RING_MOST entries, and all but the poll are counted. */
static struct io_uring_sqe *entry_of(struct ring *ring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->uring);

    if (entry)
        return entry;
    ring_submit(ring);
    return io_uring_get_sqe(&ring->uring);
}

void ring_read(struct ring *ring, struct ring_io *io, int fd, void *buffer, size_t size,
               off_t offset)
{
    struct io_uring_sqe *entry = entry_of(ring);

    io_uring_prep_read(entry, fd, buffer, (unsigned)size, (uint64_t)offset);
    io_uring_sqe_set_data(entry, io);
    ring->under_way++;
}

void ring_write(struct ring *ring, struct ring_io *io, int fd, const void *bytes, size_t size,
                off_t offset, int flags)
{
    struct io_uring_sqe *entry = entry_of(ring);

    io_uring_prep_write(entry, fd, bytes, (unsigned)size, (uint64_t)offset);
    entry->rw_flags = flags;
    io_uring_sqe_set_data(entry, io);
    ring->under_way++;
}

unsigned ring_under_way(const struct ring *ring)
{
    return ring->under_way;
}

static void poll_begin(struct ring *ring, int device)
{
    struct io_uring_sqe *entry = entry_of(ring);

    io_uring_prep_poll_add(entry, device, POLLIN);
    io_uring_sqe_set_data(entry, NULL);
    ring->polls = true;
}

void ring_wait(struct ring *ring, int device)
{
    struct io_uring_cqe *entry;

    if (device >= 0 && !ring->polls)
        poll_begin(ring, device);
    (void)io_uring_submit_and_wait(&ring->uring, 1); /* -EINTR and the like: seen below */
    while (io_uring_peek_cqe(&ring->uring, &entry) == 0) {
        struct ring_io *io = io_uring_cqe_get_data(entry);
        const ssize_t result = entry->res;

        io_uring_cqe_seen(&ring->uring, entry);
        if (!io) {
            ring->polls = false;
            continue;
        }
        ring->under_way--;
        io->done(io, result);
    }
}
