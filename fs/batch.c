/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "batch.h"

#include "backing.h"
#include "context.h"
#include "fault.h"
#include "log.h"
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MOST_UNDER_WAY 32

/* Whole blocks around a read, as O_DIRECT wants. */
#define SLOT_BYTES (BATCH_MOST_BYTES + 2 * BACKING_ALIGNMENT)

struct slot {
    struct iocb request; /* first */
    struct batch_read *read;
    struct backing_blocks blocks;
    bool by_handle; /* through the handle's own description */
    char *buffer;
    struct slot *next; /* of those that are free */
};

/* To end an AIO context waits for RCU (linux/fs/aio.c, kill_ioctx): they are kept. */
struct batch_room {
    io_context_t aio;
    char *buffers;
    struct slot slots[MOST_UNDER_WAY];
    struct slot *free;
    struct batch_room *next;
};

struct batch_rooms {
    pthread_mutex_t mutex;
    struct batch_room *first; /* not in use */
    bool has_said;            /* why there is none */
};

/* ---- rooms ---- */

struct batch_rooms *batch_rooms_new(void)
{
    struct batch_rooms *rooms = calloc(1, sizeof(*rooms));

    if (rooms)
        pthread_mutex_init(&rooms->mutex, NULL); /* cannot fail with default attributes */
    return rooms;
}

static void room_free(struct batch_room *room)
{
    if (room->aio)
        (void)io_destroy(room->aio); /* fails for what is no context alone */
    free(room->buffers);
    free(room);
}

void batch_rooms_free(struct batch_rooms *rooms)
{
    struct batch_room *room;

    if (!rooms)
        return;
    while ((room = rooms->first)) {
        rooms->first = room->next;
        room_free(room);
    }
    pthread_mutex_destroy(&rooms->mutex);
    free(rooms);
}

/* 0, or a negative errno where it is not to be had. */
static int aio_begin(io_context_t *aio)
{
    struct timespec at_once = {0};
    struct io_event none;
    int error = fault_aio_none() ? -ENOSYS : io_setup(MOST_UNDER_WAY, aio);

    if (error == 0)
        error = io_getevents(*aio, 0, 1, &none, &at_once); /* what was begun must be ended */
    return error < 0 ? error : 0;
}

static int room_new(struct batch_room **result)
{
    struct batch_room *room = calloc(1, sizeof(*room));
    int error = -ENOMEM;

    if (!room)
        return error;
    room->buffers = aligned_alloc(BACKING_ALIGNMENT, MOST_UNDER_WAY * SLOT_BYTES);
    if (room->buffers) {
        /* Most reads are short, and to clear a huge page takes longer than they do. Advice. */
        (void)madvise(room->buffers, MOST_UNDER_WAY * SLOT_BYTES, MADV_NOHUGEPAGE);
        error = aio_begin(&room->aio);
    }
    if (error != 0) {
        room_free(room);
        return error;
    }
    for (size_t i = 0; i < MOST_UNDER_WAY; i++) {
        room->slots[i] =
            (struct slot){.buffer = room->buffers + i * SLOT_BYTES, .next = room->free};
        room->free = &room->slots[i];
    }
    *result = room;
    return 0;
}

static void say_none(struct batch_rooms *rooms, int error)
{
    bool has_said;

    pthread_mutex_lock(&rooms->mutex);
    has_said = rooms->has_said;
    rooms->has_said = true;
    pthread_mutex_unlock(&rooms->mutex);
    if (!has_said)
        log_notice("no AIO: %s; what an acquire verifies is read one after the other. See sysctl "
                   "fs.aio-max-nr and what filters system calls",
                   strerror(-error));
}

/* NULL: there is no AIO for it. */
static struct batch_room *room_take(struct batch_rooms *rooms)
{
    struct batch_room *room;
    int error = 0;

    pthread_mutex_lock(&rooms->mutex);
    room = rooms->first;
    if (room)
        rooms->first = room->next;
    pthread_mutex_unlock(&rooms->mutex);
    if (!room)
        error = room_new(&room);
    if (error != 0)
        say_none(rooms, error);
    return room;
}

static void room_put(struct batch_rooms *rooms, struct batch_room *room)
{
    pthread_mutex_lock(&rooms->mutex);
    room->next = rooms->first;
    rooms->first = room;
    pthread_mutex_unlock(&rooms->mutex);
}

/* ---- the queue ---- */

void batch_init(struct batch *batch, struct context *context, struct handle *handle,
                int64_t until_ns)
{
    *batch =
        (struct batch){.context = context, .handle = handle, .until_ns = until_ns, .fresh_fd = -1};
    batch->end = &batch->first;
}

void batch_add(struct batch *batch, struct batch_read *read)
{
    read->next = NULL;
    *batch->end = read;
    batch->end = &read->next;
}

/* NULL: there is none, or no time. */
static struct batch_read *take(struct batch *batch)
{
    struct batch_read *read = batch->first;

