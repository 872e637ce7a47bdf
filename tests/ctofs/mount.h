/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One mount of the store: what all request handlers share. libfuse hands it back with each request.
 */
#ifndef CTOFS_MOUNT_H
#define CTOFS_MOUNT_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 17)

#include "fault.h"
#include "inode.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>

#define CONTROL_NAME ".ctofs-control"

/* What has happened since the mount; `.ctofs-control` shows it. */
struct counters {
    atomic_ullong opens;
    atomic_ullong fresh_opens; /* first opens that found the file changed: pages dropped */
    atomic_ullong locks;
    atomic_ullong lock_conflicts;
    atomic_ullong unlocks;
    atomic_ullong lock_tests;
    atomic_ullong reads;
    atomic_ullong bytes_read;
    atomic_ullong writes; /* to the store, not into the buffer */
    atomic_ullong bytes_written;
    atomic_ullong buffered_writes;
    atomic_ullong write_errors;
    atomic_ullong fsyncs;
    atomic_ullong invalidations;
    atomic_ullong attributes_fresh;
    atomic_ullong attributes_cached;
    atomic_ullong locks_lost;
};

struct mount {
    struct fuse_session *session;
    char *source;
    double attribute_seconds; /* how long attributes are believed, as acregmin */
    double flush_seconds;     /* how long a write may stay in the buffer */
    struct inode_table inodes;
    struct faults faults;
    struct counters counters;
    atomic_bool forgets_removed; /* the server was started anew: what has no name is gone */
};

static inline struct mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t clock_ns(void);

/* With the inode's lock held: the set-id bits go with another user's change of the data, as on any
 * local file system. */
void attributes_drop_set_id(fuse_req_t req, struct inode *inode);

/* The request handlers, by file. */
void data_operations(struct fuse_lowlevel_ops *operations);
void names_operations(struct fuse_lowlevel_ops *operations);
void lock_operations(struct fuse_lowlevel_ops *operations);
void attributes_operations(struct fuse_lowlevel_ops *operations);

#endif
