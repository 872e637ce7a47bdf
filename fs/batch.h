/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads of one file from the server, past every cache, as many under way as there are: a guest
 * stands still while they are waited for. By Linux AIO, without a thread each: an NFS client sends
 * such a read and returns (linux/fs/nfs/direct.c), where io_uring has a thread wait for it. Where
 * there is none, or the store refuses O_DIRECT, they are read one after the other.
 */
#ifndef MIGFS_FS_BATCH_H
#define MIGFS_FS_BATCH_H

#include "handle.h"

#define BATCH_MOST_BYTES ((size_t)128 * 1024)

/* One read, of whoever adds it until it is over. */
struct batch_read {
    uint64_t offset;
    size_t size; /* 1 … BATCH_MOST_BYTES */
    /*
     * By the batch's thread: so many bytes are there, fewer only at the end of the file; or a
     * negative errno. They are good until it returns. It may add reads, this one too.
     */
    void (*over)(struct batch_read *read, const char *bytes, ssize_t count);
    struct batch_read *next; /* the batch's */
};

/* One thread's, which may wait for the store; the handle stays open meanwhile. */
struct batch {
    struct context *context;
    struct handle *handle;
    int64_t until_ns;
    struct batch_read *first, **end; /* not begun yet */
    struct batch_room *room;         /* for those under way; NULL: none is */
    int fd;
    bool is_shared; /* `fd` is the inode's description of fresh reads (backing.h) */
    bool waits;     /* each is waited for */
    unsigned under_way;
};

/* No read is begun after `until_ns` (CLOCK_MONOTONIC). */
void batch_init(struct batch *batch, struct context *context, struct handle *handle,
                int64_t until_ns);

void batch_add(struct batch *batch, struct batch_read *read);

/* Begins those for which nobody has to wait. */
void batch_begin(struct batch *batch);

/* Until all are over, or for those that it does not begin the time; of these no more is heard. */
void batch_run(struct batch *batch);

/* What batches have kept for the next one. NULL: out of memory. */
struct batch_rooms;
struct batch_rooms *batch_rooms_new(void);

/* When none is under way any more. Takes NULL. */
void batch_rooms_free(struct batch_rooms *rooms);

#endif
