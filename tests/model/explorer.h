/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Visits every moment that a scenario leads to, the nearest first, so that the first violation
 * that it meets has a shortest way. Of a visited moment a hash of 64 bits is kept and the action
 * that led to it; of the farthest ones all.
 */
#ifndef MIGFS_MODEL_EXPLORER_H
#define MIGFS_MODEL_EXPLORER_H

#include "action.h"

#define MOST_LENGTH 128

struct exploration {
    unsigned long states;
    unsigned depth;        /* actions on the longest shortest way */
    bool is_whole;         /* there is nothing beyond; else it was left at this depth */
    const char *violation; /* NULL: none */
    struct action way[MOST_LENGTH];
    unsigned length; /* of the way to the violation */
};

/* 0, or -ENOMEM: more states than there is room for (30 million). `depth` 0: to the end. */
int explorer_run(const struct scenario *scenario, const struct mutant *mutant, unsigned depth,
                 struct exploration *result);

#endif
