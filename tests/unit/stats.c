/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fs/stats: what many threads count at once comes out whole, in the right bucket, and is kept when
 * they end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fs/stats.h"

enum {
    THREADS = 8,
    REQUESTS = 20000,
};

void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);

static bool memory_is_short;

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return memory_is_short ? NULL : __real_aligned_alloc(alignment, size);
}

static struct migfs_counters counters;

static uint64_t ended(const struct migfs_counter *counter)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < MIGFS_COUNTER_BUCKETS; i++)
        sum += counter->buckets[i];
    return sum;
}

struct work {
    struct stats *stats;
    uint64_t number; /* of the thread */
};

/* Numbers as the kernel gives them: no two requests under way have the same one. */
static uint64_t unique_of(const struct work *work, uint64_t i)
{
    return 2 * (i * THREADS + work->number + 1);
}

static void *count_much(void *data)
{
    const struct work *work = data;

    for (uint64_t i = 0; i < REQUESTS; i++) {
        const bool is_read = i % 4 != 0;
        const struct stats_answer answer = {
            .error = i % 10 == 0 ? -EIO : 0, .bytes_carried = 3, .bytes_taken = 5};

        stats_request_begin(work->stats, is_read ? MIGFS_REQUEST_READ : MIGFS_REQUEST_WRITE,
                            unique_of(work, i));
        stats_request_end(work->stats, unique_of(work, i), &answer);
        if (i % 2 == 0)
            stats_event(work->stats, STATS_FENCE);
    }
    return NULL;
}

static void run_threads(struct stats *stats, void *(*run)(void *))
{
    struct work works[THREADS];
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        works[i] = (struct work){.stats = stats, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, run, &works[i]), 0);
    }
    for (unsigned i = 0; i < 100; i++)
        stats_read(stats, &counters);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    stats_read(stats, &counters);
}

static void what_many_threads_count_comes_out_whole(void **state)
{
    struct stats *stats = stats_new();

    (void)state;
    assert_non_null(stats);
    for (uint64_t round = 1; round <= 2; round++) { /* the second threads follow the first ones */
        const uint64_t all = round * THREADS * REQUESTS;

        run_threads(stats, count_much);
        assert_int_equal(counters.requests[MIGFS_REQUEST_READ].begun, all / 4 * 3);
        assert_int_equal(counters.requests[MIGFS_REQUEST_WRITE].begun, all / 4);
        assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_READ]), all / 4 * 3);
        assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_WRITE]), all / 4);
        /* Every 10th fails; of these every other is a write. */
        assert_int_equal(counters.requests[MIGFS_REQUEST_READ].failed, all / 20);
        assert_int_equal(counters.requests[MIGFS_REQUEST_WRITE].failed, all / 20);
        assert_int_equal(counters.bytes_read, (all / 4 * 3 - all / 20) * 3);
        assert_int_equal(counters.bytes_written, (all / 4 - all / 20) * 5);
        assert_int_equal(counters.fences, all / 2);
        assert_int_equal(counters.stale_acquires, 0);
    }
    stats_free(stats);
}

static void *answer_all(void *data)
{
    const struct work *work = data;
    const struct stats_answer answer = {.error = 0, .bytes_carried = 1};

    for (uint64_t i = 0; i < 64; i++)
        stats_request_end(work->stats, unique_of(work, i), &answer);
    return NULL;
}

static void another_thread_may_answer(void **state)
{
    struct stats *stats = stats_new();

    (void)state;
    for (uint64_t number = 0; number < THREADS; number++) {
        const struct work work = {.stats = stats, .number = number};

        for (uint64_t i = 0; i < 64; i++)
            stats_request_begin(stats, MIGFS_REQUEST_READ, unique_of(&work, i));
    }
    stats_read(stats, &counters);
    assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_READ]), 0);
    run_threads(stats, answer_all);
    assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_READ]), THREADS * 64);
    assert_int_equal(counters.bytes_read, THREADS * 64);
    stats_free(stats);
}

static void one_that_waits_for_long_is_in_nobodys_way(void **state)
{
    const struct stats_answer answer = {.error = 0};
    struct stats *stats = stats_new();

    (void)state;
    stats_request_begin(stats, MIGFS_REQUEST_SETLKW, 2);
    for (uint64_t unique = 4; unique < 20000; unique += 2) {
        stats_request_begin(stats, MIGFS_REQUEST_LOOKUP, unique);
        stats_request_end(stats, unique, &answer);
    }
    stats_request_end(stats, 2, &answer);
    stats_read(stats, &counters);
    assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_LOOKUP]), 9998);
    assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_SETLKW]), 1);
    stats_free(stats);
}

