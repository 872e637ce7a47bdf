/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fs/batch: on a real file, through a kernel's AIO that the test sees, and has fail. What is read
 * is compared with what was written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/batch.h"

#define FILE_BYTES ((size_t)(1 << 20) + 700)
#define MOST_READS 100
#define FOREVER INT64_MAX

int __wrap_io_setup(int most, io_context_t *aio);
int __real_io_setup(int most, io_context_t *aio);
int __wrap_io_submit(io_context_t aio, long count, struct iocb **requests);
int __real_io_submit(io_context_t aio, long count, struct iocb **requests);
int __wrap_io_getevents(io_context_t aio, long least, long most, struct io_event *events,
                        struct timespec *timeout);
int __real_io_getevents(io_context_t aio, long least, long most, struct io_event *events,
                        struct timespec *timeout);

static struct {
    bool has_none;    /* of it */
    bool has_half;    /* begins what it does not end */
    bool interrupts;  /* the next wait */
    bool fails_reads; /* all */
    int refused_fd;   /* or those by this one */
    long most_taken;  /* requests, ever */
    long taken;
    unsigned set_up;
} kernel;

int __wrap_io_setup(int most, io_context_t *aio)
{
    kernel.set_up++;
    return kernel.has_none ? -EAGAIN : __real_io_setup(most, aio);
}

int __wrap_io_submit(io_context_t aio, long count, struct iocb **requests)
{
    const long left = kernel.most_taken - kernel.taken;

    if (left == 0)
        return -EAGAIN;
    kernel.taken += count < left ? count : left;
    return __real_io_submit(aio, count < left ? count : left, requests);
}

int __wrap_io_getevents(io_context_t aio, long least, long most, struct io_event *events,
                        struct timespec *timeout)
{
    int count;

    if (kernel.has_half)
        return -EPERM;
    if (kernel.interrupts && least > 0) {
        kernel.interrupts = false;
        return -EINTR;
    }
    count = __real_io_getevents(aio, least, most, events, timeout);
    for (int i = 0; i < count; i++) {
        if (kernel.fails_reads || events[i].obj->aio_fildes == kernel.refused_fd)
            events[i].res = (unsigned long)-EACCES;
    }
    return count;
}

/* ---- the file ---- */

static struct context context;
static struct inode inode;
static struct handle handle;
static char content[FILE_BYTES];
static ssize_t expected_error; /* of each read */

/* In the build's directory: a file system in memory may not have O_DIRECT. */
static int open_file(int flags)
{
    char place[] = "batch.XXXXXX";
    const int fd = mkostemp(place, O_CLOEXEC);
    const bool is_written = fd >= 0 && write(fd, content, FILE_BYTES) == (ssize_t)FILE_BYTES;
    int opened = -1;

    if (is_written)
        opened = open(place, O_RDWR | O_CLOEXEC | flags);
    if (fd >= 0) {
        close(fd);
        unlink(place);
    }
    return opened;
}

static int set_up_with(int flags)
{
    for (size_t i = 0; i < FILE_BYTES; i++)
        content[i] = (char)(i * 7 + i / 4096);
    kernel.most_taken = LONG_MAX;
    kernel.has_none = kernel.has_half = kernel.interrupts = kernel.fails_reads = false;
    expected_error = 0;
    kernel.refused_fd = -1;
    kernel.taken = 0;
    kernel.set_up = 0;
    inode = (struct inode){.direct_fd = -1};
    pthread_mutex_init(&inode.mutex, NULL);
    handle = (struct handle){.inode = &inode, .opened = {.uid = getuid(), .gid = getgid()}};
    handle.fd = open_file(flags);
    atomic_store(&handle.flags, O_RDWR | flags);
    context.batch_rooms = batch_rooms_new();
    return handle.fd >= 0 && context.batch_rooms ? 0 : -1;
}

static int set_up(void **state)
{
    (void)state;
    return set_up_with(0);
}

static int set_up_direct(void **state)
{
    (void)state;
    return set_up_with(O_DIRECT);
}

static int tear_down(void **state)
{
    (void)state;
    batch_rooms_free(context.batch_rooms);
    close(handle.fd);
    if (inode.direct_fd >= 0)
        close(inode.direct_fd);
    return 0;
}

/* ---- reads ---- */

struct wanted {
    struct batch_read read;
    struct batch *batch;
    size_t more; /* reads after this one, each right behind the one before */
    unsigned over;
};

static struct wanted wanted[MOST_READS];

static void over(struct batch_read *read, const char *bytes, ssize_t count)
{
    struct wanted *one = (struct wanted *)read;
    const size_t left = read->offset < FILE_BYTES ? FILE_BYTES - read->offset : 0;

    if (expected_error != 0)
        assert_int_equal(count, expected_error);
    else
        assert_int_equal(count, read->size < left ? read->size : left);
    if (count > 0)
        assert_memory_equal(bytes, content + read->offset, (size_t)count);
    one->over++;
    if (one->more > 0) {
        one->more--;
        read->offset += read->size;
        batch_add(one->batch, read);
    }
}

