/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can happen next: each action is one moment of one host, its VMM or the network, and all
 * interleavings are those of actions.
 */
#ifndef MIGFS_MODEL_ACTION_H
#define MIGFS_MODEL_ACTION_H

#include "world.h"

#include <stddef.h>

struct action {
    uint8_t kind;
    uint8_t host;
    uint8_t handle;
};

#define MOST_ACTIONS 128

/* All that a scenario has; returns how many. */
unsigned action_list(const struct scenario *scenario, struct action actions[MOST_ACTIONS]);

/* False: it cannot happen now, and the world is spoiled. */
bool action_apply(struct run *run, const struct action *action);

/* Whether it is the next step of its host's transition. */
bool action_is_step(const struct action *action);

/* In words, with what came of it; `run` is as it was before. */
void action_tell(const struct run *run, const struct action *action, char *text, size_t size);

/* The world before the first action. */
void action_begin(struct run *run);

#endif
