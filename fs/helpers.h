/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that wait for the store beside one that waits for it itself: made when first needed, and
 * kept, since to make and end one costs more than a read. Each has a buffer of backing.h.
 */
#ifndef MIGFS_FS_HELPERS_H
#define MIGFS_FS_HELPERS_H

#include <stdbool.h>

/* Of whoever wants help, from helpers_begin to helpers_end. */
struct helper_task {
    void (*run)(struct helper_task *task);
    struct helper_task *next; /* helpers' own, as what follows */
    bool is_over;
};

struct helpers;

/* NULL: out of memory. */
struct helpers *helpers_new(void);

/* When nobody is helped any more. Takes NULL. */
void helpers_free(struct helpers *helpers);

/*
 * Has one of them run the task now. False: all are busy and no more can be had, and the caller does
 * without. Any thread that may wait; so for helpers_end, which waits for a task that was begun.
 */
bool helpers_begin(struct helpers *helpers, struct helper_task *task);
void helpers_end(struct helpers *helpers, const struct helper_task *task);

#endif
