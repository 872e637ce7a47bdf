/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loop.h"

#include "buffer.h"
#include "deferred.h"
#include "device.h"
#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What is under way is looked after when so many were taken from the device. */
#define MOST_TAKEN 32

/*
 * Rings are for when so many others are under way: fewer are answered sooner by a thread each, at
 * more processor time (tests/bench). Many come and go in lumps: only after so many looks in a row
 * that found fewer are they few.
 */
#define MOST_RING_FROM 6
#define MOST_FEW 64

struct worker {
    struct loop *loop;
    struct worker *next; /* of all */
    pthread_t thread;
    int clone;             /* of the device, that does not wait; -1: none yet */
    struct ring *ring;     /* NULL: none yet; made after the clone */
    struct buffer *buffer; /* for the next request, or the present one's; NULL: it was taken */
    struct buffers buffers;
    bool defers; /* the present request may be begun on the ring */
    bool counts; /* it is one of those under way */
};

struct loop {
    struct context *context;
    sem_t over;
    atomic_bool is_over;
    atomic_int error;
    atomic_uint under_way;                  /* reads and writes */
    atomic_bool has_no_ring;                /* and it was said */
    _Atomic(struct worker *) workers;       /* all; only ever grows */
    unsigned most_threads, most_ring_users; /* the latter: more would share the requests */
    unsigned ring_from;                     /* others under way */

    pthread_mutex_t mutex; /* from here on */
    pthread_cond_t wake;
    unsigned threads;
    unsigned alive;
    unsigned readers;      /* threads that wait at the device */
    unsigned parked;       /* threads that wait for work */
    unsigned few;          /* looks in a row that found fewer than ring_from, up to MOST_FEW */
    unsigned ring_users;   /* threads that have requests on their ring */
    struct worker *poller; /* one of those, that watches the device as well; or NULL */
    struct loop_task *tasks, **tasks_end;
};

static _Thread_local struct worker *self;

/* ---- memory ---- */

/* Handed requests take theirs to other threads: no thread keeps more than it may need at once. */
static void give_back(struct worker *worker, struct buffer *buffer)
{
    buffer_return(&worker->buffers, buffer, worker->ring ? RING_MOST : 1);
}

char *loop_room_take(void)
{
    char *room = buffer_room(self->buffer);

    self->buffer = NULL;
    return room;
}

void loop_room_return(char *room)
{
    give_back(self, buffer_of_room(room));
}

/* ---- a request ---- */

static void end(struct loop *loop, int error)
{
    if (atomic_exchange(&loop->is_over, true))
        return;
    atomic_store(&loop->error, error);
    sem_post(&loop->over);
    pthread_mutex_lock(&loop->mutex);
    pthread_cond_broadcast(&loop->wake);
    pthread_mutex_unlock(&loop->mutex);
}

