/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that wait for the store beside one that waits for it itself: made when first needed, and
 * kept, since to make and end one costs more than a read. Each has a buffer of backing.h.
 */
#ifndef MIGFS_FS_SPARES_H
#define MIGFS_FS_SPARES_H

#include <stdbool.h>

/* Of whoever begins it, until spares_end. */
struct spare_task {
    void (*run)(struct spare_task *task);
    struct spare_task *next; /* the spares' own, as what follows */
    bool is_over;
};

struct spares;

/* NULL: out of memory. */
struct spares *spares_new(void);

/* When no task is under way any more. Takes NULL. */
void spares_free(struct spares *spares);

/*
 * Has one of them run the task now. False: all are busy and no more can be had, and the caller does
 * without. Any thread that may wait; so for spares_end, which waits for a task that was begun.
 */
bool spares_begin(struct spares *spares, struct spare_task *task);
void spares_end(struct spares *spares, const struct spare_task *task);

#endif
