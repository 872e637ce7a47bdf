/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fs/spares: a task is begun at once or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <unistd.h>

#include "fs/spares.h"

#define MOST_TASKS 1000

/* One that a thread is busy with until it is let go. */
struct held {
    struct spare_task task;
    sem_t begins, may_end;
    pid_t thread;
};

static struct spares *spares;
static struct held held[MOST_TASKS];

static void run(struct spare_task *task)
{
    struct held *mine = (struct held *)task;

    mine->thread = gettid();
    sem_post(&mine->begins);
    while (sem_wait(&mine->may_end) != 0)
        ;
}

static bool begin(struct held *one)
{
    *one = (struct held){.task.run = run};
    sem_init(&one->begins, 0, 0);
    sem_init(&one->may_end, 0, 0);
    if (!spares_begin(spares, &one->task))
        return false;
    while (sem_wait(&one->begins) != 0)
        ;
    return true;
}

static void end(struct held *one)
{
    sem_post(&one->may_end);
    spares_end(spares, &one->task);
    assert_true(one->task.is_over);
}

/* As many as there are threads for. */
static size_t begin_all(void)
{
    size_t count = 0;

    while (count < MOST_TASKS && begin(&held[count]))
        count++;
    return count;
}

static void end_all(size_t count)
{
    for (size_t i = 0; i < count; i++)
        end(&held[i]);
}

static int set_up(void **state)
{
    (void)state;
    spares = spares_new();
    return spares ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    spares_free(spares);
    return 0;
}

static void a_task_runs_on_another_thread(void **state)
{
    (void)state;
    assert_true(begin(&held[0]));
    end(&held[0]);
    assert_int_not_equal(held[0].thread, gettid());
}

static void a_thread_is_kept(void **state)
{
    pid_t first;

    (void)state;
    assert_true(begin(&held[0]));
    end(&held[0]);
    first = held[0].thread;
    assert_true(begin(&held[0]));
    end(&held[0]);
    assert_int_equal(held[0].thread, first);
}

static void tasks_at_a_time_have_a_thread_each(void **state)
{
    (void)state;
    assert_true(begin(&held[0]));
    assert_true(begin(&held[1]));
    assert_int_not_equal(held[0].thread, held[1].thread);
    end(&held[1]);
    end(&held[0]);
}

static void where_all_are_busy_nobody_waits(void **state)
{
    const size_t most = begin_all();

    (void)state;
    assert_in_range(most, 2, MOST_TASKS - 1);
    end(&held[0]);
    assert_true(begin(&held[0])); /* who was let go is to be had again */
    assert_false(begin(&held[most]));
    end_all(most);
    assert_int_equal(begin_all(), most);
    end_all(most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_task_runs_on_another_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tasks_at_a_time_have_a_thread_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_all_are_busy_nobody_waits, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
