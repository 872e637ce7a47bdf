/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history_file.h"

#include "log.h"
#include "pool.h"
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct history_job {
    struct job job; /* first: a job is cast to it */
    struct history_entry entry;
};

/* Opened anew each time: what other hosts wrote is seen by the open, and nothing is kept. */
static int write_entry(const struct record_directory *directory, const struct history_entry *entry)
{
    const int fd = record_directory_open_history(directory, entry->identity.ino, O_CREAT);
    uint8_t bytes[HISTORY_ENTRY_BYTES];
    int error = 0;

    if (fd < 0)
        return fd;
    history_encode(entry, bytes);
    const ssize_t count =
        pwrite(fd, bytes, sizeof(bytes), (off_t)history_offset(entry->generation));
    if (count < 0)
        error = -errno;
    else if ((size_t)count != sizeof(bytes))
        error = -ENOSPC;
    return close(fd) == 0 || error != 0 ? error : -errno;
}

static void run(struct context *context, struct job *job)
{
    const struct history_job *added = (struct history_job *)job;
    const int error = write_entry(context->records, &added->entry);

    if (error != 0)
        log_warning("the history of inode %ju lacks generation %ju: %s",
                    (uintmax_t)added->entry.identity.ino, (uintmax_t)added->entry.generation,
                    strerror(-error));
    pool_finish(context->pool, job);
}

static void job_free(struct job *job)
{
    free(job);
}

void history_file_add(struct context *context, const struct history_entry *entry)
{
    struct history_job *added = calloc(1, sizeof(*added));

    if (!added)
        return; /* missed by nobody */
    added->entry = *entry;
    /* In the turn of the root, which nothing else waits for. */
    added->job = (struct job){
        .inode = inode_find(context->inodes, FUSE_ROOT_ID), .run = run, .free = job_free};
    pool_submit_later(context->pool, &added->job, POOL_AFTER_ANSWER_MS);
}

int history_file_read(struct context *context, struct inode *inode,
                      struct history_entry entries[HISTORY_ENTRIES])
{
    const struct record_identity identity = record_identity_of(inode);
    uint8_t *bytes;
    ssize_t count;
    int fd, result;

    if (!record_file_is_kept(context, inode))
        return 0;
    fd = record_directory_open_history(context->records, inode->identity.ino, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    bytes = malloc(HISTORY_FILE_BYTES);
    count = bytes ? pread(fd, bytes, HISTORY_FILE_BYTES, 0) : -1;
    result = count < 0 ? -errno : (int)history_decode(bytes, (size_t)count, &identity, entries);
    free(bytes);
    (void)close(fd); /* nothing was written */
    return result;
}