/* Into the worker's buffer. False: there is none, or the loop is over. */
static bool receive(struct worker *worker, int device)
{
    struct loop *loop = worker->loop;
    ssize_t size;

    if (!worker->buffer)
        worker->buffer = buffer_take(&worker->buffers);
    if (!worker->buffer) { /* the request waits for better times */
        nanosleep(&(const struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
        return false;
    }
    size = device_read(loop->context->device, device, buffer_request(worker->buffer),
                       BUFFER_REQUEST_BYTES);
    if (size > 0) {
        worker->buffer->size = (size_t)size;
        worker->buffer->device = device;
        return true;
    }
    /* ENOENT: the request was given up while it was read. ECONNABORTED: the connection was. */
    if (size == 0 || errno == ENODEV || errno == ECONNABORTED)
        end(loop, 0);
    else if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
        end(loop, -errno);
    return false;
}

/* ---- who waits where ---- */

static void *serve(void *argument);

/* With the mutex held. Without another thread the next request waits for one that is busy. */
static void thread_add(struct loop *loop)
{
    struct worker *worker;

    if (loop->threads >= loop->most_threads)
        return;
    worker = calloc(1, sizeof(*worker));
    if (!worker)
        return;
    worker->loop = loop;
    worker->clone = -1;
    if (pthread_create(&worker->thread, NULL, serve, worker) != 0) {
        free(worker);
        return;
    }
    loop->threads++;
    loop->alive++;
    worker->next = atomic_load(&loop->workers);
    atomic_store(&loop->workers, worker);
}

/* With the mutex held. */
static void thread_call(struct loop *loop)
{
    if (loop->parked > 0)
        pthread_cond_signal(&loop->wake);
    else
        thread_add(loop);
}

/* If nobody would take the next request. With the mutex held. */
static void call_reader(struct loop *loop)
{
    if (loop->readers == 0 && !loop->poller)
        thread_call(loop);
}

/*
 * While a few take requests as they come, more at the device would have one each; and one thread is
 * to be had for what these leave to others.
 */
static bool may_read(const struct loop *loop)
{
    return (loop->ring_users == 0 && loop->readers + 1 < loop->most_threads) ||
           loop->readers + loop->ring_users < loop->most_ring_users ||
           (loop->readers == 0 && !loop->poller);
}

/* Waits for a turn at the device, or for a task, which is returned. */
static struct loop_task *await_turn(struct loop *loop)
{
    struct loop_task *task = NULL;

    pthread_mutex_lock(&loop->mutex);
    while (!atomic_load(&loop->is_over) && !loop->tasks && !may_read(loop)) {
        loop->parked++;
        pthread_cond_wait(&loop->wake, &loop->mutex);
        loop->parked--;
    }
    if (loop->tasks) {
        task = loop->tasks;
        loop->tasks = task->next;
        if (loop->tasks)
            thread_call(loop); /* who was called for it may have been this thread */
        else
            loop->tasks_end = &loop->tasks;
        call_reader(loop); /* it may be busy with it for long */
    } else {
        loop->readers++;
    }
    pthread_mutex_unlock(&loop->mutex);
    return task;
}

/* Looks how many are under way: whether one more is worth a ring. With the mutex held. */
static bool look_at_depth(struct loop *loop)
{
    const unsigned under_way = atomic_load(&loop->under_way);

    if (under_way >= loop->ring_from)
        loop->few = 0;
    else if (loop->few < MOST_FEW)
        loop->few++;
    return under_way > 0 && loop->few < MOST_FEW;
}

/*
 * The thread has its request: whether it may use its ring, if it has one for it. Else it may be
 * busy for long, and somebody else is to take the next one.
 */
static bool end_turn(struct loop *loop, bool may_ring)
{
    pthread_mutex_lock(&loop->mutex);
    loop->readers--;
    const bool is_deep = look_at_depth(loop);
    const bool rings = may_ring && is_deep && loop->ring_users < loop->most_ring_users;
    loop->ring_users += rings;
    if (!rings)
        call_reader(loop);
    pthread_mutex_unlock(&loop->mutex);
    return rings;
}

void loop_hand(struct context *context, struct loop_task *task)
{
    struct loop *loop = context->loop;

    pthread_mutex_lock(&loop->mutex);
    task->next = NULL;
    *loop->tasks_end = task;
    loop->tasks_end = &task->next;
    thread_call(loop);
    pthread_mutex_unlock(&loop->mutex);
}

/* ---- serving ---- */

static void process(struct worker *worker)
{
    struct buffer *buffer = worker->buffer;
    const struct fuse_buf request = {.mem = buffer_request(buffer), .size = buffer->size};

    fuse_session_process_buf(worker->loop->context->session, &request);
}

static void run_request(struct loop_task *task)
{
    struct buffer *buffer = (struct buffer *)(void *)task;

    if (self->buffer)
        give_back(self, self->buffer);
    self->buffer = buffer;
    device_resume(buffer->device);
    process(self);
}

struct ring *loop_ring(void)
{
    return self && self->defers ? self->ring : NULL;
}

void loop_wait_begin(void)
{
    if (!self || !self->defers)
        return;
    ring_submit(self->ring); /* as who the thread is, and without waiting for what follows */
    pthread_mutex_lock(&self->loop->mutex);
    if (self->loop->poller == self)
        self->loop->poller = NULL;
    call_reader(self->loop);
    pthread_mutex_unlock(&self->loop->mutex);
}

static void count_begin(struct worker *worker)
{
    worker->counts = true;
    atomic_fetch_add(&worker->loop->under_way, 1);
}

/* Before the answer: who has that may ask for more at once. */
void loop_wait_end(void)
{
    if (!self || !self->counts)
        return;
    self->counts = false;
    atomic_fetch_sub(&self->loop->under_way, 1);
}

void loop_ended(void)
{
    atomic_fetch_sub(&self->loop->under_way, 1);
}

static bool ring_make(struct worker *worker)
{
    if (worker->clone < 0)
        worker->clone = device_clone(worker->loop->context->device);
    if (worker->clone >= 0)
        worker->ring = ring_new();
    return worker->ring;
}

static bool is_passing(int error)
{
    return error == ENOMEM || error == EMFILE || error == ENFILE || error == EAGAIN;
}

/* Whether the thread has a ring, or makes one. */
static bool has_ring(struct worker *worker)
{
    struct loop *loop = worker->loop;

    if (worker->ring)
        return true;
    if (atomic_load(&loop->has_no_ring))
        return false;
    if (!ring_make(worker) && !is_passing(errno) && !atomic_exchange(&loop->has_no_ring, true))
        log_warning("no io_uring: %s; each request takes a thread while it is under way. See "
                    "sysctl kernel.io_uring_disabled and what filters system calls, or mount with "
                    "io_uring=off",
                    strerror(errno));
    return worker->ring;
}

/* If nobody waits at the device somebody is to take requests as soon as they come: this one. */
static bool watches(struct worker *worker)
{
    struct loop *loop = worker->loop;
    const bool has_room = ring_under_way(worker->ring) < RING_MOST;

    pthread_mutex_lock(&loop->mutex);
    if (loop->poller == worker && !has_room)
        loop->poller = NULL;
    if (!loop->poller && loop->readers == 0) {
        if (has_room)
            loop->poller = worker;
        else
            thread_call(loop);
    }
    const bool is_poller = loop->poller == worker;
    (void)look_at_depth(loop); /* for those who come later */
    pthread_mutex_unlock(&loop->mutex);
    return is_poller;
}

/* The thread's next turn is at the device, if nobody else is there. */
static void ring_leave(struct worker *worker)
{
    struct loop *loop = worker->loop;

    pthread_mutex_lock(&loop->mutex);
    loop->ring_users--;
    if (loop->poller == worker)
        loop->poller = NULL;
    pthread_mutex_unlock(&loop->mutex);
}

static bool is_deferrable(const struct worker *worker)
{
    return deferred_fits(worker->loop->context, buffer_request(worker->buffer),
                         worker->buffer->size);
}

static void process_deferrable(struct worker *worker)
{
    const unsigned before = ring_under_way(worker->ring);

    count_begin(worker);
    worker->defers = true;
    process(worker);
    worker->defers = false;
    if (ring_under_way(worker->ring) == before)
        loop_wait_end(); /* it was answered */
    worker->counts = false;
}

/* What came meanwhile; what may take its time is for others. */
static void take_more(struct worker *worker)
{
    for (unsigned taken = 0; taken < MOST_TAKEN && ring_under_way(worker->ring) < RING_MOST &&
                             !atomic_load(&worker->loop->is_over) && receive(worker, worker->clone);
         taken++) {
        if (is_deferrable(worker)) {
            process_deferrable(worker);
        } else {
            worker->buffer->task = (struct loop_task){.run = run_request};
            loop_hand(worker->loop->context, &worker->buffer->task);
            worker->buffer = NULL;
        }
    }
}

/* From the first request on, until all that was begun is answered. */
static void serve_by_ring(struct worker *worker)
{
    process_deferrable(worker);
    while (ring_under_way(worker->ring) > 0) {
        take_more(worker);
        const bool polls = watches(worker) && !atomic_load(&worker->loop->is_over);

        ring_wait(worker->ring, polls ? worker->clone : -1);
    }
    ring_leave(worker);
}

static void serve_request(struct worker *worker)
{
    struct loop *loop = worker->loop;
    const bool is_data = is_deferrable(worker);
    const bool is_many = atomic_load(&loop->under_way) >= loop->ring_from;

    if (end_turn(loop, is_data && (worker->ring || (is_many && has_ring(worker))))) {
        serve_by_ring(worker);
        return;
    }
    if (is_data)
        count_begin(worker);
    process(worker);
    loop_wait_end(); /* if it is not over by now */
}

static void *serve(void *argument)
{
    struct worker *worker = argument;
    struct loop *loop = worker->loop;

    self = worker;
    for (;;) {
        struct loop_task *task = await_turn(loop);

        if (task)
            task->run(task);
        else if (atomic_load(&loop->is_over))
            break;
        else if (receive(worker, device_descriptor(loop->context->device)))
            serve_request(worker);
        else
            (void)end_turn(loop, false); /* for the next turn */
    }
    ring_free(worker->ring);
    free(worker->buffer);
    buffers_free(&worker->buffers);
    pthread_mutex_lock(&loop->mutex);
    loop->alive--;
    pthread_mutex_unlock(&loop->mutex);
    return NULL;
}

/* ---- the whole ---- */

struct loop *loop_new(struct context *context)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (!loop)
        return NULL;
    loop->context = context;
    loop->most_threads = context->options.workers;
    /* Each sleeps while the store works: a processor has time for two. */
    loop->most_ring_users = processors > 1 ? 2 * (unsigned)processors : 2;
    if (loop->most_ring_users > loop->most_threads / 2)
        loop->most_ring_users = loop->most_threads / 2; /* the others wait, or do what waits */
    loop->ring_from = MOST_RING_FROM;
    if (loop->ring_from > loop->most_threads / 2)
        loop->ring_from = loop->most_threads / 2; /* as many must be able to be under way */
    loop->tasks_end = &loop->tasks;
    loop->few = MOST_FEW;
    atomic_init(&loop->has_no_ring, !context->options.io_uring);
    sem_init(&loop->over, 0, 0);
    pthread_mutex_init(&loop->mutex, NULL);
    pthread_cond_init(&loop->wake, NULL);
    return loop;
}

void loop_free(struct loop *loop)
{
    struct worker *worker, *next;

    if (!loop)
        return;
    for (worker = atomic_load(&loop->workers); worker; worker = next) {
        next = worker->next;
        free(worker);
    }
    pthread_cond_destroy(&loop->wake);
    pthread_mutex_destroy(&loop->mutex);
    sem_destroy(&loop->over);
    free(loop);
}

static unsigned threads_alive(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    const unsigned alive = loop->alive;
    pthread_mutex_unlock(&loop->mutex);
    return alive;
}

/* A signal may come just before its thread waits: it is sent again. */
static void threads_end(struct loop *loop)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};

    while (threads_alive(loop) > 0) {
        for (struct worker *worker = atomic_load(&loop->workers); worker; worker = worker->next)
            pthread_kill(worker->thread, SIGUSR2);
        nanosleep(&pause, NULL);
    }
    for (struct worker *worker = atomic_load(&loop->workers); worker; worker = worker->next)
        pthread_join(worker->thread, NULL);
}

int loop_run(struct loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    thread_add(loop);
    const bool started = loop->threads > 0;
    pthread_mutex_unlock(&loop->mutex);
    if (!started)
        return -EAGAIN;
    while (sem_wait(&loop->over) != 0 && !fuse_session_exited(loop->context->session))
        ; /* interrupted */
    end(loop, 0);
    threads_end(loop);
    return atomic_load(&loop->error);
}
