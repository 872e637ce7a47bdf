/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads beside libfuse's: a lock that waits, and whatever notifies the kernel, must not stand in
 * the way of requests.
 */
#ifndef CTOFS_THREAD_H
#define CTOFS_THREAD_H

/* Runs it on a detached thread of its own. Returns 0 or an errno (EAGAIN). */
int thread_start(void *(*run)(void *), void *argument);

#endif
