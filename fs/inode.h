/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inodes that the kernel knows of, by node id and by identity in the store. A node id is a
 * number that is never used again; identity is the store's file handle, so that a reused inode
 * number is another inode. O_PATH descriptors are a bounded cache over the handles: pinned while
 * needed, reopened from the handle, kept for good where the store gives none that can be opened.
 */
#ifndef MIGFS_FS_INODE_H
#define MIGFS_FS_INODE_H

#include "cache/digest.h"
#include "cache/owner.h"
#include "cache/profile.h"
#include "cache/trace.h"
#include "context.h"
#include "identity.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct description;
struct handle;
struct job;
struct metadata;
struct record_handle;

/* The last hand-over of an inode on this mount, for status. */
struct handoff_report {
    int64_t time_ns; /* CLOCK_REALTIME of its end, 0: none yet */
    bool released;   /* direction: handed over, or taken */
    uint64_t duration_ns;
    uint64_t bytes_flushed;
    uint64_t pages_dropped;
    uint64_t bytes_prefetched;
    unsigned verified; /* enum verify_verdict */
};

/* Whether the store still takes what it is open by (protect.h). */
enum inode_access {
    ACCESS_AS_OPENED, /* as far as is known */
    ACCESS_AS_OWNER,  /* it was opened anew, as the owner that the file has now */
    ACCESS_REFUSED,   /* no credential passes */
};

/* What became of its last name (removed.h). */
enum removal {
    REMOVAL_NONE,
    REMOVAL_KEPT, /* it is gone, and a name in the record directory keeps the file */
    REMOVAL_GONE, /* removed around migfs */
};

struct inode {
    /* Fixed from creation. */
    uint64_t node_id;
    struct inode_identity identity;
    mode_t type; /* S_IFMT bits */

    atomic_bool is_stale; /* so the store said: a name that leads here is not to be believed */
    atomic_uint_fast64_t cached_bytes; /* that the kernel may have of it: pages.h */
    atomic_int removal;                /* enum removal */
    atomic_uint_fast64_t bytes_read;

    /*
     * What its handles and descriptions are open by below, and the locks on them: whoever locks,
     * closes or opens one of them anew. Held across these calls; taken before all other locks.
     */
    pthread_mutex_t description_mutex;
    atomic_uint lock_waits; /* that go on: the descriptions must stay what they are */

    /* inode_table.lock */
    uint64_t lookups;    /* what the kernel holds, ended by forget */
    unsigned references; /* what this program holds: handles, jobs */
    struct inode *next_by_id;
    struct inode *next_by_identity;
    int fd; /* O_PATH, or -1 while not open */
    unsigned pins;
    bool fd_is_kept; /* the store gives no handle to find it again by */
    bool is_retired; /* no name leads here any more, whatever has its identity */
    struct inode *lru_newer, *lru_older;

    /* `mutex` from here on. Never held across a call below, a reply or a notification. */
    pthread_mutex_t mutex;
    pthread_cond_t drained; /* one of writes_in, or pages_under_way, came to 0 */
    struct owner owner;
    enum claim claim;
    bool recognised;           /* profile_claim's memory */
    bool acquired_by_ioctl;    /* the daemon's own locks stand behind the claim */
    uint64_t acquired_through; /* the handle of who asked for that; 0: of no file of its own */
    bool distrusts_below;      /* pages stayed below at the last drop: read past them */
    bool may_have_setid;       /* set-id bits were seen at the last look */
    bool drop_is_due;          /* a coalesced drop is on its way */
    bool drop_runs;            /* or under way, in pieces; one that is due follows it */
    bool look_is_due;          /* and a look at its record */
    bool standby_look_is_due;  /* or one in a while, if it is in standby by then */
    int guard_fd;              /* guard.h: by which others than holders of locks write, or -1 */
    bool guard_is_direct;
    bool guard_check_is_due;
    int64_t guard_seen_ns; /* when the store was last asked for its locks, and had them */
    bool guard_is_lost;    /* so it showed when locks were taken anew */
    enum inode_access access;
    uint64_t opens_at_fence;  /* of `opens`: later ones may read */
    bool is_kept_fenced;      /* a reference of its own keeps it: the fence outlives the kernel's */
    unsigned write_phase;     /* of the writes that begin now */
    unsigned writes_in[2];    /* under way, by the phase that they began in */
    unsigned pages_under_way; /* of these writes: pages of mappings, by the kernel */
    uint64_t pages_written_back; /* such writes that ended, ever */
    struct trace_watch watch;    /* while owner: for changes that others make */
    struct trace_sight ahead;    /* verify_look_ahead's */
    int64_t ahead_ns;            /* and when that was */
    struct digest_ring digests;  /* of what was written here, and what its last owner left */
    struct metadata *metadata;   /* metadata.h: read ahead for a VMM, or NULL; owned */
    int writeback_error;         /* of a page that the kernel wrote back: 0 or a negative errno */
    unsigned open_handles;
    unsigned writable_handles;
    uint64_t opens;         /* ever */
    struct handle *handles; /* open ones */
    int direct_fd;          /* read-only O_DIRECT description, or -1 */
    unsigned direct_readers;
    bool direct_is_over; /* closed by its last reader */
    bool direct_refused; /* the store has no O_DIRECT: drop and read */
    int backing_id;      /* of the kernel's passthrough, 0: none */
    struct stat at_open; /* the server's attributes at the last open */
    uint64_t bytes_written;
    uint64_t pages_left, pages_left_dropped; /* times that some were left; of these gone: pages.h */
    uint64_t changes, changes_synced; /* begun here, ever; of these a release's SYNC has all */
    struct handoff_report last_handoff;
    uint64_t foreign_writes;      /* times that somebody wrote it who never acquired it */
    struct trace foreign_trace;   /* as it was after the last of them */
    bool written_beside;          /* from here while `shared`, after its record was written */
    uint64_t stale_acquires;      /* that failed */
    uint32_t prefetch_errors;     /* reads ahead that failed */
    struct record_handle *record; /* kept open while the image is */
    bool record_was_odd;          /* and it was said */

