/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a mount has done, counted: migfs.h's struct migfs_counters, summed up when somebody asks.
 * Each thread counts in a block of its own, which nobody else writes: no lock, no cache line that
 * goes to and fro, no atomic addition. Callable from any thread, at once.
 */
#ifndef MIGFS_FS_STATS_H
#define MIGFS_FS_STATS_H

#include "migfs.h"

#include <stdint.h>

struct stats;

/* NULL: out of memory, or the process has no more keys for data of threads. */
struct stats *stats_new(void);

/* When no thread counts any more. Takes NULL. */
void stats_free(struct stats *stats);

struct stats_answer {
    int error;              /* 0 or a negative errno */
    uint64_t bytes_carried; /* what a READ gave */
    uint64_t bytes_taken;   /* what a WRITE took; both are looked at for what they are of only */
};

/*
 * A request of that number was taken from the kernel; the number is the kernel's, and not in use by
 * another request. And: its answer is about to go out, from whatever thread. A request that nobody
 * answers is begun with the number 0.
 */
void stats_request_begin(struct stats *stats, enum migfs_request kind, uint64_t unique);
void stats_request_end(struct stats *stats, uint64_t unique, const struct stats_answer *answer);

/* What ended, with 0 or a negative errno. */
void stats_step(struct stats *stats, enum migfs_step step, int error, uint64_t duration_ns);
void stats_handoff(struct stats *stats, enum migfs_handoff_kind kind, int error,
                   uint64_t duration_ns);

enum stats_event {
    STATS_FENCE,
    STATS_STALE_ACQUIRE,
    STATS_FOREIGN_WRITE,
    STATS_CONFLICT,
};
void stats_event(struct stats *stats, enum stats_event event);

/* What was counted so far; of what goes on meanwhile some or all. */
void stats_read(struct stats *stats, struct migfs_counters *counters);

#endif
