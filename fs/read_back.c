/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "read_back.h"

#include "backing.h"
#include "pool.h"
#include "spares.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Beside the caller's own thread; none where there are few reads. */
#define MOST_BESIDE 7
#define WORTH_SPARES 4

/* A round trip costs more than the bytes between two extents that lie so near. */
#define NEAR_BYTES ((uint64_t)32 * 1024)
#define MOST_RUN_BYTES ((uint64_t)256 * 1024)

/* Extents that are read at once: `count` of them from `first` on, in the order of offsets. */
struct run {
    size_t first, count;
    uint64_t start, end;
};

/* Everybody takes the next run that nobody has taken, until there is none. */
struct reading {
    struct handle *handle;
    const struct digest_extent *extents;
    const struct digest_extent *ordered[DIGEST_EXTENTS]; /* those that are to be read */
    int *results;                                        /* in the order of `extents` */
    int64_t until_ns;
    struct run runs[DIGEST_EXTENTS];
    size_t run_count;
    atomic_size_t next;
};

static int compare_offsets(const void *left, const void *right)
{
    const struct digest_extent *a = *(const struct digest_extent *const *)left;
    const struct digest_extent *b = *(const struct digest_extent *const *)right;

    return (a->offset > b->offset) - (a->offset < b->offset);
}

static bool joins(const struct run *run, const struct digest_extent *extent)
{
    const uint64_t end = extent->offset + extent->length;

    return extent->offset <= run->end + NEAR_BYTES && end - run->start <= MOST_RUN_BYTES;
}

static void plan(struct reading *reading, size_t count)
{
    size_t wanted = 0;

    for (size_t i = 0; i < count; i++) {
        if (reading->results[i] != 0)
            reading->ordered[wanted++] = &reading->extents[i];
    }
    if (wanted == 0)
        return;
    qsort(reading->ordered, wanted, sizeof(reading->ordered[0]), compare_offsets);
    for (size_t i = 0; i < wanted; i++) {
        const struct digest_extent *extent = reading->ordered[i];
        const uint64_t end = extent->offset + extent->length;
        struct run *last = &reading->runs[reading->run_count == 0 ? 0 : reading->run_count - 1];

        if (reading->run_count > 0 && joins(last, extent)) {
            last->count++;
            last->end = end > last->end ? end : last->end;
        } else {
            reading->runs[reading->run_count++] =
                (struct run){.first = i, .count = 1, .start = extent->offset, .end = end};
        }
    }
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

/* An error, or a read that ends early by one, is no other extent's: each is read for itself then.
 */
static void read_run(struct reading *reading, const struct run *run)
{
    const char *bytes;
    const ssize_t count = backing_read_fresh(reading->handle, (size_t)(run->end - run->start),
                                             (off_t)run->start, &bytes);

    for (size_t i = run->first; i < run->first + run->count; i++) {
        const struct digest_extent *extent = reading->ordered[i];
        const struct run alone = {.first = i,
                                  .count = 1,
                                  .start = extent->offset,
                                  .end = extent->offset + extent->length};

        if (count >= 0 && (run->count == 1 || alone.end <= run->start + (uint64_t)count))
            reading->results[extent - reading->extents] =
                compare(extent, bytes, run->start, (size_t)count);
        else if (run->count == 1)
            reading->results[extent - reading->extents] = (int)count;
        else if (pool_now_ns() < reading->until_ns)
            read_run(reading, &alone);
    }
}

static void read_some(struct reading *reading)
{
    size_t i;

    while ((i = atomic_fetch_add(&reading->next, 1)) < reading->run_count) {
        if (pool_now_ns() < reading->until_ns)
            read_run(reading, &reading->runs[i]);
    }
}

struct part {
    struct spare_task task;
    struct reading *reading;
};

static void read_beside(struct spare_task *task)
{
    read_some(((struct part *)task)->reading);
}

void read_back(struct context *context, struct handle *handle, const struct digest_extent *extents,
               size_t count, int *results, int64_t until_ns)
{
    struct reading reading = {
        .handle = handle, .extents = extents, .results = results, .until_ns = until_ns};
    struct part parts[MOST_BESIDE];
    size_t most = 0, begun = 0;

    plan(&reading, count);
    if (reading.run_count > 0)
        backing_open_fresh(handle); /* once, by one thread; an error is met again by each read */
    atomic_init(&reading.next, 0);
    if (reading.run_count > WORTH_SPARES)
        most = reading.run_count - 1 < MOST_BESIDE ? reading.run_count - 1 : MOST_BESIDE;
    for (; begun < most; begun++) {
        parts[begun] = (struct part){.task.run = read_beside, .reading = &reading};
        if (!spares_begin(context->spares, &parts[begun].task))
            break; /* fewer take longer */
    }
    read_some(&reading);
    while (begun > 0)
        spares_end(context->spares, &parts[--begun].task);
}