/* As many as may wait for locks at once (fs/lock_wait.h), one after another. */
static void many_that_wait_for_long_are_in_nobodys_way(void **state)
{
    enum { WAITERS = 1024, READS = 20000 };
    const struct stats_answer answer = {.error = 0, .bytes_carried = 1};
    struct stats *stats = stats_new();
    uint64_t unique = 2;

    (void)state;
    for (; unique <= 2 * WAITERS; unique += 2)
        stats_request_begin(stats, MIGFS_REQUEST_SETLKW, unique);
    for (; unique <= 2 * (WAITERS + READS); unique += 2) {
        stats_request_begin(stats, MIGFS_REQUEST_READ, unique);
        stats_request_end(stats, unique, &answer);
    }
    stats_read(stats, &counters);
    assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_READ]), READS);
    assert_int_equal(counters.bytes_read, READS);
    stats_free(stats);
}

/* More at once than there is room for: counted all the same, and no time is made up. */
static void too_many_at_once_are_counted_untimed(void **state)
{
    const struct stats_answer answer = {.error = 0};
    struct stats *stats = stats_new();

    (void)state;
    for (uint64_t unique = 2; unique <= 2 * 5000; unique += 2)
        stats_request_begin(stats, MIGFS_REQUEST_LOOKUP, unique);
    for (uint64_t unique = 2; unique <= 2 * 5000; unique += 2)
        stats_request_end(stats, unique, &answer);
    stats_read(stats, &counters);
    assert_int_equal(counters.requests[MIGFS_REQUEST_LOOKUP].begun, 5000);
    assert_true(ended(&counters.requests[MIGFS_REQUEST_LOOKUP]) >= 1000);
    assert_true(ended(&counters.requests[MIGFS_REQUEST_LOOKUP]) < 5000);
    stats_free(stats);
}

static void what_gets_no_answer_takes_no_room(void **state)
{
    const struct stats_answer answer = {.error = 0};
    struct stats *stats = stats_new();

    (void)state;
    for (unsigned i = 0; i < 5000; i++)
        stats_request_begin(stats, MIGFS_REQUEST_FORGET, 0);
    stats_request_end(stats, 4711, &answer); /* nobody asked */
    stats_read(stats, &counters);
    assert_int_equal(counters.requests[MIGFS_REQUEST_FORGET].begun, 5000);
    assert_int_equal(ended(&counters.requests[MIGFS_REQUEST_FORGET]), 0);
    stats_free(stats);
}

static void a_bucket_ends_at_a_power_of_two_us(void **state)
{
    static const struct {
        uint64_t duration_ns;
        size_t bucket;
    } cases[] = {
        {0, 0},
        {1, 0},
        {1000, 0},
        {1001, 1},
        {2000, 1},
        {2001, 2},
        {4000, 2},
        {1024000, 10},
        {1024001, 11},
        {UINT64_C(16777216) * 1000, 24},
        {UINT64_C(16777216) * 1000 + 1, 25},
        {UINT64_C(1) << 63, 25},
        {UINT64_MAX - 999, 25},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stats *stats = stats_new();

        stats_step(stats, MIGFS_STEP_VERIFY, i % 2 ? -EIO : 0, cases[i].duration_ns);
        stats_handoff(stats, MIGFS_HANDOFF_MORE_UNLOCK, 0, cases[i].duration_ns);
        stats_read(stats, &counters);
        assert_int_equal(counters.steps[MIGFS_STEP_VERIFY].buckets[cases[i].bucket], 1);
        assert_int_equal(ended(&counters.steps[MIGFS_STEP_VERIFY]), 1);
        assert_int_equal(counters.steps[MIGFS_STEP_VERIFY].begun, 1);
        assert_int_equal(counters.steps[MIGFS_STEP_VERIFY].failed, i % 2);
        assert_int_equal(counters.steps[MIGFS_STEP_VERIFY].sum_ns, cases[i].duration_ns);
        assert_int_equal(counters.handoffs[MIGFS_HANDOFF_MORE_UNLOCK].buckets[cases[i].bucket], 1);
        stats_free(stats);
    }
}

static void short_of_memory_nothing_is_counted(void **state)
{
    const struct stats_answer answer = {.error = 0};
    struct stats *stats;

    (void)state;
    memory_is_short = true;
    assert_null(stats_new());
    memory_is_short = false;
    stats = stats_new();
    memory_is_short = true;
    stats_request_begin(stats, MIGFS_REQUEST_READ, 2);
    stats_request_end(stats, 2, &answer);
    stats_event(stats, STATS_FENCE);
    stats_step(stats, MIGFS_STEP_LOCK, 0, 1);
    memory_is_short = false;
    stats_read(stats, &counters);
    assert_int_equal(counters.requests[MIGFS_REQUEST_READ].begun, 0);
    stats_event(stats, STATS_FENCE);
    stats_read(stats, &counters);
    assert_int_equal(counters.fences, 1);
    stats_free(stats);
    stats_free(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_many_threads_count_comes_out_whole),
        cmocka_unit_test(another_thread_may_answer),
        cmocka_unit_test(one_that_waits_for_long_is_in_nobodys_way),
        cmocka_unit_test(many_that_wait_for_long_are_in_nobodys_way),
        cmocka_unit_test(too_many_at_once_are_counted_untimed),
        cmocka_unit_test(what_gets_no_answer_takes_no_room),
        cmocka_unit_test(a_bucket_ends_at_a_power_of_two_us),
        cmocka_unit_test(short_of_memory_nothing_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
