/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/profile with the locks that VMMs take, in the order in which they take them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "cache/profile.h"

/* An inode's locks, as one profile sees them. */
struct scene {
    enum profile profile;
    bool recognised;
    uint64_t length_bytes;
    struct range_table ranges;
    struct range_table flocks;
};

static void scene_end(struct scene *scene)
{
    range_table_deinit(&scene->ranges);
    range_table_deinit(&scene->flocks);
}

static enum claim scene_claim(struct scene *scene)
{
    const struct profile_locks locks = {&scene->ranges, &scene->flocks, scene->length_bytes};

    return profile_claim(scene->profile, &locks, &scene->recognised);
}

static bool scene_writes(const struct scene *scene, uint64_t owner)
{
    const struct profile_locks locks = {&scene->ranges, &scene->flocks, scene->length_bytes};

    return profile_owner_writes(scene->profile, &locks, scene->recognised, owner);
}

static enum claim take(struct scene *scene, uint64_t owner, enum range_type type, uint64_t start,
                       uint64_t end)
{
    const struct range lock = {
        .start = start, .end = end, .type = type, .owner = owner, .handle = owner};

    assert_int_equal(range_set(&scene->ranges, &lock), 0);
    return scene_claim(scene);
}

static enum claim take_byte(struct scene *scene, uint64_t owner, uint64_t byte)
{
    return take(scene, owner, RANGE_READ, byte, byte);
}

static enum claim drop(struct scene *scene, uint64_t owner, uint64_t start, uint64_t end)
{
    assert_int_equal(range_clear(&scene->ranges, owner, start, end), 0);
    return scene_claim(scene);
}

static enum claim drop_byte(struct scene *scene, uint64_t owner, uint64_t byte)
{
    return drop(scene, owner, byte, byte);
}

static enum claim take_flock(struct scene *scene, uint64_t owner, enum range_type type)
{
    const struct range lock = {.end = RANGE_MAX, .type = type, .owner = owner, .handle = owner};

    assert_int_equal(range_set(&scene->flocks, &lock), 0);
    return scene_claim(scene);
}

/* QEMU ---------------------------------------------------------------------------------------- */

static void raw_image_owns_from_201_on(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 100), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 101), CLAIM_SHARED);
    assert_true(scene_writes(&scene, 1));
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_WRITING);
    assert_true(scene_writes(&scene, 1));
    assert_false(scene_writes(&scene, 2));
    scene_end(&scene);
}

static void qcow2_image_owns_from_201_on(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 100), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 101), CLAIM_SHARED);
    assert_int_equal(take_byte(&scene, 1, 103), CLAIM_SHARED);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_WRITING);
    assert_int_equal(take_byte(&scene, 1, 203), CLAIM_OWNER_WRITING);
    scene_end(&scene);
}

static void merged_bytes_count_as_single_ones(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_READ, 100, 101), CLAIM_SHARED);
    assert_int_equal(take(&scene, 1, RANGE_READ, 200, 203), CLAIM_OWNER_WRITING);
    scene_end(&scene);
}

static void destination_that_took_nothing_claims_nothing(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(scene_claim(&scene), CLAIM_NONE);
    assert_false(scene.recognised);
    scene_end(&scene);
}

static void source_stays_recognised_until_its_last_byte_goes(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};
    static const uint64_t taken[] = {100, 101, 103, 201, 203};

    (void)state;
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        (void)take_byte(&scene, 1, taken[i]); /* judged by the tests above */
    assert_int_equal(drop_byte(&scene, 1, 100), CLAIM_OWNER_WRITING);
    assert_int_equal(drop_byte(&scene, 1, 101), CLAIM_OWNER_READING);
    assert_int_equal(drop_byte(&scene, 1, 103), CLAIM_OWNER_READING);
    assert_int_equal(drop_byte(&scene, 1, 201), CLAIM_READER);
    assert_true(scene.recognised);
    assert_int_equal(drop_byte(&scene, 1, 203), CLAIM_NONE);
    assert_false(scene.recognised);
    scene_end(&scene);
}

