/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "helpers.h"

#include <pthread.h>
#include <stdlib.h>

/* Two acquires at a time have all that they may use; of more each has fewer. */
#define MOST_HELPERS 16

struct helpers {
    pthread_mutex_t mutex; /* of all that follows; no other is taken within it */
    pthread_cond_t wake, over;
    struct helper_task *tasks; /* that were begun, and nobody has taken yet */
    unsigned free;             /* helpers without a task, less those tasks */
    bool is_ending;
    unsigned count;
    pthread_t threads[MOST_HELPERS];
};

struct helpers *helpers_new(void)
{
    struct helpers *helpers = calloc(1, sizeof(*helpers));

    if (!helpers)
        return NULL;
    pthread_mutex_init(&helpers->mutex, NULL); /* cannot fail with default attributes */
    pthread_cond_init(&helpers->wake, NULL);
    pthread_cond_init(&helpers->over, NULL);
    return helpers;
}

void helpers_free(struct helpers *helpers)
{
    if (!helpers)
        return;
    pthread_mutex_lock(&helpers->mutex);
    helpers->is_ending = true;
    pthread_cond_broadcast(&helpers->wake);
    pthread_mutex_unlock(&helpers->mutex);
    while (helpers->count > 0)
        pthread_join(helpers->threads[--helpers->count], NULL);
    pthread_cond_destroy(&helpers->over);
    pthread_cond_destroy(&helpers->wake);
    pthread_mutex_destroy(&helpers->mutex);
    free(helpers);
}

static void *help(void *data)
{
    struct helpers *helpers = data;

    pthread_mutex_lock(&helpers->mutex);
    for (;;) {
        struct helper_task *task = helpers->tasks;

        if (task) {
            helpers->tasks = task->next;
            pthread_mutex_unlock(&helpers->mutex);
            task->run(task);
            pthread_mutex_lock(&helpers->mutex);
            task->is_over = true;
            helpers->free++;
            pthread_cond_broadcast(&helpers->over);
        } else if (helpers->is_ending) {
            break;
        } else {
            pthread_cond_wait(&helpers->wake, &helpers->mutex);
        }
    }
    pthread_mutex_unlock(&helpers->mutex);
    return NULL;
}

/* With the mutex held. */
static void add(struct helpers *helpers)
{
    if (helpers->count == MOST_HELPERS ||
        pthread_create(&helpers->threads[helpers->count], NULL, help, helpers) != 0)
        return;
    (void)pthread_setname_np(helpers->threads[helpers->count], "helper"); /* for people */
    helpers->count++;
    helpers->free++;
}

bool helpers_begin(struct helpers *helpers, struct helper_task *task)
{
    pthread_mutex_lock(&helpers->mutex);
    if (helpers->free == 0)
        add(helpers);
    const bool is_begun = helpers->free > 0;
    if (is_begun) {
        helpers->free--;
        task->is_over = false;
        task->next = helpers->tasks;
        helpers->tasks = task;
        pthread_cond_signal(&helpers->wake);
    }
    pthread_mutex_unlock(&helpers->mutex);
    return is_begun;
}

void helpers_end(struct helpers *helpers, const struct helper_task *task)
{
    pthread_mutex_lock(&helpers->mutex);
    while (!task->is_over)
        pthread_cond_wait(&helpers->over, &helpers->mutex);
    pthread_mutex_unlock(&helpers->mutex);
}
