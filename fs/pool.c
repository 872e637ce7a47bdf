/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pool.h"

#include "monotonic.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct pool {
    struct context *context;
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* an inode is ready, or the pool stops */
    pthread_cond_t time;  /* something earlier is due, or the pool stops */
    pthread_cond_t quiet; /* jobs came to 0 */
    struct inode *ready_first, *ready_last;
    struct job *not_due; /* in no order: there are few */
    struct job *newest;  /* those with a deadline */
    unsigned jobs;       /* submitted and not finished */
    bool stopping;
    unsigned threads, started;
    bool timer_started;
    int64_t wakes_ns; /* when the timer looks by itself; 0: it looks now */
    int64_t told_ns;  /* what it was woken for last */
    pthread_t timer;
    pthread_t workers[];
};

int64_t pool_now_ns(void)
{
    return monotonic_ns();
}

static int64_t in_ms(unsigned delay_ms)
{
    return pool_now_ns() + (int64_t)delay_ms * 1000000;
}

struct pool *pool_new(struct context *context, unsigned threads)
{
    struct pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->workers[0]));

    if (!pool)
        return NULL;
    pool->context = context;
    pool->threads = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->quiet, NULL);
    monotonic_cond_init(&pool->time);
    return pool;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->time);
    pthread_cond_destroy(&pool->quiet);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

/* ---- queues; all with the mutex held ---- */

static void make_ready(struct pool *pool, struct inode *inode)
{
    inode->next_ready = NULL;
    *(pool->ready_last ? &pool->ready_last->next_ready : &pool->ready_first) = inode;
    pool->ready_last = inode;
    pthread_cond_signal(&pool->work);
}

static void enqueue(struct pool *pool, struct job *job)
{
    struct inode *inode = job->inode;
    const bool was_idle = !inode->jobs_first && !inode->job_runs;

    job->next = NULL;
    *(inode->jobs_last ? &inode->jobs_last->next : &inode->jobs_first) = job;
    inode->jobs_last = job;
    if (was_idle)
        make_ready(pool, inode);
}

/* Behind nobody: the inode is its job's already. */
static void enqueue_held(struct pool *pool, struct job *job)
{
    struct inode *inode = job->inode;

    job->next = inode->jobs_first;
    inode->jobs_first = job;
    if (!inode->jobs_last)
        inode->jobs_last = job;
    job->holds = false;
    make_ready(pool, inode);
}

/* Nothing for what it will see in time: most deadlines are met long before. */
static void tell_timer(struct pool *pool, int64_t due_ns)
{
    if (due_ns >= pool->wakes_ns)
        return;
    pool->told_ns = due_ns;
    pthread_cond_signal(&pool->time);
}

static void enqueue_at(struct pool *pool, struct job *job, int64_t due_ns)
{
    job->due_ns = due_ns;
    job->next = pool->not_due;
    pool->not_due = job;
    tell_timer(pool, due_ns);
}

static void enqueue_in(struct pool *pool, struct job *job, unsigned delay_ms)
{
    if (delay_ms > 0)
        enqueue_at(pool, job, in_ms(delay_ms));
    else
        enqueue(pool, job);
}

static struct job *dequeue(struct pool *pool)
{
    struct inode *inode = pool->ready_first;
    struct job *job = inode->jobs_first;

    pool->ready_first = inode->next_ready;
    if (!pool->ready_first)
        pool->ready_last = NULL;
    inode->jobs_first = job->next;
    if (!inode->jobs_first)
        inode->jobs_last = NULL;
    inode->job_runs = true;
    return job;
}

static void leave(struct pool *pool, struct inode *inode)
{
    struct job *held = inode->job_held;

    inode->job_held = NULL;
    if (held) { /* only now: until here its thread was in it */
        if (held->due_ns > 0)
            enqueue_at(pool, held, held->due_ns);
        else
            enqueue_held(pool, held);
        return;
    }
    inode->job_runs = false;
    if (inode->jobs_first)
        make_ready(pool, inode);
}

static void watch_deadline(struct pool *pool, struct job *job, int64_t deadline_ns)
{
    if (job->deadline_ns == 0) {
        job->newer = NULL;
        job->older = pool->newest;
        if (job->older)
            job->older->newer = job;
        pool->newest = job;
    }
    job->deadline_ns = deadline_ns;
    tell_timer(pool, deadline_ns);
}

static void unwatch_deadline(struct pool *pool, struct job *job)
{
    if (job->deadline_ns == 0)
        return;
    *(job->newer ? &job->newer->older : &pool->newest) = job->older;
    if (job->older)
        job->older->newer = job->newer;
    job->deadline_ns = 0;
}

