/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trouble on purpose, in builds with MIGFS_FAULTS alone: the environment variable MIGFS_SKIP_STEP
 * ("STEP", or "KIND:STEP" for those of one kind of transition) names a step that is taken for done:
 * what a step is for shows when it is left out (tests/hosts/steps.py). MIGFS_KILL_FILE names a
 * file: the daemon is killed at the step that it names likewise, before any of it is done
 * (tests/hosts/killed.py). The step "retire" is none of a transition: an inode without a file
 * handle stands for its number for good (tests/nfs/cases_names.py). MIGFS_HOLD_WRITES names a file:
 * while it exists writes that have passed the gate wait; MIGFS_HOLD_WRITTEN another one: while it
 * exists what is written is not answered. MIGFS_CACHE_BESIDE: who opens a file beside one that
 * writes past the kernel's pages keeps some (tests/mount/kept.py). MIGFS_KEEP_METADATA: what was
 * read ahead at an acquire is never dropped, whatever changes (tests/hosts/prefetch.py).
 * MIGFS_LEAVE_PAGES: a release leaves the kernel's pages whoever has the file open, and they are
 * not dropped after it (tests/hosts/pages.py). MIGFS_AIO_NONE: the kernel has no AIO (batch.h).
 * MIGFS_BEACON_MS is the time between two writes of the beacon.
 */
#ifndef MIGFS_FS_FAULT_H
#define MIGFS_FS_FAULT_H

#include "cache/handoff.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef MIGFS_FAULTS
/* Dies there, or returns whether the step is left out. Any thread. */
bool fault_at(enum handoff_kind kind, enum handoff_step step);
bool fault_skips_retire(void);
/* Where it waits `before` is called first. */
void fault_hold_write(void (*before)(void));
void fault_hold_written(void (*before)(void));
bool fault_caches_beside(void);
bool fault_keeps_metadata(void);
bool fault_leaves_pages(void);
bool fault_aio_none(void);
int64_t fault_beacon_period_ns(int64_t period_ns);
#else
static inline bool fault_at(enum handoff_kind kind, enum handoff_step step)
{
    (void)kind;
    (void)step;
    return false;
}
static inline bool fault_skips_retire(void)
{
    return false;
}
static inline void fault_hold_write(void (*before)(void))
{
    (void)before;
}
static inline void fault_hold_written(void (*before)(void))
{
    (void)before;
}
static inline bool fault_caches_beside(void)
{
    return false;
}
static inline bool fault_keeps_metadata(void)
{
    return false;
}
static inline bool fault_leaves_pages(void)
{
    return false;
}
static inline bool fault_aio_none(void)
{
    return false;
}
static inline int64_t fault_beacon_period_ns(int64_t period_ns)
{
    return period_ns;
}
#endif

#endif