static void share_rw_is_shared_without_201(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 100), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 101), CLAIM_SHARED); /* raw: no more than these */
    assert_int_equal(take_byte(&scene, 1, 203), CLAIM_SHARED);
    assert_true(scene_writes(&scene, 1));
    scene_end(&scene);
}

static void dropping_201_alone_is_shared_and_retaking_it_owns(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    (void)take(&scene, 1, RANGE_READ, 100, 101);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_WRITING);
    assert_int_equal(drop_byte(&scene, 1, 201), CLAIM_SHARED);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_WRITING);
    scene_end(&scene);
}

static void backing_file_is_owned_for_reading(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 100), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_READING);
    assert_false(scene_writes(&scene, 1));
    scene_end(&scene);
}

static void reader_beside_writers_is_a_reader(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    (void)take_byte(&scene, 1, 100);
    assert_int_equal(take_byte(&scene, 1, 203), CLAIM_READER);
    scene_end(&scene);
}

static void whole_file_read_lock_is_not_qemus(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_READ, 0, RANGE_MAX), CLAIM_NONE);
    assert_int_equal(take(&scene, 2, RANGE_READ, 100, 203), CLAIM_NONE);
    assert_int_equal(take(&scene, 3, RANGE_READ, 100, 104), CLAIM_NONE);
    assert_int_equal(take(&scene, 3, RANGE_READ, 199, 201), CLAIM_NONE);
    assert_false(scene.recognised);
    scene_end(&scene);
}

static void whole_file_read_lock_beside_qemus_adds_nothing(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    (void)take_byte(&scene, 1, 100);
    (void)take_byte(&scene, 1, 203);
    assert_int_equal(take(&scene, 2, RANGE_READ, 0, RANGE_MAX), CLAIM_READER);
    assert_false(scene_writes(&scene, 2));
    scene_end(&scene);
}

static void write_locks_of_these_bytes_are_not_qemus(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 100, 101), CLAIM_NONE);
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 201, 201), CLAIM_NONE);
    assert_false(scene.recognised);
    scene_end(&scene);
}

static void bytes_of_two_owners_are_not_qemus(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 100), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 2, 201), CLAIM_NONE);
    assert_false(scene.recognised);
    scene_end(&scene);
}

static void bytes_201_without_100_or_101_are_not_qemus(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 103), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_NONE);
    assert_false(scene.recognised);
    scene_end(&scene);
}

/* QEMU 10.0, block commit: all that a backing file had goes first. */
static void target_of_a_commit_is_shared(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    (void)take_byte(&scene, 1, 100);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_READING);
    assert_int_equal(drop(&scene, 1, 100, 203), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 101), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 203), CLAIM_SHARED);
    assert_true(scene_writes(&scene, 1));
    scene_end(&scene);
}

/* qemu-img create, between the file that it made empty and the format that it opens. */
static void one_whose_header_is_made_is_shared(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 101), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 1, 103), CLAIM_SHARED);
    assert_int_equal(take_byte(&scene, 2, 103), CLAIM_SHARED);
    assert_int_equal(drop_byte(&scene, 1, 101), CLAIM_READER);
    scene_end(&scene);
}

static void reopen_over_two_descriptions_keeps_the_claim(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};
    static const uint64_t bytes[] = {100, 101, 201};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        (void)take_byte(&scene, 1, bytes[i]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(take_byte(&scene, 2, bytes[i]), CLAIM_OWNER_WRITING);
    assert_true(scene_writes(&scene, 1));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(drop_byte(&scene, 1, bytes[i]), CLAIM_OWNER_WRITING);
    assert_false(scene_writes(&scene, 1));
    assert_true(scene_writes(&scene, 2));
    scene_end(&scene);
}