/* ---- jobs ---- */

void pool_submit(struct pool *pool, struct job *job)
{
    pool_submit_later(pool, job, 0);
}

/* Who is answered may ask again at once: the turn is given back before. */
void pool_carry_out(struct pool *pool, struct job *job)
{
    struct inode *inode = job->inode;
    struct loan loan = {0};

    inode_ref(pool->context->inodes, inode);
    pthread_mutex_lock(&pool->mutex);
    pool->jobs++;
    const bool is_idle = !inode->jobs_first && !inode->job_runs;
    if (is_idle)
        inode->job_runs = true;
    else
        enqueue(pool, job);
    pthread_mutex_unlock(&pool->mutex);
    if (!is_idle)
        return;
    inode_ref(pool->context->inodes, inode); /* as a worker: the job may end */
    job->loan = &loan;
    job->run(pool->context, job);
    pool_end(pool, inode);
    inode_unref(pool->context->inodes, inode);
    if (loan.req)
        fuse_reply_err(loan.req, -loan.error);
}

void pool_submit_later(struct pool *pool, struct job *job, unsigned delay_ms)
{
    inode_ref(pool->context->inodes, job->inode);
    pthread_mutex_lock(&pool->mutex);
    pool->jobs++;
    enqueue_in(pool, job, delay_ms);
    pthread_mutex_unlock(&pool->mutex);
}

void pool_again(struct pool *pool, struct job *job, unsigned delay_ms)
{
    pthread_mutex_lock(&pool->mutex);
    job->loan = NULL;
    enqueue_in(pool, job, delay_ms);
    pthread_mutex_unlock(&pool->mutex);
}

void pool_hold(struct pool *pool, struct job *job, unsigned delay_ms)
{
    pthread_mutex_lock(&pool->mutex);
    job->holds = true;
    job->due_ns = in_ms(delay_ms);
    job->inode->job_held = job;
    pthread_mutex_unlock(&pool->mutex);
}

void pool_pass(struct pool *pool, struct job *job)
{
    pthread_mutex_lock(&pool->mutex);
    job->loan = NULL;
    job->holds = true;
    job->due_ns = 0;
    job->inode->job_held = job;
    pthread_mutex_unlock(&pool->mutex);
}

void pool_finish(struct pool *pool, struct job *job)
{
    struct inode *inode = job->inode;

    pthread_mutex_lock(&pool->mutex);
    unwatch_deadline(pool, job);
    pthread_mutex_unlock(&pool->mutex);
    job->free(job);
    inode_unref(pool->context->inodes, inode);
    pthread_mutex_lock(&pool->mutex);
    if (--pool->jobs == 0)
        pthread_cond_broadcast(&pool->quiet);
    pthread_mutex_unlock(&pool->mutex);
}

fuse_req_t pool_take_request(struct pool *pool, struct job *job)
{
    pthread_mutex_lock(&pool->mutex);
    fuse_req_t req = job->req;
    job->req = NULL;
    unwatch_deadline(pool, job);
    pthread_mutex_unlock(&pool->mutex);
    return req;
}

void pool_reply(struct pool *pool, struct job *job, int error)
{
    pthread_mutex_lock(&pool->mutex);
    fuse_req_t req = job->req;
    const job_done done = job->expired ? NULL : job->done;
    job->req = NULL;
    job->done = NULL;
    unwatch_deadline(pool, job);
    pthread_mutex_unlock(&pool->mutex);
    if (job->loan)
        *job->loan = (struct loan){.req = req, .error = error};
    else if (req)
        fuse_reply_err(req, -error);
    if (done)
        done(pool->context, job->inode, error, job->done_data);
}

bool pool_expired(struct pool *pool, const struct job *job)
{
    pthread_mutex_lock(&pool->mutex);
    const bool expired = job->expired;
    pthread_mutex_unlock(&pool->mutex);
    return expired;
}

void pool_set_deadline(struct pool *pool, struct job *job, unsigned deadline_ms)
{
    pthread_mutex_lock(&pool->mutex);
    if (deadline_ms == 0)
        unwatch_deadline(pool, job);
    else
        watch_deadline(pool, job, in_ms(deadline_ms));
    pthread_mutex_unlock(&pool->mutex);
}

bool pool_try_begin(struct pool *pool, struct inode *inode)
{
    pthread_mutex_lock(&pool->mutex);
    const bool idle = !inode->jobs_first && !inode->job_runs;
    if (idle)
        inode->job_runs = true;
    pthread_mutex_unlock(&pool->mutex);
    return idle;
}

