/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VERIFY of an acquire (DESIGN §2, 6): is the file as its last owner left it? Its length and times
 * are compared with the record, then what the server has with the digests of what was written. And
 * of a file that this host owns: does somebody else change it? Each oddity is said, and counted for
 * `migfsctl status`. On pool threads, in the inode's turn.
 */
#ifndef MIGFS_FS_VERIFY_H
#define MIGFS_FS_VERIFY_H

#include "batch.h"
#include "record_file.h"

enum verify_verdict {
    VERIFY_UNKNOWN, /* nothing that says what the file must be, or it could not be looked at */
    VERIFY_PARTLY,  /* as it was left, as far as the time allowed to look */
    VERIFY_WHOLE,   /* as it was left */
    VERIFY_WRITTEN, /* somebody wrote it since, who never acquired it */
    VERIFY_STALE,   /* nobody did, and yet it is not what was written last */
};

/* One VERIFY; it may take several tries. */
struct verify {
    struct record_seen *seen; /* the record as read; owned */
    struct digest_extent *extents;
    int *results; /* of each, as read_back has it; owned, as they are */
    size_t count;
    bool begun;
    struct trace_sight sight; /* of its beginning: the locks are held, and nobody else writes */
    enum verify_verdict verdict;
};

/* Takes `verify->seen` over from READ_RECORD. */
void verify_deinit(struct verify *verify);

/*
 * Adds to the batch what the record has digests of, runs it, with whatever others have added, and
 * compares. 0: it may go on. -EAGAIN: stale so far; drop what is cached below and try again. -EIO,
 * said in the log: known to be stale when the batch's time was up, or written by somebody else with
 * fence=strict.
 */
int verify_file(struct batch *batch, struct verify *verify);

/*
 * While the inode is watched (cache/trace): what its length and times are now, and whether they
 * tell of somebody else's change. Where it is not, the first half alone. 0 or a negative errno.
 */
int verify_look(struct context *context, struct inode *inode, struct trace *now);

/*
 * Whether verify_file's own look at them serves as that one: nothing was changed here since. *then
 * is what it saw.
 */
bool verify_has_looked(struct inode *inode, const struct verify *verify, struct trace *then);

/*
 * The same once more, begun before a sync that is over, for a hand-over that may follow; and
 * whether it serves for that: it is of a moment ago, and nothing was changed here since that sync
 * began. *then is what it saw.
 */
void verify_look_ahead(struct context *context, struct inode *inode, const struct trace_look *look);
bool verify_looked_ahead(struct inode *inode, struct trace *then);

/*
 * Of an owner: verify_look, and whether some of what was written last reads back as it was written.
 * By any handle of the inode that reads.
 */
void verify_owned(struct context *context, struct handle *handle);

#endif
