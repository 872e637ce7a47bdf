/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify.h"

#include "backing.h"
#include "log.h"
#include "pool.h"
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void verify_deinit(struct verify *verify)
{
    free(verify->seen);
    free(verify->extents);
    *verify = (struct verify){.seen = NULL};
}

/* ---- saying it ---- */

/* The file as people know it; the caller frees it. */
static char *path_of(struct context *context, struct inode *inode)
{
    char *below = status_path(context, inode);
    char *path = NULL;

    if (below && asprintf(&path, "%s/%s", context->options.mountpoint, below) < 0)
        path = NULL;
    free(below);
    return path;
}

/* Remembers what was said of the inode; false: the same was said before. */
static bool is_news(struct inode *inode, const struct trace *now)
{
    pthread_mutex_lock(&inode->mutex);
    const bool news =
        inode->foreign_writes == 0 || trace_compare(&inode->foreign_trace, now) != TRACE_SAME;
    if (news) {
        inode->foreign_writes++;
        inode->foreign_trace = *now;
    }
    pthread_mutex_unlock(&inode->mutex);
    return news;
}

static void say_written(struct context *context, struct inode *inode, const struct record *record,
                        const struct trace *now)
{
    const bool refused = context->options.fence == FENCE_STRICT;
    char *path;

    if (!is_news(inode, now) && !refused)
        return;
    path = path_of(context, inode);
    log_warning("%s: somebody who never acquired it wrote it since host %s handed it over "
                "(generation %ju; %ju bytes then, %ju now)%s%s%s",
                path ? path : "a file", record->host.name, (uintmax_t)record->generation,
                (uintmax_t)record->trace.length_bytes, (uintmax_t)now->length_bytes,
                refused ? ": not acquired (fence=strict); `migfsctl forget " : ": going on with it",
                refused && path ? path : "", refused ? "` accepts what is there" : "");
    free(path);
}

static void say_stale(struct context *context, struct inode *inode, const struct record *record,
                      const struct digest_extent *extent)
{
    char *path = path_of(context, inode);

    pthread_mutex_lock(&inode->mutex);
    inode->stale_acquires++;
    const uint64_t generation = inode->owner.generation;
    pthread_mutex_unlock(&inode->mutex);
    log_error("%s: stale: the %u bytes at offset %ju are not what host %s wrote before it handed "
              "the file over (generation %ju), and by length and times nobody wrote it since; not "
              "acquired by host %s (it last saw generation %ju); `migfsctl forget %s` accepts what "
              "is there",
              path ? path : "a file", extent->length, (uintmax_t)extent->offset, record->host.name,
              (uintmax_t)record->generation, context->host.name, (uintmax_t)generation,
              path ? path : "PATH");
    free(path);
}

/* `extent` NULL: its length and times tell. */
static void say_changed(struct context *context, struct inode *inode,
                        const struct digest_extent *extent)
{
    char *path = path_of(context, inode);

    pthread_mutex_lock(&inode->mutex);
    inode->foreign_writes++;
    const uint64_t generation = inode->owner.generation;
    pthread_mutex_unlock(&inode->mutex);
    if (extent)
        log_warning("%s: somebody else wrote it while this host owns it (generation %ju): the %u "
                    "bytes at offset %ju are not what was written here",
                    path ? path : "a file", (uintmax_t)generation, extent->length,
                    (uintmax_t)extent->offset);
    else
        log_warning("%s: somebody else wrote it while this host owns it (generation %ju): its "
                    "length or times are not ours",
                    path ? path : "a file", (uintmax_t)generation);
    free(path);
}

static void say_unread(struct inode *inode, const struct verify *verify, int error)
{
    log_warning("inode %ju: %zu of %zu extents could not be verified: %s",
                (uintmax_t)inode->identity.ino, verify->count - verify->next, verify->count,
                strerror(error));
}

/* ---- comparing ---- */

static int written(struct context *context, struct inode *inode, struct verify *verify,
                   const struct trace *now)
{
    verify->verdict = VERIFY_WRITTEN;
    say_written(context, inode, &verify->seen->record, now);
    pthread_mutex_lock(&inode->mutex);
    digest_ring_clear(&inode->digests);
    pthread_mutex_unlock(&inode->mutex);
    return context->options.fence == FENCE_STRICT ? -EIO : 0;
}

/* 0: as it was written, 1: not; or a negative errno of the read. */
static int extent_differs(struct handle *handle, const struct digest_extent *extent)
{
    uint8_t digest[DIGEST_BYTES];
    const char *bytes;
    const ssize_t count = backing_read_fresh(handle, extent->length, (off_t)extent->offset, &bytes);

    if (count < 0)
        return (int)count;
    digest_of(bytes, (size_t)count, digest);
    return (size_t)count != extent->length || memcmp(digest, extent->digest, DIGEST_BYTES) != 0;
}

/* Whether it is in the ring still: nothing that was written through this mount touched it. */
static bool extent_counts(struct inode *inode, const struct digest_extent *extent)
{
    pthread_mutex_lock(&inode->mutex);
    const bool counts = digest_ring_has(&inode->digests, extent);
    pthread_mutex_unlock(&inode->mutex);
    return counts;
}

