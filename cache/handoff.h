/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The protocol of DESIGN §2 as data: which steps a lock, an unlock or an ioctl takes, in which
 * order, and what a failure of each leads to. It is told how the last step went and answers with
 * the next one, until HANDOFF_DONE; carrying a step out is the caller's (fs/transition). It alone
 * moves an inode's standing, transition, gate and epoch. No I/O, no clock, no thread; the caller
 * serialises the transitions of an inode and guards `owner` during each call.
 */
#ifndef MIGFS_CACHE_HANDOFF_H
#define MIGFS_CACHE_HANDOFF_H

#include "owner.h"
#include "profile.h"
#include "record.h"

#include <stdbool.h>

enum handoff_kind {
    HANDOFF_ACQUIRE,      /* become owner */
    HANDOFF_SHARE,        /* lock for writing beside others */
    HANDOFF_LOCK,         /* a lock without a claim: what NFS does at one */
    HANDOFF_QUIET_LOCK,   /* one more lock under a claim that stands */
    HANDOFF_FORGET,       /* lock, accept what is there in the record, and unlock */
    HANDOFF_RELEASE,      /* hand over */
    HANDOFF_DOWNGRADE,    /* owner to shared: 201 goes, 101 stays */
    HANDOFF_DEMOTE,       /* 101 goes, 201 stays: what was written must be there for readers */
    HANDOFF_UNLOCK,       /* an unlock without a claim: what NFS does at one */
    HANDOFF_QUIET_UNLOCK, /* an unlock under a claim that stands */
};

enum handoff_step {
    HANDOFF_STEP_LOCK,         /* take the bytes on the backing file */
    HANDOFF_STEP_TEST,         /* does another host write? */
    HANDOFF_STEP_DROP,         /* the caches below: sync, drop, and look that none stayed */
    HANDOFF_STEP_READ_RECORD,  /* whose turn was it, which generation */
    HANDOFF_STEP_INVALIDATE,   /* drop this mount's kernel pages and attributes */
    HANDOFF_STEP_VERIFY,       /* is the file as the record says that it was left? */
    HANDOFF_STEP_WRITE_RECORD, /* `record_state` and `generation`, durable */
    HANDOFF_STEP_FLUSH,        /* the kernel's dirty pages, while writes still pass */
    HANDOFF_STEP_DRAIN,        /* the gate is closed: wait for the writes under way */
    HANDOFF_STEP_SYNC,         /* fdatasync */
    HANDOFF_STEP_UNLOCK,       /* give the bytes back */
    HANDOFF_STEP_ANSWER,       /* tell the caller `answer` */
    HANDOFF_DONE,
};

/* How the step that handoff_next gave last went. All zeroes: well. */
struct handoff_outcome {
    int error;       /* 0 or a negative errno */
    bool pages_came; /* SYNC and after it: pages of mappings have come that it has not */
    bool conflict;   /* TEST: another host writes, and did so until the deadline where one waits */
    bool expired;    /* the deadline has passed, and the caller was told -ETIMEDOUT */
};

/* What is wanted, fixed for the whole transition. */
struct handoff_plan {
    enum handoff_kind kind;
    bool writes;            /* the claim wanted may write: its owner is recorded */
    bool tests;             /* the locks do not exclude by themselves (QEMU's, the ioctl's) */
    bool conflict_is_error; /* the ioctl: nobody tests for itself */
    bool stops_handles;     /* RELEASE by the ioctl: open handles write no more, owner or not */
    bool takes_back;        /* RELEASE of what was acquired a moment ago: nothing was handed over */
    bool has_caller;        /* somebody waits for the answer: not a close, a kill */
    bool keeps_record;      /* record=on or require */
    bool record_is_required; /* record=require */
};

struct handoff {
    struct handoff_plan plan;
    enum handoff_step step; /* under way */
    unsigned position;      /* of it, in the order of its kind */
    bool undoing;           /* what was done is being taken back */
    int answer;             /* for ANSWER: 0 or a negative errno */
    bool leaves_nothing;    /* what was written must reach the store, or fail, before bytes go */
    unsigned syncs_again;   /* how often pages came too late for it */
    bool contested;         /* TEST found another writer: answered as POSIX says, but no owner */
    enum record_state record_state; /* for WRITE_RECORD */
    uint64_t generation;            /* for WRITE_RECORD */
};

/*
 * Which kind a change of the claim asks for. `unlocking`: bytes are given back, not taken. A lock
 * that lowers the claim (a read lock in the place of a write lock) gives too: its UNLOCK step is
 * to take that lock.
 */
enum handoff_kind handoff_kind_of(const struct owner *owner, enum claim before, enum claim after,
                                  bool unlocking);

/* Or whether it gives them back. */
bool handoff_takes_locks(enum handoff_kind kind);

/* Begins, and returns the first step. */
enum handoff_step handoff_begin(struct handoff *handoff, struct owner *owner,
                                const struct handoff_plan *plan);

/* The step went so; returns the next. Never called again after HANDOFF_DONE. */
enum handoff_step handoff_next(struct handoff *handoff, struct owner *owner,
                               const struct handoff_outcome *outcome);

/* Whether a caller of TEST should wait out the deadline, or answer at the first conflict. */
bool handoff_test_waits(const struct handoff *handoff, const struct owner *owner);

/*
 * INVALIDATE: whether clean pages that the kernel has may stay there to be dropped after the
 * transition. `is_alone`: nobody can be served from them by a handle of before but who hands the
 * file over. Dirty ones must have been written out, and the attributes go.
 */
bool handoff_may_leave_pages(const struct handoff *handoff, bool is_alone);

const char *handoff_step_name(enum handoff_step step);
const char *handoff_kind_name(enum handoff_kind kind);

#endif
