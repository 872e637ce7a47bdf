/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long a transition and its steps take: counted (stats.h), and remembered as timelines, a
 * transition's own and that of the inode's locks or unlocks in a row. To be called on the thread
 * that carries the transition out, in this order; no lock.
 */
#ifndef MIGFS_FS_MEASURE_H
#define MIGFS_FS_MEASURE_H

#include "transition.h"

/* transition->started_ns is set. */
void measure_begin(struct transition *transition);

/* Of a step that is tried again the first time alone counts as its begin. */
void measure_step_begin(struct transition *transition);
void measure_step_end(struct context *context, struct transition *transition,
                      enum handoff_step step, int error);

/* All steps have ended; the answer is not out yet. */
void measure_end(struct context *context, struct transition *transition);

#endif