static void want(struct batch *batch, size_t index, uint64_t offset, size_t size)
{
    wanted[index] =
        (struct wanted){.read = {.offset = offset, .size = size, .over = over}, .batch = batch};
    batch_add(batch, &wanted[index].read);
}

/* At odd places, of all sizes up to the largest; some end behind the file, some begin there. */
static void read_many(int64_t until_ns)
{
    struct batch batch;

    batch_init(&batch, &context, &handle, until_ns);
    for (size_t i = 0; i < MOST_READS; i++)
        want(&batch, i, i * (FILE_BYTES / 90), 1 + i * (BATCH_MOST_BYTES - 1) / (MOST_READS - 1));
    batch_run(&batch);
}

static void assert_all_over(unsigned times)
{
    for (size_t i = 0; i < MOST_READS; i++)
        assert_int_equal(wanted[i].over, times);
}

/* ---- tests ---- */

static void each_read_is_over_once(void **state)
{
    (void)state;
    read_many(FOREVER);
    assert_all_over(1);
}

static void they_are_under_way_before_they_are_waited_for(void **state)
{
    struct batch batch;

    (void)state;
    batch_init(&batch, &context, &handle, FOREVER);
    for (size_t i = 0; i < MOST_READS; i++)
        want(&batch, i, i * 4096, 4096);
    batch_begin(&batch);
    assert_true(kernel.taken > 1);
    assert_all_over(0);
    batch_run(&batch);
    assert_all_over(1);
}

static void a_read_may_be_followed_by_others(void **state)
{
    struct batch batch;

    (void)state;
    batch_init(&batch, &context, &handle, FOREVER);
    want(&batch, 0, 100, 5000);
    wanted[0].more = 50;
    batch_run(&batch);
    assert_int_equal(wanted[0].over, 51);
}

static void what_is_late_is_not_begun(void **state)
{
    (void)state;
    read_many(0);
    assert_all_over(0);
    assert_int_equal(kernel.taken, 0);
}

static void without_aio_they_are_read_as_well(void **state)
{
    (void)state;
    kernel.has_none = true;
    read_many(FOREVER);
    assert_all_over(1);
    assert_int_equal(kernel.taken, 0);
}

static void what_the_kernel_does_not_take_is_read_as_well(void **state)
{
    (void)state;
    for (kernel.most_taken = 0; kernel.most_taken < 3; kernel.most_taken++) {
        kernel.taken = 0;
        read_many(FOREVER);
        assert_all_over(1);
    }
}

static void what_the_kernel_would_not_end_is_not_begun(void **state)
{
    (void)state;
    kernel.has_half = true;
    read_many(FOREVER);
    assert_all_over(1);
    assert_int_equal(kernel.taken, 0);
}

static void an_error_is_told(void **state)
{
    (void)state;
    kernel.fails_reads = true;
    expected_error = -EACCES;
    read_many(FOREVER);
    assert_all_over(1);
}

/* By a new one, whose reads the kernel does not fail. */
static void what_the_handles_descriptor_is_refused_another_reads(void **state)
{
    (void)state;
    kernel.refused_fd = handle.fd;
    read_many(FOREVER);
    assert_all_over(1);
    assert_int_not_equal(inode.direct_fd, -1);
    assert_int_equal(inode.direct_readers, 0);
}

static void what_is_stopped_is_not_begun(void **state)
{
    struct batch batch;

    (void)state;
    batch_init(&batch, &context, &handle, FOREVER);
    want(&batch, 0, 0, 100);
    batch_begin(&batch);
    want(&batch, 1, 0, 100);
    batch_stop(&batch);
    batch_run(&batch);
    assert_int_equal(wanted[0].over, 1);
    assert_int_equal(wanted[1].over, 0);
}

static void a_signal_does_no_harm(void **state)
{
    (void)state;
    kernel.interrupts = true;
    read_many(FOREVER);
    assert_all_over(1);
    assert_false(kernel.interrupts);
}

static void what_aio_needs_is_made_once(void **state)
{
    (void)state;
    read_many(FOREVER);
    read_many(FOREVER);
    assert_int_equal(kernel.set_up, 1);
}

static void a_handle_past_the_cache_needs_no_other_descriptor(void **state)
{
    (void)state;
    read_many(FOREVER);
    assert_all_over(1);
    assert_int_equal(inode.direct_fd, -1);
}

static void others_share_the_inodes(void **state)
{
    (void)state;
    read_many(FOREVER);
    assert_int_not_equal(inode.direct_fd, -1);
    assert_int_equal(inode.direct_readers, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_read_is_over_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(they_are_under_way_before_they_are_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_read_may_be_followed_by_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_late_is_not_begun, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_aio_they_are_read_as_well, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_kernel_does_not_take_is_read_as_well, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_the_kernel_would_not_end_is_not_begun, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_error_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_handles_descriptor_is_refused_another_reads,
                                        set_up_direct, tear_down),
        cmocka_unit_test_setup_teardown(what_is_stopped_is_not_begun, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signal_does_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_aio_needs_is_made_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_handle_past_the_cache_needs_no_other_descriptor,
                                        set_up_direct, tear_down),
        cmocka_unit_test_setup_teardown(others_share_the_inodes, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
