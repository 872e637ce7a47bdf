/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "close.h"

#include "backing.h"
#include "file_name.h"
#include "log.h"
#include "loop.h"
#include "metadata.h"
#include "passthrough.h"
#include "record_collect.h"
#include "record_file.h"
#include "transition.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Whether locks or a hand-over make the inode more than an open file. */
static bool inode_is_claimed(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool claimed = inode->claim != CLAIM_NONE || inode->acquired_by_ioctl;
    pthread_mutex_unlock(&inode->mutex);
    return claimed;
}

static bool is_last_handle(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool is_last = inode->open_handles == 1;
    pthread_mutex_unlock(&inode->mutex);
    return is_last;
}

/* The inode is as if never opened. In its turn. */
static void last_close(struct context *context, struct inode *inode)
{
    lock_last_close(context, inode);
    record_file_close(inode);
    record_collect(context);
    backing_close_fresh(inode);
    metadata_drop(inode);
    passthrough_last_close(context, inode);
    pthread_mutex_lock(&inode->mutex);
    owner_last_close(&inode->owner);
    digest_ring_stop(&inode->digests);
    trace_watch_off(&inode->watch);
    inode->claim = CLAIM_NONE;
    inode->recognised = false;
    pthread_mutex_unlock(&inode->mutex);
}

/* A handle opened after a release may be older than the close that ends it: RELEASE is late. */
static void end_released(struct inode *inode)
{
    const struct handle *handle;

    pthread_mutex_lock(&inode->mutex);
    handle = inode->handles;
    while (handle && !handle->was_released)
        handle = handle->next;
    if (!handle && owner_state(&inode->owner) == OWNER_RELEASED)
        owner_last_close(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
}

/* The handle, and with the last one all that the inode had of being open. In its turn. */
static void close_handle(struct context *context, struct inode *inode, struct handle *handle)
{
    const bool is_last = is_last_handle(inode);

    handle_close(context, handle);
    if (is_last)
        last_close(context, inode);
    else
        end_released(inode);
}

/* Nobody waits where an open could not be told to the kernel. */
static void reply(fuse_req_t req, int error)
{
    if (req)
        fuse_reply_err(req, error);
}

static void submit_close(struct context *context, struct handle *handle, fuse_req_t req,
                         enum lock_action action);

/*
 * Whether the daemon's own locks are to go: the handle that closes is the last but the one through
 * which the ioctl was called.
 */
static bool ends_acquire(const struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    const struct handle *handle;

    pthread_mutex_lock(&inode->mutex);
    handle = inode->handles;
    while (handle && (handle == transition->closing || handle->number == inode->acquired_through))
        handle = handle->next;
    const bool ends = inode->acquired_by_ioctl && !handle;
    pthread_mutex_unlock(&inode->mutex);
    return ends;
}

/*
 * The daemon's own locks stay for as long as anybody has the file open: they go before the last
 * handle does, since a hand-over needs one; in a turn of their own, until which somebody may have
 * opened the file.
 */
static void closed(struct context *context, struct transition *transition, int error)
{
    struct inode *inode = transition->job.inode;

    if (error != 0)
        log_error("%s: its locks could not be given back when it was closed: %s; where other hosts "
                  "are refused it still, mount anew",
                  file_name(context, inode).text, strerror(-error));
    if (ends_acquire(transition)) {
        submit_close(context, transition->closing,
                     pool_take_request(context->pool, &transition->job), LOCK_GIVE_DAEMON);
        return;
    }
    close_handle(context, inode, transition->closing);
    pool_reply(context->pool, &transition->job, 0);
}

static void submit_close(struct context *context, struct handle *handle, fuse_req_t req,
                         enum lock_action action)
{
    const struct lock_change change = {
        .action = action,
        .handle = handle,
        .range = {.end = RANGE_MAX, .handle = handle->number, .owner = LOCK_OWNER_DAEMON},
    };
    struct transition *transition = transition_new(handle->inode, &change);

    if (!transition) {
        log_error("%s: out of memory when it was closed: it stays open and locked here; mount anew "
                  "to let other hosts have it",
                  file_name(context, handle->inode).text);
        reply(req, ENOMEM);
        return;
    }
    transition->job.req = req;
    transition->closing = handle;
    transition->still_wanted = action == LOCK_GIVE_DAEMON ? ends_acquire : NULL;
    transition->answer = closed;
    transition_submit(context, transition, 0);
}

/* At once where nothing of the inode is under way and nothing is held; else in its turn. */
void close_last(struct context *context, struct handle *handle, fuse_req_t req)
{
    struct inode *inode = handle->inode;

    if (lock_handle_holds(context, inode, handle->number) || inode_is_claimed(inode) ||
        !pool_try_begin(context->pool, inode)) {
        submit_close(context, handle, req, LOCK_GIVE_HANDLE);
        return;
    }
    inode_ref(context->inodes, inode);
    close_handle(context, inode, handle);
    pool_end(context->pool, inode);
    inode_unref(context->inodes, inode);
    reply(req, 0);
}

static void flushed(struct context *context, struct transition *transition, int error)
{
    pool_reply(context->pool, &transition->job,
               transition->close_error != 0 ? transition->close_error : error);
}

void close_one(struct context *context, struct handle *handle, uint64_t owner, int close_error,
               fuse_req_t req)
{
    struct inode *inode = handle->inode;
    const struct lock_change change = {
        .action = LOCK_GIVE_OWNER,
        .handle = handle,
        .range = {.end = RANGE_MAX, .owner = owner},
    };
    struct transition *transition;

    pthread_mutex_lock(&inode->mutex);
    handle->opens_at_flush = inode->opens;
    pthread_mutex_unlock(&inode->mutex);
    if (!lock_owner_holds(context, inode, owner) && pool_try_begin(context->pool, inode)) {
        pool_end(context->pool, inode);
        fuse_reply_err(req, -close_error);
        return;
    }
    transition = transition_new(inode, &change);
    if (!transition) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    transition->job.req = req;
    transition->close_error = close_error;
    transition->answer = flushed;
    transition_submit(context, transition, 0);
}

/* Whether all who have the inode open may have closed it, and the kernel has yet to say so. */
static bool is_closing(struct inode *inode)
{
    const struct handle *handle;

    pthread_mutex_lock(&inode->mutex);
    const bool open = inode->handles != NULL;
    handle = inode->handles;
    while (handle && atomic_load(&handle->may_be_closing))
        handle = handle->next;
    pthread_mutex_unlock(&inode->mutex);
    return open && !handle;
}

void close_await(struct inode *inode)
{
    const struct timespec step = {.tv_nsec = LOCK_CLOSING_AGAIN_MS * 1000000L};

    if (is_closing(inode))
        loop_wait_begin(); /* a RELEASE is to be served */
    for (int i = 0; i < LOCK_CLOSING_RETRIES && is_closing(inode); i++)
        nanosleep(&step, NULL);
}
