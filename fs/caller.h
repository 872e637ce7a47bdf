/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Acting as the caller of a request (DESIGN §5): the thread takes its uid, gid, groups and umask
 * for the calls that the backing filesystem judges, so that ownership, ACLs and root_squash are as
 * without migfs. A daemon that is not root acts as itself.
 */
#ifndef MIGFS_FS_CALLER_H
#define MIGFS_FS_CALLER_H

#include <fuse_lowlevel.h>

/* Whose the thread is until caller_end. 0, or a negative errno with the thread unchanged. */
struct caller {
    int error;
    bool assumed;
};
struct caller caller_begin(fuse_req_t req);

/* For work that no request stands behind: an opener's ids, without supplementary groups. */
struct caller caller_begin_as(uid_t uid, gid_t gid);

/* The thread is the daemon's again. */
void caller_end(struct caller *caller);

#define _cleanup_caller_ __attribute__((cleanup(caller_end)))

/* Whether the caller is root as the kernel sees it: who may see trusted.* and others' pids. */
bool caller_is_root(fuse_req_t req);

#endif
