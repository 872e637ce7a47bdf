/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transitions of this mount, for those who watch: a bounded ring of the last ones, and the
 * requests that wait for the next. A watcher that falls behind the ring is told that it lost some.
 */
#ifndef MIGFS_FS_EVENTS_H
#define MIGFS_FS_EVENTS_H

#include "inode.h"
#include "status.h"

struct events;

/* NULL: out of memory. */
struct events *events_new(void);

/* Answers all who wait with ENODEV, and all who come later. Before the session is gone. */
void events_stop(struct events *events);

/* After events_stop, or never used. Takes NULL. */
void events_free(struct events *events);

/*
 * A transition of the inode has ended. From any thread that holds no lock; replies to those who
 * wait for it. Costs nothing until somebody has watched. Out of memory the event counts as lost.
 */
void events_publish(struct context *context, struct inode *inode);

/*
 * Serves EVENTS and replies, now or later; takes the scope over. An interrupt is answered EINTR.
 */
void events_serve(struct context *context, fuse_req_t req, struct status_scope *scope,
                  uint64_t cursor);

#endif
