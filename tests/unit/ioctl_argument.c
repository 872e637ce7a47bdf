/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/ioctl_argument.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    OWNER_UID = 1000,
    OTHER_UID = 1001,
};

static struct file_status make_status(uint64_t ino, uint32_t lock_count, size_t path_length)
{
    struct file_status status = {.file = {.ino = ino, .lock_count = lock_count},
                                 .owner = OWNER_UID,
                                 .locks = calloc(lock_count + 1u, sizeof(struct migfs_lock)),
                                 .path = calloc(path_length + 1, 1)};

    assert_non_null(status.locks);
    assert_non_null(status.path);
    for (uint32_t i = 0; i < lock_count; i++)
        status.locks[i] = (struct migfs_lock){
            .start = i, .length = 1, .type = MIGFS_LOCK_WRITE, .pid = 42 + i, .command = "qemu"};
    for (size_t i = 0; i < path_length; i++)
        status.path[i] = (char)('a' + i % 26);
    return status;
}

static const struct migfs_file *file_at(const struct migfs_files *files, size_t offset)
{
    return (const struct migfs_file *)(const void *)(files->buffer + offset);
}

/* Every entry lies in the buffer, its parts in the entry; returns their number. */
static unsigned check_packing(const struct migfs_files *files)
{
    unsigned count = 0;
    size_t offset = 0;

    assert_true(files->used <= sizeof(files->buffer));
    while (offset < files->used) {
        const struct migfs_file *file = file_at(files, offset);

        assert_int_equal(file->size % 8, 0);
        assert_true(file->size <= files->used - offset);
        assert_true(sizeof(*file) + file->lock_count * sizeof(struct migfs_lock) +
                        file->path_length <
                    file->size);
        assert_int_equal(strlen(migfs_file_path(file)), file->path_length);
        offset += file->size;
        count++;
    }
    assert_int_equal(offset, files->used);
    assert_int_equal(count, files->count);
    return count;
}

static void test_a_file_comes_out_as_it_went_in(void **state)
{
    struct file_status status = make_status(7, 3, 11);
    struct migfs_files files = {.version = MIGFS_IOC_VERSION};

    (void)state;
    assert_true(ioctl_files_append(&files, &status, 0));
    assert_int_equal(check_packing(&files), 1);
    const struct migfs_file *file = file_at(&files, 0);

    assert_int_equal(file->ino, 7);
    assert_int_equal(file->flags, 0);
    assert_int_equal(file->lock_count, 3);
    assert_memory_equal(migfs_file_locks(file), status.locks, 3 * sizeof(struct migfs_lock));
    assert_string_equal(migfs_file_path(file), status.path);
    file_status_deinit(&status);
}

static void test_pids_are_for_root_and_the_owner(void **state)
{
    static const struct {
        uid_t caller;
        bool hidden;
    } cases[] = {{0, false}, {OWNER_UID, false}, {OTHER_UID, true}};
    struct file_status status = make_status(7, 2, 3);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct migfs_files files = {.version = MIGFS_IOC_VERSION};

        assert_true(ioctl_files_append(&files, &status, cases[i].caller));
        const struct migfs_file *file = file_at(&files, 0);
        const struct migfs_lock *lock = migfs_file_locks(file) + 1;

        assert_int_equal((file->flags & MIGFS_FILE_PIDS_HIDDEN) != 0, cases[i].hidden);
        assert_int_equal(lock->pid, cases[i].hidden ? 0 : 43);
        assert_string_equal(lock->command, cases[i].hidden ? "" : "qemu");
        assert_int_equal(lock->start, 1);
    }
    assert_int_equal(status.locks[1].pid, 43);
    file_status_deinit(&status);
}

static void test_what_does_not_fit_begins_the_next_answer(void **state)
{
    struct migfs_files files = {.version = MIGFS_IOC_VERSION};
    unsigned appended = 0;

    (void)state;
    for (;;) {
        struct file_status status = make_status(appended + 1, appended % 5, appended % 200);
        const bool fits = ioctl_files_append(&files, &status, 0);

        file_status_deinit(&status);
        if (!fits)
            break;
        appended++;
    }
    assert_true(appended > 20);
    assert_int_equal(check_packing(&files), appended);
}

