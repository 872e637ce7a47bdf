/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fs/pages and fs/notify: whatever comes into the kernel's cache while a drop is under way is known
 * to be there after it. The notification is wrapped, so that something comes in the middle of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "fs/notify.h"
#include "fs/pages.h"

#define MIB (UINT64_C(1) << 20)

int __wrap_fuse_lowlevel_notify_inval_inode(struct fuse_session *session, fuse_ino_t ino,
                                            off_t offset, off_t length);

static struct context context;
static struct inode inode;
static struct {
    void (*meanwhile)(void); /* NULL: nothing comes */
    unsigned drops;          /* of pages, not of attributes alone */
    int error;
} kernel;

int __wrap_fuse_lowlevel_notify_inval_inode(struct fuse_session *session, fuse_ino_t ino,
                                            off_t offset, off_t length)
{
    (void)session;
    (void)ino;
    (void)length;
    if (offset < 0)
        return 0;
    kernel.drops++;
    if (kernel.meanwhile)
        kernel.meanwhile();
    return kernel.error;
}

static void page_is_read(void)
{
    pages_note(&inode, 0, 4096);
}

static void page_is_read_and_left(void)
{
    page_is_read();
    pages_leave(&inode);
}

static int set_up(void **state)
{
    (void)state;
    inode = (struct inode){.node_id = 2};
    pthread_mutex_init(&inode.mutex, NULL);
    kernel.meanwhile = NULL;
    kernel.drops = 0;
    kernel.error = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return pthread_mutex_destroy(&inode.mutex);
}

static bool are_left(void)
{
    pthread_mutex_lock(&inode.mutex);
    const bool left = pages_are_left(&inode);
    pthread_mutex_unlock(&inode.mutex);
    return left;
}

static void where_nothing_came_nothing_is_dropped(void **state)
{
    (void)state;
    pages_note(&inode, 7, 4096); /* past the cache */
    assert_int_equal(notify_inode(&context, &inode), 0);
    assert_int_equal(kernel.drops, 0);
}

static void a_drop_of_all_takes_what_was_left(void **state)
{
    (void)state;
    page_is_read_and_left();
    assert_int_equal(notify_inode(&context, &inode), 0);
    assert_int_equal(kernel.drops, 1);
    assert_false(pages_may_be_there(&inode));
}

static void after_an_error_all_of_it_is_there(void **state)
{
    (void)state;
    kernel.error = -EIO;
    page_is_read();
    assert_int_equal(notify_inode(&context, &inode), -EIO);
    assert_true(pages_may_be_there(&inode));
    pages_leave(&inode);
    assert_int_equal(notify_inode(&context, &inode), -EIO);
    assert_true(are_left());
}

static void what_comes_in_a_drop_of_all_is_there_after_it(void **state)
{
    void (*const meanwhile[])(void) = {page_is_read, page_is_read_and_left};

    (void)state;
    for (size_t i = 0; i < sizeof(meanwhile) / sizeof(meanwhile[0]); i++) {
        kernel.meanwhile = meanwhile[i];
        page_is_read_and_left();
        assert_int_equal(notify_inode(&context, &inode), 0);
        assert_true(pages_may_be_there(&inode));
        kernel.meanwhile = NULL;
        assert_int_equal(notify_inode(&context, &inode), 0);
        assert_false(pages_may_be_there(&inode));
    }
}

static void what_is_left_in_a_drop_by_pieces_is_left_after_it(void **state)
{
    (void)state;
    page_is_read();
    struct pages_left left = pages_drop_left_begin(&inode, 100 * MIB);
    assert_true(are_left());
    assert_true(pages_drop_left(&context, &inode, &left));
    page_is_read_and_left(); /* behind its offset */
    while (pages_drop_left(&context, &inode, &left))
        assert_true(left.offset < left.length_bytes);
    assert_true(kernel.drops > 1);
    assert_true(are_left());

    left = pages_drop_left_begin(&inode, 1);
    assert_false(pages_drop_left(&context, &inode, &left));
    assert_false(pages_may_be_there(&inode));
}

static void a_drop_by_pieces_ends_with_one_of_all(void **state)
{
    (void)state;
    page_is_read();
    struct pages_left left = pages_drop_left_begin(&inode, 100 * MIB);
    assert_true(pages_drop_left(&context, &inode, &left));
    assert_int_equal(notify_inode(&context, &inode), 0);
    assert_int_equal(kernel.drops, 2);
    assert_false(pages_drop_left(&context, &inode, &left));
    assert_int_equal(kernel.drops, 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(where_nothing_came_nothing_is_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_drop_of_all_takes_what_was_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_an_error_all_of_it_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_in_a_drop_of_all_is_there_after_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_left_in_a_drop_by_pieces_is_left_after_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_drop_by_pieces_ends_with_one_of_all, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
