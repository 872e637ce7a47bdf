/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SIGHUP, SIGINT and SIGTERM end a mount in order: what it owns is released, then it is unmounted,
 * lazily where files are still open, and the session's loop ends. They are waited for on a thread
 * of their own; no handler runs. SIGUSR1 belongs to the lock waits, SIGUSR2 to this module.
 */
#ifndef MIGFS_FS_SIGNALS_H
#define MIGFS_FS_SIGNALS_H

#include "context.h"

#include <pthread.h>
#include <stdatomic.h>

struct signals {
    struct context *context; /* with its session; not owned */
    const char *mountpoint;  /* not owned */
    pthread_t thread;
    pthread_t loop; /* the thread that called signals_start */
    atomic_bool stopped;
};

/* Of the calling thread and all that it starts from now on. Before the first thread. */
void signals_block(void);

/* Called by the thread that is about to run the session's loop. 0 or a negative errno. */
int signals_start(struct signals *signals);

/* Called by the same thread after the loop; waits for a release that is under way. */
void signals_stop(struct signals *signals);

#endif
