/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refresh.h"

#include "fault.h"
#include "file_name.h"
#include "handle.h"
#include "log.h"
#include "notify.h"
#include "pages.h"
#include "pool.h"
#include "record_file.h"

#include <stdlib.h>

/*
 * Standby reads share one drop: a faster one takes the pages away before they are read. What a
 * release left goes as late, too: at once it kept the processor busy on which who was answered was
 * to run, for milliseconds.
 */
#define DROP_DELAY_MS 10
/* A VMM that takes over has taken its other locks by then, and the record been read for them. */
#define STANDBY_LOOK_DELAY_MS 100

static void job_free(struct job *job)
{
    free(job);
}

static struct job *job_new(struct inode *inode, void (*carry)(struct context *, struct job *))
{
    struct job *job = calloc(1, sizeof(*job));

    if (job)
        *job = (struct job){.inode = inode, .run = carry, .free = job_free};
    return job;
}

/* ---- drops ---- */

/* One an inode: in pieces, between which its other jobs have their turn. */
struct drop {
    struct job job; /* first */
    bool begun;
    struct pages_left left;
};

static uint64_t length_of(struct inode *inode)
{
    struct stat attributes;

    pthread_mutex_lock(&inode->mutex);
    const struct handle *handle = inode->handles; /* is good in the inode's turn */
    attributes = inode->at_open;
    pthread_mutex_unlock(&inode->mutex);
    if (handle)
        (void)fstat(handle->fd, &attributes); /* else what is beyond its old end is one piece */
    return (uint64_t)attributes.st_size;
}

/* Whether there is anything to drop, from what is there now on. */
static bool drop_begin(struct drop *drop)
{
    struct inode *inode = drop->job.inode;

    pthread_mutex_lock(&inode->mutex);
    inode->drop_is_due = false;
    inode->drop_runs = true;
    const bool wanted = owner_asks_server(&inode->owner) || pages_are_left(inode);
    pthread_mutex_unlock(&inode->mutex);
    if (!wanted || !pages_may_be_there(inode))
        return false;
    drop->begun = true;
    drop->left = pages_drop_left_begin(inode, length_of(inode));
    return true;
}

static void drop_end(struct context *context, struct drop *drop)
{
    struct inode *inode = drop->job.inode;

    pthread_mutex_lock(&inode->mutex);
    const bool is_due = inode->drop_is_due;
    inode->drop_runs = is_due;
    pthread_mutex_unlock(&inode->mutex);
    drop->begun = false;
    if (is_due)
        pool_again(context->pool, &drop->job, DROP_DELAY_MS);
    else
        pool_finish(context->pool, &drop->job);
}

static void run_drop(struct context *context, struct job *job)
{
    struct drop *drop = (struct drop *)job;

    if ((drop->begun || drop_begin(drop)) && pages_drop_left(context, job->inode, &drop->left))
        pool_again(context->pool, job, 0);
    else
        drop_end(context, drop);
}

/* False: out of memory. */
static bool drop_submit(struct context *context, struct inode *inode, unsigned delay_ms)
{
    struct drop *drop;

    pthread_mutex_lock(&inode->mutex);
    const bool is_coming = inode->drop_is_due || inode->drop_runs;
    inode->drop_is_due = true;
    pthread_mutex_unlock(&inode->mutex);
    if (is_coming)
        return true;
    drop = calloc(1, sizeof(*drop));
    if (drop) {
        drop->job = (struct job){.inode = inode, .run = run_drop, .free = job_free};
        pool_submit_later(context->pool, &drop->job, delay_ms);
        return true;
    }
    pthread_mutex_lock(&inode->mutex);
    inode->drop_is_due = false;
    pthread_mutex_unlock(&inode->mutex);
    return false;
}

void refresh_drop_later(struct context *context, struct inode *inode)
{
    (void)drop_submit(context, inode, DROP_DELAY_MS); /* else the next read asks again */
}

bool refresh_drop_left(struct context *context, struct inode *inode)
{
    return fault_leaves_pages() || drop_submit(context, inode, DROP_DELAY_MS);
}

/* ---- looks ---- */

static void read_record(struct context *context, struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    const uint64_t epoch = inode->owner.epoch;
    pthread_mutex_unlock(&inode->mutex);
    (void)record_file_read(context, inode, NULL); /* said there */
    pthread_mutex_lock(&inode->mutex);
    const bool changed = inode->owner.epoch != epoch;
    pthread_mutex_unlock(&inode->mutex);
    if (changed)
        notify_inode_said(context, inode);
}

static void run_look(struct context *context, struct job *job)
{
    struct inode *inode = job->inode;

    pthread_mutex_lock(&inode->mutex);
    inode->look_is_due = false;
    pthread_mutex_unlock(&inode->mutex);
    read_record(context, inode);
    pool_finish(context->pool, job);
}

static void run_look_in_standby(struct context *context, struct job *job)
{
    struct inode *inode = job->inode;

    pthread_mutex_lock(&inode->mutex);
    inode->standby_look_is_due = false;
    const bool wanted = owner_state(&inode->owner) == OWNER_STANDBY;
    pthread_mutex_unlock(&inode->mutex);
    if (wanted)
        read_record(context, inode);
    pool_finish(context->pool, job);
}

/* One an inode: `is_due` is its own, and cleared by the job. False: out of memory. */
static bool look_submit(struct context *context, struct inode *inode, bool *is_due,
                        void (*carry)(struct context *, struct job *), unsigned delay_ms)
{
    struct job *job;

    pthread_mutex_lock(&inode->mutex);
    const bool is_coming = *is_due;
    *is_due = true;
    pthread_mutex_unlock(&inode->mutex);
    if (is_coming)
        return true;
    job = job_new(inode, carry);
    if (job) {
        pool_submit_later(context->pool, job, delay_ms);
        return true;
    }
    pthread_mutex_lock(&inode->mutex);
    *is_due = false;
    pthread_mutex_unlock(&inode->mutex);
    return false;
}

void refresh_look_in_standby(struct context *context, struct inode *inode)
{
    /* Short of memory it stays in standby until it is opened or locked again. */
    (void)look_submit(context, inode, &inode->standby_look_is_due, run_look_in_standby,
                      STANDBY_LOOK_DELAY_MS);
}

void refresh_look(struct context *context, struct inode *inode)
{
    if (!look_submit(context, inode, &inode->look_is_due, run_look, 0))
        log_warning("%s: out of memory to look whether another host is owner: its next open does; "
                    "free memory",
                    file_name(context, inode).text);
}

static void run_guard(struct context *context, struct job *job)
{
    record_file_guard(context, job->inode);
    pool_finish(context->pool, job);
}

void refresh_guard_record(struct context *context, struct inode *inode)
{
    struct job *job = job_new(inode, run_guard);

    if (job) /* else the record stays without a lock */
        pool_submit_later(context->pool, job, POOL_AFTER_ANSWER_MS);
}