/*
 * One extent reads back different. A new ctime says that somebody wrote it, whatever became of its
 * mtime; else it is stale.
 */
static int differs(struct context *context, struct inode *inode, struct verify *verify,
                   int64_t until_ns)
{
    struct trace now;
    const int error = record_file_trace(context, inode, &now);

    if (error != 0)
        return error;
    if (trace_compare(&verify->seen->record.trace, &now) != TRACE_SAME)
        return written(context, inode, verify, &now);
    verify->verdict = VERIFY_STALE;
    if (pool_now_ns() < until_ns)
        return -EAGAIN;
    say_stale(context, inode, &verify->seen->record, &verify->extents[verify->next]);
    return -EIO;
}

/* One after another: on a store near by they take less than threads that read side by side cost. */
static int compare_extents(struct context *context, struct handle *handle, struct verify *verify,
                           int64_t until_ns)
{
    struct inode *inode = handle->inode;

    for (; verify->next < verify->count; verify->next++) {
        const struct digest_extent *extent = &verify->extents[verify->next];
        const bool is_late = pool_now_ns() >= until_ns && verify->verdict != VERIFY_STALE;
        const int result = is_late ? -ETIMEDOUT : extent_differs(handle, extent);

        if (result < 0) {
            say_unread(inode, verify, -result);
            verify->verdict = VERIFY_PARTLY;
            return 0;
        }
        if (result > 0 && extent_counts(inode, extent))
            return differs(context, inode, verify, until_ns);
    }
    verify->verdict = verify->count > 0 ? VERIFY_WHOLE : VERIFY_UNKNOWN;
    return 0;
}

static int take_extents(struct inode *inode, struct verify *verify)
{
    verify->extents = calloc(DIGEST_EXTENTS, sizeof(*verify->extents));
    if (!verify->extents)
        return -ENOMEM;
    pthread_mutex_lock(&inode->mutex);
    verify->count = digest_ring_copy(&inode->digests, verify->extents);
    pthread_mutex_unlock(&inode->mutex);
    return 0;
}

/* Length and times first: they cost one question. */
static int begin(struct context *context, struct inode *inode, struct verify *verify)
{
    struct trace now;
    int error = record_file_trace(context, inode, &now);

    if (error != 0)
        return error;
    if (trace_compare(&verify->seen->record.trace, &now) == TRACE_WRITTEN)
        return written(context, inode, verify, &now);
    return take_extents(inode, verify);
}

int verify_file(struct context *context, struct handle *handle, struct verify *verify,
                int64_t until_ns)
{
    struct inode *inode = handle->inode;

    /* What an owner that did not hand over wrote last, its record does not say. */
    if (!verify->seen || !verify->seen->is_valid || verify->seen->record.state != RECORD_RELEASED)
        return 0;
    if (!verify->begun) {
        const int error = begin(context, inode, verify);

        if (error != 0 || verify->verdict == VERIFY_WRITTEN)
            return error;
        verify->begun = true;
    }
    return compare_extents(context, handle, verify, until_ns);
}

/* ---- while owner ---- */

int verify_look(struct context *context, struct inode *inode, struct trace *now)
{
    enum trace_verdict verdict;
    int error;

    pthread_mutex_lock(&inode->mutex);
    const struct trace_look look = trace_look_begin(&inode->watch);
    pthread_mutex_unlock(&inode->mutex);
    error = record_file_trace(context, inode, now);
    if (error != 0)
        return error;
    pthread_mutex_lock(&inode->mutex);
    verdict = trace_look_end(&inode->watch, &look, now);
    pthread_mutex_unlock(&inode->mutex);
    if (verdict == TRACE_WRITTEN)
        say_changed(context, inode, NULL);
    return 0;
}

/* As many as cost little, of those that were written last. */
#define LOOK_EXTENTS 8

/* An extent that went while it was read was written again here. */
static void look_at_extent(struct context *context, struct handle *handle,
                           const struct digest_extent *extent)
{
    struct inode *inode = handle->inode;

    if (extent_differs(handle, extent) <= 0)
        return;
    pthread_mutex_lock(&inode->mutex);
    const bool is_ours = !digest_ring_remove(&inode->digests, extent);
    pthread_mutex_unlock(&inode->mutex);
    if (!is_ours)
        say_changed(context, inode, extent);
}

void verify_owned(struct context *context, struct handle *handle)
{
    struct digest_extent *extents = calloc(DIGEST_EXTENTS, sizeof(*extents));
    struct inode *inode = handle->inode;
    struct trace now;
    size_t count = 0;

    (void)verify_look(context, inode, &now); /* where the store does not answer nothing is known */
    pthread_mutex_lock(&inode->mutex);
    if (extents)
        count = digest_ring_copy_all(&inode->digests, extents);
    pthread_mutex_unlock(&inode->mutex);
    for (size_t i = 0; i < count && i < LOOK_EXTENTS; i++)
        look_at_extent(context, handle, &extents[i]);
    backing_end_fresh(inode);
    free(extents);
}
