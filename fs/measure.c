/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure.h"

#include "stats.h"

#include <stdlib.h>

_Static_assert((int)HANDOFF_STEP_LOCK == MIGFS_STEP_LOCK &&
                   (int)HANDOFF_STEP_TEST == MIGFS_STEP_TEST &&
                   (int)HANDOFF_STEP_DROP == MIGFS_STEP_DROP &&
                   (int)HANDOFF_STEP_READ_RECORD == MIGFS_STEP_READ_RECORD &&
                   (int)HANDOFF_STEP_INVALIDATE == MIGFS_STEP_INVALIDATE &&
                   (int)HANDOFF_STEP_VERIFY == MIGFS_STEP_VERIFY &&
                   (int)HANDOFF_STEP_WRITE_RECORD == MIGFS_STEP_WRITE_RECORD &&
                   (int)HANDOFF_STEP_FLUSH == MIGFS_STEP_FLUSH &&
                   (int)HANDOFF_STEP_DRAIN == MIGFS_STEP_DRAIN &&
                   (int)HANDOFF_STEP_SYNC == MIGFS_STEP_SYNC &&
                   (int)HANDOFF_STEP_UNLOCK == MIGFS_STEP_UNLOCK &&
                   (int)HANDOFF_STEP_ANSWER == MIGFS_STEPS,
               "steps are numbered as in migfs.h");
_Static_assert((int)HANDOFF_ACQUIRE == MIGFS_HANDOFF_ACQUIRE &&
                   (int)HANDOFF_SHARE == MIGFS_HANDOFF_SHARE &&
                   (int)HANDOFF_LOCK == MIGFS_HANDOFF_LOCK &&
                   (int)HANDOFF_QUIET_LOCK == MIGFS_HANDOFF_MORE_LOCK &&
                   (int)HANDOFF_FORGET == MIGFS_HANDOFF_FORGET &&
                   (int)HANDOFF_RELEASE == MIGFS_HANDOFF_RELEASE &&
                   (int)HANDOFF_DOWNGRADE == MIGFS_HANDOFF_DOWNGRADE &&
                   (int)HANDOFF_DEMOTE == MIGFS_HANDOFF_DEMOTE &&
                   (int)HANDOFF_UNLOCK == MIGFS_HANDOFF_UNLOCK &&
                   (int)HANDOFF_QUIET_UNLOCK == MIGFS_HANDOFF_MORE_UNLOCK &&
                   (int)HANDOFF_QUIET_UNLOCK + 1 == MIGFS_HANDOFF_KINDS,
               "transitions are numbered as in migfs.h");

void measure_begin(struct transition *transition)
{
    transition->timeline =
        (struct timeline){.started_ns = transition->started_ns, .ended_ns = transition->started_ns};
}

void measure_step_begin(struct transition *transition)
{
    if (transition->step_started_ns == 0)
        transition->step_started_ns = pool_now_ns();
}

void measure_step_end(struct context *context, struct transition *transition,
                      enum handoff_step step, int error)
{
    const int64_t began_ns = transition->step_started_ns;
    const int64_t now_ns = pool_now_ns();

    transition->step_started_ns = 0;
    if (step >= HANDOFF_STEP_ANSWER)
        return;
    stats_step(context->stats, (enum migfs_step)step, error, (uint64_t)(now_ns - began_ns));
    timeline_add(&transition->timeline, transition->handoff.plan.kind, step, began_ns, now_ns);
}

/* The jobs of an inode run one after another: its timeline needs no lock. */
static void remember(struct inode *inode, const struct transition *transition)
{
    const bool unlocks = !handoff_takes_locks(transition->handoff.plan.kind);
    struct timeline *locking = inode->locking;

    if (!locking)
        locking = calloc(1, sizeof(*locking)); /* short of memory it is missed by nobody */
    inode->locking = locking;
    if (!locking)
        return;
    if (unlocks == inode->unlocking && timeline_continues(locking, &transition->timeline))
        timeline_append(locking, &transition->timeline);
    else
        *locking = transition->timeline;
    inode->unlocking = unlocks;
}

void measure_end(struct context *context, struct transition *transition)
{
    const int64_t now_ns = pool_now_ns();

    stats_handoff(context->stats, (enum migfs_handoff_kind)transition->handoff.plan.kind,
                  transition->handoff.answer, (uint64_t)(now_ns - transition->started_ns));
    if (transition->handoff.contested)
        stats_event(context->stats, STATS_CONFLICT);
    transition->timeline.ended_ns = now_ns;
    remember(transition->job.inode, transition);
}
