/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inode_table.h"

#include "fault.h"

#include <errno.h>

void inode_lru_remove(struct inode_table *table, struct inode *inode)
{
    *(inode->lru_newer ? &inode->lru_newer->lru_older : &table->newest) = inode->lru_older;
    *(inode->lru_older ? &inode->lru_older->lru_newer : &table->oldest) = inode->lru_newer;
    inode->lru_newer = inode->lru_older = NULL;
    table->idle_fds--;
}

void inode_lru_add(struct inode_table *table, struct inode *inode)
{
    inode->lru_newer = NULL;
    inode->lru_older = table->newest;
    *(table->newest ? &table->newest->lru_newer : &table->oldest) = inode;
    table->newest = inode;
    table->idle_fds++;
}

static int lru_take(struct inode_table *table, struct inode *inode)
{
    const int fd = inode->fd;

    inode_lru_remove(table, inode);
    inode->fd = -1;
    return fd;
}

int inode_lru_evict(struct inode_table *table)
{
    return table->idle_fds > table->most_idle_fds ? lru_take(table, table->oldest) : -1;
}

int inode_mount_fd(struct inode_table *table, dev_t dev)
{
    const struct crossed_mount *mount = crossed_mounts_find(&table->mounts, dev);

    return mount ? mount->fd : -1;
}

int inode_pin(struct inode_table *table, struct inode *inode)
{
    int fd, mount_fd;

    pthread_mutex_lock(&table->lock);
    if (inode->fd >= 0) {
        if (inode->pins++ == 0 && !inode->fd_is_kept)
            inode_lru_remove(table, inode);
        fd = inode->fd;
        pthread_mutex_unlock(&table->lock);
        return fd;
    }
    mount_fd = inode_mount_fd(table, inode->identity.dev);
    pthread_mutex_unlock(&table->lock);

    fd = identity_open(mount_fd, &inode->identity);
    if (fd == -ESTALE)
        atomic_store(&inode->is_stale, true);
    if (fd < 0)
        return fd;

    pthread_mutex_lock(&table->lock);
    const int surplus = inode->fd >= 0 ? fd : -1;
    if (inode->fd < 0)
        inode->fd = fd;
    else if (inode->pins == 0)
        inode_lru_remove(table, inode);
    inode->pins++;
    fd = inode->fd;
    pthread_mutex_unlock(&table->lock);
    close_if_open(surplus);
    return fd;
}

void inode_unpin(struct inode_table *table, struct inode *inode)
{
    int evicted = -1;

    pthread_mutex_lock(&table->lock);
    if (--inode->pins == 0 && !inode->fd_is_kept) {
        inode_lru_add(table, inode);
        evicted = inode_lru_evict(table);
    }
    pthread_mutex_unlock(&table->lock);
    close_if_open(evicted);
}

/* Neither a handle nor a state would be missed: a fence, and what the ioctl made owner, outlive
 * handles. */
static bool may_be_retired(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool may = inode->open_handles == 0 && owner_state(&inode->owner) == OWNER_PLAIN;
    pthread_mutex_unlock(&inode->mutex);
    return may && !fault_skips_retire();
}

void inode_close_idle(struct inode_table *table, struct inode *inode)
{
    const bool may_retire = may_be_retired(inode);
    int idle = -1;

    pthread_mutex_lock(&table->lock);
    if (inode->fd >= 0 && inode->pins == 0 && !inode->fd_is_kept) {
        idle = lru_take(table, inode);
    } else if (inode->fd >= 0 && inode->pins == 0 && may_retire) {
        idle = inode->fd;
        inode->fd = -1;
        inode->is_retired = true;
    }
    pthread_mutex_unlock(&table->lock);
    close_if_open(idle);
}
