/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "read_back.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A round trip costs more than the bytes between two extents that lie so near. */
#define NEAR_BYTES ((uint64_t)32 * 1024)

_Static_assert(DIGEST_MOST_BYTES <= BATCH_MOST_BYTES, "an extent is one read");

static int compare_offsets(const void *left, const void *right)
{
    const struct digest_extent *a = *(const struct digest_extent *const *)left;
    const struct digest_extent *b = *(const struct digest_extent *const *)right;

    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* `count` bytes were read from `start` on. */
static int compare(const struct digest_extent *extent, const char *bytes, uint64_t start,
                   size_t count)
{
    const uint64_t at = extent->offset - start;
    uint8_t digest[DIGEST_BYTES];

    if (at > count || extent->length > count - at)
        return READ_BACK_DIFFERS; /* the file is shorter */
    digest_of(bytes + at, extent->length, digest);
    return memcmp(digest, extent->digest, DIGEST_BYTES) == 0 ? 0 : READ_BACK_DIFFERS;
}

static void read_alone(struct read_back *reading, size_t index);

/* An error, or a read that ends early by one, is no other extent's: each is read for itself then.
 */
static void run_over(struct batch_read *read, const char *bytes, ssize_t count)
{
    const struct read_back_run *run = (struct read_back_run *)read;
    struct read_back *reading = run->reading;

    for (size_t i = run->first; i < run->first + run->count; i++) {
        const struct digest_extent *extent = reading->ordered[i];
        const uint64_t end = extent->offset + extent->length;
        int *result = &reading->results[extent - reading->extents];

        if (count >= 0 && (run->count == 1 || end <= read->offset + (uint64_t)count))
            *result = compare(extent, bytes, read->offset, (size_t)count);
        else if (run->count == 1)
            *result = (int)count;
        else
            read_alone(reading, i);
    }
}

static struct read_back_run run_of(struct read_back *reading, size_t index)
{
    const struct digest_extent *extent = reading->ordered[index];

    return (struct read_back_run){
        .read = {.offset = extent->offset, .size = extent->length, .over = run_over},
        .reading = reading,
        .first = index,
        .count = 1,
    };
}

static void read_alone(struct read_back *reading, size_t index)
{
    reading->alone[index] = run_of(reading, index);
    batch_add(reading->batch, &reading->alone[index].read);
}

static bool joins(const struct read_back_run *run, const struct digest_extent *extent)
{
    const uint64_t end = extent->offset + extent->length;

    return extent->offset <= run->read.offset + run->read.size + NEAR_BYTES &&
           end - run->read.offset <= BATCH_MOST_BYTES;
}

static void join(struct read_back_run *run, const struct digest_extent *extent)
{
    const size_t size = (size_t)(extent->offset + extent->length - run->read.offset);

    run->count++;
    run->read.size = size > run->read.size ? size : run->read.size;
}

void read_back_add(struct read_back *reading, struct batch *batch,
                   const struct digest_extent *extents, size_t count, int *results)
{
    size_t wanted = 0, runs = 0;

    reading->batch = batch;
    reading->extents = extents;
    reading->results = results;
    for (size_t i = 0; i < count; i++) {
        if (results[i] != 0)
            reading->ordered[wanted++] = &extents[i];
    }
    if (wanted > 0)
        qsort(reading->ordered, wanted, sizeof(reading->ordered[0]), compare_offsets);
    for (size_t i = 0; i < wanted; i++) {
        if (runs > 0 && joins(&reading->runs[runs - 1], reading->ordered[i]))
            join(&reading->runs[runs - 1], reading->ordered[i]);
        else
            reading->runs[runs++] = run_of(reading, i);
    }
    for (size_t i = 0; i < runs; i++)
        batch_add(batch, &reading->runs[i].read);
}
