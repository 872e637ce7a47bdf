/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "step.h"

#include "backing.h"
#include "fault.h"
#include "file_name.h"
#include "guard.h"
#include "log.h"
#include "metadata.h"
#include "notify.h"
#include "pages.h"
#include "peer.h"
#include "record_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is stale is read again until this part of the deadline. */
#define VERIFY_PART 0.85
/* Where pages stay below, somebody may just have had them in use. */
#define DROP_TRIES 3
/* A wait without a deadline gives up after this. */
#define WAIT_MOST_MS 60000

static bool suits_better(const struct handle *handle, const struct handle *other)
{
    if (handle->is_delayed != other->is_delayed)
        return !handle->is_delayed;
    return handle_writes(handle) && !handle_writes(other);
}

struct handle *step_handle(struct inode *inode)
{
    struct handle *found = NULL;

    pthread_mutex_lock(&inode->mutex);
    for (struct handle *handle = inode->handles; handle; handle = handle->next) {
        if (!found || suits_better(handle, found))
            found = handle;
    }
    pthread_mutex_unlock(&inode->mutex);
    return found;
}

static void set_claim(struct inode *inode, const struct lock_claims *claims, bool after)
{
    pthread_mutex_lock(&inode->mutex);
    inode->claim = after ? claims->after : claims->before;
    if (after)
        inode->recognised = claims->recognised;
    pthread_mutex_unlock(&inode->mutex);
}

static int step_lock(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    const int error = lock_take(context, inode, &transition->change);

    if (error == 0) {
        set_claim(inode, &transition->claims, true);
        guard_choose(context, inode, NULL);
    }
    return error;
}

/* A read lock taken in the place of a write lock gives bytes back, too. */
static int give(struct context *context, struct inode *inode, struct lock_change *change)
{
    return change->action == LOCK_TAKE ? lock_take(context, inode, change)
                                       : lock_give(context, inode, change);
}

/* What is given back when a lock is taken back. */
static struct lock_change taken_back(const struct lock_change *change)
{
    return (struct lock_change){
        .action = change->action == LOCK_TAKE_DAEMON ? LOCK_GIVE_DAEMON : LOCK_GIVE,
        .is_flock = change->is_flock,
        .range = change->range,
        .handle = change->handle,
    };
}

static int step_unlock(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    const bool undoing = transition->handoff.undoing || transition->forgets;
    const struct lock_change given = undoing ? taken_back(&transition->change) : transition->change;
    int error;

    guard_choose(context, inode, &given);
    error = undoing ? lock_undo(context, inode, &transition->change)
                    : give(context, inode, &transition->change);
    if (error == 0)
        set_claim(inode, &transition->claims, !undoing);
    else
        guard_choose(context, inode, NULL); /* as it was */
    return error;
}

/*
 * Another host that writes holds 101. One that holds 201 alone is on its way out, or reads and
 * minds writers: both stand in the way of a writer, neither in that of a reader. Mostly nobody is
 * there, and one question says so.
 */
static int step_test(const struct transition *transition, bool *conflict)
{
    struct inode *inode = transition->job.inode;
    const bool writes = transition->handoff.plan.writes;
    int error = 0;

    if (transition->handoff.plan.kind == HANDOFF_SHARE) /* beside others who share it, too */
        return lock_test(inode, QEMU_BYTE_UNSHARED_WRITE, conflict);
    *conflict = true;
    if (writes)
        error = lock_test_all(inode, QEMU_BYTE_USES_WRITE, QEMU_BYTE_UNSHARED_WRITE, conflict);
    if (error != 0 || !*conflict)
        return error;
    error = lock_test(inode, QEMU_BYTE_USES_WRITE, conflict);
    if (error == 0 && !*conflict && writes)
        error = lock_test(inode, QEMU_BYTE_UNSHARED_WRITE, conflict);
    return error;
}

static int step_drop(struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    struct handle *handle = step_handle(inode);
    struct backing_drop drop = {.stayed = true};
    int error = handle ? 0 : -EBADF;

    metadata_drop(inode);
    for (int i = 0; error == 0 && drop.stayed && i < DROP_TRIES; i++) {
        error = backing_drop(handle, &drop);
        if (i == 0)
            transition->pages_dropped = drop.pages_cached;
    }
    if (error != 0)
        return error;

    pthread_mutex_lock(&inode->mutex);
    inode->distrusts_below = drop.stayed;
    pthread_mutex_unlock(&inode->mutex);
    transition->pages_stayed = drop.stayed;
    return 0;
}

