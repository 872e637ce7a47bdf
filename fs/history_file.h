/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The history of a file's hand-overs (cache/history) as a file: `.migfs/history/`, named as the
 * records are, as the directory's owner. In a directory of its own, so that the one whose listing
 * each open asks for does not grow by it.
 */
#ifndef MIGFS_FS_HISTORY_FILE_H
#define MIGFS_FS_HISTORY_FILE_H

#include "cache/history.h"
#include "cache/timeline.h"
#include "inode.h"

/*
 * Adds this host's side of a hand-over, and of an acquire the entry (else NULL), soon: on the pool,
 * when the answer is out, and not in the file's own turn, where its next lock would wait for it.
 * What fails is said in the log.
 */
void history_file_add(struct context *context, const struct history_entry *entry,
                      const struct timeline_entry *side);

/* The inode's entries, newest first. Returns how many, 0 where there is no history; or an errno. */
int history_file_read(struct context *context, struct inode *inode,
                      struct history_entry entries[HISTORY_ENTRIES]);

/*
 * The sides of the hand-over that began that generation. Returns 0, or -ENODATA where neither is
 * known; of an unknown one `is_known` is false.
 */
struct history_sides {
    bool is_known[2]; /* by enum timeline_side */
    struct timeline_entry sides[2];
};
int history_file_sides(struct context *context, struct inode *inode, uint64_t generation,
                       struct history_sides *found);

#endif