static void reopen_for_writing_raises_a_readers_claim(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO};

    (void)state;
    (void)take_byte(&scene, 1, 100);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_READING);
    assert_int_equal(take_byte(&scene, 2, 100), CLAIM_OWNER_READING);
    assert_int_equal(take_byte(&scene, 2, 101), CLAIM_OWNER_WRITING);
    scene_end(&scene);
}

static void qemu_profile_needs_no_recognition(void **state)
{
    struct scene scene = {.profile = PROFILE_QEMU};

    (void)state;
    assert_int_equal(take_byte(&scene, 1, 100), CLAIM_READER);
    assert_int_equal(take_byte(&scene, 1, 101), CLAIM_SHARED);
    assert_true(scene_writes(&scene, 1));
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_OWNER_WRITING);
    assert_int_equal(drop(&scene, 1, 0, RANGE_MAX), CLAIM_NONE);
    assert_int_equal(take(&scene, 1, RANGE_READ, 0, RANGE_MAX), CLAIM_NONE);
    scene_end(&scene);
}

static void auto_ignores_flock_and_whole_file_write_locks(void **state)
{
    struct scene scene = {.profile = PROFILE_AUTO, .length_bytes = 1000};

    (void)state;
    assert_int_equal(take_flock(&scene, 1, RANGE_WRITE), CLAIM_NONE);
    assert_int_equal(take(&scene, 2, RANGE_WRITE, 0, RANGE_MAX), CLAIM_NONE);
    assert_false(scene_writes(&scene, 1));
    assert_false(scene_writes(&scene, 2));
    scene_end(&scene);
}

/* The other profiles -------------------------------------------------------------------------- */

static void range_write_lock_of_the_whole_file_owns(void **state)
{
    struct scene scene = {.profile = PROFILE_RANGE, .length_bytes = 1000};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, RANGE_MAX), CLAIM_OWNER_WRITING);
    assert_true(scene_writes(&scene, 1));
    assert_int_equal(drop(&scene, 1, 0, RANGE_MAX), CLAIM_NONE);
    assert_false(scene_writes(&scene, 1));
    scene_end(&scene);
}

static void range_write_lock_of_the_length_owns(void **state)
{
    struct scene scene = {.profile = PROFILE_RANGE, .length_bytes = 1000};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, 998), CLAIM_NONE);
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, 999), CLAIM_OWNER_WRITING);
    scene_end(&scene);
}

static void range_lock_outlives_the_growth_of_its_file(void **state)
{
    struct scene scene = {.profile = PROFILE_RANGE, .length_bytes = 1000};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, 999), CLAIM_OWNER_WRITING);
    scene.length_bytes = 2000;
    assert_int_equal(scene_claim(&scene), CLAIM_OWNER_WRITING);
    assert_true(scene_writes(&scene, 1));
    assert_int_equal(drop(&scene, 1, 0, RANGE_MAX), CLAIM_NONE);
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, 999), CLAIM_NONE);
    scene_end(&scene);
}

static void range_read_lock_is_a_reader(void **state)
{
    struct scene scene = {.profile = PROFILE_RANGE, .length_bytes = 1000};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_READ, 0, RANGE_MAX), CLAIM_READER);
    assert_false(scene_writes(&scene, 1));
    scene_end(&scene);
}

static void range_lock_of_a_part_claims_nothing(void **state)
{
    struct scene scene = {.profile = PROFILE_RANGE};

    (void)state;
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, 0), CLAIM_NONE); /* empty file */
    scene.length_bytes = 1000;
    assert_int_equal(take(&scene, 2, RANGE_WRITE, 1, RANGE_MAX), CLAIM_NONE);
    assert_int_equal(take_byte(&scene, 3, 100), CLAIM_NONE);
    scene_end(&scene);
}

