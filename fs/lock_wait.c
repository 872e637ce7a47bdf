/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock_wait.h"
#include "description.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

/*
 * The signal may come just before its thread blocks; so it is sent again until the thread has
 * seen that it is interrupted.
 */
#define AGAIN_NS 5000000

/* One blocked request. */
struct waiter {
    struct wait wait; /* in lock_table.waits */
    struct context *context;
    struct transition *transition;
    struct description *description; /* NULL: flock, on the handle's own */
    pthread_t thread;
    bool started;                                 /* lock_table.mutex: `thread` is one */
    bool interrupted;                             /* lock_table.mutex */
    struct waiter *next_waiter, *previous_waiter; /* of the mount; lock_table.mutex */
};

static void on_signal(int number)
{
    (void)number; /* its work is to end a system call with EINTR */
}

int lock_wait_init(void)
{
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */

    return sigaction(SIGUSR1, &action, NULL) == 0 ? 0 : -errno;
}

/* ---- the list of waits; with lock_table.mutex held ---- */

static void link_waiter(struct lock_table *table, struct waiter *waiter)
{
    waiter->wait.next = table->waits;
    table->waits = &waiter->wait;
    waiter->next_waiter = table->waiters;
    if (waiter->next_waiter)
        waiter->next_waiter->previous_waiter = waiter;
    table->waiters = waiter;
    table->waiter_count++;
    if (waiter->description)
        waiter->description->waiters++; /* until its job has run */
}

static void unlink_waiter(struct lock_table *table, struct waiter *waiter)
{
    struct wait **link = &table->waits;

    while (*link != &waiter->wait)
        link = &(*link)->next;
    *link = waiter->wait.next;
    *(waiter->previous_waiter ? &waiter->previous_waiter->next_waiter : &table->waiters) =
        waiter->next_waiter;
    if (waiter->next_waiter)
        waiter->next_waiter->previous_waiter = waiter->previous_waiter;
    if (--table->waiter_count == 0)
        pthread_cond_broadcast(&table->no_waiters);
}

/* ---- the wait ---- */

static int block(const struct waiter *waiter)
{
    const struct lock_change *change = &waiter->transition->change;
    const bool writes = change->range.type == RANGE_WRITE;

    if (change->is_flock)
        return flock(change->handle->fd, writes ? LOCK_EX : LOCK_SH) == 0 ? 0 : -errno;

    struct flock lock = description_flock(&change->range, writes ? F_WRLCK : F_RDLCK);
    return fcntl(waiter->description->fd, F_OFD_SETLKW, &lock) == 0 ? 0 : -errno;
}

static bool is_interrupted(struct waiter *waiter)
{
    struct lock_table *table = waiter->context->locks;

    pthread_mutex_lock(&table->mutex);
    const bool interrupted = waiter->interrupted;
    pthread_mutex_unlock(&table->mutex);
    return interrupted;
}

/* The kernel must not call back any more, since the waiter is about to go. */
static void stop_interrupts(struct waiter *waiter)
{
    struct transition *transition = waiter->transition;

    if (transition->job.req)
        fuse_req_interrupt_func(transition->job.req, NULL, NULL);
}

static void *wait_for_lock(void *data)
{
    struct waiter *waiter = data;
    struct context *context = waiter->context;
    struct lock_table *table = context->locks;
    struct transition *transition = waiter->transition;
    int error;

    do
        error = is_interrupted(waiter) ? -EINTR : block(waiter);
    while (error == -EINTR && !is_interrupted(waiter));

    stop_interrupts(waiter);
    pthread_mutex_lock(&table->mutex);
    unlink_waiter(table, waiter);
    pthread_mutex_unlock(&table->mutex);

    if (error == 0)
        transition->lock_is_held = true;
    else
        transition->wait_error = error;
    transition->waited_on = waiter->description;
    free(waiter);
    pool_again(context->pool, &transition->job, 0);
    return NULL;
}

/* ---- interrupting ---- */

/* With lock_table.mutex held, so that the waiter cannot go meanwhile. */
static void signal_interrupted(struct lock_table *table)
{
    for (struct waiter *waiter = table->waiters; waiter; waiter = waiter->next_waiter) {
        if (waiter->interrupted && waiter->started)
            pthread_kill(waiter->thread, SIGUSR1);
    }
}

static bool any_interrupted(const struct lock_table *table)
{
    for (const struct waiter *waiter = table->waiters; waiter; waiter = waiter->next_waiter) {
        if (waiter->interrupted)
            return true;
    }
    return false;
}

