/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a thread of this program may run before another one's turn. What it does for a request
 * is short, and a guest waits for it: a thread with a short slice need not wait, when it is woken,
 * for the end of a longer one, such as a busy guest's (Linux 6.12, kernel/sched/fair.c,
 * PREEMPT_SHORT).
 */
#ifndef MIGFS_FS_SLICE_H
#define MIGFS_FS_SLICE_H

/* Of the calling thread, and of those that it starts later. Earlier kernels take no notice. */
void slice_shorten(void);

#endif
