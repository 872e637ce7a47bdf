/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is told of a transition that ended: to the log (with fields in the journal: migfs(8)), to
 * who watches, to the status and to the file's history.
 */
#ifndef MIGFS_FS_REPORT_H
#define MIGFS_FS_REPORT_H

#include "transition.h"

/* Its state is settled, its answer not out yet; after measure_end. */
void report_transition(struct context *context, struct transition *transition);

/* A file's locks are lost: it was owner, or shared, and is fenced now. */
void report_fence(struct context *context, struct inode *inode, enum owner_state state_before);

#endif
