/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The counters of a mount (migfs.h, STATS) as people and programs read them: names, and what a
 * histogram says.
 */
#ifndef MIGFS_CTL_COUNTERS_H
#define MIGFS_CTL_COUNTERS_H

#include "fs/migfs.h"

#include <stddef.h>
#include <stdint.h>

/* A mount that answered. Owns the texts. */
struct mount_stats {
    char *mountpoint;
    char *printable; /* the same as text_printable has it */
    struct migfs_stats stats;
};

/* Counters of one sort, by their number: "lookup", "acquire", "SYNC" as "sync". */
struct counter_group {
    const char *name;         /* in JSON: "requests", … */
    const char *const *kinds; /* `count` of them */
    size_t count;
    size_t offset; /* of the counters in struct migfs_counters */
};
enum counter_group_index {
    GROUP_REQUESTS,
    GROUP_HANDOFFS,
    GROUP_STEPS,
    GROUP_COUNT,
};
extern const struct counter_group counter_groups[GROUP_COUNT];

/* By enum migfs_handoff_kind and enum migfs_step. */
extern const char *const handoff_names[MIGFS_HANDOFF_KINDS];
extern const char *const step_names[MIGFS_STEPS];

const struct migfs_counter *counter_of(const struct migfs_stats *stats,
                                       const struct counter_group *group, size_t kind);

/* The counters that stand alone. */
struct single_counter {
    const char *name;   /* "bytes_read", … */
    const char *text;   /* for people */
    const char *metric; /* its family in OpenMetrics, and what it says there */
    const char *help;
    const char *unit; /* there; NULL: none */
    size_t offset;    /* in struct migfs_counters */
};
#define SINGLE_COUNTERS 6
extern const struct single_counter single_counters[SINGLE_COUNTERS];

uint64_t single_value(const struct migfs_stats *stats, const struct single_counter *counter);

/* "plain", …, by enum migfs_state. */
#define STATE_NAMES 6
extern const char *const state_names[STATE_NAMES];

/* How many ended. */
uint64_t counter_ended(const struct migfs_counter *counter);

/* The upper end of a bucket in µs; the last one has none. */
uint64_t bucket_end_us(size_t bucket);

/* The first bucket that has `part` (up to 1) of those that ended in it or before it. */
size_t counter_quantile(const struct migfs_counter *counter, double part);

#endif