static void test_a_path_of_4095_bytes_is_whole_and_a_longer_one_cut_in_front(void **state)
{
    (void)state;
    for (size_t length = 4093; length <= 4097; length++) {
        struct file_status status = make_status(1, 0, length);
        struct migfs_files files = {.version = MIGFS_IOC_VERSION};
        const size_t expected = length < 4095 ? length : 4095;

        assert_true(ioctl_files_append(&files, &status, 0));
        assert_int_equal(check_packing(&files), 1);
        const struct migfs_file *file = file_at(&files, 0);

        assert_int_equal(file->path_length, expected);
        assert_int_equal((file->flags & MIGFS_FILE_PATH_CUT) != 0, length > 4095);
        assert_string_equal(migfs_file_path(file), status.path + length - expected);
        file_status_deinit(&status);
    }
}

static void test_more_locks_than_a_buffer_holds_are_cut_and_say_so(void **state)
{
    static const size_t path_lengths[] = {0, 1, 9, 4095, 5000};

    (void)state;
    for (size_t i = 0; i < sizeof(path_lengths) / sizeof(path_lengths[0]); i++) {
        struct file_status status = make_status(1, 2000, path_lengths[i]);
        struct file_status small = make_status(2, 0, 1);
        struct migfs_files files = {.version = MIGFS_IOC_VERSION};

        assert_true(ioctl_files_append(&files, &status, 0));
        assert_int_equal(check_packing(&files), 1);
        const struct migfs_file *file = file_at(&files, 0);

        assert_true((file->flags & MIGFS_FILE_LOCKS_CUT) != 0);
        assert_true(file->lock_count > 200 && file->lock_count < 2000);
        assert_true(sizeof(files.buffer) - file->size < sizeof(struct migfs_lock) + 8);

        struct migfs_files second = {.version = MIGFS_IOC_VERSION};

        assert_true(ioctl_files_append(&second, &small, 0));
        assert_false(ioctl_files_append(&second, &status, 0));
        assert_int_equal(check_packing(&second), 1);
        file_status_deinit(&status);
        file_status_deinit(&small);
    }
}

static int parse_handoff(unsigned command, const struct migfs_handoff *handoff, size_t size)
{
    struct ioctl_argument argument;

    return ioctl_argument_parse(command, handoff, size, size, &argument);
}

static int parse_files(unsigned command, const struct migfs_files *files, size_t size)
{
    struct ioctl_argument argument;

    return ioctl_argument_parse(command, files, size, size, &argument);
}

static void test_a_right_argument_is_taken(void **state)
{
    struct migfs_files files = {.version = MIGFS_IOC_VERSION, .ino = 5, .cursor = 9};
    struct migfs_handoff handoff = {.version = MIGFS_IOC_VERSION};
    struct ioctl_argument argument;

    (void)state;
    assert_int_equal(
        ioctl_argument_parse(MIGFS_IOC_EVENTS, &files, sizeof(files), sizeof(files), &argument), 0);
    assert_int_equal(argument.call, IOCTL_EVENTS);
    assert_int_equal(argument.ino, 5);
    assert_int_equal(argument.cursor, 9);
    assert_false(argument.checks);
    files.flags = MIGFS_FILES_CHECK;
    assert_int_equal(
        ioctl_argument_parse(MIGFS_IOC_STATUS, &files, sizeof(files), sizeof(files), &argument), 0);
    assert_true(argument.checks);
    assert_int_equal(parse_files(MIGFS_IOC_EVENTS, &files, sizeof(files)), -EINVAL);
    assert_int_equal(parse_handoff(MIGFS_IOC_ACQUIRE, &handoff, sizeof(handoff)), 0);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_RELEASE, &handoff, sizeof(handoff),
                                          sizeof(handoff), &argument),
                     0);
    assert_int_equal(argument.call, IOCTL_RELEASE);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_FORGET, &handoff, sizeof(handoff),
                                          sizeof(handoff), &argument),
                     0);
    assert_int_equal(argument.call, IOCTL_FORGET);
    assert_int_equal(argument.ino, 0);
    assert_int_equal(argument.pid, 0);
    handoff.pid = 42;
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_ACQUIRE, &handoff, sizeof(handoff),
                                          sizeof(handoff), &argument),
                     0);
    assert_int_equal(argument.pid, 42);
}

