/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arguments of migfs.h's ioctls as bytes: what user space hands in is parsed here and nowhere
 * else, and what it gets back is packed here. No I/O, no lock, no libfuse; both are for the fuzzer.
 */
#ifndef MIGFS_FS_IOCTL_ARGUMENT_H
#define MIGFS_FS_IOCTL_ARGUMENT_H

#include "migfs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum ioctl_call {
    IOCTL_ACQUIRE,
    IOCTL_RELEASE,
    IOCTL_STATUS,
    IOCTL_EVENTS,
    IOCTL_FORGET,
    IOCTL_HISTORY,
    IOCTL_MOUNT,
    IOCTL_STATS,
    IOCTL_TIMELINE,
};

struct ioctl_argument {
    enum ioctl_call call;
    uint64_t ino;        /* STATUS, EVENTS: 0, or the one file asked for */
    uint64_t cursor;     /* STATUS, EVENTS */
    bool checks;         /* STATUS */
    uint32_t pid;        /* ACQUIRE, RELEASE: 0, or the group asked for */
    uint64_t generation; /* TIMELINE: 0, or the one asked for */
};

/*
 * `in` are the `in_size` bytes that came with `command`, `out_size` is how many may go back. 0 and
 * *argument, or -ENOTTY for a call that is not migfs's, -EINVAL for one that is and whose size,
 * version, flags or reserved fields are wrong; *argument is untouched then.
 */
int ioctl_argument_parse(unsigned command, const void *in, size_t in_size, size_t out_size,
                         struct ioctl_argument *argument);

/* A file as STATUS and EVENTS tell of it. Owns `locks` and `path`. */
struct file_status {
    struct migfs_file file; /* size and path_length are the packing's to fill */
    uid_t owner;            /* of the file: who may see pids, beside root */
    struct migfs_lock *locks;
    char *path; /* of any length */
};

void file_status_deinit(struct file_status *status);

/*
 * Appends the file, its pids hidden from a caller who is neither root nor the owner. False when it
 * does not fit any more: it begins the next answer. The first one always fits, its locks cut where
 * they do not.
 */
bool ioctl_files_append(struct migfs_files *files, const struct file_status *status, uid_t caller);

#endif
