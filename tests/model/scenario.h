/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is explored: who is there, what may happen, how often, and how far it is followed. */
#ifndef MIGFS_MODEL_SCENARIO_H
#define MIGFS_MODEL_SCENARIO_H

#include "world.h"

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* NULL: there is none of that name. */
const struct scenario *scenario_find(const char *name);

#endif
