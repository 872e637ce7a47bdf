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
 *     MIGFS_IOC_TIMELINE struct migfs_timeline one of these hand-overs, step by step
 *     MIGFS_IOC_MOUNT    struct migfs_mount    the mount itself
 *     MIGFS_IOC_STATS    struct migfs_stats    what it has done so far, counted
 *
 * Each is for the file of the descriptor. On a directory it is for all open files below, but for
 * HISTORY and TIMELINE; MOUNT and STATS are for the mount, whatever the descriptor is of.
 *
 * Rights: STATUS, EVENTS, MOUNT and STATS, any descriptor. Pids and commands are shown to root and
 * to the file's owner. ACQUIRE, RELEASE and FORGET, a descriptor open for writing; on a directory,
 * root. HISTORY and TIMELINE, a descriptor open for writing, or any of root or the file's owner.
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
/* out, STATUS: it did not answer in time, or not so as to tell */
#define MIGFS_FILES_UNCHECKED 0x4u
/* out, STATUS: a host that has lost a file can still write to it: NFS before version 4, or
 * io=passthrough */
#define MIGFS_FILES_UNFENCED 0x8u

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

/* TIMELINE ------------------------------------------------------------------------------------ */

/* The transitions that a lock, an unlock or a call leads to: migfs(8). */
enum migfs_handoff_kind {
    MIGFS_HANDOFF_ACQUIRE = 0,   /* the host becomes owner */
    MIGFS_HANDOFF_SHARE = 1,     /* it locks for writing beside others */
    MIGFS_HANDOFF_LOCK = 2,      /* a lock that means no more than itself */
    MIGFS_HANDOFF_MORE_LOCK = 3, /* one more of an owner */
    MIGFS_HANDOFF_FORGET = 4,
    MIGFS_HANDOFF_RELEASE = 5,   /* the host hands over */
    MIGFS_HANDOFF_DOWNGRADE = 6, /* the owner shares from now on */
    MIGFS_HANDOFF_DEMOTE = 7,    /* the owner writes no more: the first part of QEMU's release */
    MIGFS_HANDOFF_UNLOCK = 8,
    MIGFS_HANDOFF_MORE_UNLOCK = 9, /* one of several of an owner */
};
#define MIGFS_HANDOFF_KINDS 10

/* What each of them is made of. */
enum migfs_step {
    MIGFS_STEP_LOCK = 0, /* take the lock in the store */
    MIGFS_STEP_TEST = 1, /* wait until no other host writes */
    MIGFS_STEP_DROP = 2, /* drop what the store's client has cached */
    MIGFS_STEP_READ_RECORD = 3,
    MIGFS_STEP_INVALIDATE = 4, /* drop what the kernel has cached */
    MIGFS_STEP_VERIFY = 5,     /* read what the last owner wrote, and compare */
    MIGFS_STEP_WRITE_RECORD = 6,
    MIGFS_STEP_FLUSH = 7, /* write mapped pages out */
    MIGFS_STEP_DRAIN = 8, /* wait for the writes under way */
    MIGFS_STEP_SYNC = 9,  /* all that was written comes to the store's disk */
    MIGFS_STEP_UNLOCK = 10,
};
#define MIGFS_STEPS 11

#define MIGFS_TIMELINE_SPANS 24

/* A step under way. */
struct migfs_span {
    __u32 start_us;    /* since the side's started_ns */
    __u32 duration_us; /* rounded up; of one that waited and was tried again, all of it */
    __u16 kind;        /* enum migfs_handoff_kind: of which transition */
    __u16 step;        /* enum migfs_step */
    __u32 reserved;
};

/* migfs_side.flags */
/* else all the rest is zero: the host failed, or an old migfs has it */
#define MIGFS_SIDE_KNOWN 0x1u
#define MIGFS_SIDE_CLOCK 0x2u /* clock_ahead_ns is known */
#define MIGFS_SIDE_CUT 0x4u   /* there were more spans: these are the last ones */

/*
 * What one host did in a row: from the first unlock to the end of its release, or from the first
 * lock to the end of its acquire.
 */
struct migfs_side {
    __u32 flags;      /* MIGFS_SIDE_* */
    __u32 span_count; /* of `spans` */
    __s64 started_ns; /* by the host's clock, since 1970-01-01 UTC */
    __u64 duration_ns;
    __s64 clock_ahead_ns;  /* of the store's clock, as the host's last beacon showed */
    __u64 clock_unsure_ns; /* and how much more or less it may be */
    char host[MIGFS_HOST_NAME_SIZE];
    __u8 boot_id[16]; /* two sides with the same one have one clock */
    struct migfs_span spans[MIGFS_TIMELINE_SPANS];
};

/*
 * One hand-over of those that HISTORY tells of. Each side is written soon after its end by the host
 * whose it is. Errors as of HISTORY, and
 *     ENODATA    neither side is known of that generation, or of any
 */
