/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Digests of what was written to one file (DESIGN §6): a ring of the last extents and a few of the
 * first MiB, each with the XXH3-128 of its bytes. It is told when a change of the file begins and
 * ends, and promises: at any moment each extent that it lists has, below, exactly the bytes whose
 * digest it gives, if nobody but those who tell it changes the file. So an extent goes when a
 * change that touches it begins, and one is listed only if no other change touched it while it was
 * written: which of two that overlap came last is nobody's to know. No I/O, no lock: the caller
 * serialises.
 */
#ifndef MIGFS_CACHE_DIGEST_H
#define MIGFS_CACHE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 16

/*
 * Of a longer write its beginning is kept: what all of them come to is what an acquire reads back
 * before it answers, 1.75 MiB at most. A cache that is stale has not got the write, and so not its
 * beginning either.
 */
#define DIGEST_KEPT_BYTES ((size_t)16 * 1024)

/* What others may have kept. */
#define DIGEST_MOST_BYTES ((size_t)64 * 1024)

/* The last extents, and besides the last of those that begin in the first MiB: image metadata. */
#define DIGEST_RECENT 96
#define DIGEST_EARLY 16
#define DIGEST_EARLY_END ((uint64_t)1 << 20)
#define DIGEST_EXTENTS (DIGEST_RECENT + DIGEST_EARLY)

/* The end of a change whose end is not known. */
#define DIGEST_TO_THE_END UINT64_MAX

struct digest_extent {
    uint64_t offset;
    uint32_t length; /* 1 … DIGEST_MOST_BYTES */
    uint8_t digest[DIGEST_BYTES];
    uint64_t serial; /* in a ring: which entry ever, from 1; 0: none. Elsewhere 0 */
};

/* A change under way; the caller's, from begin to end. */
struct digest_change {
    uint64_t start, end;        /* the bytes that it may touch, `end` not among them */
    bool is_spoiled;            /* another one touched some of them meanwhile */
    struct digest_change *next; /* of those under way */
};

/* All zeroes keeps none, and knows the changes under way all the same. */
struct digest_ring {
    struct digest_change *under_way;
    struct digest_extent *extents; /* DIGEST_EXTENTS, or NULL: none are kept */
    uint64_t serial;               /* of the newest entry ever */
    uint64_t durable;              /* entries up to this one are in the store for good */
};

/* XXH3-128 in canonical form. */
void digest_of(const void *bytes, size_t size, uint8_t digest[DIGEST_BYTES]);

/*
 * From now on extents are kept, beginning with these, which are in the store: oldest last. 0 or
 * -ENOMEM, with none kept.
 */
int digest_ring_start(struct digest_ring *ring, const struct digest_extent *extents, size_t count);

/* What is listed may not be below any more, nor what the changes under way write. */
void digest_ring_clear(struct digest_ring *ring);

/* None is kept any more, and all is freed. */
void digest_ring_stop(struct digest_ring *ring);

/* Whether extents are kept, so that a digest of what is written is worth its time. */
static inline bool digest_ring_keeps(const struct digest_ring *ring)
{
    return ring->extents != NULL;
}

/* Before a change: of the bytes from `start` to `end`, DIGEST_TO_THE_END where that is not known.
 */
void digest_change_begin(struct digest_ring *ring, struct digest_change *change, uint64_t start,
                         uint64_t end);

/*
 * After it, whatever became of it. `written`: what it is known to have put there, wholly; NULL: a
 * change that failed, was cut short, or whose bytes were not seen.
 */
void digest_change_end(struct digest_ring *ring, struct digest_change *change,
                       const struct digest_extent *written);

/* A sync that began when `ring->serial` was `serial` went well. */
void digest_ring_synced(struct digest_ring *ring, uint64_t serial);

/* Copies the extents that are in the store for good, newest first; returns how many. */
size_t digest_ring_copy(const struct digest_ring *ring,
                        struct digest_extent extents[DIGEST_EXTENTS]);

/* The same of all extents; whoever reads them back sees to it that they are there by then. */
size_t digest_ring_copy_all(const struct digest_ring *ring,
                            struct digest_extent extents[DIGEST_EXTENTS]);

/* Whether an entry that digest_ring_copy gave is there still. */
bool digest_ring_has(const struct digest_ring *ring, const struct digest_extent *extent);

/*
 * Takes an entry out that digest_ring_copy gave. False: it had gone already, so that a change of
 * one's own may have touched its bytes since.
 */
bool digest_ring_remove(struct digest_ring *ring, const struct digest_extent *extent);

#endif
