/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes qcow2_parse and what is planned by it: no head of an image makes it read beyond what came,
 * or more be read than it is worth. The first byte chooses the fields that are made right, or
 * nothing would get past them.
 */
#include "cache/prefetch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void put_u32(uint8_t *head, size_t at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        head[at + i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Extensions of the two known types in turn; the last one may be cut off. */
static void mend_extensions(uint8_t *head, size_t size, unsigned count)
{
    size_t at = 104;

    put_u32(head, 100, 104);
    for (unsigned i = 0; i < count && at + 8 <= size; i++) {
        const bool bitmaps = i % 2 == 0;
        const size_t length = bitmaps ? 24 : 16;

        put_u32(head, at, bitmaps ? 0x23852875 : 0x0537be77);
        put_u32(head, at + 4, (uint32_t)length);
        at += 8 + length;
        if (at <= size) /* the last 3 bytes of its offset: at a cluster's beginning */
            memset(head + at - (bitmaps ? 3 : 11), 0, 3);
    }
}

static void mend(uint8_t *head, size_t size, uint8_t choice)
{
    if (size < 104)
        return;
    memcpy(head, "QFI\xfb", 4);
    put_u32(head, 4, (choice & 1) != 0 ? 3 : 2);
    put_u32(head, 20, 9 + head[23] % 13);
    if ((choice & 1) != 0)
        put_u32(head, 100, 104 + 8 * (head[103] % 4u));
    if ((choice & 4) != 0) { /* places at the beginning of clusters, sizes within the limits */
        for (size_t at = 40; at <= 64; at += at == 48 ? 16 : 8)
            memset(head + at + 5, 0, 3);
        put_u32(head, 36, head[39]);
        put_u32(head, 56, 1 + head[59] % 4u);
        put_u32(head, 60, head[63]);
    }
    if ((choice & 8) != 0)
        mend_extensions(head, size, choice >> 4u);
}

static void check_plan(const struct qcow2_tables *tables)
{
    const struct digest_ring quiet = {.under_way = NULL};
    struct prefetch prefetch;
    uint64_t bytes = 0, end = 0;

    prefetch_plan(&prefetch, tables, &quiet);
    if (prefetch.count == 0 || prefetch.count > PREFETCH_MOST_PARTS ||
        prefetch.parts[0].offset != 0)
        abort();
    for (size_t i = 0; i < prefetch.count; i++) {
        const struct prefetch_part *part = &prefetch.parts[i];

        if ((i > 0 && part->offset <= end) || part->wanted_bytes == 0 || part->offset > INT64_MAX)
            abort();
        end = part->offset + part->wanted_bytes;
        bytes += part->wanted_bytes;
    }
    if (bytes > PREFETCH_MOST_BYTES)
        abort();
    prefetch_clear(&prefetch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_tables tables = {.count = 77};
    uint8_t *head;
    int error;

    if (size < 2)
        return 0;
    head = malloc(size - 1);
    if (!head)
        return 0;
    memcpy(head, data + 1, size - 1);
    if ((data[0] & 2) == 0)
        mend(head, size - 1, data[0]);
    error = qcow2_parse(head, size - 1, &tables);
    free(head);
    if (error != 0 && (error != -EINVAL || tables.count != 77))
        abort();
    if (error != 0)
        return 0;
    if (tables.count > QCOW2_MOST_TABLES)
        abort();
    for (size_t i = 0; i < tables.count; i++) {
        if (tables.entries[i].offset == 0 || tables.entries[i].length_bytes == 0 ||
            tables.entries[i].length_bytes > INT64_MAX - tables.entries[i].offset)
            abort();
    }
    check_plan(&tables);
    return 0;
}
