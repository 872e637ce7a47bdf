/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Carries out what cache/handoff says: one switch over the steps of DESIGN §2, on pool threads, in
 * the order of the inode's jobs. Each lock, unlock, close and ioctl of a file is one transition,
 * most of them of two steps.
 */
#ifndef MIGFS_FS_TRANSITION_H
#define MIGFS_FS_TRANSITION_H

#include "cache/handoff.h"
#include "cache/timeline.h"
#include "lock.h"
#include "pool.h"
#include "verify.h"

struct transition {
    struct job job; /* first: a job is cast to its transition */
    struct lock_change change;
    bool waits;                    /* F_SETLKW */
    bool lock_is_held;             /* a waiter got it below; its job takes it again */
    int wait_error;                /* or ended without it */
    bool counts_as_wait;           /* in the inode's lock_waits */
    struct description *waited_on; /* kept by the wait, until the job has seen its end */
    bool has_caller;               /* who is told, and may keep its lock when giving fails */
    bool conflict_is_error;
    bool takes_back;       /* a release that undoes an acquire */
    bool forgets;          /* accepts what is there, and acquires nothing */
    unsigned retries_left; /* while a closing handle stands in the way */

    /* Asked in its turn, before it begins: false ends it with 0. NULL: it is wanted. */
    bool (*still_wanted)(const struct transition *transition);

    /* What is done when it is over, with the state settled; NULL: the job's reply alone. */
    void (*answer)(struct context *context, struct transition *transition, int error);
    struct handle *closing; /* a close's */
    int close_error;        /* of a FLUSH: what the close below said */

    /* The run. */
    struct handoff handoff;
    bool begun;
    struct lock_claims claims;
    unsigned deadline_ms;
    int64_t started_ns;
    int64_t step_started_ns; /* 0: none is under way */
    enum owner_state state_before;
    struct timeline timeline; /* of its steps so far */
    uint64_t bytes_before, bytes_flushed, pages_dropped, bytes_prefetched;
    struct trace_look look_at_sync; /* begun with SYNC */
    uint64_t pages_at_sync;         /* of the inode's pages_written_back, when SYNC began */
    bool pages_stayed;
    bool leaves_pages; /* a release: in the kernel, to be dropped after it */
    struct verify verify;
};

/* A transition of the inode for one change of its locks; NULL: out of memory. */
struct transition *transition_new(struct inode *inode, const struct lock_change *change);

/* Queues it; `deadline_ms` 0 for none. It is freed when it is over. */
void transition_submit(struct context *context, struct transition *transition,
                       unsigned deadline_ms);

/*
 * The same; but of a file that is nothing more than open, a lock that changes none of that is taken
 * or given back on the calling thread, if no page has to be dropped or written out for it.
 */
void transition_carry_out(struct context *context, struct transition *transition,
                          unsigned deadline_ms);

/*
 * The hand-over ioctl: acquire or release one inode, of which the caller keeps a reference until
 * `done`. That is told once, on a pool thread or that of time, or at once with an error: -ENOENT,
 * nobody has it open; -ENOMEM. -ETIMEDOUT: another host is owner and stayed so until the deadline,
 * or the store was stuck. `acquirer`: the caller's handle of the inode, which does not keep it
 * acquired; 0: none.
 */
void transition_acquire(struct context *context, struct inode *inode, uint64_t acquirer,
                        uint32_t pid, unsigned deadline_ms, job_done done, void *data);
void transition_release(struct context *context, struct inode *inode, unsigned deadline_ms,
                        job_done done, void *data);

/* Undoes a transition_acquire of a moment ago: its open handles are not stopped. */
void transition_take_back(struct context *context, struct inode *inode, unsigned deadline_ms,
                          job_done done, void *data);

/*
 * What the file holds now is accepted: its record says so to the next owner. Errors as those of an
 * acquire; done at once where this host is owner. Some handle of it must be open.
 */
void transition_forget(struct context *context, struct inode *inode, unsigned deadline_ms,
                       job_done done, void *data);

#endif
