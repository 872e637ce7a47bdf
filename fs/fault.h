/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trouble on purpose, in builds with MIGFS_FAULTS alone: the environment variable MIGFS_SKIP_STEP
 * ("STEP", or "KIND:STEP" for those of one kind of transition) names a step that is taken for done.
 * What a step is for shows when it is left out (tests/hosts/steps.py).
 */
#ifndef MIGFS_FS_FAULT_H
#define MIGFS_FS_FAULT_H

#include "cache/handoff.h"

#include <stdbool.h>

#ifdef MIGFS_FAULTS
/* Whether the step is left out. Any thread. */
bool fault_skips(enum handoff_kind kind, enum handoff_step step);
#else
static inline bool fault_skips(enum handoff_kind kind, enum handoff_step step)
{
    (void)kind;
    (void)step;
    return false;
}
#endif

#endif
