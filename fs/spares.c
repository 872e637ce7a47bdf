/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "spares.h"

#include "fault.h"

#include <pthread.h>
#include <stdlib.h>

/* Two acquires at a time have all that they may use; of more each has fewer. */
#define MOST_SPARES 16

struct spares {
    pthread_mutex_t mutex; /* of all that follows; no other is taken within it */
    pthread_cond_t wake, over;
    struct spare_task *tasks; /* that were begun, and nobody has taken yet */
    unsigned free;            /* threads without a task, less those tasks */
    bool is_ending;
    unsigned count;
    pthread_t threads[MOST_SPARES];
};

struct spares *spares_new(void)
{
    struct spares *spares = calloc(1, sizeof(*spares));

    if (!spares)
        return NULL;
    pthread_mutex_init(&spares->mutex, NULL); /* cannot fail with default attributes */
    pthread_cond_init(&spares->wake, NULL);
    pthread_cond_init(&spares->over, NULL);
    return spares;
}

void spares_free(struct spares *spares)
{
    if (!spares)
        return;
    pthread_mutex_lock(&spares->mutex);
    spares->is_ending = true;
    pthread_cond_broadcast(&spares->wake);
    pthread_mutex_unlock(&spares->mutex);
    while (spares->count > 0)
        pthread_join(spares->threads[--spares->count], NULL);
    pthread_cond_destroy(&spares->over);
    pthread_cond_destroy(&spares->wake);
    pthread_mutex_destroy(&spares->mutex);
    free(spares);
}

static void *serve(void *data)
{
    struct spares *spares = data;

    pthread_mutex_lock(&spares->mutex);
    for (;;) {
        struct spare_task *task = spares->tasks;

        if (task) {
            spares->tasks = task->next;
            pthread_mutex_unlock(&spares->mutex);
            task->run(task);
            pthread_mutex_lock(&spares->mutex);
            task->is_over = true;
            spares->free++;
            pthread_cond_broadcast(&spares->over);
        } else if (spares->is_ending) {
            break;
        } else {
            pthread_cond_wait(&spares->wake, &spares->mutex);
        }
    }
    pthread_mutex_unlock(&spares->mutex);
    return NULL;
}

/* With the mutex held. */
static void add(struct spares *spares)
{
    if (spares->count == MOST_SPARES ||
        pthread_create(&spares->threads[spares->count], NULL, serve, spares) != 0)
        return;
    (void)pthread_setname_np(spares->threads[spares->count], "spare"); /* for people */
    spares->count++;
    spares->free++;
}

bool spares_begin(struct spares *spares, struct spare_task *task)
{
    pthread_mutex_lock(&spares->mutex);
    if (spares->free == 0 && !fault_spares_none())
        add(spares);
    const bool is_begun = spares->free > 0;
    if (is_begun) {
        spares->free--;
        task->is_over = false;
        task->next = spares->tasks;
        spares->tasks = task;
        pthread_cond_signal(&spares->wake);
    }
    pthread_mutex_unlock(&spares->mutex);
    return is_begun;
}

void spares_end(struct spares *spares, const struct spare_task *task)
{
    pthread_mutex_lock(&spares->mutex);
    while (!task->is_over)
        pthread_cond_wait(&spares->over, &spares->mutex);
    pthread_mutex_unlock(&spares->mutex);
}
