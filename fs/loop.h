/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The session's loop: threads that take requests from the kernel and hand each to libfuse. A
 * thread with a request that may take its time leaves the next one to another thread, which waits
 * for it at the device already. Reads and writes that bypass every cache need no thread each: when
 * several come at once, a few threads begin them on a ring and answer them as they end (ring.h).
 */
#ifndef MIGFS_FS_LOOP_H
#define MIGFS_FS_LOOP_H

#include "context.h"
#include "ring.h"

struct loop;

/* For a session that is mounted and has answered INIT. NULL: out of memory. */
struct loop *loop_new(struct context *context);

/* After all that may still answer a request has ended. */
void loop_free(struct loop *loop);

/*
 * Serves until the connection ends, or until the calling thread is interrupted after
 * fuse_session_exit. Its threads have ended when it returns 0 or a negative errno.
 */
int loop_run(struct loop *loop);

/* ---- from a request's handler ---- */

/*
 * The ring of the calling thread, if the request that it serves is one to be begun there and
 * answered later. NULL: it is to be served at once, however long it takes.
 */
struct ring *loop_ring(void);

/* What had loop_ring may take its time all the same: another thread is to take what comes. */
void loop_wait_begin(void);

/* A read or write is about to be answered: it is under way no more. May be left out. */
void loop_wait_end(void);

/*
 * Memory that was the request's: aligned for O_DIRECT, of LOOP_ROOM bytes, a write's bytes at its
 * start. It is the handler's from now on, until loop_room_return by a thread of the loop.
 */
#define LOOP_ROOM ((size_t)1 << 20)
char *loop_room_take(void);
void loop_room_return(char *room);

/* A request that was begun on a ring is answered. */
void loop_ended(void);

/* What may take its time, for a thread that has nothing under way; soon. */
struct loop_task {
    void (*run)(struct loop_task *task);
    struct loop_task *next;
};
void loop_hand(struct context *context, struct loop_task *task);

#endif
