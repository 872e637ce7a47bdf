/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "deferred.h"

#include "backing.h"
#include "caller.h"
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

/* Far behind the end of any file there is nothing to read, so that this asks and does no more. */
static bool asks_nowait(int fd)
{
    const off_t nowhere = (off_t)(LLONG_MAX / 2) & ~(off_t)(BACKING_ALIGNMENT - 1);
    char *buffer = backing_buffer();
    const struct iovec part = {.iov_base = buffer, .iov_len = BACKING_ALIGNMENT};

    if (!buffer)
        return false;
    return preadv2(fd, &part, 1, nowhere, RWF_NOWAIT) >= 0 || errno == EAGAIN;
}

static bool takes_nowait(struct handle *handle)
{
    int answer = atomic_load(&handle->nowait);

    if (answer == NOWAIT_UNKNOWN) {
        answer = handle_reads(handle) && asks_nowait(handle->fd) ? NOWAIT_TAKEN : NOWAIT_REFUSED;
        atomic_store(&handle->nowait, answer);
    }
    return answer == NOWAIT_TAKEN;
}

/* The first member of both kinds of request is the handle's number. */
_Static_assert(offsetof(struct fuse_read_in, fh) == 0 && offsetof(struct fuse_write_in, fh) == 0,
               "the handle comes first");

static bool is_fit(struct handle *handle)
{
    return S_ISREG(handle->inode->type) && !atomic_load(&handle->is_delayed) &&
           (handle->flags & O_DIRECT) && takes_nowait(handle);
}

bool deferred_fits(struct context *context, const void *request, size_t size)
{
    struct fuse_in_header header;
    uint64_t number;
    struct handle *handle;

    if (size < sizeof(header) + sizeof(number))
        return false;
    memcpy(&header, request, sizeof(header));
    if (header.opcode != FUSE_READ && header.opcode != FUSE_WRITE)
        return false;
    memcpy(&number, (const char *)request + sizeof(header), sizeof(number));
    handle = handle_find(context->handles, number);
    return handle && is_fit(handle);
}

bool deferred_may(struct handle *handle, size_t size)
{
    return loop_ring() && size <= LOOP_ROOM && is_fit(handle);
}

struct deferred *deferred_new(struct context *context, size_t bytes,
                              void (*answer)(struct deferred *, ssize_t),
                              ssize_t (*again)(struct deferred *))
{
    struct deferred *deferred = calloc(1, bytes);

    if (!deferred)
        return NULL;
    deferred->context = context;
    deferred->room = loop_room_take();
    deferred->device = device_present();
    deferred->answer = answer;
    deferred->again = again;
    return deferred;
}

void deferred_answer(struct deferred *deferred, ssize_t count)
{
    deferred->answer(deferred, count);
    loop_room_return(deferred->room);
    free(deferred);
}

void deferred_again(struct deferred *deferred)
{
    loop_wait_begin();
    deferred_answer(deferred, deferred->again(deferred));
}

static struct deferred *deferred_of(struct loop_task *task)
{
    return (struct deferred *)(void *)((char *)task - offsetof(struct deferred, task));
}

static void run_again(struct loop_task *task)
{
    struct deferred *deferred = deferred_of(task);

    device_resume(deferred->device);
    deferred_again(deferred);
    loop_ended();
}

/* An error may be mended, by what may take its time. */
static void io_done(struct ring_io *io, ssize_t result)
{
    struct deferred *deferred = (struct deferred *)(void *)io;

    if (result < 0) {
        deferred->task.run = run_again;
        loop_hand(deferred->context, &deferred->task);
        return;
    }
    device_resume(deferred->device);
    loop_ended(); /* as loop_wait_end */
    deferred_answer(deferred, result);
}

void deferred_read(struct deferred *deferred, int fd, size_t size, off_t offset)
{
    deferred->io.done = io_done;
    ring_read(loop_ring(), &deferred->io, fd, deferred->room, size, offset);
}

/* What was queued before begins with the limits of its own writer. */
void deferred_write(struct deferred *deferred, int fd, uid_t writer, size_t size, off_t offset,
                    int flags)
{
    if (!caller_limit_is(writer))
        ring_submit(loop_ring());
    caller_limit(writer);
    deferred->io.done = io_done;
    ring_write(loop_ring(), &deferred->io, fd, deferred->room, size, offset, flags);
}