void pool_end(struct pool *pool, struct inode *inode)
{
    pthread_mutex_lock(&pool->mutex);
    leave(pool, inode);
    pthread_mutex_unlock(&pool->mutex);
}

/* ---- threads ---- */

static void *work(void *data)
{
    struct pool *pool = data;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->ready_first && !pool->stopping)
            pthread_cond_wait(&pool->work, &pool->mutex);
        if (!pool->ready_first)
            break;

        struct job *job = dequeue(pool);
        struct inode *inode = job->inode;

        pthread_mutex_unlock(&pool->mutex);
        inode_ref(pool->context->inodes, inode); /* the job may end, and its reference with it */
        job->run(pool->context, job);
        pthread_mutex_lock(&pool->mutex);
        leave(pool, inode);
        pthread_mutex_unlock(&pool->mutex);
        inode_unref(pool->context->inodes, inode);
        pthread_mutex_lock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Queues what is due; the time of what is due next, or 0. */
static int64_t queue_due(struct pool *pool, int64_t now)
{
    int64_t next = 0;

    for (struct job **link = &pool->not_due; *link;) {
        struct job *job = *link;

        if (job->due_ns <= now) {
            *link = job->next;
            if (job->holds)
                enqueue_held(pool, job);
            else
                enqueue(pool, job);
            continue;
        }
        if (next == 0 || job->due_ns < next)
            next = job->due_ns;
        link = &job->next;
    }
    return next;
}

/* Whom to tell that a deadline has passed. */
struct expiry {
    fuse_req_t req;
    job_done done;
    struct inode *inode;
    void *data;
};

/* One job whose deadline has passed; or false, and the time of the next one in *next. */
static bool take_expired(struct pool *pool, int64_t now, int64_t *next, struct expiry *expiry)
{
    for (struct job *job = pool->newest; job; job = job->older) {
        if (job->deadline_ns > now) {
            if (*next == 0 || job->deadline_ns < *next)
                *next = job->deadline_ns;
            continue;
        }
        *expiry = (struct expiry){
            .req = job->req, .done = job->done, .inode = job->inode, .data = job->done_data};
        job->req = NULL;
        job->expired = true;
        unwatch_deadline(pool, job);
        return true;
    }
    return false;
}

static void tell_expired(struct pool *pool, const struct expiry *expiry)
{
    if (expiry->req)
        fuse_reply_err(expiry->req, ETIMEDOUT);
    if (expiry->done)
        expiry->done(pool->context, expiry->inode, -ETIMEDOUT, expiry->data);
}

static void *keep_time(void *data)
{
    struct pool *pool = data;

    pthread_mutex_lock(&pool->mutex);
    while (!pool->stopping) {
        const int64_t now = pool_now_ns();
        int64_t next = queue_due(pool, now);
        struct expiry expiry;

        /* Who told of it may have been faster; but the next one's is later, and need not tell. */
        if (next == 0 && pool->told_ns > now)
            next = pool->told_ns;
        pool->wakes_ns = 0;
        if (take_expired(pool, now, &next, &expiry)) {
            pthread_mutex_unlock(&pool->mutex);
            tell_expired(pool, &expiry);
            pthread_mutex_lock(&pool->mutex);
        } else if (next == 0) {
            pool->wakes_ns = INT64_MAX;
            pthread_cond_wait(&pool->time, &pool->mutex);
        } else {
            const struct timespec until = {.tv_sec = next / 1000000000,
                                           .tv_nsec = next % 1000000000};

            pool->wakes_ns = next;
            pthread_cond_timedwait(&pool->time, &pool->mutex, &until);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

int pool_start(struct pool *pool)
{
    int error = pthread_create(&pool->timer, NULL, keep_time, pool);

    pool->timer_started = error == 0;
    while (error == 0 && pool->started < pool->threads) {
        error = pthread_create(&pool->workers[pool->started], NULL, work, pool);
        if (error == 0)
            (void)pthread_setname_np(pool->workers[pool->started], "transition"); /* for people */
        pool->started += error == 0;
    }
    return -error;
}

void pool_stop(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    while (pool->started > 0 && pool->jobs > 0)
        pthread_cond_wait(&pool->quiet, &pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_cond_broadcast(&pool->time);
    pthread_mutex_unlock(&pool->mutex);
    while (pool->started > 0)
        pthread_join(pool->workers[--pool->started], NULL);
    if (pool->timer_started)
        pthread_join(pool->timer, NULL);
    pool->timer_started = false;
}
