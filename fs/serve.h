/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the options to a mount that serves, and back: checks of SOURCE and MOUNTPOINT, the daemon's
 * process, the session, signals. What requests mean is for the operations table; the tables are
 * the context's. main() calls these in the order in which they stand here, from one thread.
 */
#ifndef MIGFS_FS_SERVE_H
#define MIGFS_FS_SERVE_H

#include "context.h"

/* Exit statuses of the program, as migfs(8) has them. */
enum serve_status {
    SERVE_DONE = 0,
    SERVE_USAGE = 1,
    SERVE_SYSTEM = 2,
    SERVE_MOUNT = 32,
};

struct serve {
    struct context *context; /* not owned */
    char *mountpoint;        /* resolved; owned */
    bool source_is_nfs3;     /* or older */
    int parent_fd;           /* what serve_detach's parent waits at; -1 in the foreground */
};

/*
 * Each returns SERVE_DONE, or another status after a line in the log; then serve_close is next.
 */

/*
 * Unless in the foreground: goes on in a child. The calling process waits for the child to serve
 * or to end, and exits with 0 or the child's status: it does not return.
 */
int serve_detach(struct serve *serve);

/* Checks both directories, opens SOURCE into the context, makes the session. */
int serve_open(struct serve *serve);

/* Mounts, and answers the kernel's INIT. Between instance_init and instance_start. */
int serve_mount(struct serve *serve);

/*
 * Serves until unmounted or until SIGHUP, SIGINT or SIGTERM, which releases what this mount owns
 * and unmounts. Standard error is the caller's no more, if detached. Returns with all of the
 * session's threads ended and the connection to the kernel gone.
 */
int serve_run(struct serve *serve);

/*
 * Unmounts what is still mounted and frees all but the context. After instance_deinit: threads of
 * the context may reply and notify until then. Takes a half-built one.
 */
void serve_close(struct serve *serve);

/* The operations' init: what is negotiated with the kernel. `userdata` is the context. */
void serve_init(void *userdata, struct fuse_conn_info *connection);

#endif
