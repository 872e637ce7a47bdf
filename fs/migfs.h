/* SPDX-License-Identifier: MIT */
/*
 * migfs.h - the ioctls of a migfs mount: take and give back files, see who holds what.
 *
 * A caller opens a file or directory of the mount, fills `version` (and what the call asks for;
 * everything else is zero) and calls ioctl(2):
 *
 *     MIGFS_IOC_ACQUIRE  struct migfs_handoff  this host becomes owner of the file
 *     MIGFS_IOC_RELEASE  struct migfs_handoff  what was written is in the store, other hosts may
 *                                              acquire; the open handles here are stopped
 *     MIGFS_IOC_FORGET   struct migfs_handoff  what the file holds now is accepted as it is
 *     MIGFS_IOC_HISTORY  struct migfs_history  the last hand-overs of the file
 *     MIGFS_IOC_STATUS   struct migfs_files    the open files, now
 *     MIGFS_IOC_EVENTS   struct migfs_files    their transitions, as they end; waits for the next
 *     MIGFS_IOC_MOUNT    struct migfs_mount    the mount itself
 *
 * Each is for the file of the descriptor. On a directory it is for all open files below, but for
 * HISTORY; MOUNT is for the mount, whatever the descriptor is of.
 *
 * Rights: STATUS, EVENTS and MOUNT, any descriptor. Pids and commands are shown to root and to the
 * file's owner. ACQUIRE, RELEASE and FORGET, a descriptor open for writing; on a directory, root.
 * HISTORY, a descriptor open for writing, or any of root or the file's owner.
 *
 * All calls may be made from any thread, at once. All fields are in the machine's byte order; the
 * layout is the same for 32-bit and 64-bit programs.
 *
 * Errors of all:
 *
 *     ENOTTY     not a migfs, or not one of these calls
 *
 *     EINVAL     the argument has another size, `version` is not MIGFS_IOC_VERSION, a flag is
 *                not known, or a field that must be zero is not; nothing was changed
 *
 *     ENOMEM     out of memory
 *
 *     ENODEV     the mount is ending
 */
#ifndef MIGFS_H
#define MIGFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MIGFS_IOC_VERSION 2

/* ACQUIRE, RELEASE and FORGET ----------------------------------------------------------------- */

/*
 * ACQUIRE waits until this host is owner, RELEASE until all is in the store and other hosts may
 * acquire; each at most for the mount's `deadline` (migfs(8)). A file that already is what it is
 * asked to become is done at once.
 *
 * ACQUIRE belongs to the file, not to the descriptor: it ends with RELEASE, or when the last
 * handle but the caller's is closed. A file that was never acquired can be released, too: it is
 * flushed and its open handles are stopped (writes get EIO) until it is acquired again.
 *
 * FORGET is for a file that an acquire refused, since it is stale or was written by somebody who
 * never acquired it: length, times and digests in its record become those of what is there, so that
 * the next acquire goes on with it. It needs the file for itself for a moment, as ACQUIRE does, and
 * acquires nothing. Of a file that this host owns there is nothing to forget.
 *
 * With `pid` the files are a group, such as the images of one virtual machine: if one of them fails
 * those that are done by then are taken back before the call returns, so that each is written as it
 * was before; one that nobody owned is owned after a RELEASE that failed. What could not be taken
 * back is counted by files_done. The pid is one of the mount's pid namespace; a process that has
 * none of the files open is no error: no file is done.
 *
 * Returns 0 when all files are done. Otherwise -1 with the errno of the first that failed, which
 * the argument names, too; the others were tried all the same:
 *     EBADF      the descriptor is not open for writing (files)
 *     EPERM      not root (directories)
 *     ENOTDIR    a `pid`, and the descriptor is of no directory
 *     ENOENT     ACQUIRE: nobody but the caller has the file open
 *     ETIMEDOUT  not done by the deadline: another host still writes, or the store is stuck
 *     EAGAIN     ACQUIRE: somebody holds a lock that stands in the way
 *     EIO        the store failed, or the file is fenced: its locks were lost; ACQUIRE: or it is
 *                stale, or with fence=strict somebody wrote it who never acquired it (the log says)
 *     EOPNOTSUPP the mount keeps no coherence (coherence=off), or for FORGET no records
 *     others     as the store said: EACCES, ENOSPC, ESTALE
 */
