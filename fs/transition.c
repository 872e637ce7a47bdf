/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "transition.h"

#include "backing.h"
#include "description.h"
#include "file_name.h"
#include "guard.h"
#include "lock_wait.h"
#include "log.h"
#include "measure.h"
#include "metadata.h"
#include "notify.h"
#include "record_file.h"
#include "refresh.h"
#include "report.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between two tests while another host is on its way out. */
#define TEST_AGAIN_MS 10
/* A test waits for this part of the deadline; the rest is for the steps after it. */
#define TEST_PART 0.8
/* What is stale is read again after this. */
#define VERIFY_AGAIN_MS 20

static struct transition *transition_of(struct job *job)
{
    return (struct transition *)job;
}

/* ---- beginning ---- */

static bool takes(const struct lock_change *change)
{
    return change->action == LOCK_TAKE || change->action == LOCK_TAKE_DAEMON;
}

static enum handoff_kind kind_of(const struct transition *transition, const struct owner *owner)
{
    const struct lock_claims *claims = &transition->claims;

    if (transition->forgets)
        return HANDOFF_FORGET;
    if (transition->change.action == LOCK_GIVE_DAEMON)
        return HANDOFF_RELEASE;
    return handoff_kind_of(owner, claims->before, claims->after, !takes(&transition->change));
}

static struct handoff_plan plan_of(const struct context *context,
                                   const struct transition *transition, enum handoff_kind kind)
{
    const enum profile profile = context->options.profile;
    const bool by_ioctl = transition->change.action == LOCK_TAKE_DAEMON;

    return (struct handoff_plan){
        .kind = kind,
        .writes = transition->claims.after == CLAIM_OWNER_WRITING || transition->forgets,
        .tests = by_ioctl || profile == PROFILE_AUTO || profile == PROFILE_QEMU,
        .conflict_is_error = transition->conflict_is_error,
        .has_caller = transition->has_caller,
        .stops_handles = transition->change.action == LOCK_GIVE_DAEMON && !transition->takes_back,
        .takes_back = transition->takes_back,
        .keeps_record = context->options.record != RECORD_OFF,
        .record_is_required = context->options.record == RECORD_REQUIRE,
    };
}

static enum handoff_step begin(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    enum handoff_step step;

    pthread_mutex_lock(&inode->mutex);
    const enum handoff_kind kind = kind_of(transition, &inode->owner);
    const struct handoff_plan plan = plan_of(context, transition, kind);
    transition->state_before = owner_state(&inode->owner);
    step = handoff_begin(&transition->handoff, &inode->owner, &plan);
    pthread_mutex_unlock(&inode->mutex);
    transition->begun = true;
    transition->started_ns = pool_now_ns();
    measure_begin(transition);
    return step;
}

/*
 * The lock is a moment to look whether another host has become owner (DESIGN §2). One more lock
 * beside others is none, and to share the file takes a READ_RECORD of its own.
 */
static void look(struct context *context, const struct transition *transition)
{
    struct inode *inode = transition->job.inode;

    if (transition->claims.before != CLAIM_NONE || transition->claims.after == CLAIM_SHARED)
        return;
    if (transition->claims.after == CLAIM_NONE && record_look_in_standby(context, inode))
        return;
    if (!record_look(context, inode))
        return;
    if (transition->job.loan)
        refresh_drop_later(context, inode);
    else
        (void)notify_inode(context, inode); /* a lost drop is made up by the acquire's own */
}

static int prepare(struct context *context, struct transition *transition)
{
    struct inode *inode = transition->job.inode;
    int error;

    if (takes(&transition->change)) {
        /* The daemon's own locks go by anybody's handle, which may be closed between two tries. */
        if (transition->change.action == LOCK_TAKE_DAEMON)
            transition->change.handle = step_handle(inode);
        if (!transition->change.handle)
            return -ENOENT;
        error = backing_ready(transition->change.handle);
        if (error != 0)
            return error;
    }
    if (!takes(&transition->change) || context->lease_ms > 0) /* else each would cost a read */
        guard_confirm(context, inode);
    error = lock_claims(context, inode, &transition->change, &transition->claims);
    if (error == 0 && takes(&transition->change))
        look(context, transition);
    return error;
}

/* ---- ending ---- */

