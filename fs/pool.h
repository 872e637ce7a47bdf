/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads for what a thread that serves requests must not do: transitions, and all that waits or
 * notifies. Jobs of one inode run one after another, in the order in which they came; those of
 * different inodes side by side, as many as there are threads. A job that has a caller is answered
 * ETIMEDOUT when its deadline passes, however stuck the store is, and is told so when it goes on.
 */
#ifndef MIGFS_FS_POOL_H
#define MIGFS_FS_POOL_H

#include "inode.h"

struct pool;

/* 0 or a negative errno. */
typedef void (*job_done)(struct context *context, struct inode *inode, int error, void *data);

/* The request of a job that is carried out on its own thread, to be answered after its turn. */
struct loan {
    fuse_req_t req; /* NULL: it is not over yet */
    int error;
};

struct job {
    struct inode *inode; /* the job holds a reference */
    /*
     * Carries the job out, on a pool thread. Before it returns it has called pool_finish, or one of
     * the calls that keep the job for later; the job is not touched after it.
     */
    void (*run)(struct context *context, struct job *job);
    /* Frees what embeds the job. */
    void (*free)(struct job *job);
    /*
     * Who waits that is no request, told once: by pool_reply, or of ETIMEDOUT on the thread that
     * keeps time. The inode is good then only if whoever set this keeps a reference.
     */
    job_done done;
    void *done_data;

    /*
     * Not NULL: `run` is on a thread that serves requests (pool_carry_out). It does what such a
     * thread may, and passes on what is left; its reply waits here. Of that thread alone.
     */
    struct loan *loan;

    /* pool.mutex */
    fuse_req_t req;            /* NULL: nobody waits, or was answered */
    int64_t deadline_ns;       /* CLOCK_MONOTONIC, 0: none */
    int64_t due_ns;            /* not to be queued before; 0: at once */
    bool expired;              /* its caller was told ETIMEDOUT, or nobody had to be */
    bool holds;                /* its inode's turn, while it waits to go on */
    struct job *next;          /* in its inode's FIFO, or among those that are not due yet */
    struct job *newer, *older; /* of all that have a deadline */
};

/* `threads` of them, and one for time; started by pool_start. NULL: out of memory. */
struct pool *pool_new(struct context *context, unsigned threads);
int pool_start(struct pool *pool);

/* Lets what is queued run to its end, then ends the threads. Takes a pool never started. */
void pool_stop(struct pool *pool);
void pool_free(struct pool *pool);

/* Queues the job behind the inode's others; takes a reference on the inode. */
void pool_submit(struct pool *pool, struct job *job);

/*
 * As pool_submit; but where none of the inode's jobs runs or waits the calling thread runs it
 * before this returns, on loan.
 */
void pool_carry_out(struct pool *pool, struct job *job);

/* The same as pool_submit, in a while. */
void pool_submit_later(struct pool *pool, struct job *job, unsigned delay_ms);

/*
 * From `run`, or by whoever took the job out in it: it goes to the end of its inode's queue again,
 * in a while. A job is taken out by returning without any of these calls.
 */
void pool_again(struct pool *pool, struct job *job, unsigned delay_ms);

/* From `run`: the job runs again in a while, and no other of its inode does before. */
void pool_hold(struct pool *pool, struct job *job, unsigned delay_ms);

/* From `run` on loan: a thread of the pool runs it again, before any other of its inode. */
void pool_pass(struct pool *pool, struct job *job);

/* From `run`, or for a job that was taken out by it: it is over, and freed. */
void pool_finish(struct pool *pool, struct job *job);

/*
 * The request to answer, once: the caller of this replies. NULL where nobody waits or the deadline
 * was faster.
 */
fuse_req_t pool_take_request(struct pool *pool, struct job *job);

/* Answers the request, or tells `done`, with 0 or a negative errno, if the deadline has not. */
void pool_reply(struct pool *pool, struct job *job, int error);

/* Whether the job's caller was told ETIMEDOUT. */
bool pool_expired(struct pool *pool, const struct job *job);

/* Sets or (0) lifts the deadline: `from now` in ms. */
void pool_set_deadline(struct pool *pool, struct job *job, unsigned deadline_ms);

/*
 * Takes the inode for the calling thread if none of its jobs runs or waits: what needs to be in
 * order with them but does nothing that they may do can then be done at once. True: pool_end must
 * follow soon.
 */
bool pool_try_begin(struct pool *pool, struct inode *inode);
void pool_end(struct pool *pool, struct inode *inode);

int64_t pool_now_ns(void);

/* What a guest that was just answered does not wait for comes after its first requests. */
#define POOL_AFTER_ANSWER_MS 50

#endif
