/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metadata.h"

#include "fault.h"
#include "file_name.h"
#include "log.h"
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A VMM that takes over many disks locks them all before it reads the first one. */
#define SERVED_MS 30000

_Static_assert(PREFETCH_UNIT_BYTES <= BATCH_MOST_BYTES && QCOW2_HEAD_BYTES <= BATCH_MOST_BYTES,
               "a unit is one read, and so is the head");

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

static void note_error(struct metadata_reading *reading, int error)
{
    reading->error = reading->error != 0 ? reading->error : error;
}

/* The next unit of it, if any is left. */
static void read_on(struct metadata_part_read *one)
{
    const struct prefetch_part *part = one->part;
    const size_t left = part->wanted_bytes - part->size;

    if (left == 0)
        return;
    one->read.offset = part->offset + part->size;
    one->read.size = left < PREFETCH_UNIT_BYTES ? left : PREFETCH_UNIT_BYTES;
    batch_add(one->reading->batch, &one->read);
}

/* What is not served yet nobody else looks at but for its place. */
static void part_over(struct batch_read *read, const char *bytes, ssize_t count)
{
    struct metadata_part_read *one = (struct metadata_part_read *)read;
    struct prefetch_part *part = one->part;

    if (count < 0)
        note_error(one->reading, (int)count);
    if (count <= 0)
        return;
    memcpy(part->bytes + part->size, bytes, (size_t)count);
    part->size += (size_t)count;
    if ((size_t)count == read->size) /* else the file ends, or the VMM reads it itself */
        read_on(one);
}

static void read_part(struct metadata_reading *reading, struct metadata_part_read *one,
                      struct prefetch_part *part)
{
    part->bytes = malloc(part->wanted_bytes);
    if (!part->bytes) {
        note_error(reading, -ENOMEM);
        return;
    }
    *one = (struct metadata_part_read){.read.over = part_over, .reading = reading, .part = part};
    read_on(one);
}

/* From here on changes are noted. NULL: out of memory. */
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
static void head_over(struct batch_read *read, const char *bytes, ssize_t count)
{
    struct metadata_reading *reading = (struct metadata_reading *)read;
    struct qcow2_tables tables;
    struct metadata *metadata;

    if (count < 0) {
        note_error(reading, (int)count);
        return;
    }
    if (qcow2_parse((const uint8_t *)bytes, (size_t)count, &tables) != 0)
        return; /* nothing is known of where its tables are */
    metadata = plan(reading->batch->handle->inode, &tables);
    if (!metadata) {
        note_error(reading, -ENOMEM);
        return;
    }
    for (size_t i = 0; i < metadata->prefetch.count; i++)
        read_part(reading, &reading->parts[i], &metadata->prefetch.parts[i]);
}

void metadata_read_begin(struct metadata_reading *reading, struct batch *batch)
{
    struct inode *inode = batch->handle->inode;

    *reading = (struct metadata_reading){.head = {.size = QCOW2_HEAD_BYTES, .over = head_over}};
    pthread_mutex_lock(&inode->mutex);
    const bool is_there = inode->metadata != NULL;
    pthread_mutex_unlock(&inode->mutex);
    if (is_there || batch->context->passthrough)
        return;
    reading->batch = batch;
    batch_add(batch, &reading->head);
}

void metadata_read_end(struct metadata_reading *reading, bool is_good)
{
    if (!reading->batch)
        return;

    struct inode *inode = reading->batch->handle->inode;
    if (reading->error != 0)
        say_unread(reading->batch->context, inode, reading->error);
    if (!is_good)
        metadata_drop(inode);
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