static void test_a_wrong_argument_is_refused(void **state)
{
    static const struct migfs_handoff bad_handoffs[] = {
        {.version = 0},
        {.version = MIGFS_IOC_VERSION + 1},
        {.version = MIGFS_IOC_VERSION, .flags = 1},
    };
    const struct migfs_handoff of_group = {.version = MIGFS_IOC_VERSION, .pid = 1};
    static const struct migfs_files bad_files[] = {
        {.version = 0},
        {.version = MIGFS_IOC_VERSION, .flags = MIGFS_FILES_LOST},
        {.version = MIGFS_IOC_VERSION, .flags = MIGFS_FILES_UNCHECKED | MIGFS_FILES_CHECK},
        {.version = MIGFS_IOC_VERSION, .count = 1},
        {.version = MIGFS_IOC_VERSION, .used = 8},
        {.version = MIGFS_IOC_VERSION, .reserved = 1},
    };
    const struct migfs_files files = {.version = MIGFS_IOC_VERSION};
    const struct migfs_handoff handoff = {.version = MIGFS_IOC_VERSION};
    const unsigned short_command = _IOC(_IOC_READ | _IOC_WRITE, MIGFS_IOC_TYPE, 3, 8);
    const unsigned one_way = _IOC(_IOC_WRITE, MIGFS_IOC_TYPE, 1, sizeof(handoff));

    (void)state;
    for (size_t i = 0; i < sizeof(bad_handoffs) / sizeof(bad_handoffs[0]); i++)
        assert_int_equal(parse_handoff(MIGFS_IOC_ACQUIRE, &bad_handoffs[i], sizeof(handoff)),
                         -EINVAL);
    assert_int_equal(parse_handoff(MIGFS_IOC_FORGET, &of_group, sizeof(of_group)), -EINVAL);
    for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++)
        assert_int_equal(parse_files(MIGFS_IOC_STATUS, &bad_files[i], sizeof(files)), -EINVAL);
    assert_int_equal(parse_files(MIGFS_IOC_STATUS, &files, sizeof(files) - 1), -EINVAL);
    assert_int_equal(parse_files(short_command, &files, 8), -EINVAL);
    assert_int_equal(parse_handoff(one_way, &handoff, sizeof(handoff)), -EINVAL);
    assert_int_equal(parse_handoff(MIGFS_IOC_RELEASE, NULL, 0), -EINVAL);
}

static void test_a_history_is_asked_for_with_nothing_but_its_version(void **state)
{
    static struct migfs_history history = {.version = MIGFS_IOC_VERSION};
    static const struct migfs_history bad[] = {
        {.version = MIGFS_IOC_VERSION + 1},
        {.version = MIGFS_IOC_VERSION, .flags = 1},
        {.version = MIGFS_IOC_VERSION, .count = 1},
        {.version = MIGFS_IOC_VERSION, .reserved = 1},
    };
    const size_t size = sizeof(history);
    struct ioctl_argument argument;

    (void)state;
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_HISTORY, &history, size, size, &argument), 0);
    assert_int_equal(argument.call, IOCTL_HISTORY);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_HISTORY, &history, size - 1, size, &argument),
                     -EINVAL);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_HISTORY, &history, size, size - 1, &argument),
                     -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ioctl_argument_parse(MIGFS_IOC_HISTORY, &bad[i], size, size, &argument),
                         -EINVAL);
}

