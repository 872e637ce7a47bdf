/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Open files and directories of the mount, by the number that the kernel is given. A handle owns
 * the description that its open made below and a reference on its inode.
 */
#ifndef MIGFS_FS_HANDLE_H
#define MIGFS_FS_HANDLE_H

#include "inode.h"

#include <dirent.h>
#include <stdatomic.h>

/* Whose credentials a description below is open by, and what they were judged by (protect.h). */
struct opened_as {
    uid_t uid;
    gid_t gid;
    uid_t file_uid;
    gid_t file_gid;
    mode_t file_mode;
};

/* Whether the store lets a thread go on while it reads or writes (RWF_NOWAIT of preadv2(2)). */
enum handle_nowait {
    NOWAIT_UNKNOWN,
    NOWAIT_TAKEN,
    NOWAIT_REFUSED,
};

struct handle {
    /* Fixed from creation. */
    uint64_t number; /* what the kernel calls fh */
    struct inode *inode;
    int fd;           /* the description below; a directory's is directory's to close */
    atomic_int flags; /* of open(2), as asked; O_APPEND and O_DIRECT as F_SETFL set them since */
    uid_t uid;        /* who opened it */
    gid_t gid;
    bool is_protected;        /* the store's later refusals are not the opener's to meet */
    pid_t process;            /* that opened it; 0: in a pid namespace that cannot be seen */
    uint64_t open_generation; /* of the file, as its record said then */
    atomic_bool is_delayed;   /* `fd` is O_PATH still: backing.h opens it when it is needed */
    atomic_int nowait;        /* enum handle_nowait */
    bool keeps_pin;           /* an unlinked inode cannot be found again: pinned while open */

    /* The lock owner that has the handle's own description; pool jobs of the inode only. */
    uint64_t description_owner;
    bool description_owner_known;

    /* A hand-over's sync was told it in the place of this handle's next fsync(2) or close(2). */
    atomic_int owed_error; /* 0 or a negative errno */

    /* Set by FLUSH, cleared by any other use: its RELEASE may be on its way. */
    atomic_bool may_be_closing;

    /* Written under the inode's description_mutex and mutex, read under either. */
    struct opened_as opened;

    /* inode.mutex */
    struct handle *next, *previous;
    uint64_t open_number;     /* the inode's opens are counted from 1 */
    uint64_t opens_at_flush;  /* the last one before its last FLUSH */
    bool guards, guards_next; /* guard.h: its own description holds locks of a writer */
    bool is_uncached;         /* it writes past the kernel's pages, and not by O_DIRECT */
    bool was_lost;            /* it held locks that the store took away */
    bool was_released;        /* it was open when the inode was handed over last */

    pthread_mutex_t open_mutex; /* across the open of a delayed one */

    /* directories only; `directory_mutex` serialises the stream */
    pthread_mutex_t directory_mutex;
    DIR *directory;
    off_t position;
};

struct handle_table;

struct handle_table *handle_table_new(void);
void handle_table_free(struct handle_table *table);

/*
 * Makes a handle for `fd`, which it takes over on success, with a reference on the inode, and links
 * it into the inode's open ones. NULL: out of memory, the descriptor is still the caller's.
 */
struct handle *handle_open(struct context *context, struct inode *inode, int fd, int flags,
                           bool is_delayed, const struct fuse_ctx *caller);

/* The handle of a number that the kernel holds open. NULL for any other number. */
struct handle *handle_find(struct handle_table *table, uint64_t number);

/* One of the inode's that may read, open rather than delayed; NULL: none. The inode's mutex held.
 */
struct handle *handle_reader(const struct inode *inode);

/* Unlinks and frees it, closes its description; the inode's reference goes with it. */
void handle_close(struct context *context, struct handle *handle);

/* Sets the flags that are followed on its description, which was opened while they may have moved.
 */
void handle_apply_flags(struct handle *handle);

/* The caller's F_SETFL is not told to a filesystem: a request's flags are, and are followed. */
void handle_follow_flags(struct handle *handle, int flags);

/* The error of a sync of the handle, or the one that it is owed. */
static inline int handle_settle(struct handle *handle, int error)
{
    const int owed = atomic_exchange(&handle->owed_error, 0);

    return error != 0 ? error : owed;
}

static inline bool handle_reads(const struct handle *handle)
{
    return (handle->flags & O_ACCMODE) != O_WRONLY;
}
static inline bool handle_writes(const struct handle *handle)
{
    return (handle->flags & O_ACCMODE) != O_RDONLY;
}

#endif