struct migfs_handoff {
    __u32 version;      /* in: MIGFS_IOC_VERSION */
    __u32 flags;        /* in: 0 */
    __u32 files_done;   /* out: how many files are what was asked for */
    __u32 files_failed; /* out: how many are not */
    __s32 error;        /* out: errno of the first that failed, positive; 0: none */
    __u32 pid;          /* in, ACQUIRE and RELEASE of a directory: only the files below that this
                           process opened, all or none; 0: all files below */
    char path[4096];    /* out: the first that failed, below the mount's root; NUL-terminated */
};

/* STATUS and EVENTS --------------------------------------------------------------------------- */

/* migfs_file.state: whether this host may believe what it has cached. */
enum migfs_state {
    MIGFS_STATE_PLAIN = 0,    /* no other host is owner, as far as the record says */
    MIGFS_STATE_STANDBY = 1,  /* another host is owner */
    MIGFS_STATE_SHARED = 2,   /* locked here for writing beside other writers */
    MIGFS_STATE_OWNER = 3,    /* locked here, and nobody else writes */
    MIGFS_STATE_RELEASED = 4, /* was owner and is handed over: writes get EIO */
    MIGFS_STATE_FENCED = 5,   /* lost its lock while owner: writes get EIO, and reads by what was
                                 open then */
};

/* migfs_file.transition: what is under way. */
enum migfs_transition {
    MIGFS_TRANSITION_NONE = 0,
    MIGFS_TRANSITION_ACQUIRING = 1,
    MIGFS_TRANSITION_RELEASING = 2,
};

/* migfs_file.profile: whose locks say when a hand-over begins. migfs(8), option `profile`. */
enum migfs_profile {
    MIGFS_PROFILE_AUTO = 0, /* `auto`, and nothing recognised yet */
    MIGFS_PROFILE_QEMU = 1, /* `qemu`, or recognised by `auto` */
    MIGFS_PROFILE_RANGE = 2,
    MIGFS_PROFILE_FLOCK = 3,
    MIGFS_PROFILE_NONE = 4,
    MIGFS_PROFILE_IOCTL = 5, /* MIGFS_IOC_ACQUIRE stands */
};

/* migfs_file.handoff_direction */
enum migfs_direction {
    MIGFS_DIRECTION_NONE = 0, /* no hand-over since the file is known here */
    MIGFS_DIRECTION_ACQUIRE = 1,
    MIGFS_DIRECTION_RELEASE = 2,
};

/* migfs_file.handoff_verified: whether what was acquired was as its last owner had left it. */
enum migfs_verified {
    MIGFS_VERIFIED_NO = 0,     /* there was nothing to compare with, or it could not be read */
    MIGFS_VERIFIED_PARTLY = 1, /* it was, as far as there was time to look */
    MIGFS_VERIFIED_YES = 2,    /* it was, by its length, its times and what was written last */
    MIGFS_VERIFIED_WRITTEN = 3 /* it was not: somebody had written it who never acquired it */
};

/* migfs_lock.type */
enum migfs_lock_type {
    MIGFS_LOCK_READ = 0,
    MIGFS_LOCK_WRITE = 1,
};

/* One lock that is held through this mount. */
struct migfs_lock {
    __u64 start;  /* first byte */
    __u64 length; /* in bytes; 0: to the end of the file, however far it grows */
    __u32 type;   /* enum migfs_lock_type */
    __u32 pid;    /* who took it, as the mount's pid namespace counts; 0: not known there, or
                     not shown (MIGFS_FILE_PIDS_HIDDEN) */
    char
        command[16]; /* its name, as /proc/PID/comm has it; NUL-terminated, empty where not known */
};

/* migfs_file.flags */
#define MIGFS_FILE_PIDS_HIDDEN 0x1u /* the caller is neither root nor the file's owner */
#define MIGFS_FILE_LOCKS_CUT 0x2u   /* it has more locks than fit in one answer: the first ones */
#define MIGFS_FILE_PATH_CUT 0x4u    /* its path is longer than 4,095 bytes: the end of it */
#define MIGFS_FILE_UNLINKED 0x8u    /* it has no name any more; the path is its last one */
#define MIGFS_FILE_KEPT                                                                            \
    0x10u /* it was removed, and is kept reachable for its guest; the path                         \
             is its last one, or that by which it is kept */
#define MIGFS_FILE_REOPENED                                                                        \
    0x20u                        /* its owner or mode were changed while it was open, and it was   \
                                    opened again as its owner */
#define MIGFS_FILE_REFUSED 0x40u /* the same, but nobody whom migfs can act as may open it */

/*
 * One file: `size` bytes, a multiple of 8. `lock_count` locks follow the fixed part, the path
 * follows these with its NUL; zeroes fill up. Use migfs_file_locks() and migfs_file_path().
 */
