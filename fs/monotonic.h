/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conditions whose timed waits go by CLOCK_MONOTONIC, as pool_now_ns does: a clock that is set
 * moves nobody's deadline.
 */
#ifndef MIGFS_FS_MONOTONIC_H
#define MIGFS_FS_MONOTONIC_H

#include <pthread.h>
#include <time.h>

static inline void monotonic_cond_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes); /* none of these can fail on Linux */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

#endif
