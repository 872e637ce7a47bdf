/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads back from the server, past every cache, what was written, and compares it with digests:
 * extents that lie near each other by one read, and several reads at a time, since each costs a
 * round trip and a guest stands still meanwhile.
 */
#ifndef MIGFS_FS_READ_BACK_H
#define MIGFS_FS_READ_BACK_H

#include "handle.h"

/* Of one extent: 0 or these, or the negative errno of its read. */
#define READ_BACK_DIFFERS 1
#define READ_BACK_NOT_YET (-ETIMEDOUT)

/*
 * Reads those of the extents, DIGEST_EXTENTS at most, whose result is not 0, and sets it; none
 * after `until_ns`
 * (CLOCK_MONOTONIC), when it stays. For a thread that may wait for the store; the handle must stay
 * open.
 */
void read_back(struct context *context, struct handle *handle, const struct digest_extent *extents,
               size_t count, int *results, int64_t until_ns);

#endif
