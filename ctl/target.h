/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PATH of the command line as a thing to ask: a descriptor that the ioctls go through, and where
 * its mount shows, so that the paths in the answers (below the mount's root) become the user's.
 */
#ifndef MIGFS_CTL_TARGET_H
#define MIGFS_CTL_TARGET_H

#include "command.h"

#include <stdint.h>

enum target_use {
    TARGET_QUERY,   /* status, watch */
    TARGET_HANDOFF, /* acquire, release, forget */
    TARGET_FILE,    /* history: the file itself, to read */
};

struct target {
    const char *path; /* as given */
    int fd;
    uint64_t ino; /* the one file to ask about; 0: what fd is */
    bool is_directory;
    char *mount_root; /* which directory of the migfs is mounted: "" or "/images" */
    char *mountpoint; /* and where: "" or "/var/lib/libvirt" */
};

/*
 * Opens. EXIT_DONE, or EXIT_NOT_MIGFS (the path is on another filesystem) and EXIT_FAILED, with a
 * line said and nothing to close.
 */
enum exit_code target_open(struct target *target, const char *path, enum target_use use);
void target_close(struct target *target);

/* The user's path of what the mount calls `below`. The caller frees it; NULL: out of memory. */
char *target_show(const struct target *target, const char *below);

/*
 * What the errno of a failed ioctl means, said. `subject` is the path that failed, or NULL for the
 * target's own.
 */
enum exit_code target_fail(const struct target *target, const char *subject, int error);

#endif
