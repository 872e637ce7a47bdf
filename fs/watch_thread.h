/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that waits for something to be due, or for its end. What it looks at is guarded by its
 * mutex, and told by `changed`, whose time is CLOCK_MONOTONIC.
 */
#ifndef MIGFS_FS_WATCH_THREAD_H
#define MIGFS_FS_WATCH_THREAD_H

#include <pthread.h>
#include <stdbool.h>

struct watch_thread {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_ending; /* mutex; run() returns soon */
    bool is_started;
    pthread_t thread;
};

void watch_thread_init(struct watch_thread *watch);

/* 0 or -EAGAIN. `name`, of at most 15 bytes, is for who looks at threads. */
int watch_thread_start(struct watch_thread *watch, const char *name, void *(*run)(void *data),
                       void *data);

/* Sets a flag that run() waits for. */
void watch_thread_tell(struct watch_thread *watch, bool *flag);

/* Waits for its end; nothing where it is not started. */
void watch_thread_stop(struct watch_thread *watch);

/* Not before it has stopped. */
void watch_thread_deinit(struct watch_thread *watch);

#endif
