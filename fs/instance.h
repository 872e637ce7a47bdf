/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What serves one mount, from before its session to after it: the tables and threads of a context.
 */
#ifndef MIGFS_FS_INSTANCE_H
#define MIGFS_FS_INSTANCE_H

#include "context.h"

/*
 * Builds the tables for `context->options` and `source_fd`. 0, or a negative errno after a line in
 * the log, with all undone. Starts no thread: instance_start does, once the session is mounted and
 * the daemon is in its final process.
 */
int instance_init(struct context *context);
int instance_start(struct context *context);

/* Ends the threads and frees all. Takes a half-built context. The options stay the caller's. */
void instance_deinit(struct context *context);

/*
 * Releases every inode that this mount owns, side by side, and waits for the end of it or the
 * deadline; logs each image that is still open. Returns how many files are open.
 */
unsigned instance_release_all(struct context *context);

#endif
