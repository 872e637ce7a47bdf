/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Carries out what cache/handoff asks for, one step an action, as fs/transition does: an inode has
 * one transition at a time, begun by a change of its locks. Kinds that hand nothing over are one
 * action as a whole.
 */
#ifndef MIGFS_MODEL_TRANSITION_H
#define MIGFS_MODEL_TRANSITION_H

#include "world.h"

/* False: not now. `bytes` of TAKE and GIVE. */
bool transition_begin(struct run *run, unsigned h, enum change change, unsigned description,
                      uint8_t bytes, bool is_closing);

enum how {
    STEP_GOES_WELL,
    STEP_FAILS,   /* and has done nothing */
    STEP_UNHEARD, /* it is done, and the answer is an error */
    STEP_TORN,    /* the host dies in it */
};
bool transition_step(struct run *run, unsigned h, enum how how);

/* The deadline passes: the caller is told, the steps come back late. */
bool transition_expire(struct run *run, unsigned h);

#endif
