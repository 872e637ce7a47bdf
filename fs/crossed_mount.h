/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filesystems that were met below SOURCE, itself or ones crossed into, and what each has to
 * find its files again by. One that is known stays as it is until all go. Callable from any thread;
 * no lock of anybody else's is taken within.
 */
#ifndef MIGFS_FS_CROSSED_MOUNT_H
#define MIGFS_FS_CROSSED_MOUNT_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* Where its handles can be trusted, `fd` is a directory of it to open them by; else -1. */
struct crossed_mount {
    dev_t dev;
    int fd;
    bool renames_open; /* an NFS client: what is open when its name goes gets another, .nfs… */
    struct crossed_mount *next;
};

struct crossed_mounts {
    pthread_mutex_t lock;
    struct crossed_mount *first;
};

void crossed_mounts_init(struct crossed_mounts *mounts);
void crossed_mounts_deinit(struct crossed_mounts *mounts);

/* NULL: nothing of it was met yet. */
const struct crossed_mount *crossed_mounts_find(struct crossed_mounts *mounts, dev_t dev);

/*
 * The same, found out from `path_fd` where it is the first inode that is met there, which is its
 * root: the store is asked, with no lock held. NULL: out of memory.
 */
const struct crossed_mount *crossed_mounts_learn(struct crossed_mounts *mounts, dev_t dev,
                                                 int path_fd);

#endif
