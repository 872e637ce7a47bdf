/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What most requests need before the one call below that they are: their inode pinned, and the
 * thread acting as the caller. Both end with the scope.
 */
#ifndef MIGFS_FS_ACTING_H
#define MIGFS_FS_ACTING_H

#include "caller.h"
#include "inode.h"

struct acting {
    struct inode_pin pin;
    struct caller caller;
    int fd; /* O_PATH; or a negative errno, and the scope has nothing to use */
    struct proc_path path;
};

/* `inode` NULL, an id that was never given out: -ESTALE. */
struct acting acting_begin(fuse_req_t req, struct inode *inode);
void acting_end(struct acting *acting);

#define _cleanup_acting_ __attribute__((cleanup(acting_end)))

#endif
