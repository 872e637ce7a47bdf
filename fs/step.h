/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The steps of a transition (cache/handoff.h), carried out: one function each. On pool threads, in
 * the inode's turn; which step is next, cache decides.
 */
#ifndef MIGFS_FS_STEP_H
#define MIGFS_FS_STEP_H

#include "transition.h"

/* Carries the step out, and fills `outcome` (all zeroes before). */
void step_carry_out(struct context *context, struct transition *transition, enum handoff_step step,
                    struct handoff_outcome *outcome);

/*
 * After the answer to who gives up writing, and will give the rest in a moment: looks at the file
 * as its record will have to tell of it.
 */
void step_look_ahead(struct context *context, struct transition *transition);

/*
 * Whether a thread that serves requests may carry the step out: it waits for nobody but the store,
 * as a lookup does, and notifies nobody.
 */
bool step_is_quick(const struct transition *transition, enum handoff_step step);

/*
 * Whether pages of mappings have come since the transition's SYNC began, so that it has not all.
 * With the inode's mutex held.
 */
bool step_pages_came(struct transition *transition, enum handoff_step step);

/*
 * Any open handle, one that writes if there is one. Good until the job ends: handles are closed by
 * jobs of their inode alone.
 */
struct handle *step_handle(struct inode *inode);

#endif
