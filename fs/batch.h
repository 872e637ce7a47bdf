/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads of one file from the server, past every cache, as many under way as there are: a guest
 * stands still while they are waited for. By Linux AIO, without a thread each: an NFS client sends
 * such a read and returns (linux/fs/nfs/direct.c), where io_uring has a thread wait for it. What a
 * store does not read asynchronously is read one after the other, as is all where there is no AIO,
 * or the store refuses O_DIRECT.
 *
 * A process with such reads under way, killed, ends only with them (linux/fs/aio.c, exit_aio): on a
 * hard mount of NFS whose server does not answer, when that is unmounted by force.
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
     * By the batch's thread: so many bytes are there, fewer at the end of the file or where the
     * rest cannot be read; or a negative errno. They are good until it returns. It may add reads,
     * this one too.
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
    int fresh_fd;                    /* the inode's (backing.h); -1: the handle's own serves */
    bool waits;                      /* each is waited for */
    unsigned under_way;
};

/* No read is begun after `until_ns` (CLOCK_MONOTONIC). */
void batch_init(struct batch *batch, struct context *context, struct handle *handle,
                int64_t until_ns);

void batch_add(struct batch *batch, struct batch_read *read);

/* Begins those for which nobody has to wait. */
void batch_begin(struct batch *batch);

/* Of those that have not begun none does. */
void batch_stop(struct batch *batch);

/* Returns when all that begin are over; of one that does not, in time, no more is heard. */
void batch_run(struct batch *batch);

/*
 * What batches have kept for the next ones: a room for each that ran at the same time, of some
 * hundred KiB. NULL: out of memory.
 */
struct batch_rooms;
struct batch_rooms *batch_rooms_new(void);

/* When none is under way any more. Takes NULL. */
void batch_rooms_free(struct batch_rooms *rooms);

#endif
