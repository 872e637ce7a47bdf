/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qcow2.h"

#include <errno.h>
#include <stdbool.h>

/* Places in the header; all numbers are big-endian. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_CLUSTER_BITS = 20,
    AT_L1_ENTRIES = 36,
    AT_L1_OFFSET = 40,
    AT_REFCOUNT_OFFSET = 48,
    AT_REFCOUNT_CLUSTERS = 56,
    AT_SNAPSHOTS = 60,
    AT_SNAPSHOTS_OFFSET = 64,
    HEADER_BYTES_2 = 72,
    AT_HEADER_LENGTH = 100,
    HEADER_BYTES_3 = 104,
};

#define MAGIC UINT32_C(0x514649fb) /* "QFI\xfb" */

/* QEMU's own limits (block/qcow2.h): beyond them it does not open an image. */
#define LEAST_CLUSTER_BITS 9
#define MOST_CLUSTER_BITS 21
#define MOST_L1_BYTES (UINT64_C(32) << 20)
#define MOST_REFCOUNT_BYTES (UINT64_C(8) << 20)
#define MOST_SNAPSHOTS 65536

/* An entry of the L1 table; of a snapshot, which has strings behind it, at least. */
#define L1_ENTRY_BYTES 8
#define SNAPSHOT_BYTES 40

enum {
    EXTENSION_END = 0,
    EXTENSION_BITMAPS = 0x23852875,
    EXTENSION_ENCRYPTION = 0x0537be77,
};
#define EXTENSION_HEAD_BYTES 8

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get_u64(const uint8_t *at)
{
    return (uint64_t)get_u32(at) << 32 | get_u32(at + 4);
}

/* False: not a place that a table can have. One without length is none, and no harm. */
static bool add(struct qcow2_tables *tables, uint64_t cluster_bytes, uint64_t offset,
                uint64_t length_bytes)
{
    if (length_bytes == 0)
        return true;
    if (offset == 0 || offset % cluster_bytes != 0 || offset > INT64_MAX ||
        length_bytes > INT64_MAX - offset)
        return false;
    tables->entries[tables->count++] =
        (struct qcow2_table){.offset = offset, .length_bytes = length_bytes};
    return true;
}

/* The part of `size` bytes that is the header's; 0: none that is known. */
static size_t header_bytes(const uint8_t *bytes, size_t size)
{
    size_t length;

    if (size < HEADER_BYTES_2 || get_u32(bytes + AT_MAGIC) != MAGIC)
        return 0;
    if (get_u32(bytes + AT_VERSION) == 2)
        return HEADER_BYTES_2;
    if (get_u32(bytes + AT_VERSION) != 3 || size < HEADER_BYTES_3)
        return 0;
    length = get_u32(bytes + AT_HEADER_LENGTH);
    return length >= HEADER_BYTES_3 && length % 8 == 0 ? length : 0;
}

static bool add_header_tables(struct qcow2_tables *tables, const uint8_t *bytes,
                              unsigned cluster_bits)
{
    const uint64_t cluster_bytes = UINT64_C(1) << cluster_bits;
    const uint64_t l1_bytes = (uint64_t)get_u32(bytes + AT_L1_ENTRIES) * L1_ENTRY_BYTES;
    const uint64_t refcount_bytes = (uint64_t)get_u32(bytes + AT_REFCOUNT_CLUSTERS) << cluster_bits;
    const uint64_t snapshots = get_u32(bytes + AT_SNAPSHOTS);

    if (l1_bytes > MOST_L1_BYTES || refcount_bytes == 0 || refcount_bytes > MOST_REFCOUNT_BYTES ||
        snapshots > MOST_SNAPSHOTS)
        return false;
    return add(tables, cluster_bytes, get_u64(bytes + AT_L1_OFFSET), l1_bytes) &&
           add(tables, cluster_bytes, get_u64(bytes + AT_REFCOUNT_OFFSET), refcount_bytes) &&
           add(tables, cluster_bytes, get_u64(bytes + AT_SNAPSHOTS_OFFSET),
               snapshots * SNAPSHOT_BYTES);
}

/* Two of a kind are none: their tables may not be more than there is room for. */
struct seen {
    bool bitmaps, encryption;
};

static void add_extension(struct qcow2_tables *tables, struct seen *seen, uint64_t cluster_bytes,
                          uint32_t type, const uint8_t *data, uint32_t length)
{
    if (type == EXTENSION_BITMAPS && length >= 24 && !seen->bitmaps) {
        seen->bitmaps = true;
        (void)add(tables, cluster_bytes, get_u64(data + 16), get_u64(data + 8)); /* or none */
    } else if (type == EXTENSION_ENCRYPTION && length >= 16 && !seen->encryption) {
        seen->encryption = true;
        (void)add(tables, cluster_bytes, get_u64(data), get_u64(data + 8)); /* or none */
    }
}

/* They lie between the header and the end of the first cluster. */
static void add_extension_tables(struct qcow2_tables *tables, const uint8_t *bytes, size_t size,
                                 size_t at, uint64_t cluster_bytes)
{
    struct seen seen = {false, false};

    if (size > cluster_bytes)
        size = (size_t)cluster_bytes;
    while (at <= size && size - at >= EXTENSION_HEAD_BYTES) {
        const uint32_t type = get_u32(bytes + at);
        const uint32_t length = get_u32(bytes + at + 4);
        const size_t padded = ((size_t)length + 7) & ~(size_t)7;

        at += EXTENSION_HEAD_BYTES;
        if (type == EXTENSION_END || length > size - at)
            return;
        add_extension(tables, &seen, cluster_bytes, type, bytes + at, length);
        at += padded;
    }
}

int qcow2_parse(const uint8_t *bytes, size_t size, struct qcow2_tables *tables)
{
    const size_t header = header_bytes(bytes, size);
    struct qcow2_tables found = {.count = 0};

    if (header == 0)
        return -EINVAL;
    const uint32_t cluster_bits = get_u32(bytes + AT_CLUSTER_BITS);
    if (cluster_bits < LEAST_CLUSTER_BITS || cluster_bits > MOST_CLUSTER_BITS ||
        header > (UINT64_C(1) << cluster_bits) || !add_header_tables(&found, bytes, cluster_bits))
        return -EINVAL;
    add_extension_tables(&found, bytes, size, header, UINT64_C(1) << cluster_bits);
    *tables = found;
    return 0;
}
