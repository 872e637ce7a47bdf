/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inode_table.h"

#include <errno.h>
#include <sys/sysmacros.h>

static struct timespec time_spec(const struct statx_timestamp *time)
{
    return (struct timespec){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec};
}

static void attributes_from(const struct statx *from, struct stat *attributes)
{
    *attributes = (struct stat){
        .st_dev = makedev(from->stx_dev_major, from->stx_dev_minor),
        .st_ino = from->stx_ino,
        .st_mode = from->stx_mode,
        .st_nlink = from->stx_nlink,
        .st_uid = from->stx_uid,
        .st_gid = from->stx_gid,
        .st_rdev = makedev(from->stx_rdev_major, from->stx_rdev_minor),
        .st_size = (off_t)from->stx_size,
        .st_blksize = (blksize_t)from->stx_blksize,
        .st_blocks = (blkcnt_t)from->stx_blocks,
        .st_atim = time_spec(&from->stx_atime),
        .st_mtim = time_spec(&from->stx_mtime),
        .st_ctim = time_spec(&from->stx_ctime),
    };
}

int inode_statx(int fd, int flags, struct statx *seen)
{
    const int all = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | flags;

    return statx(fd, "", all, INODE_STATX_WANTED, seen) == 0 ? 0 : -errno;
}

/*
 * Two filesystems below SOURCE may use one inode number; the kernel shows all as one device. Those
 * crossed into get numbers of their own.
 */
static void make_ino_unique(const struct inode_table *table, struct stat *attributes)
{
    if (table->root_dev != 0 && attributes->st_dev != table->root_dev)
        attributes->st_ino ^= (ino_t)attributes->st_dev << 32 | (ino_t)1 << 63;
}

static void note_setid(struct inode *inode, mode_t mode)
{
    pthread_mutex_lock(&inode->mutex);
    inode->may_have_setid = (mode & (S_ISUID | S_ISGID)) != 0;
    pthread_mutex_unlock(&inode->mutex);
}

/* The name by which a removed file is kept is nobody's. */
static void hide_kept_name(struct inode *inode, struct stat *attributes)
{
    if (atomic_load(&inode->removal) == REMOVAL_KEPT && attributes->st_nlink > 0)
        attributes->st_nlink--;
}

void inode_note_seen(const struct inode_table *table, struct inode *inode, const struct statx *seen,
                     struct stat *attributes)
{
    attributes_from(seen, attributes);
    make_ino_unique(table, attributes);
    hide_kept_name(inode, attributes);
    note_setid(inode, attributes->st_mode);
}

int inode_stat(struct inode_table *table, struct inode *inode, int fd, bool forced,
               struct stat *attributes)
{
    struct statx seen;
    const int error = inode_statx(fd, forced ? AT_STATX_FORCE_SYNC : 0, &seen);

    if (error == -ESTALE)
        atomic_store(&inode->is_stale, true);
    if (error != 0)
        return error;
    inode_note_seen(table, inode, &seen, attributes);
    return 0;
}

int inode_stat_open(struct inode_table *table, struct inode *inode, int fd, struct stat *attributes)
{
    if (fstat(fd, attributes) != 0)
        return -errno;
    make_ino_unique(table, attributes);
    hide_kept_name(inode, attributes);
    return 0;
}

int inode_stat_at_server(struct inode_table *table, struct inode *inode, struct stat *attributes)
{
    _cleanup_pin_ struct inode_pin pin = inode_pin_scoped(table, inode);

    return pin.fd < 0 ? pin.fd : inode_stat(table, inode, pin.fd, true, attributes);
}

bool inode_asks_server(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool asks = owner_asks_server(&inode->owner) || inode->distrusts_below;
    pthread_mutex_unlock(&inode->mutex);
    return asks;
}

/* Seconds: as long as it takes, since a transition drops them by notification. */
#define OWNER_TIMEOUT 3600.0

double inode_attributes_timeout(const struct context *context, struct inode *inode)
{
    if (!context->options.coherence)
        return INODE_INCOHERENT_TIMEOUT;
    if (!S_ISREG(inode->type))
        return 0;

    pthread_mutex_lock(&inode->mutex);
    const bool may_cache = owner_may_cache(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return may_cache ? OWNER_TIMEOUT : 0;
}