static void test_a_mount_is_asked_for_with_nothing_but_its_version(void **state)
{
    static struct migfs_mount mount = {.version = MIGFS_IOC_VERSION};
    static const struct migfs_mount bad[] = {
        {.version = MIGFS_IOC_VERSION + 1},
        {.version = MIGFS_IOC_VERSION, .flags = 1},
    };
    const size_t size = sizeof(mount);
    struct ioctl_argument argument;

    (void)state;
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_MOUNT, &mount, size, size, &argument), 0);
    assert_int_equal(argument.call, IOCTL_MOUNT);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_MOUNT, &mount, size - 1, size, &argument),
                     -EINVAL);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_MOUNT, &mount, size, size - 1, &argument),
                     -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ioctl_argument_parse(MIGFS_IOC_MOUNT, &bad[i], size, size, &argument),
                         -EINVAL);
}

static void test_counters_are_asked_for_with_nothing_but_their_version(void **state)
{
    static struct migfs_stats stats = {.version = MIGFS_IOC_VERSION};
    static const struct migfs_stats bad[] = {
        {.version = MIGFS_IOC_VERSION + 1},
        {.version = MIGFS_IOC_VERSION, .flags = 1},
    };
    const size_t size = sizeof(stats);
    struct ioctl_argument argument;

    (void)state;
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_STATS, &stats, size, size, &argument), 0);
    assert_int_equal(argument.call, IOCTL_STATS);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_STATS, &stats, size - 1, size, &argument),
                     -EINVAL);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_STATS, &stats, size, size - 1, &argument),
                     -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ioctl_argument_parse(MIGFS_IOC_STATS, &bad[i], size, size, &argument),
                         -EINVAL);
}

static void test_a_timeline_is_asked_for_by_its_generation(void **state)
{
    static struct migfs_timeline timeline = {.version = MIGFS_IOC_VERSION, .generation = 12};
    static const struct migfs_timeline bad[] = {
        {.version = MIGFS_IOC_VERSION - 1},
        {.version = MIGFS_IOC_VERSION, .flags = 1},
    };
    const size_t size = sizeof(timeline);
    struct ioctl_argument argument;

    (void)state;
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_TIMELINE, &timeline, size, size, &argument), 0);
    assert_int_equal(argument.call, IOCTL_TIMELINE);
    assert_int_equal(argument.generation, 12);
    assert_int_equal(ioctl_argument_parse(MIGFS_IOC_TIMELINE, &timeline, size - 1, size, &argument),
                     -EINVAL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ioctl_argument_parse(MIGFS_IOC_TIMELINE, &bad[i], size, size, &argument),
                         -EINVAL);
}

static void test_a_call_of_others_is_not_ours(void **state)
{
    const struct migfs_files files = {.version = MIGFS_IOC_VERSION};
    struct ioctl_argument argument = {.call = IOCTL_RELEASE, .ino = 3};

    (void)state;
    assert_int_equal(parse_files(_IO(MIGFS_IOC_TYPE, 0), &files, 0), -ENOTTY);
    assert_int_equal(parse_files(_IO(MIGFS_IOC_TYPE, 99), &files, 0), -ENOTTY);
    assert_int_equal(ioctl_argument_parse(_IOR('f', 1, long), &files, 8, 8, &argument), -ENOTTY);
    assert_int_equal(argument.ino, 3); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_comes_out_as_it_went_in),
        cmocka_unit_test(test_pids_are_for_root_and_the_owner),
        cmocka_unit_test(test_what_does_not_fit_begins_the_next_answer),
        cmocka_unit_test(test_a_path_of_4095_bytes_is_whole_and_a_longer_one_cut_in_front),
        cmocka_unit_test(test_more_locks_than_a_buffer_holds_are_cut_and_say_so),
        cmocka_unit_test(test_a_right_argument_is_taken),
        cmocka_unit_test(test_a_wrong_argument_is_refused),
        cmocka_unit_test(test_a_history_is_asked_for_with_nothing_but_its_version),
        cmocka_unit_test(test_a_mount_is_asked_for_with_nothing_but_its_version),
        cmocka_unit_test(test_counters_are_asked_for_with_nothing_but_their_version),
        cmocka_unit_test(test_a_timeline_is_asked_for_by_its_generation),
        cmocka_unit_test(test_a_call_of_others_is_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
