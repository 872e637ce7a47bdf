/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be taken out of the code that is explored: one guard each, by a switch where the model
 * carries out what the code asks for, so that the code itself stays as it is.
 */
#ifndef MIGFS_MODEL_MUTANT_H
#define MIGFS_MODEL_MUTANT_H

#include "world.h"

enum mutation {
    MUTATION_SKIP_STEP,
    MUTATION_REPLY_EARLY,      /* the lock is answered before INVALIDATE */
    MUTATION_UNLOCK_EARLY,     /* the bytes go before DRAIN */
    MUTATION_RECORD_EARLY,     /* a release writes its record before SYNC */
    MUTATION_DROP_EARLY,       /* an acquire drops before TEST, not after it */
    MUTATION_GATE_OPEN,        /* a release refuses no writes */
    MUTATION_ALWAYS_CACHES,    /* owner_asks_server is false, whatever the state */
    MUTATION_CACHES_ACQUIRING, /* and in a transition alone */
    MUTATION_ALWAYS_KEEPS,     /* owner_may_cache is true, whatever the state */
    MUTATION_RELEASED_WRITES,  /* `released` refuses no writes */
    MUTATION_NO_LATCH,         /* a lost lock leaves the state as it was */
    MUTATION_NO_GUARD,         /* each handle is written by its own description */
    MUTATION_NO_WATCH,         /* nobody looks whether the locks are there still */
    MUTATION_MASKED_TEST,      /* one's own locks hide those of others */
    MUTATION_TEST_101_ONLY,    /* a writer does not mind those who share no writing */
    MUTATION_NO_RECORD_LOOK,   /* an open reads no record */
    MUTATION_STANDBY_KEEPS,    /* what a standby has read is not dropped */
    MUTATION_TRUSTS_BELOW,     /* pages that stayed below are believed */
    MUTATION_ONE_SLOT,         /* a record is overwritten in place */
    MUTATION_STALE_DIGEST,     /* a change leaves the digest of what it changes */
    MUTATION_RECORD_BLOCKS,    /* an acquire stops at a record that names another owner */
    MUTATION_LOST_LOCKS_AGAIN, /* descriptions that held lost locks are taken for new ones */
    MUTATION_NO_STORE_FENCE,   /* NFSv3: the store ties no write to a lock */
    MUTATION_UNCHECKED_RELOCK, /* a quiet lock does not look whether the others are there still */
    MUTATION_SWALLOWED_ERROR,  /* what a close's SYNC is told, the other handles are not */
    MUTATION_KEEPS_WRITTEN,    /* what was written beside others stays in the kernel's pages */
    MUTATION_UNMARKED_CONTEST, /* what a contest released, the next close of any handle ends */
    MUTATION_RECORD_UNFENCED,  /* one whose locks are lost still writes the record */
    MUTATION_DISORDERLY,       /* a VMM writes while it unlocks, or after */
    MUTATION_LEAVES_TO_OTHERS, /* a release leaves pages whoever has the file open */
    MUTATION_LEAVES_FOR_GOOD,  /* and nobody drops them after it */
    MUTATION_QEMU_TESTS_LATER, /* the other host goes between migfs's test and QEMU's own */
};

struct mutant {
    const char *name;
    const char *guard;    /* what is taken out */
    const char *scenario; /* where it shows */
    enum mutation mutation;
    enum handoff_kind kind; /* MUTATION_SKIP_STEP */
    enum handoff_step step;
    bool is_gap;         /* not taken out: the code has it not */
    bool is_deep;        /* caught, but far away: with --full only */
    const char *why_not; /* not NULL: nothing here catches it, and why */
};

extern const struct mutant mutants[];
extern const unsigned mutant_count;

static inline bool mutated(const struct run *run, enum mutation mutation)
{
    return run->mutant && run->mutant->mutation == mutation;
}

static inline bool skips(const struct run *run, enum handoff_kind kind, enum handoff_step step)
{
    return mutated(run, MUTATION_SKIP_STEP) && run->mutant->kind == kind &&
           run->mutant->step == step;
}

#endif