static void flock_exclusive_owns_and_shared_reads(void **state)
{
    struct scene scene = {.profile = PROFILE_FLOCK};

    (void)state;
    assert_int_equal(take_flock(&scene, 1, RANGE_READ), CLAIM_READER);
    assert_false(scene_writes(&scene, 1));
    assert_int_equal(take_flock(&scene, 1, RANGE_WRITE), CLAIM_OWNER_WRITING);
    assert_true(scene_writes(&scene, 1));
    range_clear_owner(&scene.flocks, 1);
    assert_int_equal(scene_claim(&scene), CLAIM_NONE);
    assert_int_equal(take(&scene, 1, RANGE_WRITE, 0, RANGE_MAX), CLAIM_NONE);
    scene_end(&scene);
}

static void none_sees_no_lock(void **state)
{
    struct scene scene = {.profile = PROFILE_NONE, .length_bytes = 1000};

    (void)state;
    (void)take_byte(&scene, 1, 100);
    (void)take_byte(&scene, 1, 101);
    assert_int_equal(take_byte(&scene, 1, 201), CLAIM_NONE);
    assert_int_equal(take_flock(&scene, 1, RANGE_WRITE), CLAIM_NONE);
    assert_false(scene_writes(&scene, 1));
    scene_end(&scene);
}

static void names_and_values_are_each_others(void **state)
{
    (void)state;
    for (enum profile profile = PROFILE_AUTO; profile <= PROFILE_NONE; profile++) {
        enum profile parsed = PROFILE_NONE;

        assert_int_equal(profile_parse(profile_name(profile), &parsed), 0);
        assert_int_equal(parsed, profile);
    }
}

static void unknown_name_is_refused_and_leaves_the_value(void **state)
{
    static const char *const names[] = {"", "Auto", "qemu ", "qem", "all"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        enum profile parsed = PROFILE_FLOCK;

        assert_int_equal(profile_parse(names[i], &parsed), -EINVAL);
        assert_int_equal(parsed, PROFILE_FLOCK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_image_owns_from_201_on),
        cmocka_unit_test(qcow2_image_owns_from_201_on),
        cmocka_unit_test(merged_bytes_count_as_single_ones),
        cmocka_unit_test(destination_that_took_nothing_claims_nothing),
        cmocka_unit_test(source_stays_recognised_until_its_last_byte_goes),
        cmocka_unit_test(share_rw_is_shared_without_201),
        cmocka_unit_test(dropping_201_alone_is_shared_and_retaking_it_owns),
        cmocka_unit_test(backing_file_is_owned_for_reading),
        cmocka_unit_test(reader_beside_writers_is_a_reader),
        cmocka_unit_test(whole_file_read_lock_is_not_qemus),
        cmocka_unit_test(whole_file_read_lock_beside_qemus_adds_nothing),
        cmocka_unit_test(write_locks_of_these_bytes_are_not_qemus),
        cmocka_unit_test(bytes_of_two_owners_are_not_qemus),
        cmocka_unit_test(bytes_201_without_100_or_101_are_not_qemus),
        cmocka_unit_test(target_of_a_commit_is_shared),
        cmocka_unit_test(one_whose_header_is_made_is_shared),
        cmocka_unit_test(reopen_over_two_descriptions_keeps_the_claim),
        cmocka_unit_test(reopen_for_writing_raises_a_readers_claim),
        cmocka_unit_test(qemu_profile_needs_no_recognition),
        cmocka_unit_test(auto_ignores_flock_and_whole_file_write_locks),
        cmocka_unit_test(range_write_lock_of_the_whole_file_owns),
        cmocka_unit_test(range_write_lock_of_the_length_owns),
        cmocka_unit_test(range_lock_outlives_the_growth_of_its_file),
        cmocka_unit_test(range_read_lock_is_a_reader),
        cmocka_unit_test(range_lock_of_a_part_claims_nothing),
        cmocka_unit_test(flock_exclusive_owns_and_shared_reads),
        cmocka_unit_test(none_sees_no_lock),
        cmocka_unit_test(names_and_values_are_each_others),
        cmocka_unit_test(unknown_name_is_refused_and_leaves_the_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