/*
 * `released` lasts until the handles that are open now are closed, whoever opens it later. The
 * kernel tells of a close long after it: who opened the file since its FLUSH came later, too.
 */
static void mark_released(struct inode *inode, const struct handle *closing)
{
    pthread_mutex_lock(&inode->mutex);
    const bool released = owner_state(&inode->owner) == OWNER_RELEASED;
    const uint64_t last = closing ? closing->opens_at_flush : inode->opens;
    for (struct handle *handle = inode->handles; handle && released; handle = handle->next)
        handle->was_released = handle->was_released || handle->open_number <= last;
    pthread_mutex_unlock(&inode->mutex);
}

/* On a pool thread: a release is never carried out on another. */
static void drop_left(struct context *context, struct inode *inode)
{
    if (!refresh_drop_left(context, inode))
        notify_inode_said(context, inode);
}

static void finish(struct context *context, struct transition *transition, int error)
{
    struct inode *inode = transition->job.inode;

    if (transition->answer)
        transition->answer(context, transition, error);
    else
        pool_reply(context->pool, &transition->job, error);
    if (error == 0 && transition->begun && transition->handoff.plan.kind == HANDOFF_ACQUIRE) {
        backing_close_fresh(inode); /* a close is a round trip */
        refresh_guard_record(context, inode);
    }
    if (error == 0 && transition->begun && transition->handoff.plan.kind == HANDOFF_DEMOTE)
        step_look_ahead(context, transition);
    if (transition->leaves_pages)
        drop_left(context, inode);
    pool_finish(context->pool, &transition->job);
}

/*
 * After how many milliseconds to try again, since who stands in the way may be closing; 0: not. On
 * another host that is not seen: there the ioctl alone asks again, since nobody retries for it.
 */
static unsigned closing_again_ms(struct context *context, struct transition *transition)
{
    if (lock_holder_is_closing(context, transition->job.inode, &transition->change))
        return LOCK_CLOSING_AGAIN_MS;
    return transition->handoff.plan.conflict_is_error ? LOCK_ELSEWHERE_AGAIN_MS : 0;
}

/*
 * LOCK met a conflict that may pass: nothing was taken, and the job comes back. So does one that
 * had waited: between the wait and its job the bytes may have been given back by another thread's
 * unlock or close, and be somebody else's now.
 */
static bool comes_back(struct context *context, struct transition *transition)
{
    if (transition->handoff.answer != -EAGAIN)
        return false;
    transition->lock_is_held = false;
    const unsigned again_ms = closing_again_ms(context, transition);

    if (again_ms > 0 && transition->retries_left >= again_ms) {
        transition->retries_left -= again_ms;
        transition->begun = false;
        lock_change_deinit(&transition->change);
        pool_again(context->pool, &transition->job, again_ms);
        return true;
    }
    if (!transition->waits)
        return false;
    transition->begun = false;
    lock_change_deinit(&transition->change);
    lock_wait_begin(context, transition);
    return true;
}

/* ---- the run ---- */

