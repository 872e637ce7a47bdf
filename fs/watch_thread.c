/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "watch_thread.h"

#include "monotonic.h"

void watch_thread_init(struct watch_thread *watch)
{
    *watch = (struct watch_thread){.is_started = false};
    pthread_mutex_init(&watch->mutex, NULL); /* cannot fail with default attributes */
    monotonic_cond_init(&watch->changed);
}

int watch_thread_start(struct watch_thread *watch, const char *name, void *(*run)(void *data),
                       void *data)
{
    const int error = pthread_create(&watch->thread, NULL, run, data);

    watch->is_started = error == 0;
    if (watch->is_started)
        (void)pthread_setname_np(watch->thread, name); /* nothing depends on it */
    return -error;
}

void watch_thread_tell(struct watch_thread *watch, bool *flag)
{
    pthread_mutex_lock(&watch->mutex);
    *flag = true;
    pthread_cond_broadcast(&watch->changed);
    pthread_mutex_unlock(&watch->mutex);
}

void watch_thread_stop(struct watch_thread *watch)
{
    if (!watch->is_started)
        return;
    watch_thread_tell(watch, &watch->is_ending);
    pthread_join(watch->thread, NULL);
    watch->is_started = false;
}

void watch_thread_deinit(struct watch_thread *watch)
{
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->mutex);
}
