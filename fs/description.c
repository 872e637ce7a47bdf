/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "description.h"

#include "backing.h"
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct flock description_flock(const struct range *range, short type)
{
    return (struct flock){
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)range->start,
        .l_len = range->end == RANGE_MAX ? 0 : (off_t)(range->end - range->start + 1),
    };
}

short description_type(const struct range *range)
{
    return range->type == RANGE_WRITE ? F_WRLCK : F_RDLCK;
}

int description_set(int fd, const struct range *range, short type)
{
    struct flock lock = description_flock(range, type);

    /* A conflict is EAGAIN alone on Linux, whatever fcntl(2) leaves to others. */
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

struct description *description_find(const struct inode *inode, uint64_t owner)
{
    struct description *description = inode->descriptions;

    while (description && description->owner != owner)
        description = description->next;
    return description;
}

/* Whether the handle's own description is some owner's already. */
static bool description_is_taken(const struct inode *inode, const struct handle *handle)
{
    return handle->description_owner_known &&
           description_find(inode, handle->description_owner) != NULL;
}

static int access_of(const struct handle *handle)
{
    return handle->flags & O_ACCMODE;
}

static bool access_suits(int access, enum range_type type)
{
    return access == O_RDWR || access == (type == RANGE_WRITE ? O_WRONLY : O_RDONLY);
}

static void description_link(struct inode *inode, struct description *description)
{
    description->next = inode->descriptions;
    inode->descriptions = description;
}

/*
 * A description of the owner's own. The handle's where it is free, since what is written through
 * the handle then goes by the description that holds the lock (DESIGN §3); it outlives the handle
 * as a duplicate. A write-only handle's could never take a read lock.
 */
static int description_open(struct inode *inode, const struct lock_change *change,
                            struct description **result)
{
    struct handle *handle = change->handle;
    const bool is_own = change->range.owner != LOCK_OWNER_DAEMON &&
                        !description_is_taken(inode, handle) && access_of(handle) != O_WRONLY &&
                        !handle->was_lost;
    struct description *description = calloc(1, sizeof(*description));

    if (!description)
        return -ENOMEM;
    description->owner = change->range.owner;
    description->opened = handle->opened;
    /* No more than the handle may: a file open for writing cannot be executed, for one. */
    description->access = access_of(handle) == O_WRONLY ? O_RDWR : access_of(handle);
    description->fd =
        is_own ? fcntl(handle->fd, F_DUPFD_CLOEXEC, 0)
               : backing_reopen(handle, description->access | (handle->flags & O_DIRECT));
    if (is_own && description->fd < 0)
        description->fd = -errno;
    if (description->fd < 0) {
        const int error = description->fd;

        free(description);
        return error;
    }
    if (is_own) {
        description->handle = handle->number;
        handle->description_owner = change->range.owner;
        handle->description_owner_known = true;
    }
    *result = description;
    return 0;
}

void description_close(struct description *description)
{
    close(description->fd);
    free(description);
}

static void description_unlink(struct inode *inode, struct description *description)
{
    struct description **link = &inode->descriptions;

    while (*link != description)
        link = &(*link)->next;
    *link = description->next;
}

void description_drop(struct context *context, struct inode *inode, uint64_t owner)
{
    struct description *unused = NULL;

    pthread_mutex_lock(&context->locks->mutex);
    struct description *description = description_find(inode, owner);
    if (description && description->waiters == 0 && !range_owner_holds(&inode->ranges, owner)) {
        description_unlink(inode, description);
        unused = description;
    }
    pthread_mutex_unlock(&context->locks->mutex);
    if (unused)
        description_close(unused);
}

/*
 * The owner's locks are carried to another description: all of them there first, which read locks
 * allow, then none here. Needed when an owner that read-locks through a read-only handle asks for
 * a write lock through another one.
 */
static int description_carry(struct inode *inode, struct description *from,
                             const struct description *to)
{
    for (size_t i = 0; i < inode->ranges.count; i++) {
        const struct range *range = &inode->ranges.entries[i];

        if (range->owner != from->owner)
            continue;
        const int error = description_set(to->fd, range, description_type(range));
        if (error != 0)
            return error;
    }
    const struct range all = {.end = RANGE_MAX};
    return description_set(from->fd, &all, F_UNLCK);
}

static int description_replace(struct context *context, struct inode *inode,
                               struct description *old, const struct lock_change *change,
                               struct description **result)
{
    struct description *description;
    int error;

    if (old->waiters > 0)
        return -ENOLCK;
    error = description_open(inode, change, &description);
    if (error != 0)
        return error;
    error = description_carry(inode, old, description);
    if (error != 0) {
        const struct range all = {.end = RANGE_MAX};

        (void)description_set(description->fd, &all, F_UNLCK); /* the handle may share it */
        if (description->handle == change->handle->number)
            change->handle->description_owner_known = false;
        description_close(description);
        return error;
    }
    pthread_mutex_lock(&context->locks->mutex);
    description_unlink(inode, old);
    description_link(inode, description);
    pthread_mutex_unlock(&context->locks->mutex);
    description_close(old);
    *result = description;
    return 0;
}

int description_of(struct context *context, struct inode *inode, const struct lock_change *change,
                   struct description **result)
{
    struct description *description = description_find(inode, change->range.owner);
    int error;

    if (description && !access_suits(description->access, change->range.type))
        return description_replace(context, inode, description, change, result);
    if (!description) {
        error = description_open(inode, change, &description);
        if (error != 0)
            return error;
        pthread_mutex_lock(&context->locks->mutex);
        description_link(inode, description);
        pthread_mutex_unlock(&context->locks->mutex);
    }
    *result = description;
    return 0;
}
