/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* Owners -------------------------------------------------------------------------------------- */

static int open_description(const struct inode *inode)
{
    const int fd = open(inode_path(inode).text, O_RDWR | O_CLOEXEC);

    return fd >= 0 ? fd : open(inode_path(inode).text, O_RDONLY | O_CLOEXEC);
}

struct lock_owner *owner_find(const struct inode *inode, uint64_t id)
{
    struct lock_owner *owner = inode->lock_owners;

    while (owner && owner->id != id)
        owner = owner->next;
    return owner;
}

struct lock_owner *owner_use(struct inode *inode, uint64_t id, pid_t pid)
{
    struct lock_owner *owner = owner_find(inode, id);

    if (!owner) {
        owner = calloc(1, sizeof(*owner));
        if (!owner) {
            errno = ENOMEM;
            return NULL;
        }
        owner->id = id;
        owner->fd = -1;
        owner->next = inode->lock_owners;
        inode->lock_owners = owner;
    }
    owner->pid = pid;
    owner->users++;
    if (owner->fd < 0)
        owner->fd = open_description(inode);
    return owner;
}

void owner_unuse(struct inode *inode, struct lock_owner *owner)
{
    if (--owner->users > 0 || owner->count > 0 || owner->flock_handle)
        return;
    struct lock_owner **link = &inode->lock_owners;

    while (*link != owner)
        link = &(*link)->next;
    *link = owner->next;
    if (owner->fd >= 0)
        close(owner->fd);
    free(owner->held);
    free(owner);
}

/* Ranges -------------------------------------------------------------------------------------- */

off_t range_end(const struct flock *lock)
{
    return lock->l_len == 0 ? INT64_MAX : lock->l_start + lock->l_len - 1;
}

struct flock range_flock(short type, off_t start, off_t end)
{
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = start,
                          .l_len = end == INT64_MAX ? 0 : end - start + 1};
}

int owner_reserve(struct lock_owner *owner)
{
    if (owner->count + 2 <= owner->room)
        return 0;
    const size_t room = owner->room * 2 + 8;
    struct held *held = realloc(owner->held, room * sizeof(*held));

    if (!held)
        return ENOMEM;
    owner->held = held;
    owner->room = room;
    return 0;
}

static int held_compare(const void *left, const void *right)
{
    const off_t a = ((const struct held *)left)->start;
    const off_t b = ((const struct held *)right)->start;

    return (a > b) - (a < b);
}

/* In order, neighbours of one kind as one: a test tells the first range, as the kernel has it. */
static void held_tidy(struct lock_owner *owner)
{
    size_t kept = 0;

    qsort(owner->held, owner->count, sizeof(owner->held[0]), held_compare);
    for (size_t i = 0; i < owner->count; i++) {
        struct held *last = kept > 0 ? &owner->held[kept - 1] : NULL;
        const struct held *next = &owner->held[i];

        if (last && last->end + 1 == next->start && last->type == next->type &&
            last->handle == next->handle)
            last->end = next->end;
        else
            owner->held[kept++] = *next;
    }
    owner->count = kept;
}

void owner_set(struct lock_owner *owner, struct held range)
{
    size_t kept = 0;
    struct held tail = {.type = F_UNLCK};

    for (size_t i = 0; i < owner->count; i++) {
        const struct held old = owner->held[i];

        if (old.end < range.start || old.start > range.end) {
            owner->held[kept++] = old;
            continue;
        }
        if (old.end > range.end) {
            tail = old;
            tail.start = range.end + 1;
        }
        if (old.start < range.start) {
            owner->held[kept] = old;
            owner->held[kept++].end = range.start - 1;
        }
    }
    owner->count = kept;
    if (tail.type != F_UNLCK)
        owner->held[owner->count++] = tail;
    if (range.type != F_UNLCK)
        owner->held[owner->count++] = range;
    if (owner->count > 1)
        held_tidy(owner);
}

static bool handle_holds(const struct inode *inode, const struct handle *handle)
{
    for (const struct lock_owner *owner = inode->lock_owners; owner; owner = owner->next) {
        if (owner->flock_handle == handle)
            return true;
        for (size_t i = 0; i < owner->count; i++)
            if (owner->held[i].handle == handle)
                return true;
    }
    return false;
}

void owner_forgive(const struct inode *inode, struct handle *handle)
{
    if (handle->lock_lost && !handle->relocked && !handle_holds(inode, handle))
        handle->lock_lost = false;
}

void owner_unlock(const struct lock_owner *owner, off_t start, off_t end)
{
    struct flock lock = range_flock(F_UNLCK, start, end);

    /* An unlock of a valid range fails with ENOLCK at most, and what is left goes with the close.
     */
    if (owner->fd >= 0)
        (void)fcntl(owner->fd, F_OFD_SETLK, &lock);
}

void owner_drop_handle(struct lock_owner *owner, const struct handle *handle)
{
    for (size_t i = owner->count; i-- > 0;)
        if (owner->held[i].handle == handle) {
            owner_unlock(owner, owner->held[i].start, owner->held[i].end);
            owner->held[i] = owner->held[--owner->count];
        }
    if (owner->flock_handle == handle) {
        if (owner->fd >= 0)
            (void)flock(owner->fd, LOCK_UN); /* cannot fail on a descriptor of ours */
        owner->flock_handle = NULL;
    }
}

const struct held *owner_conflict(const struct inode *inode, uint64_t id, const struct flock *lock,
                                  const struct lock_owner **holder)
{
    for (const struct lock_owner *owner = inode->lock_owners; owner; owner = owner->next)
        for (size_t i = 0; owner->id != id && i < owner->count; i++) {
            const struct held *held = &owner->held[i];

            if (held->end < lock->l_start || held->start > range_end(lock))
                continue;
            if (held->type == F_RDLCK && lock->l_type == F_RDLCK)
                continue;
            *holder = owner;
            return held;
        }
    return NULL;
}
