/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inode_table.h"

#include "metadata.h"
#include "monotonic.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

static void link_by_id(struct inode_table *table, struct inode *inode)
{
    struct inode **bucket = &table->by_id[inode->node_id & (table->buckets - 1)];

    inode->next_by_id = *bucket;
    *bucket = inode;
}

static struct inode **identity_bucket(const struct inode_table *table,
                                      const struct inode_identity *identity)
{
    return &table->by_identity[identity_hash(identity) & (table->buckets - 1)];
}

static void link_by_identity(struct inode_table *table, struct inode *inode)
{
    struct inode **bucket = identity_bucket(table, &inode->identity);

    inode->next_by_identity = *bucket;
    *bucket = inode;
}

/* Doubles the buckets; where memory is short the chains grow instead. */
static void grow(struct inode_table *table)
{
    const size_t old_buckets = table->buckets, buckets = old_buckets * 2;
    struct inode **by_id = calloc(buckets, sizeof(*by_id));
    struct inode **by_identity = calloc(buckets, sizeof(*by_identity));
    struct inode **old_by_id = table->by_id;

    if (!by_id || !by_identity) {
        free(by_id);
        free(by_identity);
        return;
    }
    free(table->by_identity);
    table->by_id = by_id;
    table->by_identity = by_identity;
    table->buckets = buckets;
    for (size_t i = 0; i < old_buckets; i++) {
        for (struct inode *inode = old_by_id[i], *next; inode; inode = next) {
            next = inode->next_by_id;
            link_by_id(table, inode);
            link_by_identity(table, inode);
        }
    }
    free(old_by_id);
}

static void inode_free(struct inode *inode)
{
    if (!inode)
        return;
    close_if_open(inode->fd);
    close_if_open(inode->direct_fd);
    digest_ring_stop(&inode->digests);
    metadata_free(inode->metadata);
    free(inode->locking);
    range_table_deinit(&inode->ranges);
    range_table_deinit(&inode->flocks);
    pthread_cond_destroy(&inode->drained);
    pthread_mutex_destroy(&inode->description_mutex);
    pthread_mutex_destroy(&inode->mutex);
    free(inode);
}

static void unlink_from(struct inode **link, struct inode *inode, size_t next_offset)
{
    while (*link != inode)
        link = (struct inode **)((char *)*link + next_offset);
    *link = *(struct inode **)((char *)inode + next_offset);
}

/* With the lock held: takes the inode out when nobody needs it. Returns it, to be freed unlocked.
 */
static struct inode *remove_unused(struct inode_table *table, struct inode *inode)
{
    if (inode->lookups > 0 || inode->references > 0)
        return NULL;
    unlink_from(&table->by_id[inode->node_id & (table->buckets - 1)], inode,
                offsetof(struct inode, next_by_id));
    unlink_from(identity_bucket(table, &inode->identity), inode,
                offsetof(struct inode, next_by_identity));
    if (inode->fd >= 0 && inode->pins == 0 && !inode->fd_is_kept)
        inode_lru_remove(table, inode);
    table->count--;
    return inode;
}

static struct inode *inode_new(const struct inode_identity *identity, mode_t type)
{
    struct inode *inode = calloc(1, sizeof(*inode));

    if (!inode)
        return NULL;
    inode->identity = *identity;
    inode->type = type;
    inode->fd = -1;
    inode->direct_fd = -1;
    inode->guard_fd = -1;
    pthread_mutex_init(&inode->mutex, NULL); /* cannot fail with default attributes */
    pthread_mutex_init(&inode->description_mutex, NULL);

    monotonic_cond_init(&inode->drained);
    return inode;
}

static struct inode *find_by_identity(const struct inode_table *table,
                                      const struct inode_identity *identity)
{
    struct inode *inode = *identity_bucket(table, identity);

    while (inode && (inode->is_retired || !identity_equals(&inode->identity, identity)))
        inode = inode->next_by_identity;
    return inode;
}

/* Adds `inode`, which takes over `fd`, with the lock held. */
static void insert(struct inode_table *table, struct inode *inode, int fd)
{
    if (table->count >= table->buckets)
        grow(table);
    inode->fd = fd;
    inode->fd_is_kept = inode->identity.handle_type == 0;
    inode->node_id = ++table->last_node_id;
    link_by_id(table, inode);
    link_by_identity(table, inode);
    table->count++;
    if (!inode->fd_is_kept)
        inode_lru_add(table, inode);
}

struct inode_table *inode_table_new(int source_fd)
{
    struct inode_table *table = calloc(1, sizeof(*table));
    struct inode *root;
    struct stat attributes;
    struct rlimit limit;
    int error;