struct migfs_file {
    __u32 size;         /* of this entry, in bytes */
    __u32 flags;        /* MIGFS_FILE_* */
    __u64 ino;          /* st_ino */
    __u32 device_major; /* of the store's file, below the mount */
    __u32 device_minor;
    __u64 generation;      /* hand-overs of the file so far, as this host last saw */
    __u64 open_generation; /* the oldest one that a handle open here was opened at */
    __u64 bytes_read;      /* through this mount, since the file is known here */
    __u64 bytes_written;
    __u32 state;                    /* enum migfs_state */
    __u32 transition;               /* enum migfs_transition */
    __u32 profile;                  /* enum migfs_profile */
    __u32 handoff_direction;        /* enum migfs_direction: of the last hand-over on this mount */
    __s64 handoff_time_ns;          /* when it ended: nanoseconds since 1970-01-01 UTC */
    __u64 handoff_duration_ns;      /* from the lock or the call to its answer */
    __u64 handoff_bytes_flushed;    /* that programs had written, and the store did not have yet */
    __u64 handoff_pages_dropped;    /* of this host's page cache */
    __u64 handoff_bytes_prefetched; /* of an acquire: of the image's tables, read ahead for who
                                       acquired it */
    __u64 foreign_writes;   /* times that somebody wrote it who had not acquired it, as far as
                               this host has noticed since the file is known here */
    __u64 stale_acquires;   /* that failed: the store gave other data than what was written */
    __u32 handoff_verified; /* enum migfs_verified: of an acquire */
    __u32 prefetch_errors;  /* reads ahead that failed; whoever acquired reads by itself */
    __u32 lock_count;
    __u32 path_length; /* in bytes, without the NUL, up to 4,095; the path is below the mount's
                          root, and does not begin with a slash */
};

/* migfs_files.flags */
#define MIGFS_FILES_LOST 0x1u  /* out, EVENTS: some came and went unseen since `cursor` */
#define MIGFS_FILES_CHECK 0x2u /* in, STATUS: ask the store first; see below */
#define MIGFS_FILES_UNCHECKED                                                                      \
    0x4u /* out, STATUS: it did not answer in time, or not so as to tell */
#define MIGFS_FILES_UNFENCED                                                                       \
    0x8u /* out, STATUS: a host that has lost a file can still write to it:                        \
            NFS before version 4, or io=passthrough */

#define MIGFS_FILES_BUFFER_SIZE 16336u

/*
 * STATUS, begun with cursor 0: `buffer` holds `count` files, `cursor` says where the next call is
 * to go on, 0: that was all. No file comes twice; one that stays open throughout comes once.
 * Never waits, not even for the store: what another host did since the file was last opened, locked
 * or handed over here may not show yet. With MIGFS_FILES_CHECK and cursor 0 the files that this
 * host has locked for writing are looked at first, whether the locks are there still and whether
 * somebody else changed them; that takes a quarter of a second at most, and MIGFS_FILES_UNCHECKED
 * says that of some it is not known. Makes no handle other than
 * the caller's own descriptor: asked of a directory about one `ino`, it tells of that file without
 * opening it.
 *
 * EVENTS: each entry is a file as it was when a transition had ended. Called with cursor 0 it
 * returns no entry and a cursor, at once; called with the cursor that the last call returned, all
 * transitions since. If there are none it waits for the next: EINTR on a signal. Some hundred
 * events are kept for slow callers; then the oldest go, and MIGFS_FILES_LOST says so.
 */
struct migfs_files {
    __u32 version;  /* in: MIGFS_IOC_VERSION */
    __u32 flags;    /* in: 0 or MIGFS_FILES_CHECK; out: MIGFS_FILES_* */
    __u64 ino;      /* in: only the file with this st_ino, wherever in the mount; 0: the file of the
                       descriptor, or all below the directory of the descriptor */
    __u64 cursor;   /* in: 0, or as the last call returned; out: see above */
    __u32 count;    /* in: 0; out: entries in `buffer` */
    __u32 used;     /* in: 0; out: bytes of `buffer` that they take */
    __u64 reserved; /* in: 0 */
    union {
        __u64 alignment;
        __u8 buffer[MIGFS_FILES_BUFFER_SIZE]; /* out: `count` times struct migfs_file */
    };
};

static inline const struct migfs_lock *migfs_file_locks(const struct migfs_file *file)
{
    return (const struct migfs_lock *)(const void *)(file + 1);
}

