/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl/alignment: the acquire of the other host by the release's clock, as its beacon and the order
 * of the locks tell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctl/alignment.h"

#define MS INT64_C(1000000)

/* Unlocks 10 ms after its begin at 1 s; is tested 5 ms after its begin at `began_ms`. */
static struct migfs_side release_side(void)
{
    return (struct migfs_side){
        .flags = MIGFS_SIDE_KNOWN,
        .span_count = 2,
        .started_ns = 1000 * MS,
        .duration_ns = 11 * MS,
        .boot_id = {1},
        .spans = {{.start_us = 1000,
                   .duration_us = 9000,
                   .kind = MIGFS_HANDOFF_RELEASE,
                   .step = MIGFS_STEP_SYNC},
                  {.start_us = 10000,
                   .duration_us = 1000,
                   .kind = MIGFS_HANDOFF_RELEASE,
                   .step = MIGFS_STEP_UNLOCK}},
    };
}

static struct migfs_side acquire_side(int64_t began_ms)
{
    return (struct migfs_side){
        .flags = MIGFS_SIDE_KNOWN,
        .span_count = 2,
        .started_ns = began_ms * MS,
        .duration_ns = 9 * MS,
        .boot_id = {2},
        .spans = {{.start_us = 1000,
                   .duration_us = 4000,
                   .kind = MIGFS_HANDOFF_ACQUIRE,
                   .step = MIGFS_STEP_TEST},
                  {.start_us = 6000,
                   .duration_us = 3000,
                   .kind = MIGFS_HANDOFF_ACQUIRE,
                   .step = MIGFS_STEP_VERIFY}},
    };
}

static void set_clock(struct migfs_side *side, int64_t ahead_ms, int64_t unsure_ms)
{
    side->flags |= MIGFS_SIDE_CLOCK;
    side->clock_ahead_ns = ahead_ms * MS;
    side->clock_unsure_ns = (__u64)(unsure_ms * MS);
}

static void one_clock_needs_nothing(void **state)
{
    struct migfs_side release = release_side(), acquire = acquire_side(900);

    (void)state;
    acquire.boot_id[0] = 1;
    set_clock(&release, 5, 1);
    set_clock(&acquire, 0, 1);
    const struct alignment alignment = alignment_of(&release, &acquire);

    assert_int_equal(alignment.by, ALIGNED_BY_ONE_CLOCK);
    assert_int_equal(alignment.shift_ns, 0);
    assert_int_equal(alignment.unsure_ns, 0);
}

static void unknown_boots_are_not_the_same(void **state)
{
    struct migfs_side release = release_side(), acquire = acquire_side(1020);

    (void)state;
    release.boot_id[0] = acquire.boot_id[0] = 0;
    assert_int_equal(alignment_of(&release, &acquire).by, ALIGNED_BY_NOTHING);
}

static void beacons_tell_how_clocks_differ(void **state)
{
    struct migfs_side release = release_side(), acquire = acquire_side(5020);

    (void)state;
    set_clock(&release, -1000, 3);
    set_clock(&acquire, 3000, 4);
    const struct alignment alignment = alignment_of(&release, &acquire);

    assert_int_equal(alignment.by, ALIGNED_BY_BEACONS);
    assert_int_equal(alignment.shift_ns, -4000 * MS);
    assert_int_equal(alignment.unsure_ns, 7 * MS);
    assert_int_equal(alignment.moved_ns, 0);
}

static void no_lock_comes_before_its_unlock(void **state)
{
    struct migfs_side release = release_side(), acquire = acquire_side(5000);

    (void)state;
    set_clock(&release, 0, 3);
    set_clock(&acquire, 4000, 4); /* its test would end at 1,005 ms, and the unlock is at 1,010 */
    const struct alignment alignment = alignment_of(&release, &acquire);

    assert_int_equal(alignment.by, ALIGNED_BY_ORDER);
    assert_int_equal(alignment.moved_ns, 5 * MS);
    assert_int_equal(alignment.shift_ns, -3995 * MS);
    assert_int_equal(alignment.unsure_ns, 7 * MS);
}

static void one_beacon_is_none(void **state)
{
    struct migfs_side release = release_side(), early = acquire_side(900),
                      late = acquire_side(5000);

    (void)state;
    set_clock(&release, 5, 1);
    assert_int_equal(alignment_of(&release, &late).by, ALIGNED_BY_NOTHING);
    assert_int_equal(alignment_of(&release, &late).shift_ns, 0);
    assert_int_equal(alignment_of(&release, &early).by, ALIGNED_BY_ORDER);
    assert_int_equal(alignment_of(&release, &early).shift_ns, 105 * MS);
    assert_int_equal(alignment_of(&release, &early).unsure_ns, 0);
}

static void without_the_steps_no_order_is_known(void **state)
{
    struct migfs_side release = release_side(), acquire = acquire_side(900);

    (void)state;
    release.span_count = 1;
    assert_int_equal(alignment_of(&release, &acquire).by, ALIGNED_BY_NOTHING);
    release.span_count = 2;
    acquire.spans[0].step = MIGFS_STEP_LOCK; /* locks that exclude are not tested */
    assert_int_equal(alignment_of(&release, &acquire).by, ALIGNED_BY_ORDER);
    acquire.spans[0].step = MIGFS_STEP_DROP;
    assert_int_equal(alignment_of(&release, &acquire).by, ALIGNED_BY_NOTHING);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_clock_needs_nothing),
        cmocka_unit_test(unknown_boots_are_not_the_same),
        cmocka_unit_test(beacons_tell_how_clocks_differ),
        cmocka_unit_test(no_lock_comes_before_its_unlock),
        cmocka_unit_test(one_beacon_is_none),
        cmocka_unit_test(without_the_steps_no_order_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