    /* Its transitions', which come one after another */
    struct timeline *locking; /* measure.h: what it locked or unlocked in a row, or NULL; owned */
    bool unlocking;           /* of `locking`: the latter */

    /* lock_table.mutex */
    struct range_table ranges;
    struct range_table flocks;
    struct description *descriptions;

    /* pool.mutex: one FIFO for lock, test, flush and release */
    struct job *jobs_first, *jobs_last;
    bool job_runs;
    struct job *job_held; /* the one that runs is to go on later, and no other before */
    struct inode *next_ready;
};

struct inode_table;

/* A table whose root is `source_fd`'s inode (node id FUSE_ROOT_ID), or NULL with errno. */
struct inode_table *inode_table_new(int source_fd);
void inode_table_free(struct inode_table *table);

/*
 * The inode of a node id that the kernel holds: for the length of the request, which keeps it from
 * being forgotten. NULL for an id that was never given out (a kernel's error: ESTALE).
 */
struct inode *inode_find(struct inode_table *table, uint64_t node_id);

/*
 * Looks `name` up below `parent_fd` with the credentials of the calling thread; ""
 * means the file of `parent_fd` itself, whatever kind of descriptor that is. `crosses`: where the
 * name is a place to mount something at when it is walked into, have that mounted. On 0, *inode has
 * one more lookup and one more reference, the latter the caller's to drop, and *attributes are
 * filled. Negative errno otherwise.
 */
int inode_lookup(struct inode_table *table, int parent_fd, const char *name, bool crosses,
                 struct inode **inode, struct stat *attributes);

/*
 * An NFS client gives a file that is open another name when its own goes, .nfs…, and the directory
 * cannot be removed while that is there. The known inode of such a file, looked up as inode_lookup
 * does, with a reference that is the caller's to drop; else NULL.
 */
struct inode *inode_renamed_if_open(struct inode_table *table, int parent_fd, const char *name);

/* Whether a handle of it is open on this mount. */
bool inode_is_open(struct inode *inode);

/*
 * Closes the descriptor that is kept for speed, unless it is in use. Where the store gives no
 * handle to open it again by, only of a plain file that nobody has open: names lead to a new inode
 * from then on.
 */
void inode_close_idle(struct inode_table *table, struct inode *inode);

/* The kernel forgets `count` lookups, or a reply that gave one was not delivered. */
void inode_forget(struct inode_table *table, struct inode *inode, uint64_t count);

/* References of this program's own. */
void inode_ref(struct inode_table *table, struct inode *inode);
void inode_unref(struct inode_table *table, struct inode *inode);

/*
 * An O_PATH descriptor of the inode, good until inode_unpin. -ESTALE when the store has lost it,
 * -EMFILE and the like as open(2).
 */
int inode_pin(struct inode_table *table, struct inode *inode);
void inode_unpin(struct inode_table *table, struct inode *inode);

/* Attributes by an O_PATH or any other descriptor; `forced`: from the server, past its caches. */
int inode_stat(struct inode_table *table, struct inode *inode, int fd, bool forced,
               struct stat *attributes);

/*
 * By an open descriptor, as fstat(2) has them: of a file without a name an NFS client gives none to
 * statx(2), which takes even an empty name for one (linux/fs/nfs/dir.c, nfs_weak_revalidate).
 */
int inode_stat_open(struct inode_table *table, struct inode *inode, int fd,
                    struct stat *attributes);

/*
 * Of the filesystem of SOURCE: whether its file handles last, and whether one leads to a file. 0,
 * or a negative errno; -ESTALE also for any trouble that the store had with it.
 */
bool inode_handles_last(struct inode_table *table);
int inode_handle_exists(struct inode_table *table, int type, const uint8_t *bytes, size_t length);

/* What the server says of it, past every cache; by a pin of its own. 0 or a negative errno. */
int inode_stat_at_server(struct inode_table *table, struct inode *inode, struct stat *attributes);

/* Whether reads and attributes are the server's to give: by the state, or since pages stayed below.
 */
bool inode_asks_server(struct inode *inode);

/* Seconds; as any other passthrough layer, with coherence=off. For names, too. */
#define INODE_INCOHERENT_TIMEOUT 1.0

/* Seconds that the kernel may believe an inode's attributes. */
double inode_attributes_timeout(const struct context *context, struct inode *inode);

/* Whether what it has open can be brought to another description: not where data goes past the
 * daemon (protect.h). */
bool inode_is_protected(const struct context *context, const struct inode *inode);

/*
 * Calls `visit` for each inode with open handles, holding a reference on it and no lock. Ends
 * early and returns its value when that is not 0.
 */
int inode_each_open(struct inode_table *table, int (*visit)(struct inode *inode, void *data),
                    void *data);

/* A pin that ends with its scope. */
struct inode_pin {
    struct inode_table *table;
    struct inode *inode;
    int fd; /* or a negative errno */
};
static inline struct inode_pin inode_pin_scoped(struct inode_table *table, struct inode *inode)
{
    return (struct inode_pin){.table = table, .inode = inode, .fd = inode_pin(table, inode)};
}
static inline void inode_pin_end(struct inode_pin *pin)
{
    if (pin->fd >= 0)
        inode_unpin(pin->table, pin->inode);
}
#define _cleanup_pin_ __attribute__((cleanup(inode_pin_end)))

#endif
