/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl/counters: whatever is counted has a name, the one that the daemon's log and journal have for
 * it; and what a histogram says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "cache/handoff.h"
#include "ctl/counters.h"

/* READ_RECORD as "read record". */
static void assert_is_step(const char *name, const char *step)
{
    assert_int_equal(strlen(name), strlen(step));
    for (size_t i = 0; step[i] != '\0'; i++)
        assert_int_equal(name[i], step[i] == '_' ? ' ' : tolower((unsigned char)step[i]));
}

static void whatever_is_counted_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (size_t group = 0; group < GROUP_COUNT; group++) {
        const struct counter_group *counters = &counter_groups[group];

        for (size_t i = 0; i < counters->count; i++) {
            assert_non_null(counters->kinds[i]);
            for (size_t other = 0; other < i; other++)
                assert_string_not_equal(counters->kinds[i], counters->kinds[other]);
        }
    }
}

static void states_and_steps_are_named_as_in_the_log(void **state)
{
    (void)state;
    for (size_t i = 0; i < STATE_NAMES; i++)
        assert_string_equal(state_names[i], owner_state_name((enum owner_state)i));
    for (size_t step = 0; step < MIGFS_STEPS; step++)
        assert_is_step(step_names[step], handoff_step_name((enum handoff_step)step));
}

/* Of the others the log does not speak. */
static void hand_overs_are_named_as_in_the_log(void **state)
{
    static const enum handoff_kind told[] = {HANDOFF_ACQUIRE, HANDOFF_SHARE, HANDOFF_RELEASE,
                                             HANDOFF_DOWNGRADE, HANDOFF_FORGET};

    (void)state;
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
        assert_string_equal(handoff_names[told[i]], handoff_kind_name(told[i]));
}

static void a_quantile_is_the_bucket_that_reaches_it(void **state)
{
    static const struct migfs_counter counter = {
        .buckets = {[3] = 50, [4] = 40, [10] = 9, [MIGFS_COUNTER_BUCKETS - 1] = 1}};
    static const struct migfs_counter one = {.buckets = {[0] = 1}};
    static const struct {
        double part;
        size_t bucket;
    } cases[] = {{0.01, 3},
                 {0.5, 3},
                 {0.51, 4},
                 {0.9, 4},
                 {0.91, 10},
                 {0.99, 10},
                 {1, MIGFS_COUNTER_BUCKETS - 1}};

    (void)state;
    assert_int_equal(counter_ended(&counter), 100);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(counter_quantile(&counter, cases[i].part), cases[i].bucket);
    assert_int_equal(counter_quantile(&one, 0.5), 0);
    assert_int_equal(counter_quantile(&one, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_counted_has_a_name_of_its_own),
        cmocka_unit_test(states_and_steps_are_named_as_in_the_log),
        cmocka_unit_test(hand_overs_are_named_as_in_the_log),
        cmocka_unit_test(a_quantile_is_the_bucket_that_reaches_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
