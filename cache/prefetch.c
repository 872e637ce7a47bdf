/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "prefetch.h"

#include <stdlib.h>

struct span {
    uint64_t start, end; /* `end` not among them */
};

/* To whole units; an end near the last offset there is stays below it. */
static struct span widened(uint64_t offset, uint64_t length_bytes)
{
    const uint64_t start = offset - offset % PREFETCH_UNIT_BYTES;
    uint64_t end =
        offset + (length_bytes < PREFETCH_MOST_BYTES ? length_bytes : PREFETCH_MOST_BYTES);

    end += PREFETCH_UNIT_BYTES - 1;
    return (struct span){.start = start, .end = end - end % PREFETCH_UNIT_BYTES};
}

static int compare_starts(const void *left, const void *right)
{
    const struct span *a = left, *b = right;

    return (a->start > b->start) - (a->start < b->start);
}

/* Of spans in their order, those that meet become one. Returns how many are left. */
static size_t merge(struct span *spans, size_t count)
{
    size_t last = 0;

    for (size_t i = 1; i < count; i++) {
        if (spans[i].start > spans[last].end)
            spans[++last] = spans[i];
        else if (spans[i].end > spans[last].end)
            spans[last].end = spans[i].end;
    }
    return last + 1;
}

void prefetch_plan(struct prefetch *prefetch, const struct qcow2_tables *tables,
                   const struct digest_ring *ring)
{
    struct span spans[PREFETCH_MOST_PARTS] = {widened(0, QCOW2_HEAD_BYTES)};
    uint64_t left = PREFETCH_MOST_BYTES;
    size_t count = 1;

    *prefetch = (struct prefetch){.count = 0};
    for (size_t i = 0; i < tables->count; i++)
        spans[count++] = widened(tables->entries[i].offset, tables->entries[i].length_bytes);
    qsort(spans, count, sizeof(spans[0]), compare_starts);
    count = merge(spans, count);
    for (size_t i = 0; i < count && left > 0; i++) {
        const uint64_t length = spans[i].end - spans[i].start;
        struct prefetch_part *part = &prefetch->parts[prefetch->count++];

        *part = (struct prefetch_part){.offset = spans[i].start,
                                       .wanted_bytes = (size_t)(length < left ? length : left)};
        left -= part->wanted_bytes;
    }
    for (const struct digest_change *change = ring->under_way; change; change = change->next)
        prefetch_touch(prefetch, change->start, change->end);
}

void prefetch_clear(struct prefetch *prefetch)
{
    for (size_t i = 0; i < prefetch->count; i++)
        free(prefetch->parts[i].bytes);
    prefetch->count = 0;
}

void prefetch_touch(struct prefetch *prefetch, uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < prefetch->count; i++) {
        struct prefetch_part *part = &prefetch->parts[i];

        if (start < part->offset + part->wanted_bytes && part->offset < end)
            part->is_forgotten = true;
    }
}

uint64_t prefetch_bytes(const struct prefetch *prefetch)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < prefetch->count; i++) {
        if (prefetch->parts[i].bytes && !prefetch->parts[i].is_forgotten)
            bytes += prefetch->parts[i].size;
    }
    return bytes;
}

const uint8_t *prefetch_find(const struct prefetch *prefetch, uint64_t offset, size_t size)
{
    for (size_t i = 0; i < prefetch->count; i++) {
        const struct prefetch_part *part = &prefetch->parts[i];

        if (part->bytes && !part->is_forgotten && offset >= part->offset &&
            offset - part->offset <= part->size && size <= part->size - (offset - part->offset))
            return part->bytes + (offset - part->offset);
    }
    return NULL;
}
