/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fs/record_directory: the list of records, on a real directory whose times do not move, seen by a
 * clock that the test sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/record_directory.h"

#define SECOND INT64_C(1000000000)
#define LOOKERS 8

int __wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *seen);
int64_t __wrap_pool_now_ns(void);
DIR *__wrap_fdopendir(int fd);
DIR *__real_fdopendir(int fd);

static char place[PATH_MAX];
static struct context context;
static struct record_directory *directory;
static atomic_int_fast64_t now_ns;
static struct {
    atomic_uint looks;
    int error;    /* errno of each, or 0 */
    bool refuses; /* to list, without an errno that says why */
    bool waits;   /* the next one: tells `begins`, and waits for `may_end` */
    sem_t begins, may_end;
} store;

int64_t __wrap_pool_now_ns(void)
{
    return atomic_fetch_add(&now_ns, 1) + 1;
}

int __wrap_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *seen)
{
    (void)dirfd;
    (void)path;
    (void)flags;
    (void)mask;
    atomic_fetch_add(&store.looks, 1);
    if (store.waits) {
        store.waits = false;
        sem_post(&store.begins);
        while (sem_wait(&store.may_end) != 0)
            ;
    }
    *seen = (struct statx){.stx_mask = STATX_MTIME | STATX_CTIME};
    errno = store.error;
    return store.error == 0 ? 0 : -1;
}

DIR *__wrap_fdopendir(int fd)
{
    errno = 0;
    return store.refuses ? NULL : __real_fdopendir(fd);
}

#define RECORD ".migfs/11"
#define RECORDED 0x11

static void make_record(void)
{
    const int place_fd = open(place, O_RDONLY | O_DIRECTORY);
    const int fd = openat(place_fd, RECORD, O_CREAT | O_WRONLY, 0600);

    assert_true(fd >= 0);
    close(fd);
    close(place_fd);
}

static int set_up(void **state)
{
    const char *scratch = getenv("TMPDIR");

    (void)state;
    snprintf(place, sizeof(place), "%s/migfs-records-XXXXXX", scratch ? scratch : "/tmp");
    if (!mkdtemp(place))
        return -1;
    now_ns = 100 * SECOND;
    store.looks = 0;
    store.error = 0;
    store.refuses = false;
    store.waits = false;
    sem_init(&store.begins, 0, 0);
    sem_init(&store.may_end, 0, 0);
    context =
        (struct context){.options = {.source = place, .coherence = true, .record = RECORD_ON}};
    context.source_fd = open(place, O_PATH | O_DIRECTORY);
    return record_directory_open(&context, &directory);
}

static int tear_down(void **state)
{
    (void)state;
    record_directory_close(directory);
    (void)unlinkat(context.source_fd, RECORD, 0); /* not every test has made it */
    (void)unlinkat(context.source_fd, ".migfs", AT_REMOVEDIR);
    close(context.source_fd);
    return rmdir(place);
}

static void a_new_list_is_told_once(void **state)
{
    (void)state;
    make_record();
    assert_true(record_directory_look(directory));
    assert_true(record_directory_lists(directory, RECORDED));
    assert_false(record_directory_lists(directory, RECORDED + 1));
    assert_false(record_directory_look(directory));
}

/* Though the directory looks as it did when it was listed. */
static void what_came_in_the_same_tick_is_seen(void **state)
{
    (void)state;
    (void)record_directory_look(directory);
    make_record();
    assert_true(record_directory_look(directory));
    assert_true(record_directory_lists(directory, RECORDED));
}

static void so_it_is_a_long_time_later(void **state)
{
    (void)state;
    (void)record_directory_look(directory);
    make_record();
    now_ns += 60 * SECOND;
    assert_true(record_directory_look(directory));
    assert_true(record_directory_lists(directory, RECORDED));
}

/* Nobody can have made a record at a time that is long past. */
static void what_has_settled_is_not_listed_again(void **state)
{
    (void)state;
    (void)record_directory_look(directory);
    now_ns += 60 * SECOND;
    (void)record_directory_look(directory);
    make_record();
    assert_false(record_directory_look(directory));
    assert_false(record_directory_lists(directory, RECORDED));
}

static void *look(void *told)
{
    if (record_directory_look(directory))
        atomic_fetch_add((atomic_uint *)told, 1);
    return NULL;
}

/* One looks; meanwhile the others want to. How many are told of a new list. */
static unsigned look_at_once(void)
{
    atomic_uint told = 0;
    pthread_t threads[LOOKERS];
    int64_t before;

    store.waits = true;
    assert_int_equal(pthread_create(&threads[0], NULL, look, &told), 0);
    while (sem_wait(&store.begins) != 0)
        ;
    before = now_ns;
    for (size_t i = 1; i < LOOKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &told), 0);
    while (now_ns < before + LOOKERS - 1) /* each asks for the time when it is called */
        sched_yield();
    sem_post(&store.may_end);
    for (size_t i = 0; i < LOOKERS; i++)
        pthread_join(threads[i], NULL);
    return told;
}

/* The one under way may be too early for them; the next is not. */
static void one_look_does_for_all_who_wait(void **state)
{
    (void)state;
    make_record();
    assert_int_equal(look_at_once(), 1);
    assert_int_equal(store.looks, 2);
    assert_true(record_directory_lists(directory, RECORDED));
}

static void so_does_one_that_fails(void **state)
{
    (void)state;
    store.error = EIO;
    assert_int_equal(look_at_once(), 0);
    assert_int_equal(store.looks, 2);
    store.error = 0;
    assert_true(record_directory_look(directory));
}

static void what_cannot_be_listed_is_tried_again(void **state)
{
    (void)state;
    make_record();
    store.refuses = true;
    assert_false(record_directory_look(directory));
    assert_false(record_directory_lists(directory, RECORDED));
    store.refuses = false;
    assert_true(record_directory_look(directory));
    assert_true(record_directory_lists(directory, RECORDED));
}

/* A reader of the list does not wait for the store. */
static void the_list_can_be_read_meanwhile(void **state)
{
    pthread_t looker;
    atomic_uint told = 0;

    (void)state;
    make_record();
    (void)record_directory_look(directory);
    store.waits = true;
    assert_int_equal(pthread_create(&looker, NULL, look, &told), 0);
    while (sem_wait(&store.begins) != 0)
        ;
    assert_true(record_directory_lists(directory, RECORDED));
    sem_post(&store.may_end);
    pthread_join(looker, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_list_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_came_in_the_same_tick_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_it_is_a_long_time_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_settled_is_not_listed_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_look_does_for_all_who_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_does_one_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_listed_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_list_can_be_read_meanwhile, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
