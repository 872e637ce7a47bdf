/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lock_wait.h"

#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define LOCK_SIGNAL SIGUSR1

/* Who waits for a lock, and may be interrupted. Shared by the waiting and the waking thread. */
struct waiter {
    pthread_mutex_t lock;
    pthread_t thread;
    bool done;
    bool interrupted;
    atomic_uint references;
};

static void waiter_put(struct waiter *waiter)
{
    if (atomic_fetch_sub(&waiter->references, 1) != 1)
        return;
    pthread_mutex_destroy(&waiter->lock);
    free(waiter);
}

/* A signal that comes just before the wait begins is lost: it is sent until the wait has ended. */
static void *wake_run(void *argument)
{
    struct waiter *waiter = argument;
    const struct timespec pause = {.tv_nsec = 1000000};

    for (bool done = false; !done; nanosleep(&pause, NULL)) {
        pthread_mutex_lock(&waiter->lock);
        done = waiter->done;
        if (!done)
            pthread_kill(waiter->thread, LOCK_SIGNAL);
        pthread_mutex_unlock(&waiter->lock);
    }
    waiter_put(waiter);
    return NULL;
}

static void on_interrupt(fuse_req_t req, void *argument)
{
    struct waiter *waiter = argument;

    (void)req;
    pthread_mutex_lock(&waiter->lock);
    const bool first = !waiter->interrupted;

    waiter->interrupted = true;
    pthread_mutex_unlock(&waiter->lock);
    if (!first)
        return;
    atomic_fetch_add(&waiter->references, 1);
    if (thread_start(wake_run, waiter) != 0)
        waiter_put(waiter);
}

static bool waiter_interrupted(struct waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    const bool interrupted = waiter->interrupted;

    pthread_mutex_unlock(&waiter->lock);
    return interrupted;
}

int lock_wait(fuse_req_t req, int (*block)(void *data), void *data)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));
    int err = EINTR;

    if (!waiter)
        return ENOLCK;
    pthread_mutex_init(&waiter->lock, NULL);
    waiter->thread = pthread_self();
    waiter->references = 1;
    fuse_req_interrupt_func(req, on_interrupt, waiter);
    while (err == EINTR && !waiter_interrupted(waiter))
        err = block(data);
    fuse_req_interrupt_func(req, NULL, NULL);
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    pthread_mutex_unlock(&waiter->lock);
    waiter_put(waiter);
    return err;
}

static void on_signal(int number)
{
    (void)number;
}

void lock_wait_init(void)
{
    const struct sigaction action = {.sa_handler = on_signal};

    sigaction(LOCK_SIGNAL, &action, NULL);
}
