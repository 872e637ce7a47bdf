/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify.h"

#include "backing.h"
#include "file_name.h"
#include "log.h"
#include "metadata.h"
#include "pool.h"
#include "read_back.h"
#include "stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void verify_deinit(struct verify *verify)
{
    free(verify->seen);
    free(verify->extents);
    free(verify->results);
    *verify = (struct verify){.seen = NULL};
}

/* ---- saying it ---- */

/* Remembers what was said of the inode; false: the same was said before. */
static bool is_news(struct context *context, struct inode *inode, const struct trace *now)
{
    pthread_mutex_lock(&inode->mutex);
    const bool news =
        inode->foreign_writes == 0 || trace_compare(&inode->foreign_trace, now) != TRACE_SAME;
    if (news) {
        inode->foreign_writes++;
        inode->foreign_trace = *now;
    }
    pthread_mutex_unlock(&inode->mutex);
    if (news)
        stats_event(context->stats, STATS_FOREIGN_WRITE);
    return news;
}

static void say_written(struct context *context, struct inode *inode, const struct record *record,
                        const struct trace *now)
{
    const bool refused = context->options.fence == FENCE_STRICT;

    if (!is_news(context, inode, now) && !refused)
        return;
    log_warning("%s: somebody who never acquired it wrote it since host %s handed it over "
                "(generation %ju; %ju bytes then, %ju now): %s",
                file_name(context, inode).text, record->host.name, (uintmax_t)record->generation,
                (uintmax_t)record->trace.length_bytes, (uintmax_t)now->length_bytes,
                refused ? "not acquired (fence=strict); `migfsctl forget` accepts what is there"
                        : "going on with it; where that was no restore, see migfsctl doctor");
}

static void say_stale(struct context *context, const struct handle *handle,
                      const struct record *record, const struct digest_extent *extent)
{
    struct inode *inode = handle->inode;

    pthread_mutex_lock(&inode->mutex);
    inode->stale_acquires++;
    pthread_mutex_unlock(&inode->mutex);
    stats_event(context->stats, STATS_STALE_ACQUIRE);
    log_error(
        "%s: stale: the %u bytes at offset %ju are not what host %s wrote before it handed "
        "the file over (generation %ju), and by length and times nobody wrote it since; not "
        "acquired by host %s (opened there at generation %ju); `migfsctl forget` accepts what is "
        "there",
        file_name(context, inode).text, extent->length, (uintmax_t)extent->offset,
        record->host.name, (uintmax_t)record->generation, context->host.name,
        (uintmax_t)handle->open_generation);
}

/* `extent` NULL: its length and times tell. */
static void say_changed(struct context *context, struct inode *inode,
                        const struct digest_extent *extent)
{
    const struct file_name name = file_name(context, inode);

    pthread_mutex_lock(&inode->mutex);
    inode->foreign_writes++;
    const uint64_t generation = inode->owner.generation;
    pthread_mutex_unlock(&inode->mutex);
    stats_event(context->stats, STATS_FOREIGN_WRITE);
    metadata_drop(inode);
    if (extent)
        log_warning(
            "%s: somebody else wrote it while this host owns it (generation %ju): the %u "
            "bytes at offset %ju are not what was written here; see migfsctl doctor for who, and "
            "check the image",
            name.text, (uintmax_t)generation, extent->length, (uintmax_t)extent->offset);
    else
        log_warning("%s: somebody else wrote it while this host owns it (generation %ju): its "
                    "length or times are not ours; see migfsctl doctor for who, and check the "
                    "image",
                    name.text, (uintmax_t)generation);
}

static void say_unread(struct context *context, struct inode *inode, const struct verify *verify,
                       size_t unread, int error)
{
    log_warning("%s: %zu of %zu extents could not be verified: %s; see that the store can be read, "
                "and check the image",
                file_name(context, inode).text, unread, verify->count, strerror(-error));
}

/* ---- comparing ---- */