    if (!read || pool_now_ns() >= batch->until_ns)
        return NULL;
    batch->first = read->next;
    if (!batch->first)
        batch->end = &batch->first;
    return read;
}

static void take_back(struct batch *batch, struct batch_read *read)
{
    read->next = batch->first;
    batch->first = read;
    if (!read->next)
        batch->end = &read->next;
}

/* ---- reading ---- */

/* A handle of O_DIRECT has a description already that is as good. */
static bool reads_direct(const struct handle *handle)
{
    return (handle->flags & O_DIRECT) && handle_reads(handle) && !atomic_load(&handle->is_delayed);
}

/* From now on by the inode's description; what is under way by the handle's goes on. */
static bool open_fresh(struct batch *batch)
{
    if (batch->fresh_fd < 0)
        batch->fresh_fd = backing_fresh_begin(batch->handle); /* its error is met by each read */
    return batch->fresh_fd >= 0;
}

static void close_fresh(struct batch *batch)
{
    if (batch->fresh_fd >= 0)
        backing_fresh_end(batch->handle->inode);
    batch->fresh_fd = -1;
}

/* False: each read is waited for, and meets what stands in the way itself. */
static bool open_room(struct batch *batch)
{
    if (batch->room)
        return true;
    if (!reads_direct(batch->handle) && !open_fresh(batch))
        return false;
    batch->room = room_take(batch->context->batch_rooms);
    return batch->room != NULL;
}

static void close_room(struct batch *batch)
{
    if (batch->room)
        room_put(batch->context->batch_rooms, batch->room);
    batch->room = NULL;
    close_fresh(batch);
}

static struct iocb *prepare(struct batch *batch, struct batch_read *read)
{
    struct slot *slot = batch->room->free;

    batch->room->free = slot->next;
    slot->read = read;
    slot->blocks = backing_blocks_around((off_t)read->offset, read->size);
    slot->by_handle = batch->fresh_fd < 0;
    io_prep_pread(&slot->request, slot->by_handle ? batch->handle->fd : batch->fresh_fd,
                  slot->buffer, slot->blocks.size, slot->blocks.start);
    return &slot->request;
}

static void leave_slot(struct batch *batch, struct slot *slot)
{
    slot->next = batch->room->free;
    batch->room->free = slot;
}

void batch_begin(struct batch *batch)
{
    struct iocb *requests[MOST_UNDER_WAY];
    struct batch_read *read;
    long count = 0, begun = 0;

    if (batch->waits || !batch->first)
        return;
    batch->waits = !open_room(batch);
    while (!batch->waits && batch->room->free && (read = take(batch)))
        requests[count++] = prepare(batch, read);
    if (count > 0)
        begun = io_submit(batch->room->aio, count, requests);
    begun = begun > 0 ? begun : 0; /* an error is the first one's, which meets it again */
    batch->waits = batch->waits || begun < count;
    batch->under_way += (unsigned)begun;
    while (count > begun) {
        struct slot *slot = (struct slot *)requests[--count];

        take_back(batch, slot->read);
        leave_slot(batch, slot);
    }
}

static void read_now(struct batch *batch, struct batch_read *read)
{
    const char *bytes;
    const ssize_t count =
        backing_read_fresh(batch->handle, read->size, (off_t)read->offset, &bytes);

    read->over(read, bytes, count);
}

/* The handle's description may be refused by now what a new one is not. */
static bool is_read_again(struct batch *batch, struct slot *slot)
{
    if (!slot->by_handle || !open_fresh(batch))
        return false;
    batch_add(batch, slot->read);
    return true;
}

/* `result`: bytes of the blocks, or a negative errno. */
static void read_over(struct batch *batch, struct slot *slot, ssize_t result)
{
    struct batch_read *read = slot->read;

    if (result >= 0 || !is_read_again(batch, slot))
        read->over(read, slot->buffer + slot->blocks.before,
                   backing_blocks_part(&slot->blocks, result, read->size));
    leave_slot(batch, slot);
}

static void collect(struct batch *batch)
{
    struct io_event events[MOST_UNDER_WAY];
    const int count = io_getevents(batch->room->aio, 1, MOST_UNDER_WAY, events, NULL);

    if (count < 0 && count != -EINTR)
        abort(); /* the context is ours, and was asked before: nothing else is left */
    for (int i = 0; i < count; i++) {
        batch->under_way--;
        read_over(batch, (struct slot *)events[i].obj, (ssize_t)events[i].res);
    }
}

void batch_stop(struct batch *batch)
{
    batch->first = NULL;
    batch->end = &batch->first;
    batch->until_ns = 0;
}

void batch_run(struct batch *batch)
{
    struct batch_read *read;

    for (;;) {
        batch_begin(batch);
        if (batch->under_way > 0)
            collect(batch);
        else if ((read = take(batch)))
            read_now(batch, read);
        else
            break;
    }
    close_room(batch);
}
