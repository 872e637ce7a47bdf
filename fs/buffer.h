/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory for a request and its data, used again: read from the device so that the bytes of a WRITE
 * are aligned for O_DIRECT, which a READ's may be read to. A set of unused ones is one thread's; a
 * buffer may go to another thread with its request.
 */
#ifndef MIGFS_FS_BUFFER_H
#define MIGFS_FS_BUFFER_H

#include "loop.h"

struct buffer {
    struct loop_task task; /* while it waits for a thread */
    struct buffer *next;   /* while it is unused */
    int device;            /* where its request was read */
    size_t size;           /* of the request */
};

struct buffers {
    struct buffer *unused;
    unsigned count;
};

/* NULL: out of memory. */
struct buffer *buffer_take(struct buffers *buffers);

/* Keeps it for later, if fewer than `most` are. */
void buffer_return(struct buffers *buffers, struct buffer *buffer, unsigned most);
void buffers_free(struct buffers *buffers);

/* Of LOOP_ROOM bytes: what a WRITE brings begins there. */
char *buffer_room(struct buffer *buffer);
struct buffer *buffer_of_room(char *room);

/* Where a request is read to, of up to BUFFER_REQUEST_BYTES. */
#define BUFFER_REQUEST_BYTES (LOOP_ROOM + 4096)
char *buffer_request(struct buffer *buffer);

#endif
