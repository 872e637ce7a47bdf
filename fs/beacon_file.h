/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This mount's beacon (cache/beacon) in `.migfs/hosts/`: written at the mount and every minute, by
 * a thread of its own, and removed at the end. It is for people: what fails is said in the log,
 * once, and nothing waits for it or depends on it.
 */
#ifndef MIGFS_FS_BEACON_FILE_H
#define MIGFS_FS_BEACON_FILE_H

#include "context.h"

#include <stdbool.h>

struct beacon_file;

/* NULL where the mount has no records, or after a line in the log: there is no beacon then. */
struct beacon_file *beacon_file_start(struct context *context);

/*
 * Removes the beacon, ends the thread and frees it all. A store that does not answer is not waited
 * for long: true, and the thread, which uses context->records, goes on until the process ends.
 * Takes NULL.
 */
bool beacon_file_stop(struct beacon_file *file);

#endif
