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

/* A watch ------------------------------------------------------------------------------------- */

static struct trace_watch watched(void)
{
    struct trace_watch watch = {.is_on = false};
    struct trace_look look;

    trace_watch_on(&watch);
    look = trace_look_begin(&watch);
    assert_int_equal(trace_look_end(&watch, &look, &before), TRACE_SAME);
    return watch;
}

static enum trace_verdict look_now(struct trace_watch *watch, uint64_t length, int64_t ctime,
                                   int64_t mtime)
{
    const struct trace found = {.length_bytes = length, .ctime_ns = ctime, .mtime_ns = mtime};
    const struct trace_look look = trace_look_begin(watch);

    return trace_look_end(watch, &look, &found);
}

static void change(struct trace_watch *watch, enum trace_effect effect, uint64_t length)
{
    trace_change_begin(watch);
    trace_change_end(watch, effect, length);
}

static void times_that_move_while_nothing_is_changed_here_are_told_once(void **state)
{
    struct trace_watch watch = watched();

    (void)state;
    assert_int_equal(look_now(&watch, 100, 2000, 1000), TRACE_SAME);
    assert_int_equal(look_now(&watch, 100, 2001, 1001), TRACE_WRITTEN);
    assert_int_equal(look_now(&watch, 100, 2001, 1001), TRACE_SAME);
    assert_int_equal(look_now(&watch, 100, 2002, 1001), TRACE_TOUCHED);
    assert_int_equal(look_now(&watch, 100, 2002, 1001), TRACE_SAME);
}

static void times_say_nothing_after_a_change_made_here_until_the_next_look(void **state)
{
    struct trace_watch watch = watched();

    (void)state;
    change(&watch, TRACE_KEEPS, 0);
    assert_int_equal(look_now(&watch, 100, 2001, 1001), TRACE_SAME);
    assert_int_equal(look_now(&watch, 100, 2002, 1002), TRACE_WRITTEN);
}

static void a_length_that_is_not_ours_is_told_after_changes_made_here_too(void **state)
{
    static const struct {
        enum trace_effect effect;
        uint64_t length, right;
    } cases[] = {
        {TRACE_GROWS, 50, 100}, {TRACE_GROWS, 150, 150}, {TRACE_CUTS, 50, 50},
        {TRACE_CUTS, 150, 150}, {TRACE_KEEPS, 0, 100},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct trace_watch watch = watched();

        change(&watch, cases[i].effect, cases[i].length);
        assert_int_equal(look_now(&watch, cases[i].right, 2001, 1001), TRACE_SAME);
        change(&watch, TRACE_KEEPS, 0);
        assert_int_equal(look_now(&watch, cases[i].right + 1, 2002, 1002), TRACE_WRITTEN);
    }
}

static void a_length_that_one_is_not_sure_of_is_not_told(void **state)
{
    struct trace_watch watch = watched();

    (void)state;
    change(&watch, TRACE_UNSURE, 0);
    change(&watch, TRACE_CUTS, 10);
    assert_int_equal(look_now(&watch, 77, 2001, 1001), TRACE_SAME);
    change(&watch, TRACE_KEEPS, 0);
    assert_int_equal(look_now(&watch, 78, 2001, 1001), TRACE_WRITTEN);
}

static void a_look_with_a_change_under_way_counts_not(void **state)
{
    struct trace_watch watch = watched();
    const struct trace other = {.length_bytes = 1, .ctime_ns = 1, .mtime_ns = 1};
    struct trace_look look;

    (void)state;
    trace_change_begin(&watch); /* before it, and over */
    look = trace_look_begin(&watch);
    trace_change_end(&watch, TRACE_UNSURE, 0);
    assert_int_equal(trace_look_end(&watch, &look, &other), TRACE_SAME);

    look = trace_look_begin(&watch); /* within */
    change(&watch, TRACE_UNSURE, 0);
    assert_int_equal(trace_look_end(&watch, &look, &other), TRACE_SAME);

    look = trace_look_begin(&watch); /* within, and not over */
    trace_change_begin(&watch);
    assert_int_equal(trace_look_end(&watch, &look, &other), TRACE_SAME);
    trace_change_end(&watch, TRACE_KEEPS, 0);

    /* None of them was taken for what the file is. */
    assert_int_equal(watch.last.length_bytes, before.length_bytes);
}

static void who_does_not_watch_is_told_nothing_and_begins_anew(void **state)
{
    struct trace_watch watch = watched();

    (void)state;
    trace_watch_off(&watch);
    assert_int_equal(look_now(&watch, 1, 2, 3), TRACE_SAME);
    trace_watch_on(&watch);
    assert_int_equal(look_now(&watch, 7, 8, 9), TRACE_SAME);
    assert_int_equal(look_now(&watch, 7, 9, 10), TRACE_WRITTEN);
}

static void a_sight_serves_until_something_is_changed_here(void **state)
{
    struct trace_watch watch = {.is_on = false};
    struct trace_sight sight = {.look = trace_look_begin(&watch)};

    (void)state;
    assert_false(trace_sight_serves(&watch, &sight)); /* nothing was seen yet */
    sight.is_there = true;
    assert_true(trace_sight_serves(&watch, &sight));
    trace_watch_on(&watch); /* it may be of before */
    assert_true(trace_sight_serves(&watch, &sight));

    trace_change_begin(&watch);
    assert_false(trace_sight_serves(&watch, &sight));
    sight.look = trace_look_begin(&watch);
    trace_change_end(&watch, TRACE_KEEPS, 0);
    assert_false(trace_sight_serves(&watch, &sight));

    sight.look = trace_look_begin(&watch);
    assert_true(trace_sight_serves(&watch, &sight));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_that_move_while_nothing_is_changed_here_are_told_once),
        cmocka_unit_test(times_say_nothing_after_a_change_made_here_until_the_next_look),
        cmocka_unit_test(a_length_that_is_not_ours_is_told_after_changes_made_here_too),
        cmocka_unit_test(a_length_that_one_is_not_sure_of_is_not_told),
        cmocka_unit_test(a_look_with_a_change_under_way_counts_not),
        cmocka_unit_test(who_does_not_watch_is_told_nothing_and_begins_anew),
        cmocka_unit_test(a_sight_serves_until_something_is_changed_here),
        cmocka_unit_test(nothing_moved_is_the_same),
        cmocka_unit_test(a_new_length_is_a_write),
        cmocka_unit_test(new_times_are_a_write_either_way),
        cmocka_unit_test(ctime_alone_is_a_touch),
        cmocka_unit_test(without_a_known_mtime_ctime_is_a_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
