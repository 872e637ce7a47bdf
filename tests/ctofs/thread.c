/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "thread.h"

#include <pthread.h>

int thread_start(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int err = pthread_attr_init(&attributes);

    if (err)
        return err;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, (size_t)256 << 10);
    err = pthread_create(&thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return err;
}