/* A write-back that failed is known here only: the notification does not say (fact 11). */
static int take_writeback_error(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const int error = inode->writeback_error;
    inode->writeback_error = 0;
    pthread_mutex_unlock(&inode->mutex);
    return error;
}

static bool writes_under_way(const struct inode *inode)
{
    return inode->writes_in[0] + inode->writes_in[1] > 0;
}

static bool pages_under_way(const struct inode *inode)
{
    return inode->pages_under_way > 0;
}

/* Whom it waits for never waits: writes under way end as fast as the store lets them. */
static int wait_while(struct context *context, struct transition *transition,
                      bool (*under_way)(const struct inode *inode))
{
    struct inode *inode = transition->job.inode;
    const int64_t give_up = pool_now_ns() + WAIT_MOST_MS * INT64_C(1000000);
    int error = 0;

    pthread_mutex_lock(&inode->mutex);
    while (under_way(inode) && error == 0) {
        const int64_t until_ns = pool_now_ns() + 20 * INT64_C(1000000);
        const struct timespec until = {.tv_sec = until_ns / 1000000000,
                                       .tv_nsec = until_ns % 1000000000};

        pthread_cond_timedwait(&inode->drained, &inode->mutex, &until);
        if (until_ns > give_up || pool_expired(context->pool, &transition->job))
            error = -ETIMEDOUT;
    }
    pthread_mutex_unlock(&inode->mutex);
    return error;
}

/*
 * Before Linux 6.16 a notification, where it must do, does not wait for a page whose WRITE the
 * kernel has queued already: those that have come are waited for here, and what comes later has the
 * SYNC done again.
 */
static int step_flush(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    int error;

    pthread_mutex_lock(&inode->mutex);
    transition->bytes_before = inode->bytes_written;
    pthread_mutex_unlock(&inode->mutex);
    if (transition->job.loan) /* there was nothing, or it would not have come here */
        return 0;
    error = pages_write_out(context, inode, transition->closing);
    if (error == 0)
        error = wait_while(context, transition, pages_under_way);
    return error != 0 ? error : take_writeback_error(inode);
}

