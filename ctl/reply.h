/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answers of MIGFS_IOC_STATUS and _EVENTS, asked for and checked: another filesystem could
 * have given them.
 */
#ifndef MIGFS_CTL_REPLY_H
#define MIGFS_CTL_REPLY_H

#include "fs/migfs.h"
#include "target.h"

#include <stddef.h>

struct reply {
    struct migfs_files files;
    size_t offset; /* of the entry that reply_next gives next */
};

/*
 * Asks from `cursor` on; `command` is MIGFS_IOC_STATUS, with MIGFS_FILES_CHECK, or _EVENTS. 0 and a
 * reply whose entries are whole, or a positive errno (ENOTTY: also for an answer that no migfs
 * gives).
 */
int reply_ask(struct reply *reply, const struct target *target, unsigned long command,
              __u64 cursor);

/* The next entry, NULL after the last one. */
const struct migfs_file *reply_next(struct reply *reply);

/* "owner", "acquiring", …; "unknown" for a number of a later version. */
const char *file_state(const struct migfs_file *file);
/* What became of its name, and of the rights that it is open by. */
const char *file_name_state(const struct migfs_file *file);
const char *file_access(const struct migfs_file *file);
const char *file_transition(const struct migfs_file *file); /* "" where none is under way */
const char *file_profile(const struct migfs_file *file);
const char *file_direction(const struct migfs_file *file);
const char *file_verified(__u32 verified); /* "yes", "partly", … */
const char *lock_type(const struct migfs_lock *lock);

#endif
