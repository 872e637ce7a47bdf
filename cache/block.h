/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The small blocks of fixed size in `.migfs/`, of a history and of a beacon: both have eight bytes
 * of magic first, and at 16 the XXH3-64 of the block with these eight bytes zero.
 */
#ifndef MIGFS_CACHE_BLOCK_H
#define MIGFS_CACHE_BLOCK_H

#include "little_endian.h"

#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#define BLOCK_MAGIC_BYTES 8
#define BLOCK_AT_CHECKSUM 16
#define BLOCK_CHECKSUM_BYTES 8
#define BLOCK_MOST_BYTES 512

/* `size` is BLOCK_MOST_BYTES at most. */
static inline uint64_t block_checksum(const uint8_t *bytes, size_t size)
{
    uint8_t copy[BLOCK_MOST_BYTES];

    memcpy(copy, bytes, size);
    memset(copy + BLOCK_AT_CHECKSUM, 0, BLOCK_CHECKSUM_BYTES);
    return XXH3_64bits(copy, size);
}

static inline void block_seal(uint8_t *bytes, size_t size)
{
    put_u64(bytes + BLOCK_AT_CHECKSUM, block_checksum(bytes, size));
}

static inline bool block_is_sealed(const uint8_t *bytes, size_t size)
{
    return block_checksum(bytes, size) == get_u64(bytes + BLOCK_AT_CHECKSUM);
}

/* Into a field of `size` zero bytes, of which the last one stays: cut to fit. */
static inline void block_put_text(uint8_t *to, const char *text, size_t size)
{
    memcpy(to, text, strnlen(text, size - 1));
}

#endif
