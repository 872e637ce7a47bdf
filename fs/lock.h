/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File locks. Each one reaches the backing file: a lock owner has a description of its own there,
 * the first owner of a handle the handle's, and what it holds is an OFD lock of it (flock: the
 * handle's own). The tables say what the store cannot: pid, kind, deadlock. All changes of an inode
 * are made by its pool jobs, one after another; the tables are read elsewhere under the mutex.
 */
#ifndef MIGFS_FS_LOCK_H
#define MIGFS_FS_LOCK_H

#include "handle.h"
#include "pool.h"

struct waiter;

/* Guards ranges, flocks and descriptions of every inode, and what waits. */
struct lock_table {
    pthread_mutex_t mutex;
    struct wait *waits; /* of all waiters, for the search of cycles */
    struct waiter *waiters;
    unsigned waiter_count;
    bool interrupter_runs;
    bool ending; /* nobody may wait any more */
    pthread_cond_t no_waiters;
};

/* The lock owner of the daemon's own locks, behind an ioctl's ACQUIRE. The kernel hashes its own.
 */
#define LOCK_OWNER_DAEMON UINT64_MAX

/*
 * While a closing handle of this mount stands in the way, or for the ioctl whatever may be one of
 * another host, a request comes back so often, and gives up then (DESIGN §4, fact 8: RELEASE is
 * late).
 */
#define LOCK_CLOSING_AGAIN_MS 1
#define LOCK_ELSEWHERE_AGAIN_MS 20 /* counts as as many retries: each asks the server */
#define LOCK_CLOSING_RETRIES 200

/* One change of an inode's locks. */
enum lock_action {
    LOCK_TAKE,        /* `range` */
    LOCK_GIVE,        /* `range`: of its owner, those bytes */
    LOCK_GIVE_OWNER,  /* all of range.owner's: a close (POSIX) */
    LOCK_GIVE_HANDLE, /* all that was taken through range.handle: its last close (OFD, flock) */
    LOCK_TAKE_DAEMON, /* 100, 101 and 201, by the daemon itself */
    LOCK_GIVE_DAEMON,
};
struct lock_change {
    enum lock_action action;
    bool is_flock;
    struct range range;
    struct handle *handle; /* LOCK_TAKE*: a handle of the inode to open descriptions by */
    uint64_t acquirer;     /* LOCK_TAKE_DAEMON: the handle of who asks; 0: of no file of its own */
    struct range_table undo_ranges; /* filled by lock_take, freed by lock_change_deinit */
};
void lock_change_deinit(struct lock_change *change);

/*
 * Copies of the inode's tables (both empty before), as they will be after the change; NULL: as they
 * are. 0 or -ENOMEM; freed by the caller in either case.
 */
int lock_tables_after(struct context *context, struct inode *inode,
                      const struct lock_change *change, struct range_table *ranges,
                      struct range_table *flocks);

/* What the inode's locks claim now, and will after the change. 0 or -ENOMEM. */
struct lock_claims {
    enum claim before, after;
    bool recognised;
};
int lock_claims(struct context *context, struct inode *inode, const struct lock_change *change,
                struct lock_claims *claims);

/*
 * Carry a change out, below and in the table. lock_take: -EAGAIN when somebody else holds the
 * bytes. lock_undo takes a lock_take back to what its owner held before.
 */
int lock_take(struct context *context, struct inode *inode, struct lock_change *change);
int lock_give(struct context *context, struct inode *inode, struct lock_change *change);
int lock_undo(struct context *context, struct inode *inode, struct lock_change *change);

/* What a waiter got below and its job cannot use is taken back, to what the table has. */
int lock_give_back(struct context *context, struct inode *inode, struct lock_change *change);

/*
 * Whether anybody but this mount holds the byte; asked through a description that holds it itself,
 * with those of this mount's others out of the way for a moment (DESIGN §2, TEST).
 */
int lock_test(struct inode *inode, uint64_t byte, bool *held_elsewhere);

/*
 * The same of all bytes from `first` to `last` by one question, but what this mount's other
 * descriptions hold counts too: an answer that none is held needs no other.
 */
int lock_test_all(struct inode *inode, uint64_t first, uint64_t last, bool *held);

/* An owner's description that was opened to wait by is closed if it holds nothing. */
void lock_drop_unused(struct context *context, struct inode *inode, uint64_t owner);

/* Whether a handle that may be about to close stands in the way, so that waiting a little helps. */
bool lock_holder_is_closing(struct context *context, struct inode *inode,
                            const struct lock_change *change);

/* Whether what was taken through the handle counts as writing, in the mount's profile. */
bool lock_handle_writes(struct context *context, struct inode *inode, const struct handle *handle);

/* Whether that lock owner, or anybody through that handle, holds anything of the inode. */
bool lock_owner_holds(struct context *context, struct inode *inode, uint64_t owner);
bool lock_handle_holds(struct context *context, struct inode *inode, uint64_t handle);

struct lock_table *lock_table_new(void);
void lock_table_free(struct lock_table *table);

/* The last handle of an inode is gone: so are its descriptions. */
void lock_last_close(struct context *context, struct inode *inode);

/* Request handlers. */
void lock_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void lock_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
                int sleep);
void lock_flock_request(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation);

#endif
