/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All that the model remembers of one moment: the server, and each host with its NFS client, its
 * kernel's pages of the mount, its migfs and its VMM. The file is one block that lies outside the
 * bytes of every lock; instead of data it holds the number of the write that put it there. Bytes
 * only, so that a moment can be compared, hashed and copied as memory. What is no part of the
 * system but is needed to judge it is marked `judge`.
 */
#ifndef MIGFS_MODEL_WORLD_H
#define MIGFS_MODEL_WORLD_H

#include "cache/handoff.h"
#include "cache/owner.h"

#include <stdbool.h>
#include <stdint.h>

#define MOST_HOSTS 3
#define HANDLES 2
#define DAEMON HANDLES /* the daemon's own description, behind an ioctl's ACQUIRE */
#define DESCRIPTIONS (HANDLES + 1)

/* The bytes of QEMU's that matter, as a mask. */
enum {
    BYTE_100 = 1,
    BYTE_101 = 2,
    BYTE_201 = 4,
    ALL_BYTES = 7,
};

/* A slot of the record, of the fields that can differ here. */
struct slot {
    uint8_t state; /* enum record_state; 0: nothing was ever written */
    uint8_t is_torn;
    uint8_t host, boot;
    uint8_t generation, sequence;
    uint8_t digest;   /* the write whose digest it lists; 0: none */
    uint8_t is_as_it; /* the file's length and times are as it says */
};

struct server {
    uint8_t version;  /* what the file holds */
    uint8_t previous; /* and held before: a lagging store still reads so on some hosts */
    uint8_t lags;     /* a mask of those hosts */
    uint8_t locks[MOST_HOSTS][DESCRIPTIONS];
    struct slot slots[2];

    uint8_t last_write;     /* judge: numbered so far */
    uint8_t synced;         /* judge: the last that somebody was told is safe */
    uint8_t top_generation; /* judge: of recorded owners */
    uint8_t top_host, top_boot;
};

enum page {
    PAGE_NONE,
    PAGE_CLEAN,
    PAGE_DIRTY,
};

enum handle_state {
    HANDLE_CLOSED,
    HANDLE_OPEN,
    HANDLE_CLOSING, /* by the VMM: the kernel's RELEASE has not come yet */
};

/* A handle and the description below that is its first lock owner's. */
struct description {
    uint8_t state;   /* enum handle_state */
    uint8_t held;    /* bytes, as this host believes */
    uint8_t refused; /* by the server: it held a lock that was taken away (v4) */
    uint8_t is_lost; /* migfs knows */
    uint8_t was_released;
    uint8_t was_alone;  /* judge: it handed the file over, and pages were left */
    uint8_t was_active; /* the VMM has owned the disk by it, and may go on writing */
};

/* struct owner, but for the epoch: here it matters only whether it was raised. */
struct packed_owner {
    uint8_t standing, transition;
    uint8_t gate_closed, foreign_owner, writing, contested, sync_failed, recorded, shares_again;
    uint8_t generation;
};

/* struct handoff. */
struct packed_handoff {
    uint8_t kind;
    uint8_t writes, tests, conflict_is_error, stops_handles, has_caller, keeps_record, is_required;
    uint8_t step, position, undoing, answer, leaves_nothing, contested, record_state, generation;
};

enum change {
    CHANGE_NONE, /* nothing under way */
    CHANGE_TAKE,
    CHANGE_GIVE,
    CHANGE_GIVE_HANDLE, /* a close */
    CHANGE_TAKE_DAEMON,
    CHANGE_GIVE_DAEMON,
};

/* A transition under way. */
struct transition {
    uint8_t change; /* enum change */
    uint8_t description, bytes;
    uint8_t taken; /* of those bytes, such as were not held before */
    uint8_t claim_before, claim_after, recognised;
    uint8_t is_closing; /* ends with the handle */
    uint8_t is_late;    /* the deadline has passed, and the caller was told */
    struct packed_handoff handoff;
    struct slot seen;    /* the record as READ_RECORD found it; state 0: worth nothing */
    uint8_t is_flushed;  /* FLUSH is done, and the gate not closed yet */
    uint8_t promised;    /* judge: acknowledged when it began */
    uint8_t was_told;    /* mutants: the answer went out before its time */
    uint8_t is_hampered; /* judge: by a fault or another host, so that it may fail */
};

struct host {
    uint8_t is_up, boot;
    uint8_t is_cut; /* no packet passes between it and the server */

    /* The NFS client's cache. */
    uint8_t page; /* enum page */
    uint8_t page_version, page_by;
    uint8_t errors; /* a mask: whose next sync tells of a failed write-back */

    /* The kernel's pages of the mount. */
    uint8_t kept; /* enum page */
    uint8_t kept_version, kept_by;
    uint8_t is_left;       /* by a release, to be dropped after it */
    uint8_t mapping_error; /* a mapped page could not be written back: the next fsync tells */

    /* migfs. */
    struct description descriptions[DESCRIPTIONS];
    struct packed_owner owner;
    uint8_t claim, recognised, acquired_by_ioctl;
    uint8_t distrusts_below, drop_is_due, writeback_error;
    uint8_t digest, digest_is_durable; /* of the ring: the write that it lists */
    uint8_t has_slot, slot, sequence;  /* of the record, as last read or written here */
    struct transition transition;

    /* Requests under way: the kernel has locked the page. */
    uint8_t reads, read_version, read_is_cached;
    uint8_t writes, write_version, write_by, write_handle;

    /* The VMM. */
    uint8_t is_active;              /* it was told that it owns the disk, and runs */
    uint8_t opens_left, locks_left; /* what it may still do */
    uint8_t expected;               /* judge: what it must read; 0: not known */
    uint8_t acknowledged;           /* judge: its last write that may be lost as yet */
    uint8_t lost;                   /* judge: some was, by a release's SYNC */
};

struct world {
    struct server server;
    struct host hosts[MOST_HOSTS];
    uint8_t writes_left, crashes_left, partitions_left, failures_left, deadlines_left;
};

enum vmm {
    VMM_NONE,   /* reads only */
    VMM_QEMU,   /* takes 100 and 101, then 201 */
    VMM_READER, /* takes 100, then 201: a backing file */
    VMM_IOCTL,  /* takes no lock; somebody calls the ioctl for it */
};

/* What a run is about. */
struct scenario {
    const char *name;
    const char *about;
    unsigned hosts;
    enum vmm vmms[MOST_HOSTS];
    unsigned handles[MOST_HOSTS]; /* that its VMM uses */
    unsigned opens;               /* of each host, after the start */
    unsigned locks;               /* how often each may take its last byte, after the start */
    unsigned writes;              /* of all */
    unsigned crashes, partitions, failures, deadlines;
    bool owner_at_start;        /* host A owns the file, and has it open by handle 0 */
    bool store_fences;          /* NFSv4: writes are tied to locks */
    bool store_lags;            /* weaker than NFS: direct reads may be old for a while */
    bool splits_reads;          /* a read is two moments */
    bool maps;                  /* VMMs write by mapped pages, too */
    bool is_direct;             /* VMMs write by O_DIRECT: no page is locked meanwhile */
    bool is_orderly;            /* no VMM writes without its lock, or while it unlocks */
    unsigned depth, full_depth; /* actions after the start; 0: to the end */
};

struct mutant;

/* One moment, and what was found of it. */
struct run {
    const struct scenario *scenario;
    const struct mutant *mutant; /* NULL: as it is */
    struct world world;
    const char *violation; /* the property that does not hold; NULL: all do */
    char note[160];        /* what the last action did, for people */
    bool wants_notes;
};

#endif
