/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handle.h"

#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Numbers are slot and turn: a slot that was used again gives another number, so that one the
 * kernel kept too long is not taken for its successor.
 */
struct slot {
    struct handle *handle;
    uint32_t turn;
    uint32_t next_free;
};

struct handle_table {
    pthread_rwlock_t lock;
    struct slot *slots;
    uint32_t count;
    uint32_t first_free; /* == count: none */
};

struct handle_table *handle_table_new(void)
{
    struct handle_table *table = calloc(1, sizeof(*table));

    if (table)
        pthread_rwlock_init(&table->lock, NULL);
    return table;
}

void handle_table_free(struct handle_table *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; i < table->count; i++) {
        struct handle *handle = table->slots[i].handle;

        if (!handle)
            continue;
        if (handle->directory)
            closedir(handle->directory);
        else
            close(handle->fd);
        pthread_mutex_destroy(&handle->open_mutex);
        pthread_mutex_destroy(&handle->directory_mutex);
        free(handle);
    }
    free(table->slots);
    pthread_rwlock_destroy(&table->lock);
    free(table);
}

static int table_grow(struct handle_table *table)
{
    const uint32_t count = table->count ? table->count * 2 : 64;
    struct slot *slots = reallocarray(table->slots, count, sizeof(*slots));

    if (!slots)
        return -ENOMEM;
    for (uint32_t i = table->count; i < count; i++)
        slots[i] = (struct slot){.next_free = i + 1};
    table->slots = slots;
    table->first_free = table->count;
    table->count = count;
    return 0;
}

static int table_add(struct handle_table *table, struct handle *handle)
{
    int error = 0;

    pthread_rwlock_wrlock(&table->lock);
    if (table->first_free == table->count)
        error = table_grow(table);
    if (error == 0) {
        struct slot *slot = &table->slots[table->first_free];

        handle->number = (uint64_t)++slot->turn << 32 | table->first_free;
        table->first_free = slot->next_free;
        slot->handle = handle;
    }
    pthread_rwlock_unlock(&table->lock);
    return error;
}

static void table_remove(struct handle_table *table, const struct handle *handle)
{
    const uint32_t index = (uint32_t)handle->number;

    pthread_rwlock_wrlock(&table->lock);
    table->slots[index].handle = NULL;
    table->slots[index].next_free = table->first_free;
    table->first_free = index;
    pthread_rwlock_unlock(&table->lock);
}

struct handle *handle_find(struct handle_table *table, uint64_t number)
{
    const uint32_t index = (uint32_t)number;
    struct handle *handle = NULL;

    pthread_rwlock_rdlock(&table->lock);
    if (index < table->count)
        handle = table->slots[index].handle;
    if (handle && handle->number != number)
        handle = NULL;
    pthread_rwlock_unlock(&table->lock);
    return handle;
}

static void link_to_inode(struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    handle->next = inode->handles;
    if (handle->next)
        handle->next->previous = handle;
    inode->handles = handle;
    inode->open_handles++;
    handle->open_number = ++inode->opens;
    inode->writable_handles += handle_writes(handle);
    handle->open_generation = inode->owner.generation;
    pthread_mutex_unlock(&inode->mutex);
}

static void unlink_from_inode(struct handle *handle)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    *(handle->previous ? &handle->previous->next : &inode->handles) = handle->next;
    if (handle->next)
        handle->next->previous = handle->previous;
    inode->open_handles--;
    inode->writable_handles -= handle_writes(handle);
    pthread_mutex_unlock(&inode->mutex);
}

/* What cannot be told counts as another one's: then the first refusal has the file looked at. */
static void note_opened(struct handle *handle)
{
    struct stat attributes = {.st_uid = (uid_t)-1};

    if (handle->is_protected)
        (void)fstat(handle->fd, &attributes);
    handle->opened = (struct opened_as){.uid = handle->uid,
                                        .gid = handle->gid,
                                        .file_uid = attributes.st_uid,
                                        .file_gid = attributes.st_gid,
                                        .file_mode = attributes.st_mode};
}

struct handle *handle_open(struct context *context, struct inode *inode, int fd, int flags,
                           bool is_delayed, const struct fuse_ctx *caller)
{
    struct handle *handle = calloc(1, sizeof(*handle));

    if (!handle)
        return NULL;
    handle->inode = inode;
    handle->fd = fd;
    atomic_init(&handle->flags, flags);
    atomic_init(&handle->is_delayed, is_delayed);
    handle->uid = caller->uid;
    handle->gid = caller->gid;
    handle->process = caller_process(caller->pid);
    handle->is_protected = inode_is_protected(context, inode);
    note_opened(handle);
    pthread_mutex_init(&handle->open_mutex, NULL);
    pthread_mutex_init(&handle->directory_mutex, NULL);
    if (table_add(context->handles, handle) != 0) {
        pthread_mutex_destroy(&handle->open_mutex);
        pthread_mutex_destroy(&handle->directory_mutex);
        free(handle);
        return NULL;
    }
    inode_ref(context->inodes, inode);
    handle->keeps_pin = inode_pin(context->inodes, inode) >= 0;
    link_to_inode(handle);
    return handle;
}

#define FOLLOWED (O_APPEND | O_DIRECT)

void handle_apply_flags(struct handle *handle)
{
    const int present = fcntl(handle->fd, F_GETFL);
    const int wanted = (present & ~FOLLOWED) | (atomic_load(&handle->flags) & FOLLOWED);

    if (present >= 0 && present != wanted)
        (void)fcntl(handle->fd, F_SETFL, wanted); /* a store that refuses shows it by the request */
}

void handle_follow_flags(struct handle *handle, int flags)
{
    const int known = atomic_load(&handle->flags);
    const int wanted = (known & ~FOLLOWED) | (flags & FOLLOWED);

    if (wanted == known)
        return;
    if (atomic_load(&handle->is_delayed)) { /* its open will have them */
        atomic_store(&handle->flags, wanted);
        return;
    }
    /* A store that refuses shows it by what the request then does. */
    if (fcntl(handle->fd, F_SETFL, wanted) == 0)
        atomic_store(&handle->flags, wanted);
}

struct handle *handle_reader(const struct inode *inode)
{
    struct handle *found = NULL;

    for (struct handle *handle = inode->handles; handle; handle = handle->next) {
        if (handle_reads(handle) && (!found || (found->is_delayed && !handle->is_delayed)))
            found = handle;
    }
    return found;
}

void handle_close(struct context *context, struct handle *handle)
{
    struct inode *inode = handle->inode;

    table_remove(context->handles, handle);
    pthread_mutex_lock(&inode->description_mutex);
    if (handle->directory)
        closedir(handle->directory);
    else
        close(handle->fd); /* what close can report was reported by FLUSH */
    if (handle->keeps_pin)
        inode_unpin(context->inodes, inode);
    unlink_from_inode(handle); /* only now: nothing of it is open below any more (close_await) */
    pthread_mutex_unlock(&inode->description_mutex);
    inode_unref(context->inodes, inode);
    pthread_mutex_destroy(&handle->open_mutex);
    pthread_mutex_destroy(&handle->directory_mutex);
    free(handle);
}