    if (!table)
        return NULL;
    pthread_mutex_init(&table->lock, NULL);
    crossed_mounts_init(&table->mounts);
    table->buckets = 1024;
    table->by_id = calloc(table->buckets, sizeof(*table->by_id));
    table->by_identity = calloc(table->buckets, sizeof(*table->by_identity));
    table->most_idle_fds = 1024;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        table->most_idle_fds = (size_t)limit.rlim_cur / 4;
    error = table->by_id && table->by_identity
                ? inode_lookup(table, source_fd, "", false, &root, &attributes)
                : -ENOMEM;
    if (error != 0) {
        inode_table_free(table);
        errno = -error;
        return NULL;
    }
    table->root_dev = attributes.st_dev;
    return table; /* the root keeps the reference for good */
}

void inode_table_free(struct inode_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; table->by_id && i < table->buckets; i++) {
        for (struct inode *inode = table->by_id[i], *next; inode; inode = next) {
            next = inode->next_by_id;
            inode_free(inode);
        }
    }
    crossed_mounts_deinit(&table->mounts);
    free(table->by_id);
    free(table->by_identity);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

struct inode *inode_find(struct inode_table *table, uint64_t node_id)
{
    struct inode *inode;

    pthread_mutex_lock(&table->lock);
    inode = table->by_id[node_id & (table->buckets - 1)];
    while (inode && inode->node_id != node_id)
        inode = inode->next_by_id;
    pthread_mutex_unlock(&table->lock);
    return inode;
}

struct inode *inode_hold_known(const struct inode_table *table,
                               const struct inode_identity *identity)
{
    struct inode *inode = find_by_identity(table, identity);

    if (inode)
        inode->references++;
    return inode;
}

/* And with one more lookup. */
static struct inode *take_known(const struct inode_table *table,
                                const struct inode_identity *identity)
{
    struct inode *inode = inode_hold_known(table, identity);

    if (inode)
        inode->lookups++;
    return inode;
}

struct inode *inode_take_or_make(struct inode_table *table, const struct inode_identity *identity,
                                 mode_t type, int fd)
{
    struct inode *inode, *fresh;

    pthread_mutex_lock(&table->lock);
    inode = take_known(table, identity);
    pthread_mutex_unlock(&table->lock);
    fresh = inode ? NULL : inode_new(identity, type);
    if (fresh) {
        pthread_mutex_lock(&table->lock);
        inode = take_known(table, identity);
        if (!inode) {
            insert(table, fresh, fd);
            inode = take_known(table, identity);
            fresh = NULL;
            fd = inode_lru_evict(table); /* it has its own now, another may be one too many */
        }
        pthread_mutex_unlock(&table->lock);
        inode_free(fresh);
    }
    close_if_open(fd);
    return inode;
}

void inode_forget(struct inode_table *table, struct inode *inode, uint64_t count)
{
    struct inode *unused;

    pthread_mutex_lock(&table->lock);
    inode->lookups -= count < inode->lookups ? count : inode->lookups;
    unused = remove_unused(table, inode);
    pthread_mutex_unlock(&table->lock);
    inode_free(unused);
}

void inode_ref(struct inode_table *table, struct inode *inode)
{
    pthread_mutex_lock(&table->lock);
    inode->references++;
    pthread_mutex_unlock(&table->lock);
}

void inode_unref(struct inode_table *table, struct inode *inode)
{
    struct inode *unused;

    pthread_mutex_lock(&table->lock);
    inode->references--;
    unused = remove_unused(table, inode);
    pthread_mutex_unlock(&table->lock);
    inode_free(unused);
}

bool inode_is_protected(const struct context *context, const struct inode *inode)
{
    return context->options.protect && context->options.coherence && !context->passthrough &&
           S_ISREG(inode->type);
}

bool inode_is_open(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool open = inode->open_handles > 0;
    pthread_mutex_unlock(&inode->mutex);
    return open;
}

/* All open inodes, each with a reference; NULL and 0 where memory is short. */
static struct inode **snapshot_open(struct inode_table *table, size_t *count)
{
    struct inode **open = NULL;

    *count = 0;
    pthread_mutex_lock(&table->lock);
    open = malloc((table->count + 1) * sizeof(*open));
    for (size_t i = 0; open && i < table->buckets; i++) {
        for (struct inode *inode = table->by_id[i]; inode; inode = inode->next_by_id) {
            if (!inode_is_open(inode))
                continue;
            inode->references++;
            open[(*count)++] = inode;
        }
    }
    pthread_mutex_unlock(&table->lock);
    return open;
}

int inode_each_open(struct inode_table *table, int (*visit)(struct inode *inode, void *data),
                    void *data)
{
    size_t count;
    struct inode **open = snapshot_open(table, &count);
    int result = open ? 0 : -ENOMEM;

    for (size_t i = 0; open && i < count; i++) {
        if (result == 0)
            result = visit(open[i], data);
        inode_unref(table, open[i]);
    }
    free(open);
    return result;
}
