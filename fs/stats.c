/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stats.h"

#include "monotonic.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE 64
/* Requests that may be under way before one is not measured: more than may wait for locks. */
#define SLOTS 4096
/* Odd, and SLOTS times the golden ratio: numbers in a row lie far apart, with room beside each. */
#define SPREAD 2531
/* Slots that are looked at for one. */
#define PROBES 8

/* migfs_counters as words, of which each has one writer. */
#define WORDS (sizeof(struct migfs_counters) / sizeof(__u64))
#define WORD_OF(field) (offsetof(struct migfs_counters, field) / sizeof(__u64))
#define WORD_IN_COUNTER(field) (offsetof(struct migfs_counter, field) / sizeof(__u64))

/* One thread's; of a thread that has ended the next one's. Lives as long as the stats. */
struct block {
    alignas(CACHE_LINE) atomic_uint_fast64_t words[WORDS];
    struct stats *stats;
    struct block *next; /* of all; fixed */
    bool is_taken;      /* stats.mutex */
};

_Static_assert(sizeof(atomic_uint_fast64_t) == sizeof(__u64), "a word is a counter");

/* A request under way. A line of its own: the next one's is another thread's. */
struct slot {
    alignas(CACHE_LINE) atomic_uint_fast64_t unique; /* 0: free */
    enum migfs_request kind; /* these are of whoever took the slot, until the answer is there */
    int64_t started_ns;
};

struct stats {
    struct slot slots[SLOTS];
    pthread_key_t key; /* a thread's block */
    pthread_mutex_t mutex;
    _Atomic(struct block *) blocks;
};

/* ---- blocks ---- */

static void give_block_back(void *data)
{
    struct block *block = data;

    pthread_mutex_lock(&block->stats->mutex);
    block->is_taken = false;
    pthread_mutex_unlock(&block->stats->mutex);
}

struct stats *stats_new(void)
{
    struct stats *stats = aligned_alloc(CACHE_LINE, sizeof(*stats));

    if (!stats)
        return NULL;
    memset(stats, 0, sizeof(*stats));
    if (pthread_key_create(&stats->key, give_block_back) != 0) {
        free(stats);
        return NULL;
    }
    pthread_mutex_init(&stats->mutex, NULL); /* cannot fail with default attributes */
    return stats;
}

void stats_free(struct stats *stats)
{
    struct block *block = stats ? atomic_load(&stats->blocks) : NULL;

    if (!stats)
        return;
    pthread_key_delete(stats->key);
    while (block) {
        struct block *next = block->next;

        free(block);
        block = next;
    }
    pthread_mutex_destroy(&stats->mutex);
    free(stats);
}

static struct block *block_new(struct stats *stats)
{
    struct block *block = aligned_alloc(CACHE_LINE, sizeof(*block));

    if (!block)
        return NULL;
    memset(block, 0, sizeof(*block));
    block->stats = stats;
    block->next = atomic_load(&stats->blocks);
    atomic_store(&stats->blocks, block);
    return block;
}

/* A thread's first one. NULL: short of memory it counts nothing. */
static struct block *take_block(struct stats *stats)
{
    struct block *block;

    pthread_mutex_lock(&stats->mutex);
    block = atomic_load(&stats->blocks);
    while (block && block->is_taken)
        block = block->next;
    if (!block)
        block = block_new(stats);
    if (block)
        block->is_taken = pthread_setspecific(stats->key, block) == 0;
    const bool is_taken = block && block->is_taken;
    pthread_mutex_unlock(&stats->mutex);
    return is_taken ? block : NULL;
}

static struct block *block_of_thread(struct stats *stats)
{
    struct block *block = pthread_getspecific(stats->key);

    return block ? block : take_block(stats);
}

/* ---- counting ---- */

/* Nobody else writes it, and who reads it asks for no order. */
static void add(struct block *block, size_t word, uint64_t number)
{
    atomic_uint_fast64_t *at = &block->words[word];

    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + number,
                          memory_order_relaxed);
}

/* The least i with a duration of up to 2^i µs. */
static size_t bucket_of(uint64_t duration_ns)
{
    const uint64_t us = (duration_ns + 999) / 1000;
    const size_t bucket = us <= 1 ? 0 : 64 - (size_t)__builtin_clzll(us - 1);

    return bucket < MIGFS_COUNTER_BUCKETS ? bucket : MIGFS_COUNTER_BUCKETS - 1;
}

