/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/trace: what two looks at a file say of what came between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/trace.h"

static const struct trace before = {.length_bytes = 100, .ctime_ns = 2000, .mtime_ns = 1000};

static enum trace_verdict now(uint64_t length, int64_t ctime, int64_t mtime)
{
    const struct trace found = {.length_bytes = length, .ctime_ns = ctime, .mtime_ns = mtime};

    return trace_compare(&before, &found);
}

static void nothing_moved_is_the_same(void **state)
{
    (void)state;
    assert_int_equal(now(100, 2000, 1000), TRACE_SAME);
    /* A write moves ctime whatever it does to mtime. */
    assert_int_equal(now(100, 2000, 1001), TRACE_SAME);
}

static void a_new_length_is_a_write(void **state)
{
    (void)state;
    assert_int_equal(now(99, 2000, 1000), TRACE_WRITTEN);
    assert_int_equal(now(101, 2001, 1000), TRACE_WRITTEN);
}

static void new_times_are_a_write_either_way(void **state)
{
    (void)state;
    assert_int_equal(now(100, 2001, 1001), TRACE_WRITTEN);
    assert_int_equal(now(100, 1999, 999), TRACE_WRITTEN); /* put back from a snapshot */
}

static void ctime_alone_is_a_touch(void **state)
{
    (void)state;
    assert_int_equal(now(100, 2001, 1000), TRACE_TOUCHED);
}

static void without_a_known_mtime_ctime_is_a_write(void **state)
{
    const struct trace old = {.length_bytes = 100, .ctime_ns = 2000};
    const struct trace found = {.length_bytes = 100, .ctime_ns = 2001};

    (void)state;
    assert_int_equal(trace_compare(&old, &found), TRACE_WRITTEN);
    assert_int_equal(trace_compare(&old, &before), TRACE_SAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_moved_is_the_same),
        cmocka_unit_test(a_new_length_is_a_write),
        cmocka_unit_test(new_times_are_a_write_either_way),
        cmocka_unit_test(ctime_alone_is_a_touch),
        cmocka_unit_test(without_a_known_mtime_ctime_is_a_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
