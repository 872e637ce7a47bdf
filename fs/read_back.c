/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "read_back.h"

#include "backing.h"
#include "pool.h"

#include <errno.h>
#include <string.h>

/* Threads beside the caller's own, for as long as it takes; none where there are few extents. */
#define HELPERS 7
#define WORTH_HELPERS 4

/* Everybody takes the next one that nobody has taken, until there is none. */
struct reading {
    struct handle *handle;
    const struct digest_extent *extents;
    size_t count;
    int *results;
    int64_t until_ns;
    atomic_size_t next;
};

static int compare(struct handle *handle, const struct digest_extent *extent)
{
    uint8_t digest[DIGEST_BYTES];
    const char *bytes;
    const ssize_t count = backing_read_fresh(handle, extent->length, (off_t)extent->offset, &bytes);

    if (count < 0)
        return (int)count;
    digest_of(bytes, (size_t)count, digest);
    return (size_t)count == extent->length && memcmp(digest, extent->digest, DIGEST_BYTES) == 0
               ? 0
               : READ_BACK_DIFFERS;
}

static void *read_some(void *data)
{
    struct reading *reading = data;
    size_t i;

    while ((i = atomic_fetch_add(&reading->next, 1)) < reading->count) {
        if (reading->results[i] != 0 && pool_now_ns() < reading->until_ns)
            reading->results[i] = compare(reading->handle, &reading->extents[i]);
    }
    return NULL;
}

void read_back(struct handle *handle, const struct digest_extent *extents, size_t count,
               int *results, int64_t until_ns)
{
    struct reading reading = {.handle = handle,
                              .extents = extents,
                              .count = count,
                              .results = results,
                              .until_ns = until_ns};
    pthread_t helpers[HELPERS];
    size_t started = 0;

    /* The first by this thread alone: the description that all read by is opened once, and here. */
    if (count > 0 && results[0] != 0 && pool_now_ns() < until_ns)
        results[0] = compare(handle, &extents[0]);
    atomic_init(&reading.next, 1);
    while (count > WORTH_HELPERS && started < HELPERS &&
           pthread_create(&helpers[started], NULL, read_some, &reading) == 0)
        started++; /* fewer take longer */
    read_some(&reading);
    while (started > 0)
        pthread_join(helpers[--started], NULL);
}
