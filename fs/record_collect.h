/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Removes the records of images that are gone: at mount and then now and then, a bounded number at
 * a time, on the pool. What is not certain stays: a record costs 8 KiB, and one that is missing
 * costs a hand-over its verification.
 *
 * Certain is: the record says `released`, nobody has written it for a day, and the store says of
 * the file handle that it has that it leads nowhere. Linux says ESTALE of a handle for any trouble
 * that it has with it (fs/exportfs/expfs.c), so that counts only twice in a row, between questions
 * about SOURCE itself that the server answers. A file that is open anywhere, even one without a
 * name, has a handle that leads to it; one whose number was given to a new file has a record that
 * the new file's owner writes anew. Where the store gives no lasting handles (FUSE), and for
 * records of version 1, nothing is certain and nothing removed.
 */
#ifndef MIGFS_FS_RECORD_COLLECT_H
#define MIGFS_FS_RECORD_COLLECT_H

#include "context.h"

/* The moment of a mount, or of a last close: begins to look, if it is time for it. Any thread. */
void record_collect(struct context *context);

#endif
