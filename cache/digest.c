/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(sizeof(XXH128_canonical_t) == DIGEST_BYTES, "an XXH3-128 is 16 bytes");

void digest_of(const void *bytes, size_t size, uint8_t digest[DIGEST_BYTES])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
    memcpy(digest, canonical.digest, DIGEST_BYTES);
}

/* The place for a new extent: a free one of its part, or that of the oldest there. */
static struct digest_extent *place_for(const struct digest_ring *ring, uint64_t offset)
{
    const bool is_early = offset < DIGEST_EARLY_END;
    struct digest_extent *const part = ring->extents + (is_early ? DIGEST_RECENT : 0);
    const size_t count = is_early ? DIGEST_EARLY : DIGEST_RECENT;
    struct digest_extent *oldest = part;

    for (size_t i = 1; i < count; i++) {
        if (part[i].serial < oldest->serial)
            oldest = &part[i];
    }
    return oldest;
}

static void insert(struct digest_ring *ring, const struct digest_extent *extent)
{
    struct digest_extent *place = place_for(ring, extent->offset);

    *place = *extent;
    place->serial = ++ring->serial;
}

static void remove_touched(struct digest_ring *ring, const struct digest_change *change)
{
    for (size_t i = 0; ring->extents && i < DIGEST_EXTENTS; i++) {
        struct digest_extent *extent = &ring->extents[i];

        if (extent->serial != 0 && extent->offset < change->end &&
            change->start < extent->offset + extent->length)
            *extent = (struct digest_extent){0};
    }
}

int digest_ring_start(struct digest_ring *ring, const struct digest_extent *extents, size_t count)
{
    digest_ring_stop(ring);
    ring->extents = calloc(DIGEST_EXTENTS, sizeof(*ring->extents));
    if (!ring->extents)
        return -ENOMEM;
    while (count > 0)
        insert(ring, &extents[--count]);
    for (const struct digest_change *change = ring->under_way; change; change = change->next)
        remove_touched(ring, change);
    ring->durable = ring->serial;
    return 0;
}

void digest_ring_clear(struct digest_ring *ring)
{
    if (ring->extents)
        memset(ring->extents, 0, DIGEST_EXTENTS * sizeof(*ring->extents));
    for (struct digest_change *change = ring->under_way; change; change = change->next)
        change->is_spoiled = true;
}

void digest_ring_stop(struct digest_ring *ring)
{
    free(ring->extents);
    ring->extents = NULL;
}

void digest_change_begin(struct digest_ring *ring, struct digest_change *change, uint64_t start,
                         uint64_t end)
{
    *change = (struct digest_change){.start = start, .end = end, .next = ring->under_way};
    for (struct digest_change *other = ring->under_way; other; other = other->next) {
        if (other->start >= end || start >= other->end)
            continue;
        other->is_spoiled = true;
        change->is_spoiled = true;
    }
    ring->under_way = change;
    remove_touched(ring, change);
}

void digest_change_end(struct digest_ring *ring, struct digest_change *change,
                       const struct digest_extent *written)
{
    struct digest_change **link = &ring->under_way;

    while (*link != change)
        link = &(*link)->next;
    *link = change->next;
    if (ring->extents && written && !change->is_spoiled)
        insert(ring, written);
}

void digest_ring_synced(struct digest_ring *ring, uint64_t serial)
{
    ring->durable = serial;
}

static int compare_newest_first(const void *a, const void *b)
{
    const uint64_t left = ((const struct digest_extent *)a)->serial;
    const uint64_t right = ((const struct digest_extent *)b)->serial;

    return (left < right) - (left > right);
}

static size_t copy(const struct digest_ring *ring, uint64_t most_serial,
                   struct digest_extent extents[DIGEST_EXTENTS])
{
    size_t count = 0;

    for (size_t i = 0; ring->extents && i < DIGEST_EXTENTS; i++) {
        if (ring->extents[i].serial != 0 && ring->extents[i].serial <= most_serial)
            extents[count++] = ring->extents[i];
    }
    if (count > 1)
        qsort(extents, count, sizeof(*extents), compare_newest_first);
    return count;
}

size_t digest_ring_copy(const struct digest_ring *ring,
                        struct digest_extent extents[DIGEST_EXTENTS])
{
    return copy(ring, ring->durable, extents);
}

size_t digest_ring_copy_all(const struct digest_ring *ring,
                            struct digest_extent extents[DIGEST_EXTENTS])
{
    return copy(ring, ring->serial, extents);
}

static struct digest_extent *find(const struct digest_ring *ring, uint64_t serial)
{
    for (size_t i = 0; ring->extents && i < DIGEST_EXTENTS; i++) {
        if (ring->extents[i].serial == serial)
            return &ring->extents[i];
    }
    return NULL;
}

bool digest_ring_has(const struct digest_ring *ring, const struct digest_extent *extent)
{
    return find(ring, extent->serial) != NULL;
}

bool digest_ring_remove(struct digest_ring *ring, const struct digest_extent *extent)
{
    struct digest_extent *entry = find(ring, extent->serial);

    if (!entry)
        return false;
    *entry = (struct digest_extent){0};
    return true;
}
