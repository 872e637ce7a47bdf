/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The records of DESIGN §6 as files: `.migfs/` at the root of SOURCE, one 8 KiB file a guarded
 * image, read from the server and written stably, as the directory's owner. Says each oddity once
 * in the log. Inodes on other filesystems below SOURCE have no record.
 */
#ifndef MIGFS_FS_RECORD_FILE_H
#define MIGFS_FS_RECORD_FILE_H

#include "cache/record.h"
#include "inode.h"
#include "record_directory.h"

struct record_handle;

/*
 * The moment of an open, a lock, an ioctl: one look at the directory, listed anew when it moved;
 * the inode's record is read when it has one. Returns true when that changed the inode's state, so
 * that its pages must be dropped. When the list was new, all open inodes are looked at on the pool.
 */
bool record_look(struct context *context, struct inode *inode);

/*
 * The same for one that is in standby already, and locked by who becomes no owner by it: it is safe
 * as it is, so its record is read a moment later, on the pool. False: it is not, or has no record.
 */
bool record_look_in_standby(struct context *context, struct inode *inode);

/* Looks whether there are new records, and has those of open files looked at. As the daemon. */
void record_look_at_list(struct context *context);

/*
 * And whether a file of that inode number may have one: for a name that is about to go, whose file
 * is not known yet.
 */
bool record_listed(struct context *context, ino_t ino);

/* What reading found. */
struct record_seen {
    bool is_valid; /* else there is none, or it is worth nothing */
    struct record record;
};

/*
 * Reads the inode's record, fresh, and tells the owner state of it; fills *seen where that is not
 * NULL. 0, also where there is none or it is worth nothing; a negative errno where the options
 * require a record and none can be had.
 */
int record_file_read(struct context *context, struct inode *inode, struct record_seen *seen);

/*
 * Reads the record of an inode number, whichever file of it that is for, and the attributes of the
 * record's own file; tells nobody. 0 or a negative errno.
 */
int record_file_read_any(struct context *context, ino_t ino, struct record_seen *seen,
                         struct stat *attributes);

/* As a record names it. */
struct record_identity record_identity_of(const struct inode *inode);

/* Whether the inode has a record, or may get one. */
bool record_file_is_kept(struct context *context, const struct inode *inode);

/* The file's length and times as the server has them now. 0 or a negative errno. */
int record_file_trace(struct context *context, struct inode *inode, struct trace *trace);

/* What a transition has to say of itself. */
struct record_news {
    enum record_state state;
    uint64_t generation;
    struct trace trace;             /* of the file, now */
    uint64_t flushed_bytes;         /* of a hand-over, so far */
    const struct record_host *host; /* who handed it over; NULL: this one */
    uint64_t duration_ns;
};

/*
 * Writes that, and, of a file that is handed over, the digests of what was written and is in the
 * store. Stable on return.
 */
int record_file_write(struct context *context, struct inode *inode, const struct record_news *news);

/*
 * Once the record names this mount as owner its description of it holds a read lock, for as long as
 * it is open: a store that has taken the locks of a host away refuses then what that writes to its
 * records, too (DESIGN §3). It keeps nobody else from them.
 * In the inode's turn, after the answer: it is nobody's to wait for. A store that has no lock to
 * give keeps nobody from anything.
 */
void record_file_guard(struct context *context, struct inode *inode);

/* The record is no longer kept open: after the last close, and once its lock is lost. */
void record_file_close(struct inode *inode);

#endif
