/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "events.h"

#include <errno.h>
#include <stdlib.h>

enum {
    EVENTS_KEPT = 256,
};

/* One transition: the file as it was after it, or status.path NULL where memory was short. */
struct event {
    uint64_t node_id;
    struct file_status status;
};

struct waiter {
    struct waiter *next;
    fuse_req_t req;
    uid_t uid;
    struct status_scope scope;
    uint64_t cursor;
};

struct events {
    pthread_mutex_t mutex;
    bool watched; /* somebody has asked; until then nothing is kept */
    bool stopped;
    uint64_t next_number;           /* of the next event; the first one is 1 */
    struct event kept[EVENTS_KEPT]; /* event n at n % EVENTS_KEPT */
    struct waiter *waiters;
};

struct events *events_new(void)
{
    struct events *events = calloc(1, sizeof(*events));

    if (!events)
        return NULL;
    pthread_mutex_init(&events->mutex, NULL);
    events->next_number = 1;
    return events;
}

static void waiter_free(struct waiter *waiter)
{
    status_scope_deinit(&waiter->scope);
    free(waiter);
}

void events_stop(struct events *events)
{
    struct waiter *waiters;

    pthread_mutex_lock(&events->mutex);
    events->stopped = true;
    waiters = events->waiters;
    events->waiters = NULL;
    pthread_mutex_unlock(&events->mutex);
    while (waiters) {
        struct waiter *waiter = waiters;

        waiters = waiter->next;
        fuse_reply_err(waiter->req, ENODEV);
        waiter_free(waiter);
    }
}

void events_free(struct events *events)
{
    if (!events)
        return;
    for (size_t i = 0; i < EVENTS_KEPT; i++)
        file_status_deinit(&events->kept[i].status);
    pthread_mutex_destroy(&events->mutex);
    free(events);
}

/*
 * Fills the answer with what the waiter has not seen, under the mutex; the new cursor is set.
 * Returns whether there is anything to tell.
 */
static bool answer_fill(const struct events *events, const struct waiter *waiter,
                        struct migfs_files *files)
{
    const uint64_t oldest =
        events->next_number > EVENTS_KEPT ? events->next_number - EVENTS_KEPT : 1;
    uint64_t number = waiter->cursor;

    if (number > events->next_number || number < oldest) {
        files->flags |= MIGFS_FILES_LOST;
        number = number < oldest ? oldest : events->next_number;
    }
    for (; number < events->next_number; number++) {
        const struct event *event = &events->kept[number % EVENTS_KEPT];

        if (!event->status.path) {
            files->flags |= MIGFS_FILES_LOST;
            continue;
        }
        if (!status_scope_has(&waiter->scope, event->node_id, event->status.file.ino,
                              event->status.path))
            continue;
        if (!ioctl_files_append(files, &event->status, waiter->uid))
            break;
    }
    files->cursor = number;
    return files->count > 0 || files->flags != 0;
}

/* A waiter that is ready: out of the list, with its answer. */
struct answer {
    struct answer *next;
    struct waiter *waiter;
    struct migfs_files files;
};

static void answer_send(struct answer *answer)
{
    fuse_reply_ioctl(answer->waiter->req, 0, &answer->files, sizeof(answer->files));
    waiter_free(answer->waiter);
    free(answer);
}

/*
 * Takes out of the list all who are ready, under the mutex. Who cannot be answered for want of
 * memory waits on; the events stay in the ring for them.
 */
static struct answer *take_ready(struct events *events)
{
    struct answer *ready = NULL;
    struct answer *spare = NULL;
    struct waiter **link = &events->waiters;

    while (*link) {
        struct waiter *waiter = *link;

        if (!spare)
            spare = malloc(sizeof(*spare));
        if (!spare)
            break;
        *spare = (struct answer){.waiter = waiter, .files.version = MIGFS_IOC_VERSION};
        if (!answer_fill(events, waiter, &spare->files)) {
            waiter->cursor = spare->files.cursor; /* seen, and not theirs */
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        spare->next = ready;
        ready = spare;
        spare = NULL;
    }
    free(spare);
    return ready;
}

void events_publish(struct context *context, struct inode *inode)
{
    struct events *events = context->events;
    struct event event = {.node_id = inode->node_id};
    struct answer *ready;
    bool watched;

    pthread_mutex_lock(&events->mutex);
    watched = events->watched && !events->stopped;
    pthread_mutex_unlock(&events->mutex);
    if (!watched)
        return;
    /* Short of memory the path stays NULL: a lost event, and watchers are told so. */
    (void)status_take(context, inode, &event.status);

    pthread_mutex_lock(&events->mutex);
    struct event *place = &events->kept[events->next_number % EVENTS_KEPT];

    file_status_deinit(&place->status);
    *place = event;
    events->next_number++;
    ready = take_ready(events);
    pthread_mutex_unlock(&events->mutex);
    while (ready) {
        struct answer *answer = ready;

        ready = answer->next;
        answer_send(answer);
    }
}

/*
 * The kernel interrupts a request, and libfuse keeps it alive for the length of this call. Who is
 * no longer in the list is being answered by somebody else.
 */
static void interrupted(fuse_req_t req, void *data)
{
    struct events *events = data;
    struct waiter **link = &events->waiters;
    struct waiter *waiter;

    pthread_mutex_lock(&events->mutex);
    while (*link && (*link)->req != req)
        link = &(*link)->next;
    waiter = *link;
    if (waiter)
        *link = waiter->next;
    pthread_mutex_unlock(&events->mutex);
    if (!waiter)
        return;
    fuse_reply_err(req, EINTR);
    waiter_free(waiter);
}

/* Puts the waiter into the list, or returns a negative errno or 1: there is an answer already. */
static int wait_or_answer(struct events *events, struct waiter *waiter, struct answer *answer)
{
    int result = 0;

    pthread_mutex_lock(&events->mutex);
    events->watched = true;
    if (waiter->cursor == 0) {
        answer->files.cursor = events->next_number;
        result = 1;
    } else if (events->stopped) {
        result = -ENODEV;
    } else if (answer_fill(events, waiter, &answer->files)) {
        result = 1;
    } else if (fuse_req_interrupted(waiter->req)) {
        result = -EINTR;
    } else {
        waiter->cursor = answer->files.cursor;
        waiter->next = events->waiters;
        events->waiters = waiter;
    }
    pthread_mutex_unlock(&events->mutex);
    return result;
}

void events_serve(struct context *context, fuse_req_t req, struct status_scope *scope,
                  uint64_t cursor)
{
    struct events *events = context->events;
    struct waiter *waiter = malloc(sizeof(*waiter));
    struct answer *answer = malloc(sizeof(*answer));
    int result;

    if (!waiter || !answer) {
        free(waiter);
        free(answer);
        status_scope_deinit(scope);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    *waiter = (struct waiter){
        .req = req, .uid = fuse_req_ctx(req)->uid, .scope = *scope, .cursor = cursor};
    *scope = (struct status_scope){.ino = 0};
    *answer = (struct answer){.waiter = waiter, .files.version = MIGFS_IOC_VERSION};
    /*
     * Before it is in the list: from then on another thread may answer and free the request. An
     * interrupt in between finds nobody there, and is seen by wait_or_answer.
     */
    fuse_req_interrupt_func(req, interrupted, events);
    result = wait_or_answer(events, waiter, answer);
    if (result == 1) {
        answer_send(answer);
        return;
    }
    free(answer);
    if (result == 0)
        return; /* it waits, and may be gone already */
    waiter_free(waiter);
    fuse_reply_err(req, -result);
}
