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

/*
 * Quotas and the blocks that a filesystem keeps back bind the thread from now on as they bind that
 * user: root may exceed them. Part of caller_begin; alone, for writes that are not acted. It costs
 * a system call where the thread's last request was the other sort's.
 */
void caller_limit(uid_t uid);
bool caller_limit_is(uid_t uid); /* so that it costs nothing */

/* For work that no request stands behind: an opener's ids, without supplementary groups. */
struct caller caller_begin_as(uid_t uid, gid_t gid);

/*
 * What is the daemon's own to do in the midst of a caller's request (open_by_handle_at(2) takes a
 * capability): the thread is the caller's again at the end of the scope.
 */
struct caller_pause {
    uid_t uid;
    gid_t gid;
};
struct caller_pause caller_pause_begin(void);
void caller_pause_end(struct caller_pause *pause);

#define _cleanup_pause_ __attribute__((cleanup(caller_pause_end)))

/* The thread is the daemon's again. */
void caller_end(struct caller *caller);

#define _cleanup_caller_ __attribute__((cleanup(caller_end)))

/* The process that a thread is of, which the kernel names as the caller; itself where it is gone.
 */
pid_t caller_process(pid_t thread);

/* Whether the caller is root as the kernel sees it: who may see trusted.* and others' pids. */
bool caller_is_root(fuse_req_t req);

#endif