/* A lock of a file of which nothing is kept has nothing to drop. */
static bool keeps_nothing(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool may_cache = owner_may_cache(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return !may_cache && !pages_may_be_there(inode);
}

/*
 * Whether nobody but who hands the file over can read it here by a descriptor of before: that of
 * its last lock, or, by the ioctl, those whose writes are stopped. Who opens it from now on has the
 * kernel drop all pages first.
 */
static bool hands_over_alone(const struct transition *transition)
{
    const bool by_ioctl = transition->change.action == LOCK_GIVE_DAEMON;
    struct inode *inode = transition->job.inode;
    bool is_alone = true;

    if (fault_leaves_pages())
        return true;
    pthread_mutex_lock(&inode->mutex);
    for (const struct handle *handle = inode->handles; handle && is_alone; handle = handle->next)
        is_alone = by_ioctl ? handle_writes(handle) : handle == transition->change.handle;
    pthread_mutex_unlock(&inode->mutex);
    return is_alone;
}

/*
 * What costs time is to drop pages, each alone. Clean ones of who hands over need not go before the
 * bytes do: nobody else is served from them, and each acquire drops what is left before its answer.
 */
static int step_invalidate(struct context *context, struct transition *transition)
{
    const struct handoff *handoff = &transition->handoff;
    struct inode *inode = transition->job.inode;
    int error;

    if (transition->job.loan || (handoff->plan.kind == HANDOFF_LOCK && keeps_nothing(inode)))
        return 0; /* what came since the lock is as new as it */
    if (!handoff_may_leave_pages(handoff, hands_over_alone(transition)) ||
        !pages_may_be_many(inode))
        return notify_inode(context, inode);
    error = pages_write_out(context, inode, transition->closing); /* stored since FLUSH */
    if (error != 0)
        return error;
    transition->leaves_pages = true;
    pages_leave(inode);
    return notify_attributes(context, inode);
}

static bool is_told(const struct transition *transition, const struct handle *handle)
{
    return transition->has_caller && transition->change.handle == handle;
}

/*
 * A description remembers write-back errors of its own, and tells each once: all that may have
 * written are asked, and who is not told now is told later.
 */
static int step_sync(struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    struct handle *handle;
    int error = 0;

    pthread_mutex_lock(&inode->mutex);
    const uint64_t written = inode->digests.serial;
    const uint64_t changes = writes_under_way(inode) ? inode->changes_synced : inode->changes;
    transition->pages_at_sync = inode->pages_written_back;
    transition->look_at_sync = trace_look_begin(&inode->watch);
    handle = inode->handles;
    while (handle && error == 0) {
        pthread_mutex_unlock(&inode->mutex);
        if (handle_writes(handle) && !handle->is_delayed && fdatasync(handle->fd) != 0) {
            error = -errno;
            if (!is_told(transition, handle))
                atomic_store(&handle->owed_error, error);
        }
        pthread_mutex_lock(&inode->mutex);
        handle = handle->next;
    }
    transition->bytes_flushed = inode->bytes_written - transition->bytes_before;
    if (error == 0) {
        inode->changes_synced = changes;
        digest_ring_synced(&inode->digests, written);
    } else {
        digest_ring_clear(&inode->digests);
    }
    pthread_mutex_unlock(&inode->mutex);
    return error != 0 ? error : take_writeback_error(inode);
}

/*
 * What is written from here on is digested; what the last owner wrote is known until it is changed.
 * Short of memory there are no digests, and the next owner has nothing to compare.
 */
static void keep_digests(struct inode *inode, const struct record_seen *seen)
{
    const bool has = seen && seen->is_valid && seen->record.state == RECORD_RELEASED;

    pthread_mutex_lock(&inode->mutex);
    (void)digest_ring_start(&inode->digests, has ? seen->record.digests : NULL,
                            has ? seen->record.digest_count : 0);
    pthread_mutex_unlock(&inode->mutex);
}

static void forget_digests(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    digest_ring_stop(&inode->digests);
    pthread_mutex_unlock(&inode->mutex);
}

static int step_read_record(struct context *context, struct transition *transition)
{
    const bool acquires = transition->handoff.plan.kind == HANDOFF_ACQUIRE;
    struct inode *inode = transition->job.inode;
    struct record_seen *seen;
    int error;

    if (!acquires && !transition->forgets)
        return record_file_read(context, inode, NULL);
    seen = calloc(1, sizeof(*seen)); /* NULL: nothing is verified */
    error = record_file_read(context, inode, seen);
    if (seen && seen->is_valid)
        peer_look(context, &seen->record);
    if (acquires)
        keep_digests(inode, seen);
    else
        forget_digests(inode);
    verify_deinit(&transition->verify);
    transition->verify.seen = seen;
    return error;
}

/* Of the deadline: the rest is for the record. */
static int64_t verify_until(const struct context *context, const struct transition *transition)
{
    const unsigned ms =
        transition->deadline_ms > 0 ? transition->deadline_ms : context->options.deadline_ms;

    return transition->started_ns + (int64_t)(ms * 1e6 * VERIFY_PART);
}

/* -EAGAIN: not yet; what was cached below is dropped once more. */
static int step_verify(struct context *context, struct transition *transition)
{
    struct handle *handle = step_handle(transition->job.inode);
    struct metadata_reading reading = {0};
    struct batch batch;
    int error;

    if (!handle)
        return -EBADF;
    batch_init(&batch, context, handle, verify_until(context, transition));
    if (!transition->verify.begun) /* a store that gave what was stale is asked by the VMM itself */
        metadata_read_begin(&reading, &batch);
    error = verify_file(&batch, &transition->verify);
    metadata_read_end(&reading, error == 0 && transition->verify.verdict != VERIFY_WRITTEN);
    if (error == -EAGAIN) {
        const int dropped = step_drop(transition);

        error = dropped != 0 ? dropped : error;
    }
    return error;
}

/* A moment ago, and nothing was changed here since: one question less while a guest stands still.
 */
static bool has_looked(const struct transition *transition, enum record_state state,
                       struct trace *trace)
{
    struct inode *inode = transition->job.inode;

    if (state == RECORD_OWNED)
        return verify_has_looked(inode, &transition->verify, trace);
    return transition->handoff.plan.kind == HANDOFF_RELEASE && verify_looked_ahead(inode, trace);
}

void step_look_ahead(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;

    if (!context->passthrough && record_file_is_kept(context, inode))
        verify_look_ahead(context, inode, &transition->look_at_sync);
}

/*
 * An owner watches its file from the look on that its record tells of, and looks a last time when
 * it hands it over. In passthrough what is written is not seen: there nothing can be told of
 * others, and no digest be relied on.
 */
static int look(struct context *context, struct transition *transition, enum record_state state,
                struct trace *trace)
{
    struct inode *inode = transition->job.inode;
    int error = 0;

    pthread_mutex_lock(&inode->mutex);
    if (state == RECORD_OWNED)
        inode->written_beside = false;
    if (state == RECORD_OWNED && !context->passthrough)
        trace_watch_on(&inode->watch);
    if (context->passthrough)
        digest_ring_stop(&inode->digests);
    pthread_mutex_unlock(&inode->mutex);
    if (context->passthrough || !has_looked(transition, state, trace))
        error = verify_look(context, inode, trace);
    pthread_mutex_lock(&inode->mutex);
    if (state == RECORD_RELEASED)
        trace_watch_off(&inode->watch);
    pthread_mutex_unlock(&inode->mutex);
    return error;
}

/* A record that is worth nothing holds nobody up, and one that is not there is not missed. */
static bool has_nothing_to_forget(const struct transition *transition)
{
    const struct record_seen *seen = transition->verify.seen;

    return transition->forgets && seen && !seen->is_valid;
}

static int step_write_record(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    struct record_news news = {
        .state = transition->handoff.record_state,
        .generation = transition->handoff.generation,
        .flushed_bytes = transition->bytes_flushed,
    };
    int error;

    if (!record_file_is_kept(context, inode) || has_nothing_to_forget(transition))
        return 0;
    error = look(context, transition, news.state, &news.trace);
    if (error != 0) {
        log_error("%s cannot be looked at for its record: %s; see that the store answers",
                  file_name(context, inode).text, strerror(-error));
        return error;
    }
    if (transition->forgets) /* it hands nothing over */
        news.host = transition->verify.seen ? &transition->verify.seen->record.host : NULL;
    else if (news.state == RECORD_RELEASED)
        news.duration_ns = (uint64_t)(pool_now_ns() - transition->started_ns);
    return record_file_write(context, inode, &news);
}

static bool flushes_nothing(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool is_under_way = inode->pages_under_way > 0;
    pthread_mutex_unlock(&inode->mutex);
    return !is_under_way && !pages_may_be_there(inode);
}

bool step_is_quick(const struct transition *transition, enum handoff_step step)
{
    const enum handoff_kind kind = transition->handoff.plan.kind;
    struct inode *inode = transition->job.inode;

    if (kind != HANDOFF_LOCK && kind != HANDOFF_UNLOCK)
        return false;
    switch (step) {
    case HANDOFF_STEP_LOCK:
    case HANDOFF_STEP_UNLOCK:
    case HANDOFF_STEP_ANSWER:
        return true;
    case HANDOFF_STEP_INVALIDATE:
        return keeps_nothing(inode);
    case HANDOFF_STEP_FLUSH:
        return flushes_nothing(inode);
    default:
        return false;
    }
}

void step_carry_out(struct context *context, struct transition *transition, enum handoff_step step,
                    struct handoff_outcome *outcome)
{
    struct inode *inode = transition->job.inode;

    if (fault_at(transition->handoff.plan.kind, step))
        return;
    switch (step) {
    case HANDOFF_STEP_LOCK:
        outcome->error = step_lock(context, transition);
        break;
    case HANDOFF_STEP_TEST:
        outcome->error = step_test(transition, &outcome->conflict);
        break;
    case HANDOFF_STEP_DROP:
        outcome->error = step_drop(transition);
        break;
    case HANDOFF_STEP_READ_RECORD:
        outcome->error = step_read_record(context, transition);
        break;
    case HANDOFF_STEP_INVALIDATE:
        outcome->error = step_invalidate(context, transition);
        break;
    case HANDOFF_STEP_VERIFY:
        outcome->error = step_verify(context, transition);
        break;
    case HANDOFF_STEP_WRITE_RECORD:
        outcome->error = guard_failed(context, inode, step_write_record(context, transition));
        break;
    case HANDOFF_STEP_FLUSH:
        outcome->error = step_flush(context, transition);
        break;
    case HANDOFF_STEP_DRAIN:
        outcome->error = wait_while(context, transition, writes_under_way);
        break;
    case HANDOFF_STEP_SYNC:
        outcome->error = guard_failed(context, inode, step_sync(transition));
        break;
    case HANDOFF_STEP_UNLOCK:
        outcome->error = step_unlock(context, transition);
        break;
    case HANDOFF_STEP_ANSWER:
    case HANDOFF_DONE:
        break;
    }
}

bool step_pages_came(struct transition *transition, enum handoff_step step)
{
    const struct inode *inode = transition->job.inode;

    if (step != HANDOFF_STEP_SYNC && step != HANDOFF_STEP_WRITE_RECORD &&
        step != HANDOFF_STEP_INVALIDATE)
        return false;
    return inode->pages_under_way > 0 || inode->pages_written_back != transition->pages_at_sync;
}
