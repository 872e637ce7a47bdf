/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks that say what they are: file, block and sequence number, in each word. A block is whole
 * or it is torn, and a whole one tells how old it is.
 */
#ifndef MIGFS_TESTS_LOAD_PATTERN_H
#define MIGFS_TESTS_LOAD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK_BYTES = 4096, BLOCK_WORDS = BLOCK_BYTES / 8 };

static inline uint64_t pattern_word(unsigned file, unsigned block, uint32_t sequence)
{
    return (uint64_t)file << 48 | (uint64_t)(block & 0xffff) << 32 | sequence;
}

static inline void pattern_fill(void *bytes, unsigned file, unsigned block, uint32_t sequence)
{
    uint64_t *words = bytes;

    for (size_t i = 0; i < BLOCK_WORDS; i++)
        words[i] = pattern_word(file, block, sequence);
}

static inline bool pattern_is(const void *bytes, unsigned file, unsigned block, uint32_t sequence)
{
    const uint64_t *words = bytes;

    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        if (words[i] != pattern_word(file, block, sequence))
            return false;
    }
    return true;
}

#endif
