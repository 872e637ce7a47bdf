/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CLOCK_MONOTONIC, and conditions whose timed waits go by it: a clock that is set moves nobody's
 * deadline.
 */
#ifndef MIGFS_FS_MONOTONIC_H
#define MIGFS_FS_MONOTONIC_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline int64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline void monotonic_cond_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes); /* none of these can fail on Linux */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

#endif