static void add_end(struct block *block, size_t counter, int error, uint64_t duration_ns)
{
    if (error != 0)
        add(block, counter + WORD_IN_COUNTER(failed), 1);
    add(block, counter + WORD_IN_COUNTER(sum_ns), duration_ns);
    add(block, counter + WORD_IN_COUNTER(buckets) + bucket_of(duration_ns), 1);
}

static void count_end(struct stats *stats, size_t counter, int error, uint64_t duration_ns)
{
    struct block *block = block_of_thread(stats);

    if (!block)
        return;
    add(block, counter + WORD_IN_COUNTER(begun), 1);
    add_end(block, counter, error, duration_ns);
}

void stats_step(struct stats *stats, enum migfs_step step, int error, uint64_t duration_ns)
{
    count_end(stats, WORD_OF(steps[step]), error, duration_ns);
}

void stats_handoff(struct stats *stats, enum migfs_handoff_kind kind, int error,
                   uint64_t duration_ns)
{
    count_end(stats, WORD_OF(handoffs[kind]), error, duration_ns);
}

void stats_event(struct stats *stats, enum stats_event event)
{
    static const size_t words[] = {
        [STATS_FENCE] = WORD_OF(fences),
        [STATS_STALE_ACQUIRE] = WORD_OF(stale_acquires),
        [STATS_FOREIGN_WRITE] = WORD_OF(foreign_writes),
        [STATS_CONFLICT] = WORD_OF(conflicts),
    };
    struct block *block = block_of_thread(stats);

    if (block)
        add(block, words[event], 1);
}

/* ---- requests under way ---- */

/* The kernel numbers them in steps of 2. Those of a row may all wait for long. */
static struct slot *slot_of(struct stats *stats, uint64_t unique, unsigned probe)
{
    return &stats->slots[(unique / 2 * SPREAD + probe) % SLOTS];
}

/* One that waits for long, for a lock, keeps its slot from others. */
static void note(struct stats *stats, enum migfs_request kind, uint64_t unique)
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        struct slot *slot = slot_of(stats, unique, probe);
        uint_fast64_t nobody = 0;

        if (!atomic_compare_exchange_strong_explicit(&slot->unique, &nobody, unique,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        /* Who answers has the request from this thread, in whatever way, and so sees these. */
        slot->kind = kind;
        slot->started_ns = monotonic_ns();
        return;
    }
}

void stats_request_begin(struct stats *stats, enum migfs_request kind, uint64_t unique)
{
    struct block *block = block_of_thread(stats);

    if (block)
        add(block, WORD_OF(requests[kind].begun), 1);
    if (unique != 0)
        note(stats, kind, unique);
}

static struct slot *find(struct stats *stats, uint64_t unique)
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        struct slot *slot = slot_of(stats, unique, probe);

        if (atomic_load_explicit(&slot->unique, memory_order_relaxed) == unique)
            return slot;
    }
    return NULL;
}

static void count_bytes(struct block *block, enum migfs_request kind,
                        const struct stats_answer *answer)
{
    if (answer->error != 0)
        return;
    if (kind == MIGFS_REQUEST_READ)
        add(block, WORD_OF(bytes_read), answer->bytes_carried);
    else if (kind == MIGFS_REQUEST_WRITE || kind == MIGFS_REQUEST_COPY)
        add(block, WORD_OF(bytes_written), answer->bytes_taken);
}

void stats_request_end(struct stats *stats, uint64_t unique, const struct stats_answer *answer)
{
    struct block *block = block_of_thread(stats);
    struct slot *slot = find(stats, unique);

    if (!slot)
        return;
    const enum migfs_request kind = slot->kind;
    const uint64_t duration_ns = (uint64_t)(monotonic_ns() - slot->started_ns);
    atomic_store_explicit(&slot->unique, 0, memory_order_release);
    if (!block)
        return;
    add_end(block, WORD_OF(requests[kind]), answer->error, duration_ns);
    count_bytes(block, kind, answer);
}

/* ---- reading ---- */

void stats_read(struct stats *stats, struct migfs_counters *counters)
{
    __u64 words[WORDS] = {0};

    for (const struct block *block = atomic_load(&stats->blocks); block; block = block->next) {
        for (size_t i = 0; i < WORDS; i++)
            words[i] += atomic_load_explicit(&block->words[i], memory_order_relaxed);
    }
    memcpy(counters, words, sizeof(*counters));
}
