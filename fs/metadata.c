/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metadata.h"

#include "backing.h"
#include "cache/prefetch.h"
#include "fault.h"
#include "file_name.h"
#include "log.h"
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A VMM that takes over many disks locks them all before it reads the first one. */
#define SERVED_MS 30000

struct metadata {
    struct prefetch prefetch;
    bool is_served;
    uint64_t epoch;   /* of the owner, once served */
    int64_t until_ns; /* CLOCK_MONOTONIC */
};

void metadata_free(struct metadata *metadata)
{
    if (!metadata)
        return;
    prefetch_clear(&metadata->prefetch);
    free(metadata);
}

void metadata_drop(struct inode *inode)
{
    struct metadata *dropped;

    if (fault_keeps_metadata())
        return;
    pthread_mutex_lock(&inode->mutex);
    dropped = inode->metadata;
    inode->metadata = NULL;
    pthread_mutex_unlock(&inode->mutex);
    metadata_free(dropped);
}

void metadata_touch(struct inode *inode, uint64_t start, uint64_t end)
{
    if (inode->metadata && !fault_keeps_metadata())
        prefetch_touch(&inode->metadata->prefetch, start, end);
}

/* ---- reading ---- */

static void say_unread(struct context *context, struct inode *inode, int error)
{
    pthread_mutex_lock(&inode->mutex);
    inode->prefetch_errors++;
    pthread_mutex_unlock(&inode->mutex);
    log_debug("%s: its tables could not be read ahead: %s; the guest reads them itself",
              file_name(context, inode).text, strerror(-error));
}

/*
 * As many as there are, up to `size`, and as there is time for: a slow store holds the acquire up
 * for one unit at most. Or a negative errno.
 */
static ssize_t read_bytes(const struct metadata_reading *reading, uint8_t *buffer, size_t size,
                          uint64_t offset)
{
    size_t done = 0;

    while (done < size && pool_now_ns() < reading->until_ns) {
        const size_t left = size - done;
        const size_t most = left < PREFETCH_UNIT_BYTES ? left : PREFETCH_UNIT_BYTES;
        const char *bytes;
        const ssize_t count =
            backing_read_fresh(reading->handle, most, (off_t)(offset + done), &bytes);

        if (count < 0)
            return count;
        if (count == 0)
            break;
        memcpy(buffer + done, bytes, (size_t)count);
        done += (size_t)count;
    }
    return (ssize_t)done;
}

static int read_part(const struct metadata_reading *reading, struct prefetch_part *part)
{
    struct inode *inode = reading->handle->inode;
    uint8_t *bytes = malloc(part->wanted_bytes);
    ssize_t count = bytes ? read_bytes(reading, bytes, part->wanted_bytes, part->offset) : -ENOMEM;

    if (count <= 0) {
        free(bytes);
        return (int)count;
    }
    pthread_mutex_lock(&inode->mutex);
    part->bytes = bytes;
    part->size = (size_t)count;
    pthread_mutex_unlock(&inode->mutex);
    return 0;
}

/* From here on changes are noted. NULL: out of memory, or what is there already stays. */
static struct metadata *plan(struct inode *inode, const struct qcow2_tables *tables)
{
    struct metadata *metadata = calloc(1, sizeof(*metadata));

    if (!metadata)
        return NULL;
    pthread_mutex_lock(&inode->mutex);
    prefetch_plan(&metadata->prefetch, tables, &inode->digests);
    inode->metadata = metadata;
    pthread_mutex_unlock(&inode->mutex);
    return metadata;
}

/* In the inode's turn nobody else drops what is not served yet. */
static int read_tables(const struct metadata_reading *reading)
{
    uint8_t head[QCOW2_HEAD_BYTES];
    const ssize_t count = read_bytes(reading, head, sizeof(head), 0);
    struct qcow2_tables tables;
    struct metadata *metadata;
    int error = 0;

    if (count < 0)
        return (int)count;
    if (qcow2_parse(head, (size_t)count, &tables) != 0)
        return 0; /* nothing is known of where its tables are */
    metadata = plan(reading->handle->inode, &tables);
    if (!metadata)
        return -ENOMEM;
    for (size_t i = 0; i < metadata->prefetch.count && error == 0; i++)
        error = read_part(reading, &metadata->prefetch.parts[i]);
    return error;
}

static void run(struct spare_task *task)
{
    const struct metadata_reading *reading = (struct metadata_reading *)task;
    const int error = read_tables(reading);

    if (error != 0)
        say_unread(reading->context, reading->handle->inode, error);
}

void metadata_read_begin(struct metadata_reading *reading, struct context *context,
                         struct handle *handle, int64_t until_ns)
{
    struct inode *inode = handle->inode;

    *reading = (struct metadata_reading){
        .task.run = run, .context = context, .handle = handle, .until_ns = until_ns};
    pthread_mutex_lock(&inode->mutex);
    const bool is_there = inode->metadata != NULL;
    pthread_mutex_unlock(&inode->mutex);
    reading->is_due = !is_there && !context->passthrough && pool_now_ns() < until_ns;
    reading->is_begun = reading->is_due && spares_begin(context->spares, &reading->task);
}

void metadata_read_end(struct metadata_reading *reading, bool is_good)
{
    if (!reading->is_due)
        return;
    if (reading->is_begun)
        spares_end(reading->context->spares, &reading->task);
    else if (is_good)
        run(&reading->task);
    if (!is_good)
        metadata_drop(reading->handle->inode);
}

/* ---- serving ---- */

uint64_t metadata_serve(struct inode *inode)
{
    uint64_t bytes = 0;

    pthread_mutex_lock(&inode->mutex);
    struct metadata *metadata = inode->metadata;
    if (metadata && !metadata->is_served) {
        metadata->is_served = true;
        metadata->epoch = inode->owner.epoch;
        metadata->until_ns = pool_now_ns() + SERVED_MS * INT64_C(1000000);
        bytes = prefetch_bytes(&metadata->prefetch);
    }
    pthread_mutex_unlock(&inode->mutex);
    return bytes;
}

/* Once it is not, it never is again. */
static bool is_served(const struct inode *inode)
{
    const struct metadata *metadata = inode->metadata;

    return (metadata->epoch == inode->owner.epoch && pool_now_ns() < metadata->until_ns) ||
           fault_keeps_metadata();
}

void metadata_expire(struct inode *inode)
{
    pthread_mutex_lock(&inode->mutex);
    struct metadata *metadata = inode->metadata;
    const bool is_over = metadata && metadata->is_served && !is_served(inode);
    if (is_over)
        inode->metadata = NULL;
    pthread_mutex_unlock(&inode->mutex);
    if (is_over)
        metadata_free(metadata);
}

bool metadata_copy(struct inode *inode, char *buffer, size_t size, off_t offset)
{
    struct metadata *metadata = inode->metadata;
    const uint8_t *bytes;

    if (!metadata || !metadata->is_served || !owner_may_cache(&inode->owner))
        return false;
    if (!is_served(inode)) {
        inode->metadata = NULL;
        metadata_free(metadata);
        return false;
    }
    bytes = prefetch_find(&metadata->prefetch, (uint64_t)offset, size);
    if (bytes)
        memcpy(buffer, bytes, size);
    return bytes != NULL;
}