/* One thread while there is anybody to interrupt: signals until all have seen it. */
static void *interrupt_waiters(void *data)
{
    struct lock_table *table = data;
    const struct timespec again = {.tv_nsec = AGAIN_NS};

    pthread_mutex_lock(&table->mutex);
    while (any_interrupted(table)) {
        signal_interrupted(table);
        pthread_mutex_unlock(&table->mutex);
        nanosleep(&again, NULL);
        pthread_mutex_lock(&table->mutex);
    }
    table->interrupter_runs = false;
    if (table->waiter_count == 0)
        pthread_cond_broadcast(&table->no_waiters);
    pthread_mutex_unlock(&table->mutex);
    return NULL;
}

/* With lock_table.mutex held. */
static void start_interrupter(struct lock_table *table)
{
    pthread_attr_t detached;
    pthread_t thread;

    if (table->interrupter_runs)
        return;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    table->interrupter_runs = pthread_create(&thread, &detached, interrupt_waiters, table) == 0;
    pthread_attr_destroy(&detached);
    if (!table->interrupter_runs)
        signal_interrupted(table); /* once, then: better than not at all */
}

/* Called by libfuse on a serving thread, or at once if the request was interrupted already. */
static void on_interrupt(fuse_req_t req, void *data)
{
    struct waiter *waiter = data;
    struct lock_table *table = waiter->context->locks;

    (void)req;
    pthread_mutex_lock(&table->mutex);
    waiter->interrupted = true;
    start_interrupter(table);
    pthread_mutex_unlock(&table->mutex);
}

void lock_wait_end_all(struct context *context)
{
    struct lock_table *table = context->locks;

    pthread_mutex_lock(&table->mutex);
    table->ending = true;
    for (struct waiter *waiter = table->waiters; waiter; waiter = waiter->next_waiter)
        waiter->interrupted = true;
    start_interrupter(table);
    while (table->waiter_count > 0 || table->interrupter_runs)
        pthread_cond_wait(&table->no_waiters, &table->mutex);
    pthread_mutex_unlock(&table->mutex);
}

/* ---- beginning ---- */

static struct waiter *waiter_new(struct context *context, struct transition *transition, int *error)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));

    *error = waiter ? 0 : -ENOMEM;
    if (!waiter)
        return NULL;
    waiter->context = context;
    waiter->transition = transition;
    waiter->wait.wanted = transition->change.range;
    waiter->wait.table = transition->change.is_flock ? &transition->job.inode->flocks
                                                     : &transition->job.inode->ranges;
    if (!transition->change.is_flock) {
        pthread_mutex_lock(&transition->job.inode->description_mutex);
        *error = description_of(context, transition->job.inode, &transition->change,
                                &waiter->description);
        pthread_mutex_unlock(&transition->job.inode->description_mutex);
    }
    return waiter;
}

/* Whether it may wait at all; linked on 0. flock(2) knows no deadlock. */
static int admit(struct lock_table *table, struct waiter *waiter)
{
    int error = 0;

    pthread_mutex_lock(&table->mutex);
    if (table->ending)
        error = -EINTR;
    else if (table->waiter_count >= LOCK_WAIT_MOST)
        error = -ENOLCK;
    else if (waiter->description && wait_deadlocks(table->waits, &waiter->wait))
        error = -EDEADLK;
    else
        link_waiter(table, waiter);
    pthread_mutex_unlock(&table->mutex);
    return error;
}

static int start(struct lock_table *table, struct waiter *waiter)
{
    pthread_attr_t small;
    int error;

    pthread_attr_init(&small);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&small, 256 * 1024);

    /* The mutex is held until `thread` is known: an interrupt needs it. */
    pthread_mutex_lock(&table->mutex);
    error = -pthread_create(&waiter->thread, &small, wait_for_lock, waiter);
    waiter->started = error == 0;
    if (error != 0)
        unlink_waiter(table, waiter);
    pthread_mutex_unlock(&table->mutex);
    pthread_attr_destroy(&small);
    return error == -EAGAIN ? -ENOLCK : error;
}

void lock_wait_begin(struct context *context, struct transition *transition)
{
    int error;
    struct waiter *waiter;

    atomic_fetch_add(&transition->job.inode->lock_waits, 1);
    transition->counts_as_wait = true;
    waiter = waiter_new(context, transition, &error);
    pool_set_deadline(context->pool, &transition->job, 0); /* what it waits for has none */
    if (error == 0 && pool_expired(context->pool, &transition->job))
        error = -ETIMEDOUT;
    if (error == 0)
        error = admit(context->locks, waiter);
    if (error == 0) {
        if (transition->job.req)
            fuse_req_interrupt_func(transition->job.req, on_interrupt, waiter);
        error = start(context->locks, waiter);
        if (error == 0)
            return;
        stop_interrupts(waiter);
        transition->waited_on = waiter->description;
    }
    free(waiter);
    transition->wait_error = error;
    pool_again(context->pool, &transition->job, 0);
}
