/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The byte-range locks of one inode, as this mount knows them: who holds which bytes, how, and
 * through which handle. It answers what OFD locks below cannot: the holder's pid, a deadlock, and
 * which bytes go when a handle or a lock owner goes. It takes no lock itself and calls nobody; the
 * caller serialises all access to a table, and to all tables together for wait_deadlocks().
 */
#ifndef MIGFS_CACHE_RANGE_H
#define MIGFS_CACHE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Last byte that a lock can cover: "to the end of the file" (fcntl(2), l_len 0). */
#define RANGE_MAX ((uint64_t)INT64_MAX)

enum range_type {
    RANGE_READ,
    RANGE_WRITE,
};

struct range {
    uint64_t start; /* first byte, 0 … RANGE_MAX */
    uint64_t end;   /* last byte, inclusive, start … RANGE_MAX */
    enum range_type type;
    uint64_t owner;  /* lock owner as the kernel names it */
    uint64_t handle; /* the handle that it was taken through */
    uint32_t pid;    /* of the process that took it, 0 where unknown */
};

/*
 * Sorted by owner, then start; ranges of one owner never overlap, and two that touch and are alike
 * (type, handle, pid) are one. All zeroes is an empty table.
 */
struct range_table {
    struct range *entries;
    size_t count;
    size_t capacity;
};

/* Frees what the table holds and leaves it empty. Takes a table of zeroes. */
void range_table_deinit(struct range_table *table);

/* Makes `copy` (empty) a copy of `table`. 0, or -ENOMEM with `copy` untouched. */
int range_table_copy(const struct range_table *table, struct range_table *copy);

/*
 * The owner now holds `lock`: replaces what it held of those bytes, splitting and merging as
 * fcntl(2) says. 0, or -ENOMEM with the table untouched.
 */
int range_set(struct range_table *table, const struct range *lock);

/* The owner no longer holds `start` … `end`. 0, or -ENOMEM (a split) with the table untouched. */
int range_clear(struct range_table *table, uint64_t owner, uint64_t start, uint64_t end);

/* Drops all that was taken through the handle, whoever the owner. Cannot fail. */
void range_clear_handle(struct range_table *table, uint64_t handle);

/* Drops all of the owner's. Cannot fail. */
void range_clear_owner(struct range_table *table, uint64_t owner);

/*
 * The lowest range of another owner that stands in the way of `wanted`, or NULL. The pointer is
 * good until the table changes.
 */
const struct range *range_conflict(const struct range_table *table, const struct range *wanted);

/* Whether a range of the owner's covers the byte. */
bool range_owner_holds_byte(const struct range_table *table, uint64_t owner, uint64_t byte);

/* Whether the owner holds anything. */
bool range_owner_holds(const struct range_table *table, uint64_t owner);

/* Whether anything of that type, or a stronger one, was taken through the handle. */
bool range_handle_holds(const struct range_table *table, uint64_t handle, enum range_type type);

/*
 * A blocked request for a lock. The waits of a mount are one list, since a cycle may run through
 * several inodes; the caller links and unlinks entries and owns them.
 */
struct wait {
    struct wait *next;
    const struct range_table *table;
    struct range wanted;
};

/*
 * Whether `added`, which is not in the list yet, would close a cycle: each owner in it waits for
 * bytes that the next one holds. Evaluated against the tables as they are now, so a wait whose
 * blocker has changed since is judged by its present one. Source: fcntl(2), EDEADLK; POSIX gives
 * it to process-owned locks only, but the kernel does not tell FUSE a lock's kind. Out of memory it
 * is false: the wait is then one that a signal ends.
 */
bool wait_deadlocks(const struct wait *waits, const struct wait *added);

#endif
