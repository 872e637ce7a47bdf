/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record_collect.h"

#include "log.h"
#include "pool.h"
#include "record_directory.h"
#include "record_file.h"
#include "removed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Between two looks, and how many records each is for. */
#define LOOK_AGAIN_NS (INT64_C(3600) * 1000000000)
#define LOOK_MOST 256
/* Seconds since it was written last. */
#define OLD_ENOUGH_S (24 * 3600)
/* So often in a row the handle must lead nowhere. */
#define GONE_TIMES 2

/* Whether the server answers: nothing else does a forced question about SOURCE. */
static bool server_answers(const struct context *context)
{
    struct statx attributes;

    return statx(context->source_fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_CTIME,
                 &attributes) == 0;
}

static bool is_gone(struct context *context, const struct record_file_handle *handle)
{
    bool answers = server_answers(context);

    for (int i = 0; i < GONE_TIMES && answers; i++) {
        if (inode_handle_exists(context->inodes, handle->type, handle->bytes, handle->length) !=
            -ESTALE)
            return false;
        answers = server_answers(context);
    }
    return answers;
}

static bool is_old(const struct stat *attributes)
{
    return time(NULL) - attributes->st_mtim.tv_sec > OLD_ENOUGH_S;
}

/* Whether the record is one of a released image that was not written for long; its handle. */
static bool is_candidate(struct context *context, ino_t ino, struct record_file_handle *handle,
                         struct stat *attributes)
{
    struct record_seen *seen = malloc(sizeof(*seen));
    bool candidate;

    if (!seen)
        return false;
    candidate = record_file_read_any(context, ino, seen, attributes) == 0 && seen->is_valid &&
                seen->record.state == RECORD_RELEASED && seen->record.file_handle.length > 0 &&
                is_old(attributes);
    if (candidate)
        *handle = seen->record.file_handle;
    free(seen);
    return candidate;
}

/* Written between the two looks: somebody uses it, for a new file of that number. */
static bool is_unchanged(struct context *context, ino_t ino, const struct stat *before)
{
    struct record_file_handle handle;
    struct stat now;

    return is_candidate(context, ino, &handle, &now) &&
           memcmp(&now.st_mtim, &before->st_mtim, sizeof(now.st_mtim)) == 0;
}

static void look_at(struct context *context, ino_t ino)
{
    struct record_file_handle handle;
    struct stat attributes;
    int error;

    if (!is_candidate(context, ino, &handle, &attributes) || !is_gone(context, &handle) ||
        !is_unchanged(context, ino, &attributes))
        return;
    error = record_directory_remove(context->records, ino);
    if (error != 0)
        log_warning("the record %s/%s/%jx of a file that is gone cannot be removed: %s; remove it",
                    context->options.source, RECORD_DIRECTORY, (uintmax_t)ino, strerror(-error));
    else
        log_info("the record %s/%s/%jx is removed: its file is gone", context->options.source,
                 RECORD_DIRECTORY, (uintmax_t)ino);
}

/*
 * Goes on where the last look ended; behind the last record it begins anew. Without handles that
 * last nobody can tell that a file is gone.
 */
static void run(struct context *context, struct job *job)
{
    struct record_directory *directory = context->records;
    const int most = inode_handles_last(context->inodes) ? LOOK_MOST : 0;
    ino_t ino;

    record_look_at_list(context);
    for (int i = 0; i < most && record_directory_next(directory, &ino); i++)
        look_at(context, ino);
    removed_collect(context);
    pool_finish(context->pool, job);
}

static void job_free(struct job *job)
{
    free(job);
}

void record_collect(struct context *context)
{
    struct job *job;

    if (!context->records || !record_directory_is_due(context->records, LOOK_AGAIN_NS))
        return;
    job = calloc(1, sizeof(*job));
    if (!job)
        return; /* another time */
    *job = (struct job){
        .inode = inode_find(context->inodes, FUSE_ROOT_ID), .run = run, .free = job_free};
    pool_submit(context->pool, job);
}
