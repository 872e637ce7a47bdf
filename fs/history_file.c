/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history_file.h"

#include "log.h"
#include "pool.h"
#include "record_directory.h"
#include "record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct history_job {
    struct job job; /* first: a job is cast to it */
    bool has_entry;
    struct history_entry entry;
    struct timeline_entry side;
};

static int write_at(int fd, const uint8_t *bytes, size_t size, size_t offset)
{
    const ssize_t count = pwrite(fd, bytes, size, (off_t)offset);

    if (count < 0)
        return -errno;
    return (size_t)count == size ? 0 : -ENOSPC;
}

static int write_entry(int fd, const struct history_entry *entry)
{
    uint8_t bytes[HISTORY_ENTRY_BYTES];

    history_encode(entry, bytes);
    return write_at(fd, bytes, sizeof(bytes), history_offset(entry->generation));
}

static int write_side(int fd, const struct timeline_entry *side)
{
    uint8_t bytes[TIMELINE_ENTRY_BYTES];

    timeline_encode(side, bytes);
    return write_at(fd, bytes, sizeof(bytes), timeline_offset(side->side, side->generation));
}

/* Opened anew each time: what other hosts wrote is seen by the open, and nothing is kept. */
static int write_job(const struct record_directory *directory, const struct history_job *added)
{
    const int fd = record_directory_open_history(directory, added->side.identity.ino, O_CREAT);
    int error;

    if (fd < 0)
        return fd;
    error = added->has_entry ? write_entry(fd, &added->entry) : 0;
    if (error == 0)
        error = write_side(fd, &added->side);
    return close(fd) == 0 || error != 0 ? error : -errno;
}

/* A hand-over takes several locks or unlocks of the guest: its calls come first. */
#define WRITE_DELAY_MS 500

static void run(struct context *context, struct job *job)
{
    const struct history_job *added = (struct history_job *)job;
    const int error = write_job(context->records, added);

    if (error != 0)
        log_warning("generation %ju is missing in %s/%s/history/%jx, for migfsctl history: %s; see "
                    "that it can be written",
                    (uintmax_t)added->side.generation, context->options.source, RECORD_DIRECTORY,
                    (uintmax_t)added->side.identity.ino, strerror(-error));
    pool_finish(context->pool, job);
}

static void job_free(struct job *job)
{
    free(job);
}

void history_file_add(struct context *context, const struct history_entry *entry,
                      const struct timeline_entry *side)
{
    struct history_job *added = calloc(1, sizeof(*added));

    if (!added)
        return; /* missed by nobody */
    added->has_entry = entry != NULL;
    if (entry)
        added->entry = *entry;
    added->side = *side;
    /* In the turn of the root, which nothing else waits for. */
    added->job = (struct job){
        .inode = inode_find(context->inodes, FUSE_ROOT_ID), .run = run, .free = job_free};
    pool_submit_later(context->pool, &added->job, WRITE_DELAY_MS);
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

static bool read_side(int fd, enum timeline_side side, uint64_t generation,
                      const struct record_identity *identity, struct timeline_entry *entry)
{
    uint8_t bytes[TIMELINE_ENTRY_BYTES];
    const ssize_t count = pread(fd, bytes, sizeof(bytes), (off_t)timeline_offset(side, generation));

    return count >= 0 && timeline_decode(bytes, (size_t)count, side, generation, identity, entry);
}

int history_file_sides(struct context *context, struct inode *inode, uint64_t generation,
                       struct history_sides *found)
{
    const struct record_identity identity = record_identity_of(inode);
    int fd;

    if (!record_file_is_kept(context, inode))
        return -ENODATA;
    fd = record_directory_open_history(context->records, inode->identity.ino, 0);
    if (fd < 0)
        return fd == -ENOENT ? -ENODATA : fd;
    for (enum timeline_side side = TIMELINE_RELEASE; side <= TIMELINE_ACQUIRE; side++)
        found->is_known[side] = read_side(fd, side, generation, &identity, &found->sides[side]);
    (void)close(fd); /* nothing was written */
    return found->is_known[TIMELINE_RELEASE] || found->is_known[TIMELINE_ACQUIRE] ? 0 : -ENODATA;
}