static bool test_goes_on(const struct transition *transition)
{
    const double most_ns = (double)transition->deadline_ms * 1e6 * TEST_PART;
    struct inode *inode = transition->job.inode;

    pthread_mutex_lock(&inode->mutex);
    const bool waits = handoff_test_waits(&transition->handoff, &inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return waits && (double)(pool_now_ns() - transition->started_ns) < most_ns;
}

/* Of what goes wrong where no caller is told: at a close, a kill. */
static void say_unheard(struct context *context, const struct transition *transition,
                        enum handoff_step step, int error)
{
    const enum handoff_kind kind = transition->handoff.plan.kind;
    const bool loses =
        step == HANDOFF_STEP_FLUSH || step == HANDOFF_STEP_DRAIN || step == HANDOFF_STEP_SYNC;

    if (error != 0 && loses && !transition->has_caller && kind != HANDOFF_UNLOCK)
        log_error("%s was closed, and what was written to it may be lost: %s at %s; its record "
                  "stays as it was; check the image before a guest starts from it",
                  file_name(context, transition->job.inode).text, strerror(-error),
                  handoff_step_name(step));
}

/* What it read ahead serves before the VMM is answered, or not at all. */
static void end_acquire(struct transition *transition)
{
    struct inode *inode = transition->job.inode;

    if (transition->handoff.answer != 0) {
        metadata_drop(inode);
        return;
    }
    transition->bytes_prefetched = metadata_serve(inode);
}

/* From the step that is due, until all are done or the job waits. */
static void go_on(struct context *context, struct transition *transition, enum handoff_step step)
{
    struct inode *inode = transition->job.inode;

    while (step != HANDOFF_DONE) {
        struct handoff_outcome outcome = {0};

        if (transition->job.loan && !step_is_quick(transition, step)) {
            pool_pass(context->pool, &transition->job);
            return;
        }
        measure_step_begin(transition);
        step_carry_out(context, transition, step, &outcome);
        if (step == HANDOFF_STEP_TEST && outcome.error == 0 && outcome.conflict &&
            test_goes_on(transition)) {
            pool_hold(context->pool, &transition->job, TEST_AGAIN_MS);
            return;
        }
        if (step == HANDOFF_STEP_VERIFY && outcome.error == -EAGAIN) {
            pool_hold(context->pool, &transition->job, VERIFY_AGAIN_MS);
            return;
        }
        measure_step_end(context, transition, step, outcome.error);
        say_unheard(context, transition, step, outcome.error);
        outcome.expired = pool_expired(context->pool, &transition->job);
        pthread_mutex_lock(&inode->mutex);
        outcome.pages_came = step_pages_came(transition, step);
        step = handoff_next(&transition->handoff, &inode->owner, &outcome);
        pthread_mutex_unlock(&inode->mutex);
    }
    if (comes_back(context, transition))
        return;
    if (transition->handoff.plan.kind == HANDOFF_ACQUIRE)
        end_acquire(transition);
    guard_acquired(context, inode);
    if (transition->handoff.plan.kind == HANDOFF_RELEASE || transition->handoff.contested)
        mark_released(inode, transition->closing);
    measure_end(context, transition);
    report_transition(context, transition);
    finish(context, transition, transition->handoff.answer);
}

static void end_wait(struct context *context, struct transition *transition)
{
    if (transition->counts_as_wait)
        atomic_fetch_sub(&transition->job.inode->lock_waits, 1);
    transition->counts_as_wait = false;
    if (!transition->waited_on)
        return;
    pthread_mutex_lock(&context->locks->mutex);
    transition->waited_on->waiters--;
    pthread_mutex_unlock(&context->locks->mutex);
    transition->waited_on = NULL;
}

/* The answer is bounded from here on: a wait for the lock is not. */
static void bound_answer(struct context *context, struct transition *transition)
{
    if (transition->deadline_ms > 0 && transition->lock_is_held)
        pool_set_deadline(context->pool, &transition->job, transition->deadline_ms);
}

/* Nothing is known of it that a lock might end, or that had to be looked at. */
static bool is_ordinary(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const bool is_owned = inode->owner.standing != OWNER_NEVER || inode->owner.contested;
    const bool is_claimed =
        inode->claim != CLAIM_NONE || inode->acquired_by_ioctl || inode->guard_fd >= 0;
    pthread_mutex_unlock(&inode->mutex);
    return !is_owned && !is_claimed;
}

static void run(struct context *context, struct job *job)
{
    struct transition *transition = transition_of(job);
    int error;

    if (job->loan && !is_ordinary(job->inode)) {
        pool_pass(context->pool, job);
        return;
    }
    if (transition->begun) {
        go_on(context, transition, transition->handoff.step);
        return;
    }
    if (transition->still_wanted && !transition->still_wanted(transition)) {
        finish(context, transition, 0);
        return;
    }
    end_wait(context, transition);
    bound_answer(context, transition);
    error = transition->wait_error;
    if (error == 0 && !transition->lock_is_held && pool_expired(context->pool, job))
        error = -ETIMEDOUT; /* its caller knows, and may have closed the handle since */
    if (error != 0)
        lock_drop_unused(context, job->inode, transition->change.range.owner);
    else
        error = prepare(context, transition);
    if (error != 0 && transition->lock_is_held &&
        lock_give_back(context, job->inode, &transition->change) != 0)
        log_error("%s: a lock that nobody holds stays on the store until the file is closed; end "
                  "its guest here where another host is refused it",
                  file_name(context, job->inode).text);
    if (error != 0) {
        finish(context, transition, error);
        return;
    }
    go_on(context, transition, begin(context, transition));
}

static void transition_free(struct job *job)
{
    struct transition *transition = transition_of(job);

    lock_change_deinit(&transition->change);
    verify_deinit(&transition->verify);
    free(transition);
}

/* ---- making them ---- */

struct transition *transition_new(struct inode *inode, const struct lock_change *change)
{
    struct transition *transition = calloc(1, sizeof(*transition));

    if (!transition)
        return NULL;
    transition->job.inode = inode;
    transition->job.run = run;
    transition->job.free = transition_free;
    transition->change = *change;
    transition->retries_left = LOCK_CLOSING_RETRIES;
    return transition;
}

void transition_submit(struct context *context, struct transition *transition, unsigned deadline_ms)
{
    transition->deadline_ms = deadline_ms;
    if (deadline_ms > 0)
        pool_set_deadline(context->pool, &transition->job, deadline_ms);
    pool_submit(context->pool, &transition->job);
}

void transition_carry_out(struct context *context, struct transition *transition,
                          unsigned deadline_ms)
{
    transition->deadline_ms = deadline_ms;
    pool_set_deadline(context->pool, &transition->job, deadline_ms);
    pool_carry_out(context->pool, &transition->job);
}

/* An owner's own file is as it left it, and the record will say so when it hands it over. */
static bool has_to_forget(const struct transition *transition)
{
    struct inode *inode = transition->job.inode;

    pthread_mutex_lock(&inode->mutex);
    const enum owner_state state = owner_state(&inode->owner);
    pthread_mutex_unlock(&inode->mutex);
    return state != OWNER_OWNER && state != OWNER_SHARED;
}

enum ioctl_purpose { HANDS_OVER, FORGETS, TAKES_BACK };

static void submit_for_ioctl(struct context *context, struct inode *inode,
                             const struct lock_change *change, enum ioctl_purpose purpose,
                             unsigned deadline_ms, job_done done, void *data)
{
    struct transition *transition = transition_new(inode, change);

    if (!transition) {
        done(context, inode, -ENOMEM, data);
        return;
    }
    transition->has_caller = true;
    transition->conflict_is_error = true;
    transition->forgets = purpose == FORGETS;
    transition->takes_back = purpose == TAKES_BACK;
    transition->still_wanted = purpose == FORGETS ? has_to_forget : NULL;
    transition->job.done = done;
    transition->job.done_data = data;
    transition_submit(context, transition, deadline_ms);
}

void transition_acquire(struct context *context, struct inode *inode, uint64_t acquirer,
                        uint32_t pid, unsigned deadline_ms, job_done done, void *data)
{
    const struct lock_change change = {
        .action = LOCK_TAKE_DAEMON,
        .acquirer = acquirer,
        .range = {.type = RANGE_READ, .owner = LOCK_OWNER_DAEMON, .pid = pid},
    };

    submit_for_ioctl(context, inode, &change, HANDS_OVER, deadline_ms, done, data);
}

static void give_daemon(struct context *context, struct inode *inode, enum ioctl_purpose purpose,
                        unsigned deadline_ms, job_done done, void *data)
{
    const struct lock_change change = {
        .action = LOCK_GIVE_DAEMON,
        .range = {.end = RANGE_MAX, .owner = LOCK_OWNER_DAEMON},
    };

    submit_for_ioctl(context, inode, &change, purpose, deadline_ms, done, data);
}

void transition_release(struct context *context, struct inode *inode, unsigned deadline_ms,
                        job_done done, void *data)
{
    give_daemon(context, inode, HANDS_OVER, deadline_ms, done, data);
}

void transition_take_back(struct context *context, struct inode *inode, unsigned deadline_ms,
                          job_done done, void *data)
{
    give_daemon(context, inode, TAKES_BACK, deadline_ms, done, data);
}

void transition_forget(struct context *context, struct inode *inode, unsigned deadline_ms,
                       job_done done, void *data)
{
    const struct lock_change change = {
        .action = LOCK_TAKE_DAEMON,
        .range = {.type = RANGE_READ, .owner = LOCK_OWNER_DAEMON},
    };

    submit_for_ioctl(context, inode, &change, FORGETS, deadline_ms, done, data);
}
