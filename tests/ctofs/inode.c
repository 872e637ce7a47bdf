/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct inode *inode_new(int path_fd)
{
    struct inode *inode = calloc(1, sizeof(*inode));

    if (!inode)
        return NULL;
    pthread_mutex_init(&inode->lock, NULL);
    pthread_cond_init(&inode->released, NULL);
    inode->references = 1;
    inode->path_fd = path_fd;
    inode->write_fd = -1;
    return inode;
}

int inode_table_open(struct inode_table *table, const char *source)
{
    struct stat attributes;
    const int fd = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return errno;
    if (fstat(fd, &attributes) < 0) {
        const int err = errno;

        close(fd);
        return err;
    }
    pthread_mutex_init(&table->lock, NULL);
    table->root = inode_new(fd);
    table->control = inode_new(-1);
    if (!table->root || !table->control)
        return ENOMEM;
    table->root->type = S_IFDIR;
    table->root->device = attributes.st_dev;
    table->root->number = attributes.st_ino;
    table->root->lookups = 1;
    table->control->lookups = 1;
    return 0;
}

struct inode *inode_of(struct inode_table *table, uint64_t nodeid)
{
    return nodeid == FUSE_ROOT_ID ? table->root : (struct inode *)(uintptr_t)nodeid;
}

uint64_t inode_nodeid(const struct inode_table *table, const struct inode *inode)
{
    return inode == table->root ? FUSE_ROOT_ID : (uint64_t)(uintptr_t)inode;
}

static struct inode **bucket_of(struct inode_table *table, dev_t device, ino_t number)
{
    return &table->buckets[(number ^ (device * 31)) % INODE_BUCKETS];
}

static struct inode *find(struct inode_table *table, const struct stat *attributes)
{
    struct inode *inode = *bucket_of(table, attributes->st_dev, attributes->st_ino);

    while (inode && (inode->number != attributes->st_ino || inode->device != attributes->st_dev))
        inode = inode->next;
    return inode;
}

struct inode *inode_enter(struct inode_table *table, int path_fd, const struct stat *attributes)
{
    pthread_mutex_lock(&table->lock);
    struct inode *inode = find(table, attributes);

    if (!inode && attributes->st_ino == table->root->number &&
        attributes->st_dev == table->root->device)
        inode = table->root;
    if (inode) {
        inode->lookups++;
        close(path_fd);
    } else {
        inode = inode_new(path_fd);
        if (inode) {
            struct inode **bucket = bucket_of(table, attributes->st_dev, attributes->st_ino);

            inode->device = attributes->st_dev;
            inode->number = attributes->st_ino;
            inode->type = attributes->st_mode & S_IFMT;
            inode->generation = ++table->next_generation;
            inode->lookups = 1;
            inode->next = *bucket;
            *bucket = inode;
        } else {
            close(path_fd);
        }
    }
    pthread_mutex_unlock(&table->lock);
    return inode;
}

struct inode *inode_find(struct inode_table *table, const struct stat *attributes)
{
    pthread_mutex_lock(&table->lock);
    struct inode *inode = find(table, attributes);

    if (inode)
        inode_get(inode);
    pthread_mutex_unlock(&table->lock);
    return inode;
}

void inode_forget(struct inode_table *table, struct inode *inode, uint64_t lookups)
{
    if (inode == table->root || inode == table->control)
        return;
    pthread_mutex_lock(&table->lock);
    inode->lookups -= lookups;
    const bool gone = inode->lookups == 0;

    if (gone) {
        struct inode **link = bucket_of(table, inode->device, inode->number);

        while (*link != inode)
            link = &(*link)->next;
        *link = inode->next;
    }
    pthread_mutex_unlock(&table->lock);
    if (gone)
        inode_put(inode);
}

void inode_get(struct inode *inode)
{
    atomic_fetch_add(&inode->references, 1);
}

void inode_put(struct inode *inode)
{
    if (atomic_fetch_sub(&inode->references, 1) != 1)
        return;
    if (inode->write_fd >= 0)
        close(inode->write_fd);
    if (inode->path_fd >= 0)
        close(inode->path_fd);
    extent_clear(&inode->dirty);
    free(inode->stale);
    pthread_cond_destroy(&inode->released);
    pthread_mutex_destroy(&inode->lock);
    free(inode);
}

/* The inodes of one bucket that are open, each with a reference. */
static size_t collect_open(struct inode_table *table, size_t bucket, struct inode **found,
                           size_t room)
{
    size_t count = 0;

    pthread_mutex_lock(&table->lock);
    for (struct inode *inode = table->buckets[bucket]; inode && count < room; inode = inode->next) {
        pthread_mutex_lock(&inode->lock);
        if (inode->open_count > 0) {
            inode_get(inode);
            found[count++] = inode;
        }
        pthread_mutex_unlock(&inode->lock);
    }
    pthread_mutex_unlock(&table->lock);
    return count;
}

void inode_each_open(struct inode_table *table, void (*visit)(struct mount *, struct inode *),
                     struct mount *mount)
{
    struct inode *found[64];

    for (size_t bucket = 0; bucket < INODE_BUCKETS; bucket++) {
        const size_t count = collect_open(table, bucket, found, sizeof(found) / sizeof(found[0]));

        for (size_t i = 0; i < count; i++) {
            visit(mount, found[i]);
            inode_put(found[i]);
        }
    }
}

struct proc_path inode_path(const struct inode *inode)
{
    struct proc_path path;

    snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", inode->path_fd);
    return path;
}

int inode_refresh(struct mount *mount, struct inode *inode)
{
    struct stat attributes;

    if (fstatat(inode->path_fd, "", &attributes, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return errno;
    inode->attributes = attributes;
    inode->attributes_until_ns =
        S_ISREG(inode->type) ? clock_ns() + (int64_t)(mount->attribute_seconds * 1e9) : 0;
    return 0;
}

void inode_attributes(const struct inode *inode, struct stat *attributes, double *timeout)
{
    const int64_t left_ns = inode->attributes_until_ns - clock_ns();

    *attributes = inode->attributes;
    *timeout = left_ns > 0 ? (double)left_ns / 1e9 : 0;
    if (inode->dirty.count == 0)
        return;
    /* What is buffered here counts here. Its times are those of the write-back: kept by nobody. */
    const off_t end = extent_end(&inode->dirty);

    if (end > attributes->st_size)
        attributes->st_size = end;
    *timeout = 0;
}

void inode_changed_here(struct inode *inode)
{
    struct stat attributes;

    inode->attributes_until_ns = 0;
    if (inode->open_count > 0 && fstatat(inode->path_fd, "", &attributes, AT_EMPTY_PATH) == 0)
        inode->version = attributes;
}
