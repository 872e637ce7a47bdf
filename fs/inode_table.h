/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the sources of inode.h share: the table (inode.c), its bounded cache of descriptors
 * (inode_pin.c), how names and handles become inodes (inode_lookup.c) and what is told of one
 * (inode_stat.c).
 */
#ifndef MIGFS_FS_INODE_TABLE_H
#define MIGFS_FS_INODE_TABLE_H

#include "crossed_mount.h"
#include "inode.h"

#include <unistd.h>

struct inode_table {
    pthread_mutex_t lock; /* of all that follows, and of what inode.h says */
    struct inode **by_id;
    struct inode **by_identity;
    size_t buckets; /* a power of two, of both */
    size_t count;
    uint64_t last_node_id;
    dev_t root_dev;
    struct crossed_mounts mounts;
    struct inode *newest, *oldest; /* unpinned, with an open descriptor that can be had again */
    size_t idle_fds;
    size_t most_idle_fds;
};

static inline void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd); /* nothing is written by it, nothing can fail */
}

/* ---- inode.c ---- */

/* The inode of `identity` with one more reference, or NULL. With the lock held. */
struct inode *inode_hold_known(const struct inode_table *table,
                               const struct inode_identity *identity);

/*
 * The same with one more lookup, made where there is none; takes `fd` over in any case. NULL: out
 * of memory.
 */
struct inode *inode_take_or_make(struct inode_table *table, const struct inode_identity *identity,
                                 mode_t type, int fd);

/* ---- inode_pin.c ---- */

/* Of an inode without pins whose descriptor can be had again. With the lock held. */
void inode_lru_remove(struct inode_table *table, struct inode *inode);
void inode_lru_add(struct inode_table *table, struct inode *inode);

/* Takes the oldest idle descriptor out when there are too many: -1, or one to close unlocked. */
int inode_lru_evict(struct inode_table *table);

/* What opens handles of the filesystem of `dev`, for the table's life; -1: nothing. */
int inode_mount_fd(struct inode_table *table, dev_t dev);

/* ---- inode_stat.c ---- */

#define INODE_STATX_WANTED (STATX_BASIC_STATS | STATX_BTIME)

/* By an O_PATH or any other descriptor. 0 or a negative errno. */
int inode_statx(int fd, int flags, struct statx *seen);

/* What was seen of it, as the kernel is told. */
void inode_note_seen(const struct inode_table *table, struct inode *inode, const struct statx *seen,
                     struct stat *attributes);

#endif
