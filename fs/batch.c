/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "batch.h"

#include "backing.h"
#include "context.h"
#include "fault.h"
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MOST_UNDER_WAY 32

/* Whole blocks around a read, as O_DIRECT wants. */
#define SLOT_BYTES (BATCH_MOST_BYTES + 2 * BACKING_ALIGNMENT)

struct slot {
    struct iocb request; /* first */
    struct batch_read *read;
    char *buffer;
    struct slot *next; /* of those that are free */
};

/* It takes milliseconds to end an AIO context (RCU): they are kept. */
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

/* NULL: out of memory, or of /proc/sys/fs/aio-max-nr, or a kernel or a filter has no AIO. */
static struct batch_room *room_new(void)
{
    struct batch_room *room = calloc(1, sizeof(*room));

    if (!room)
        return NULL;
    room->buffers = aligned_alloc(BACKING_ALIGNMENT, MOST_UNDER_WAY * SLOT_BYTES);
    /* Most reads are short: to clear a huge page for them would take longer. */
    if (room->buffers)
        (void)madvise(room->buffers, MOST_UNDER_WAY * SLOT_BYTES, MADV_NOHUGEPAGE);
    if (!room->buffers || fault_aio_none() || io_setup(MOST_UNDER_WAY, &room->aio) != 0) {
        room_free(room);
        return NULL;
    }
    for (size_t i = 0; i < MOST_UNDER_WAY; i++) {
        room->slots[i] =
            (struct slot){.buffer = room->buffers + i * SLOT_BYTES, .next = room->free};
        room->free = &room->slots[i];
    }
    return room;
}

static struct batch_room *room_take(struct batch_rooms *rooms)
{
    struct batch_room *room;

    pthread_mutex_lock(&rooms->mutex);
    room = rooms->first;
    if (room)
        rooms->first = room->next;
    pthread_mutex_unlock(&rooms->mutex);
    return room ? room : room_new();
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
    *batch = (struct batch){.context = context, .handle = handle, .until_ns = until_ns, .fd = -1};
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
    const int flags = atomic_load(&handle->flags);

    return (flags & O_DIRECT) && (flags & O_ACCMODE) != O_WRONLY &&
           !atomic_load(&handle->is_delayed);
}

/* False: each read is waited for, and meets what stands in the way itself. */
static bool open_room(struct batch *batch)
{
    if (batch->room)
        return true;
    batch->is_shared = !reads_direct(batch->handle);
    batch->fd = batch->is_shared ? backing_fresh_begin(batch->handle) : batch->handle->fd;
    if (batch->fd < 0)
        return false;
    batch->room = room_take(batch->context->batch_rooms);
    if (!batch->room && batch->is_shared)
        backing_fresh_end(batch->handle->inode);
    return batch->room != NULL;
}

static void close_room(struct batch *batch)
{
    if (!batch->room)
        return;
    room_put(batch->context->batch_rooms, batch->room);
    batch->room = NULL;
    if (batch->is_shared)
        backing_fresh_end(batch->handle->inode);
}

static struct iocb *prepare(struct batch *batch, struct batch_read *read)
{
    struct slot *slot = batch->room->free;
    const size_t before = read->offset % BACKING_ALIGNMENT;
    const size_t wide = (before + read->size + BACKING_ALIGNMENT - 1) & ~(BACKING_ALIGNMENT - 1);

    batch->room->free = slot->next;
    slot->read = read;
    io_prep_pread(&slot->request, batch->fd, slot->buffer, wide,
                  (long long)(read->offset - before));
    return &slot->request;
}

static struct batch_read *leave_slot(struct batch *batch, struct slot *slot)
{
    slot->next = batch->room->free;
    batch->room->free = slot;
    return slot->read;
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
    while (count > begun)
        take_back(batch, leave_slot(batch, (struct slot *)requests[--count]));
}

static void read_now(struct batch *batch, struct batch_read *read)
{
    const char *bytes;
    const ssize_t count =
        backing_read_fresh(batch->handle, read->size, (off_t)read->offset, &bytes);

    read->over(read, bytes, count);
}

/* `result`: bytes from the beginning of the first whole block on. */
static void read_over(struct batch *batch, struct slot *slot, long result)
{
    struct batch_read *read = slot->read;
    const long before = (long)(read->offset % BACKING_ALIGNMENT);
    long count = result > before ? result - before : 0;

    if (result < 0) { /* the handle's description may be refused by now what a new one is not */
        (void)leave_slot(batch, slot);
        read_now(batch, read);
        return;
    }
    if ((size_t)count > read->size)
        count = (long)read->size;
    read->over(read, slot->buffer + before, count);
    (void)leave_slot(batch, slot);
}

static void collect(struct batch *batch)
{
    struct io_event events[MOST_UNDER_WAY];
    const int count = io_getevents(batch->room->aio, 1, MOST_UNDER_WAY, events, NULL);

    for (int i = 0; i < count; i++) { /* a signal: -EINTR, and it is asked again */
        batch->under_way--;
        read_over(batch, (struct slot *)events[i].obj, (long)events[i].res);
    }
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
    batch->first = NULL;
    batch->end = &batch->first;
    close_room(batch);
}