static inline const char *migfs_file_path(const struct migfs_file *file)
{
    return (const char *)(migfs_file_locks(file) + file->lock_count);
}

/* HISTORY ------------------------------------------------------------------------------------- */

#define MIGFS_HISTORY_HANDOVERS 64
#define MIGFS_HOST_NAME_SIZE 64

/* One hand-over to an owner that may write. */
struct migfs_handover {
    __u64 generation; /* that it began */
    __s64 time_ns;    /* when the acquire was answered: nanoseconds since 1970-01-01 UTC, by the
                         clock of the host that acquired */
    __u64 release_ns; /* how long the release took before; 0: not known, or there was none */
    __u64 acquire_ns; /* and the acquire */
    __u64 bytes;      /* that programs had written, and the release had to write to the store */
    __u32 verified;   /* enum migfs_verified */
    __u32 reserved;
    char from[MIGFS_HOST_NAME_SIZE]; /* name of the host that was owner; empty: there was none */
    char to[MIGFS_HOST_NAME_SIZE];   /* and of the one that acquired; both NUL-terminated */
};

/*
 * The last hand-overs of a file, newest first. They are kept for people: an entry is written soon
 * after its acquire, and may be missing if the host failed then. Errors beside those of all:
 *     EACCES     the descriptor is not open for writing, and the caller neither root nor the owner
 *     EISDIR     of a directory
 *     EOPNOTSUPP the mount has no records
 *     others     as the store said
 */
struct migfs_history {
    __u32 version;                                            /* in: MIGFS_IOC_VERSION */
    __u32 flags;                                              /* in: 0 */
    __u32 count;                                              /* in: 0; out: how many there are */
    __u32 reserved;                                           /* in: 0 */
    struct migfs_handover handovers[MIGFS_HISTORY_HANDOVERS]; /* out: the first `count` of them */
};

/* MOUNT --------------------------------------------------------------------------------------- */

/* migfs_mount.flags */
#define MIGFS_MOUNT_COHERENT 0x1u    /* coherence=on */
#define MIGFS_MOUNT_RECORDS 0x2u     /* hand-over records are kept */
#define MIGFS_MOUNT_PASSTHROUGH 0x4u /* io=passthrough */
#define MIGFS_MOUNT_FENCES 0x8u      /* fence= is not off, and not io=passthrough */
#define MIGFS_MOUNT_KILLPRIV 0x10u   /* the kernel says when set-id bits go: no call a write */

#define MIGFS_MOUNT_TEXT_SIZE 64
#define MIGFS_MOUNT_OPTIONS_SIZE 256

/* Never waits for the store. */
struct migfs_mount {
    __u32 version;      /* in: MIGFS_IOC_VERSION */
    __u32 flags;        /* in: 0; out: MIGFS_MOUNT_* */
    __u32 pid;          /* out: of the daemon, in its own pid namespace */
    __u32 lease_ms;     /* out: of the store, as it was at the mount; 0: it tells none */
    __u32 device_major; /* out: of SOURCE */
    __u32 device_minor;
    __u64 ino;                              /* out: of SOURCE */
    __u64 instance;                         /* out: drawn at the mount, as in the record */
    __s64 mounted_ns;                       /* out: since 1970-01-01 UTC */
    char release[MIGFS_MOUNT_TEXT_SIZE];    /* out: migfs's version; NUL-terminated as all texts */
    char libfuse[MIGFS_MOUNT_TEXT_SIZE];    /* out: libfuse's */
    char options[MIGFS_MOUNT_OPTIONS_SIZE]; /* out: migfs's own, as given */
    char source[4096];                      /* out: SOURCE, where the daemon sees it */
};

#define MIGFS_IOC_TYPE 0xdc
#define MIGFS_IOC_ACQUIRE _IOWR(MIGFS_IOC_TYPE, 1, struct migfs_handoff)
#define MIGFS_IOC_RELEASE _IOWR(MIGFS_IOC_TYPE, 2, struct migfs_handoff)
#define MIGFS_IOC_STATUS _IOWR(MIGFS_IOC_TYPE, 3, struct migfs_files)
#define MIGFS_IOC_EVENTS _IOWR(MIGFS_IOC_TYPE, 4, struct migfs_files)
#define MIGFS_IOC_FORGET _IOWR(MIGFS_IOC_TYPE, 5, struct migfs_handoff)
#define MIGFS_IOC_HISTORY _IOWR(MIGFS_IOC_TYPE, 6, struct migfs_history)
#define MIGFS_IOC_MOUNT _IOWR(MIGFS_IOC_TYPE, 7, struct migfs_mount)

#endif