static int written(struct context *context, struct inode *inode, struct verify *verify,
                   const struct trace *now)
{
    verify->verdict = VERIFY_WRITTEN;
    pthread_mutex_lock(&inode->mutex);
    digest_ring_clear(&inode->digests);
    const bool by_us = inode->written_beside; /* as QEMU's block commit does, before it owns */
    pthread_mutex_unlock(&inode->mutex);
    if (by_us)
        return 0;
    say_written(context, inode, &verify->seen->record, now);
    return context->options.fence == FENCE_STRICT ? -EIO : 0;
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
 * One extent reads back different: stale, as far as length and mtime tell. A ctime that moved alone
 * tells of a chown as well as of a write whose mtime was put back: only what stays different until
 * the time is up is taken for a write.
 */
static int differs(struct context *context, const struct handle *handle, struct verify *verify,
                   const struct digest_extent *extent, int64_t until_ns)
{
    struct inode *inode = handle->inode;
    struct trace now;
    const int error = record_file_trace(context, inode, &now);

    if (error != 0)
        return error;
    const enum trace_verdict verdict = trace_compare(&verify->seen->record.trace, &now);
    if (verdict == TRACE_WRITTEN)
        return written(context, inode, verify, &now);
    verify->verdict = VERIFY_STALE;
    verify->sight.is_there = false; /* what comes now may be long after it */
    if (pool_now_ns() < until_ns)
        return -EAGAIN;
    if (verdict != TRACE_SAME)
        return written(context, inode, verify, &now);
    say_stale(context, handle, &verify->seen->record, extent);
    return -EIO;
}

static int compare_extents(struct context *context, struct handle *handle, struct verify *verify,
                           int64_t until_ns)
{
    struct inode *inode = handle->inode;
    size_t unread = 0;
    int error = 0;

    for (size_t i = 0; i < verify->count; i++) {
        const struct digest_extent *extent = &verify->extents[i];

        if (verify->results[i] == READ_BACK_DIFFERS && extent_counts(inode, extent))
            return differs(context, handle, verify, extent, until_ns);
        if (verify->results[i] < 0) {
            error = error != 0 ? error : verify->results[i];
            unread++;
        }
    }
    if (unread > 0)
        say_unread(context, inode, verify, unread, error);
    verify->verdict = unread > 0          ? VERIFY_PARTLY
                      : verify->count > 0 ? VERIFY_WHOLE
                                          : VERIFY_UNKNOWN;
    return 0;
}

static int take_extents(struct inode *inode, struct verify *verify)
{
    verify->extents = calloc(DIGEST_EXTENTS, sizeof(*verify->extents));
    verify->results = calloc(DIGEST_EXTENTS, sizeof(*verify->results));
    if (!verify->extents || !verify->results)
        return -ENOMEM;
    pthread_mutex_lock(&inode->mutex);
    verify->count = digest_ring_copy(&inode->digests, verify->extents);
    pthread_mutex_unlock(&inode->mutex);
    for (size_t i = 0; i < verify->count; i++)
        verify->results[i] = READ_BACK_NOT_YET;
    return 0;
}

/* Its length and times: whether there is anything to be read back. */
static int look_first(struct context *context, struct inode *inode, struct verify *verify)
{
    struct trace_sight *sight = &verify->sight;
    int error;

    pthread_mutex_lock(&inode->mutex);
    sight->look = trace_look_begin(&inode->watch);
    pthread_mutex_unlock(&inode->mutex);
    error = record_file_trace(context, inode, &sight->trace);
    if (error != 0)
        return error;
    sight->is_there = true;
    if (trace_compare(&verify->seen->record.trace, &sight->trace) == TRACE_WRITTEN)
        return written(context, inode, verify, &sight->trace);
    return 0;
}

/* What an owner that did not hand over wrote last, its record does not say. */
static void say_left(struct context *context, struct inode *inode, const struct record *record)
{
    pthread_mutex_lock(&inode->mutex);
    const bool is_own = inode->owner.recorded; /* of this mount, which goes on as owner */
    pthread_mutex_unlock(&inode->mutex);
    if (is_own)
        return;
    log_warning(
        "%s: host %s owned it and never handed it over (generation %ju): what it wrote last "
        "may be missing, and nothing is verified; check the image",
        file_name(context, inode).text, record->host.name, (uintmax_t)record->generation);
}

/* Whether there is anything to compare it with. */
static bool has_record(struct context *context, struct inode *inode, const struct verify *verify)
{
    if (!verify->seen || !verify->seen->is_valid)
        return false;
    if (verify->seen->record.state == RECORD_RELEASED)
        return true;
    say_left(context, inode, &verify->seen->record);
    return false;
}

int verify_file(struct batch *batch, struct verify *verify)
{
    struct context *context = batch->context;
    struct inode *inode = batch->handle->inode;
    const bool is_first = !verify->begun;
    struct read_back reading;
    int error = 0;

    if (!has_record(context, inode, verify)) {
        batch_run(batch);
        return 0;
    }
    if (!verify->extents)
        error = take_extents(inode, verify);
    if (error == 0)
        read_back_add(&reading, batch, verify->extents, verify->count, verify->results);
    batch_begin(batch);
    if (error == 0 && is_first) /* while they are read */
        error = look_first(context, inode, verify);
    if (error != 0 || verify->verdict == VERIFY_WRITTEN)
        batch_stop(batch);
    batch_run(batch);
    if (error != 0 || verify->verdict == VERIFY_WRITTEN)
        return error;
    verify->begun = true;
    return compare_extents(context, batch->handle, verify, batch->until_ns);
}

/* ---- while owner ---- */

bool verify_has_looked(struct inode *inode, const struct verify *verify, struct trace *then)
{
    const struct trace_sight *sight = &verify->sight;

    pthread_mutex_lock(&inode->mutex);
    const bool serves = trace_sight_serves(&inode->watch, sight);
    if (serves)
        (void)trace_look_end(&inode->watch, &sight->look, &sight->trace); /* the first one */
    pthread_mutex_unlock(&inode->mutex);
    if (serves)
        *then = sight->trace;
    return serves;
}

/* The rest of a look that has begun. */
static int look_on(struct context *context, struct inode *inode, const struct trace_look *look,
                   struct trace *now)
{
    enum trace_verdict verdict;
    const int error = record_file_trace(context, inode, now);

    if (error != 0)
        return error;
    pthread_mutex_lock(&inode->mutex);
    verdict = trace_look_end(&inode->watch, look, now);
    pthread_mutex_unlock(&inode->mutex);
    if (verdict == TRACE_WRITTEN)
        say_changed(context, inode, NULL);
    return 0;
}

int verify_look(struct context *context, struct inode *inode, struct trace *now)
{
    pthread_mutex_lock(&inode->mutex);
    const struct trace_look look = trace_look_begin(&inode->watch);
    pthread_mutex_unlock(&inode->mutex);
    return look_on(context, inode, &look, now);
}

void verify_look_ahead(struct context *context, struct inode *inode, const struct trace_look *look)
{
    struct trace_sight ahead = {.look = *look};

    ahead.is_there = look_on(context, inode, look, &ahead.trace) == 0;
    pthread_mutex_lock(&inode->mutex);
    inode->ahead = ahead;
    inode->ahead_ns = pool_now_ns();
    pthread_mutex_unlock(&inode->mutex);
}

/* So soon the rest follows, or it is another hand-over. */
#define AHEAD_NS (INT64_C(1) * 1000000000)

bool verify_looked_ahead(struct inode *inode, struct trace *then)
{
    pthread_mutex_lock(&inode->mutex);
    const struct trace_sight ahead = inode->ahead;
    const bool serves =
        trace_sight_serves(&inode->watch, &ahead) && pool_now_ns() - inode->ahead_ns < AHEAD_NS;
    inode->ahead.is_there = false;
    pthread_mutex_unlock(&inode->mutex);
    if (serves)
        *then = ahead.trace;
    return serves;
}

/* As many as cost little, of those that were written last. */
#define LOOK_EXTENTS 8

/* An extent that went while it was read was written again here. */
static void look_at_extents(struct context *context, struct handle *handle,
                            const struct digest_extent *extents, size_t count)
{
    const int64_t forever = INT64_MAX;
    struct inode *inode = handle->inode;
    int results[LOOK_EXTENTS];
    struct read_back reading;
    struct batch batch;

    for (size_t i = 0; i < count; i++)
        results[i] = READ_BACK_NOT_YET;
    batch_init(&batch, context, handle, forever);
    read_back_add(&reading, &batch, extents, count, results);
    batch_run(&batch);
    for (size_t i = 0; i < count; i++) {
        if (results[i] != READ_BACK_DIFFERS)
            continue;
        pthread_mutex_lock(&inode->mutex);
        const bool counts = digest_ring_remove(&inode->digests, &extents[i]);
        pthread_mutex_unlock(&inode->mutex);
        if (counts)
            say_changed(context, inode, &extents[i]);
    }
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
    look_at_extents(context, handle, extents, count < LOOK_EXTENTS ? count : LOOK_EXTENTS);
    backing_close_fresh(inode);
    free(extents);
}
