/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One mount: what every request handler is given back by libfuse. Made before the session, freed
 * after it; the tables hold plain data and numbers, so that a daemon started anew can rebuild them.
 *
 * Lock order of the whole program, outermost first; each is held for a few instructions, and none
 * across a reply, a notification or a call below unless its own comment says so:
 *
 *     handle.open_mutex, handle.directory_mutex, inode.description_mutex, record_handle.mutex
 *     → inode_table.lock → inode.mutex → lock_table.mutex → pool.mutex, events.mutex
 *
 * The first four are held across calls below, each for one handle, the descriptions of one inode or
 * one record, and never two of them at once. Within the locks of the table of handles, the guard's
 * watch, the list of records, the batches' rooms, an ioctl's group and a status check none is
 * taken: they may follow any.
 */
#ifndef MIGFS_FS_CONTEXT_H
#define MIGFS_FS_CONTEXT_H

#include "cache/record.h"
#include "options.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>

struct context {
    struct options options;
    struct fuse_session *session;
    const char *mountpoint; /* resolved; not owned */
    int source_fd; /* SOURCE, O_PATH | O_DIRECTORY; opened before the mount covers anything */
    struct record_host host;
    struct inode_table *inodes;
    struct handle_table *handles;
    struct lock_table *locks;
    struct record_directory *records;
    struct inode *record_inode; /* of their directory, hidden from the mount; NULL: none known */
    struct device *device;      /* these two from the mount on */
    struct loop *loop;
    struct pool *pool;
    struct batch_rooms *batch_rooms;
    struct own_opens *own_opens;
    struct events *events;
    struct stats *stats;
    struct guard_watch *watch;
    struct beacon_file *beacon;
    uint64_t capable;   /* FUSE_CAP_*: what the kernel offered */
    unsigned lease_ms;  /* of the store; 0: it tells none */
    int64_t mounted_ns; /* CLOCK_REALTIME */
    struct removed_watch *removed_watch;
    bool is_unfenced;       /* the store does not stop a host that has lost a file */
    bool drops_overwritten; /* so does the kernel with pages that a write goes past */
    bool passthrough;       /* negotiated with the kernel */
    /* How far this host's clock is ahead of the store's, and how much more or less that may be; 0:
     * not known. By its beacon, for people. */
    atomic_int_fast64_t clock_ahead_ns, clock_unsure_ns;
    atomic_uint_fast64_t odd_host; /* of which mount peer.c has said so last; 0: of none */
};

static inline struct context *context_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

#endif
