/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers of a test that can be replayed: the seed is printed, and taken from MIGFS_SEED
 * when that is set.
 */
#ifndef MIGFS_TESTS_UNIT_RANDOM_H
#define MIGFS_TESTS_UNIT_RANDOM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t random_seed(const char *test)
{
    const char *given = getenv("MIGFS_SEED");
    struct timespec now = {0};

    (void)timespec_get(&now, TIME_UTC); /* without a clock every run is the same one */
    const uint64_t seed = given != NULL
                              ? strtoull(given, NULL, 0)
                              : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    printf("%s: MIGFS_SEED=%" PRIu64 "\n", test, seed);
    return seed;
}

/* SplitMix64: any seed is a good one. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 … `bound` - 1. */
static inline unsigned random_below(uint64_t *state, unsigned bound)
{
    return (unsigned)(random_next(state) % bound);
}

#endif
