/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mounts of this process, as proc_pid_mountinfo(5) lists them. What is asked of the table asks
 * no filesystem.
 */
#ifndef MIGFS_CTL_MOUNT_TABLE_H
#define MIGFS_CTL_MOUNT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zeroes is none. Owns its texts. */
struct mount_entry {
    uint64_t id;
    char *root; /* which directory of the filesystem is mounted */
    char *mountpoint;
    char *type;
    char *source;
    char *options; /* of the mount, a comma, and of the filesystem */
};

void mount_entry_deinit(struct mount_entry *entry);

/*
 * The value of an option: "" where it takes none, NULL where it is not given. `length` is the
 * value's.
 */
const char *mount_entry_option(const struct mount_entry *entry, const char *name, size_t *length);
bool mount_entry_has(const struct mount_entry *entry, const char *option);

/* The number of the mount that a descriptor is on. False: the kernel tells none. */
bool mount_id_of(int fd, uint64_t *id);

/* The entry of that number. False: there is none, or no memory. */
bool mount_table_find(uint64_t id, struct mount_entry *entry);

/*
 * The first entry of that type from *position on, which is 0 at first; moves *position behind it.
 * False: that was all, or no memory.
 */
bool mount_table_next(const char *type, size_t *position, struct mount_entry *entry);

#endif
