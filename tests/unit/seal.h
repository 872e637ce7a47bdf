/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the checksum of a beacon or of an entry of a history right, as another writer would have.
 */
#ifndef MIGFS_TESTS_UNIT_SEAL_H
#define MIGFS_TESTS_UNIT_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

static inline void seal(uint8_t *bytes, size_t size)
{
    memset(bytes + 16, 0, 8);
    const uint64_t checksum = XXH3_64bits(bytes, size);
    for (unsigned i = 0; i < 8; i++)
        bytes[16 + i] = (uint8_t)(checksum >> (8 * i));
}

#endif
