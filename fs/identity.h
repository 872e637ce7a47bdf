/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which file of the store an inode is, whatever its name: by the store's file handle where that
 * lasts, and the way back to the file by it.
 */
#ifndef MIGFS_FS_IDENTITY_H
#define MIGFS_FS_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Which file of the store: plain data, enough to find it again after a restart. */
struct inode_identity {
    dev_t dev;
    ino_t ino;
    int64_t birth_ns; /* 0 where the store gives none */
    int handle_type;  /* 0: the store gives no handle */
    unsigned handle_bytes;
    uint8_t handle[128]; /* MAX_HANDLE_SZ */
};

uint64_t identity_hash(const struct inode_identity *identity);
bool identity_equals(const struct inode_identity *a, const struct inode_identity *b);

/*
 * Adds the store's file handle of `name` below an O_PATH descriptor, or with "" of that itself;
 * none is no error.
 */
void identity_take_handle(struct inode_identity *identity, int fd, const char *name);

/* Whether an NFS client gives the file. */
bool identity_is_nfs(int fd);

/* Whether what is open may be refused later: by NFS, and who knows what a FUSE store does. */
bool identity_is_judged_anew(int fd);

/*
 * open_by_handle_at(2) wants a descriptor on the filesystem that is not O_PATH; a directory serves,
 * and tells by its own handle whether handles open there at all. It, or -1: they do not.
 */
int identity_open_mount(int path_fd);

/* An O_PATH descriptor of the file, by such a one; or a negative errno, -ESTALE: it is gone. */
int identity_open(int mount_fd, const struct inode_identity *identity);

/* "/proc/self/fd/N": how a pinned descriptor is opened or named for calls without AT_EMPTY_PATH. */
struct proc_path {
    char text[32];
};
struct proc_path proc_path(int fd);

#endif