struct migfs_timeline {
    __u32 version;    /* in: MIGFS_IOC_VERSION */
    __u32 flags;      /* in: 0 */
    __u64 generation; /* in: that the hand-over began; 0: of the last one whose acquire is known.
                         out: which it is */
    struct migfs_side release;
    struct migfs_side acquire;
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

/* STATS --------------------------------------------------------------------------------------- */

/* What the kernel asks for, in groups. */
enum migfs_request {
    MIGFS_REQUEST_OTHER = 0, /* none of the following */
    MIGFS_REQUEST_LOOKUP = 1,
    MIGFS_REQUEST_FORGET = 2, /* gets no answer, as INTERRUPT */
    MIGFS_REQUEST_GETATTR = 3,
    MIGFS_REQUEST_SETATTR = 4,
    MIGFS_REQUEST_ACCESS = 5,
    MIGFS_REQUEST_READLINK = 6,
    MIGFS_REQUEST_MAKE = 7,   /* mknod, mkdir, symlink, link */
    MIGFS_REQUEST_REMOVE = 8, /* unlink, rmdir */
    MIGFS_REQUEST_RENAME = 9,
    MIGFS_REQUEST_STATFS = 10,
    MIGFS_REQUEST_XATTR = 11,
    MIGFS_REQUEST_OPENDIR = 12,
    MIGFS_REQUEST_READDIR = 13,
    MIGFS_REQUEST_RELEASEDIR = 14,
    MIGFS_REQUEST_OPEN = 15, /* and create */
    MIGFS_REQUEST_READ = 16,
    MIGFS_REQUEST_WRITE = 17,
    MIGFS_REQUEST_FLUSH = 18,   /* a close of a descriptor */
    MIGFS_REQUEST_RELEASE = 19, /* of the last one */
    MIGFS_REQUEST_FSYNC = 20,
    MIGFS_REQUEST_FALLOCATE = 21,
    MIGFS_REQUEST_LSEEK = 22,
    MIGFS_REQUEST_COPY = 23, /* copy_file_range */
    MIGFS_REQUEST_GETLK = 24,
    MIGFS_REQUEST_SETLK = 25,  /* lock or unlock, at once */
    MIGFS_REQUEST_SETLKW = 26, /* lock, after a wait */
    MIGFS_REQUEST_IOCTL = 27,
    MIGFS_REQUEST_INTERRUPT = 28,
};
#define MIGFS_REQUEST_KINDS 29

#define MIGFS_COUNTER_BUCKETS 26

/* How often, how often in vain, and how long it took. */
struct migfs_counter {
    __u64 begun;  /* requests: that were taken; of the others those that ended */
    __u64 failed; /* that ended with an error, whoever made it: ENOENT of a lookup, too */
    __u64 sum_ns; /* of those that ended */
    __u64 buckets[MIGFS_COUNTER_BUCKETS]; /* [i]: of them, those that took more than 2^(i-1) µs and
                                             up to 2^i; [0] up to 1 µs, the last one all longer */
};

/* All since the mount; none of them ever falls. Room is left for more kinds. */
struct migfs_counters {
    __u64 bytes_read; /* that programs got, and what they wrote; what the kernel serves by itself,
                         from its cache or by io=passthrough, does not come here */
    __u64 bytes_written;
    __u64 fences;         /* files whose locks were lost while this host was owner, or shared */
    __u64 stale_acquires; /* acquires refused: the store gave other data than what was written */
    __u64 foreign_writes; /* times that somebody wrote a file who had not acquired it */
    __u64 conflicts;      /* locks that made no owner, since another host was writing */
    __u64 reserved[10];
    struct migfs_counter requests[32]; /* by enum migfs_request */
    struct migfs_counter handoffs[12]; /* by enum migfs_handoff_kind */
    struct migfs_counter steps[12];    /* by enum migfs_step */
};

/* Never waits for the store. */
struct migfs_stats {
    __u32 version;                  /* in: MIGFS_IOC_VERSION */
    __u32 flags;                    /* in: 0 */
    __u64 instance;                 /* out: drawn at the mount, where all counters were 0 */
    __s64 mounted_ns;               /* out: since 1970-01-01 UTC */
    __u32 open_files[8];            /* out: now, by enum migfs_state */
    struct migfs_counters counters; /* out */
};

#define MIGFS_IOC_TYPE 0xdc
#define MIGFS_IOC_ACQUIRE _IOWR(MIGFS_IOC_TYPE, 1, struct migfs_handoff)
#define MIGFS_IOC_RELEASE _IOWR(MIGFS_IOC_TYPE, 2, struct migfs_handoff)
#define MIGFS_IOC_STATUS _IOWR(MIGFS_IOC_TYPE, 3, struct migfs_files)
#define MIGFS_IOC_EVENTS _IOWR(MIGFS_IOC_TYPE, 4, struct migfs_files)
#define MIGFS_IOC_FORGET _IOWR(MIGFS_IOC_TYPE, 5, struct migfs_handoff)
#define MIGFS_IOC_HISTORY _IOWR(MIGFS_IOC_TYPE, 6, struct migfs_history)
#define MIGFS_IOC_MOUNT _IOWR(MIGFS_IOC_TYPE, 7, struct migfs_mount)
#define MIGFS_IOC_STATS _IOWR(MIGFS_IOC_TYPE, 8, struct migfs_stats)
#define MIGFS_IOC_TIMELINE _IOWR(MIGFS_IOC_TYPE, 9, struct migfs_timeline)

#endif
