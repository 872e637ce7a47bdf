/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/range against a model that keeps one cell a byte and owner, with random operations and
 * with allocations that fail; and the deadlocks that several tables make together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/range.h"
#include "random.h"

/* Allocation that fails when told ------------------------------------------------------------- */

static bool allocation_fails;
static unsigned allocations_failed;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

/* Compilers make a malloc() of a realloc() that is known to begin with NULL. */
void *__wrap_malloc(size_t size)
{
    if (allocation_fails) {
        allocations_failed++;
        return NULL;
    }
    return __real_malloc(size);
}

void *__wrap_realloc(void *block, size_t size)
{
    if (allocation_fails) {
        allocations_failed++;
        return NULL;
    }
    return __real_realloc(block, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (allocation_fails) {
        allocations_failed++;
        return NULL;
    }
    return __real_calloc(count, size);
}

/* The model ----------------------------------------------------------------------------------- */

#define BYTES 24u
#define OWNERS 4u
#define HANDLES 3u
#define PIDS 2u

struct cell {
    bool held;
    enum range_type type;
    uint64_t handle;
    uint32_t pid;
};

/* The bytes from `base` on; outside them nothing is ever locked. */
struct model {
    uint64_t base;
    struct cell cells[OWNERS][BYTES];
};

static void model_set(struct model *model, const struct range *lock)
{
    for (uint64_t byte = lock->start - model->base; byte <= lock->end - model->base; byte++)
        model->cells[lock->owner][byte] = (struct cell){true, lock->type, lock->handle, lock->pid};
}

static void model_clear(struct model *model, uint64_t owner, uint64_t start, uint64_t end)
{
    for (uint64_t byte = start - model->base; byte <= end - model->base; byte++)
        model->cells[owner][byte] = (struct cell){0};
}

static void model_clear_handle(struct model *model, uint64_t handle)
{
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        for (unsigned byte = 0; byte < BYTES; byte++) {
            if (model->cells[owner][byte].handle == handle)
                model->cells[owner][byte] = (struct cell){0};
        }
    }
}

static bool model_conflicts(const struct model *model, const struct range *wanted, unsigned owner,
                            unsigned byte)
{
    const struct cell *cell = &model->cells[owner][byte];
    const uint64_t at = model->base + byte;

    return cell->held && owner != wanted->owner && wanted->start <= at && at <= wanted->end &&
           (cell->type == RANGE_WRITE || wanted->type == RANGE_WRITE);
}

static bool model_blocks(const struct model *model, const struct range *wanted, unsigned owner)
{
    for (unsigned byte = 0; byte < BYTES; byte++) {
        if (model_conflicts(model, wanted, owner, byte))
            return true;
    }
    return false;
}

static bool entries_are_alike(const struct range *a, const struct range *b)
{
    return a->type == b->type && a->handle == b->handle && a->pid == b->pid;
}

static void assert_table_is_ordered(const struct range_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct range *entry = &table->entries[i];

        assert_true(entry->start <= entry->end);
        assert_true(entry->end <= RANGE_MAX);
        if (i == 0)
            continue;

        const struct range *before = &table->entries[i - 1];
        assert_true(before->owner <= entry->owner);
        if (before->owner != entry->owner)
            continue;
        assert_true(before->end < entry->start);
        assert_false(before->end + 1 == entry->start && entries_are_alike(before, entry));
    }
}

static void assert_cell_matches(const struct model *model, const struct range_table *table,
                                unsigned owner, unsigned byte)
{
    const struct cell *cell = &model->cells[owner][byte];
    const uint64_t at = model->base + byte;
    const struct range *found = NULL;

    for (size_t i = 0; i < table->count; i++) {
        const struct range *entry = &table->entries[i];

        if (entry->owner == owner && entry->start <= at && at <= entry->end)
            found = entry;
    }
    assert_int_equal(found != NULL, cell->held);
    assert_int_equal(range_owner_holds_byte(table, owner, at), cell->held);
    if (found == NULL)
        return;
    assert_int_equal(found->type, cell->type);
    assert_int_equal(found->handle, cell->handle);
    assert_int_equal(found->pid, cell->pid);
}

static void assert_matches(const struct model *model, const struct range_table *table)
{
    assert_table_is_ordered(table);
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        bool holds = false;

        for (unsigned byte = 0; byte < BYTES; byte++) {
            assert_cell_matches(model, table, owner, byte);
            holds = holds || model->cells[owner][byte].held;
        }
        assert_int_equal(range_owner_holds(table, owner), holds);
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct range *entry = &table->entries[i];

        assert_true(entry->start >= model->base);
        assert_true(entry->end - model->base < BYTES);
        assert_true(range_handle_holds(table, entry->handle, entry->type));
        assert_true(range_handle_holds(table, entry->handle, RANGE_READ));
    }
    assert_false(range_handle_holds(table, UINT64_MAX, RANGE_READ));
}

static struct range random_range(uint64_t *random, const struct model *model)
{
    const unsigned a = random_below(random, BYTES);
    const unsigned b = random_below(random, BYTES);

    return (struct range){
        .start = model->base + (a < b ? a : b),
        .end = model->base + (a < b ? b : a),
        .type = random_below(random, 2) ? RANGE_WRITE : RANGE_READ,
        .owner = random_below(random, OWNERS),
        .handle = 1 + random_below(random, HANDLES),
        .pid = 1 + random_below(random, PIDS),
    };
}

static void assert_conflict_matches(const struct model *model, const struct range_table *table,
                                    const struct range *wanted)
{
    const struct range *found = range_conflict(table, wanted);
    bool expected = false;

    for (unsigned byte = 0; byte < BYTES && !expected; byte++) {
        for (unsigned owner = 0; owner < OWNERS; owner++) {
            if (!model_conflicts(model, wanted, owner, byte))
                continue;
            expected = true;
            assert_non_null(found);
            /* It covers the lowest conflicting byte, or is as low as one that does. */
            assert_true(found->start <= model->base + byte);
        }
    }
    assert_int_equal(found != NULL, expected);
    if (found == NULL)
        return;
    assert_true(found->owner != wanted->owner);
    assert_true(found->start <= wanted->end && wanted->start <= found->end);
    assert_true(found->type == RANGE_WRITE || wanted->type == RANGE_WRITE);
    for (size_t i = 0; i < table->count; i++) {
        const struct range *entry = &table->entries[i];

        if (entry->owner != wanted->owner && entry->start <= wanted->end &&
            wanted->start <= entry->end &&
            (entry->type == RANGE_WRITE || wanted->type == RANGE_WRITE))
            assert_true(found->start <= entry->start);
    }
}

static void random_operation(uint64_t *random, struct model *model, struct range_table *table)
{
    const struct range lock = random_range(random, model);

    switch (random_below(random, 16)) {
    case 0:
        range_clear_handle(table, lock.handle);
        model_clear_handle(model, lock.handle);
        break;
    case 1:
        range_clear_owner(table, lock.owner);
        model_clear(model, lock.owner, model->base, model->base + BYTES - 1);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        if (range_clear(table, lock.owner, lock.start, lock.end) == 0)
            model_clear(model, lock.owner, lock.start, lock.end);
        else
            assert_true(allocation_fails);
        break;
    default:
        if (range_set(table, &lock) == 0)
            model_set(model, &lock);
        else
            assert_true(allocation_fails);
        break;
    }
}

static void run_model(uint64_t *random, uint64_t base, bool with_failures)
{
    struct model model = {.base = base};
    struct range_table table = {0};

    for (unsigned i = 0; i < 200; i++) {
        allocation_fails = with_failures && random_below(random, 2) == 0;
        random_operation(random, &model, &table);
        allocation_fails = false;
        assert_matches(&model, &table);

        const struct range wanted = random_range(random, &model);
        assert_conflict_matches(&model, &table, &wanted);
    }
    range_table_deinit(&table);
}

static void table_behaves_as_a_byte_array_does(void **state)
{
    uint64_t random = random_seed(__func__);

    (void)state;
    for (unsigned i = 0; i < 100; i++)
        run_model(&random, i % 2 == 0 ? 0 : RANGE_MAX - (BYTES - 1), false);
}

static void failed_allocation_leaves_the_table_as_it_was(void **state)
{
    uint64_t random = random_seed(__func__);

    (void)state;
    allocations_failed = 0;
    for (unsigned i = 0; i < 100; i++)
        run_model(&random, i % 2 == 0 ? 0 : RANGE_MAX - (BYTES - 1), true);
    assert_true(allocations_failed > 100);
}

/* Single rules -------------------------------------------------------------------------------- */

static struct range lock_of(uint64_t owner, enum range_type type, uint64_t start, uint64_t end)
{
    return (struct range){.start = start, .end = end, .type = type, .owner = owner, .handle = 1};
}

static void take(struct range_table *table, uint64_t owner, enum range_type type, uint64_t start,
                 uint64_t end)
{
    const struct range lock = lock_of(owner, type, start, end);

    assert_int_equal(range_set(table, &lock), 0);
}

static void neighbours_that_are_alike_become_one(void **state)
{
    struct range_table table = {0};

    (void)state;
    take(&table, 1, RANGE_READ, 100, 100);
    take(&table, 1, RANGE_READ, 102, 102);
    assert_int_equal(table.count, 2);
    take(&table, 1, RANGE_READ, 101, 101);
    assert_int_equal(table.count, 1);
    assert_int_equal(table.entries[0].start, 100);
    assert_int_equal(table.entries[0].end, 102);
    range_table_deinit(&table);
}

static void neighbours_of_two_handles_stay_two(void **state)
{
    struct range_table table = {0};
    const struct range other = {
        .start = 101, .end = 101, .type = RANGE_READ, .owner = 1, .handle = 2};

    (void)state;
    take(&table, 1, RANGE_READ, 100, 100);
    assert_int_equal(range_set(&table, &other), 0);
    assert_int_equal(table.count, 2);
    range_clear_handle(&table, 1);
    assert_int_equal(table.count, 1);
    assert_int_equal(table.entries[0].handle, 2);
    range_table_deinit(&table);
}

static void unlock_in_the_middle_leaves_both_sides(void **state)
{
    struct range_table table = {0};

    (void)state;
    take(&table, 1, RANGE_WRITE, 0, RANGE_MAX);
    assert_int_equal(range_clear(&table, 1, 10, 19), 0);
    assert_int_equal(table.count, 2);
    assert_int_equal(table.entries[0].end, 9);
    assert_int_equal(table.entries[1].start, 20);
    assert_int_equal(table.entries[1].end, RANGE_MAX);
    range_table_deinit(&table);
}

static void upgrade_in_the_middle_splits_in_three(void **state)
{
    struct range_table table = {0};

    (void)state;
    take(&table, 1, RANGE_READ, 0, RANGE_MAX);
    take(&table, 1, RANGE_WRITE, 10, 19);
    assert_int_equal(table.count, 3);
    assert_int_equal(table.entries[0].type, RANGE_READ);
    assert_int_equal(table.entries[1].type, RANGE_WRITE);
    assert_int_equal(table.entries[2].type, RANGE_READ);
    range_table_deinit(&table);
}

static void unlock_that_splits_nothing_needs_no_memory(void **state)
{
    struct range_table table = {0};

    (void)state;
    take(&table, 1, RANGE_READ, 100, 101);
    table.capacity = table.count; /* no room to spare */
    allocation_fails = true;
    assert_int_equal(range_clear(&table, 1, 0, 100), 0);
    assert_int_equal(range_clear(&table, 2, 0, RANGE_MAX), 0);
    assert_int_equal(range_clear(&table, 1, 0, RANGE_MAX), 0);
    allocation_fails = false;
    assert_int_equal(table.count, 0);
    range_table_deinit(&table);
}

static void an_entry_of_the_table_can_be_set_again(void **state)
{
    struct range_table table = {0};

    (void)state;
    for (uint64_t owner = 0; owner < 64; owner++)
        take(&table, owner, RANGE_READ, 0, 9);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(range_set(&table, &table.entries[i]), 0);
    assert_int_equal(table.count, 64);
    assert_int_equal(table.entries[63].owner, 63);
    range_table_deinit(&table);
}

static void copy_is_equal_and_stands_alone(void **state)
{
    struct range_table table = {0};
    struct range_table copy = {0};

    (void)state;
    assert_int_equal(range_table_copy(&table, &copy), 0);
    assert_int_equal(copy.count, 0);
    take(&table, 1, RANGE_READ, 0, 9);
    take(&table, 2, RANGE_READ, 5, 20);
    assert_int_equal(range_table_copy(&table, &copy), 0);
    range_clear_owner(&table, 1);
    assert_int_equal(copy.count, 2);
    assert_true(range_owner_holds_byte(&copy, 1, 9));
    range_table_deinit(&table);
    range_table_deinit(&copy);
}

static void failed_copy_leaves_the_copy_untouched(void **state)
{
    struct range_table table = {0};
    struct range_table copy = {0};

    (void)state;
    take(&table, 1, RANGE_READ, 0, 9);
    allocation_fails = true;
    assert_int_equal(range_table_copy(&table, &copy), -ENOMEM);
    allocation_fails = false;
    assert_null(copy.entries);
    assert_int_equal(copy.count, 0);
    range_table_deinit(&table);
}

static void readers_do_not_conflict_and_an_owner_never_with_itself(void **state)
{
    struct range_table table = {0};
    const struct range read = lock_of(2, RANGE_READ, 0, 9);
    const struct range write = lock_of(2, RANGE_WRITE, 9, 20);
    const struct range own = lock_of(1, RANGE_WRITE, 0, 9);
    const struct range beside = lock_of(2, RANGE_WRITE, 10, RANGE_MAX);

    (void)state;
    take(&table, 1, RANGE_READ, 0, 9);
    assert_null(range_conflict(&table, &read));
    assert_null(range_conflict(&table, &own));
    assert_null(range_conflict(&table, &beside));
    assert_non_null(range_conflict(&table, &write));
    range_table_deinit(&table);
}

/* Deadlocks ----------------------------------------------------------------------------------- */

#define TABLES 3u

static void deinit_all(struct range_table *tables)
{
    for (unsigned i = 0; i < TABLES; i++)
        range_table_deinit(&tables[i]);
}

static struct wait wait_for(struct wait *next, const struct range_table *table, uint64_t owner,
                            enum range_type type, uint64_t byte)
{
    return (struct wait){next, table, lock_of(owner, type, byte, byte)};
}

static void two_owners_over_two_files_deadlock(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_WRITE, 0, 0);
    take(&tables[1], 2, RANGE_WRITE, 0, 0);
    struct wait first = wait_for(NULL, &tables[1], 1, RANGE_WRITE, 0);
    struct wait second = wait_for(NULL, &tables[0], 2, RANGE_WRITE, 0);
    assert_false(wait_deadlocks(NULL, &first));
    assert_true(wait_deadlocks(&first, &second));
    deinit_all(tables);
}

static void three_owners_over_three_files_deadlock(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        take(&tables[i], i, RANGE_WRITE, 7, 7);
    struct wait first = wait_for(NULL, &tables[1], 0, RANGE_READ, 7);
    struct wait second = wait_for(&first, &tables[2], 1, RANGE_READ, 7);
    struct wait third = wait_for(NULL, &tables[0], 2, RANGE_READ, 7);
    assert_false(wait_deadlocks(&first, &second));
    assert_true(wait_deadlocks(&second, &third));
    deinit_all(tables);
}

static void two_readers_that_both_upgrade_deadlock(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_READ, 0, 9);
    take(&tables[0], 2, RANGE_READ, 0, 9);
    struct wait first = wait_for(NULL, &tables[0], 1, RANGE_WRITE, 0);
    struct wait second = wait_for(NULL, &tables[0], 2, RANGE_WRITE, 9);
    assert_false(wait_deadlocks(NULL, &first));
    assert_true(wait_deadlocks(&first, &second));
    deinit_all(tables);
}

static void cycle_through_the_second_of_two_holders_is_found(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_READ, 0, 0);
    take(&tables[0], 2, RANGE_READ, 0, 0);
    take(&tables[1], 3, RANGE_WRITE, 0, 0);
    struct wait waiting = wait_for(NULL, &tables[1], 2, RANGE_READ, 0);
    struct wait added = wait_for(NULL, &tables[0], 3, RANGE_WRITE, 0);
    assert_true(wait_deadlocks(&waiting, &added));
    deinit_all(tables);
}

static void waiting_for_a_holder_that_waits_for_nobody_is_no_deadlock(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_WRITE, 0, 0);
    take(&tables[1], 2, RANGE_WRITE, 0, 0);
    struct wait first = wait_for(NULL, &tables[1], 3, RANGE_WRITE, 0);
    struct wait second = wait_for(&first, &tables[1], 1, RANGE_WRITE, 0);
    struct wait added = wait_for(NULL, &tables[0], 3, RANGE_WRITE, 0);
    assert_false(wait_deadlocks(&second, &added));
    deinit_all(tables);
}

static void same_bytes_of_another_file_are_no_deadlock(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_WRITE, 0, 0);
    take(&tables[1], 2, RANGE_WRITE, 0, 0);
    struct wait first = wait_for(NULL, &tables[1], 1, RANGE_WRITE, 0);
    struct wait added = wait_for(NULL, &tables[2], 2, RANGE_WRITE, 0);
    assert_false(wait_deadlocks(&first, &added));
    deinit_all(tables);
}

static void cycle_of_others_neither_hangs_the_search_nor_counts(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_WRITE, 0, 0);
    take(&tables[1], 2, RANGE_WRITE, 0, 0);
    struct wait first = wait_for(NULL, &tables[1], 1, RANGE_WRITE, 0);
    struct wait second = wait_for(&first, &tables[0], 2, RANGE_WRITE, 0);
    struct wait added = wait_for(NULL, &tables[0], 3, RANGE_WRITE, 0);
    assert_false(wait_deadlocks(&second, &added));
    deinit_all(tables);
}

static void a_wait_is_judged_by_the_locks_of_now(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_WRITE, 0, 0);
    take(&tables[1], 2, RANGE_WRITE, 0, 0);
    struct wait first = wait_for(NULL, &tables[1], 1, RANGE_WRITE, 0);
    struct wait added = wait_for(NULL, &tables[0], 2, RANGE_WRITE, 0);
    assert_true(wait_deadlocks(&first, &added));
    range_clear_owner(&tables[1], 2); /* the first is about to be granted */
    assert_false(wait_deadlocks(&first, &added));
    deinit_all(tables);
}

static void out_of_memory_finds_no_deadlock(void **state)
{
    struct range_table tables[TABLES] = {0};

    (void)state;
    take(&tables[0], 1, RANGE_READ, 0, 0);
    take(&tables[0], 2, RANGE_READ, 0, 0);
    struct wait first = wait_for(NULL, &tables[0], 1, RANGE_WRITE, 0);
    struct wait added = wait_for(NULL, &tables[0], 2, RANGE_WRITE, 0);
    allocation_fails = true;
    const bool found = wait_deadlocks(&first, &added);
    allocation_fails = false;
    assert_false(found);
    deinit_all(tables);
}

#define WAITS 5u

struct scene {
    struct model models[TABLES];
    struct range_table tables[TABLES];
    struct wait waits[WAITS];
    unsigned table_of[WAITS];
};

static void scene_fill(struct scene *scene, uint64_t *random)
{
    for (unsigned i = 0; i < 8; i++) {
        const unsigned at = random_below(random, TABLES);
        struct range lock = random_range(random, &scene->models[at]);

        if (range_conflict(&scene->tables[at], &lock) != NULL)
            lock.end = lock.start;
        if (range_conflict(&scene->tables[at], &lock) != NULL)
            continue;
        assert_int_equal(range_set(&scene->tables[at], &lock), 0);
        model_set(&scene->models[at], &lock);
    }
    for (unsigned i = 0; i < WAITS; i++) {
        scene->table_of[i] = random_below(random, TABLES);
        scene->waits[i] = (struct wait){
            .next = i > 0 ? &scene->waits[i - 1] : NULL,
            .table = &scene->tables[scene->table_of[i]],
            .wanted = random_range(random, &scene->models[scene->table_of[i]]),
        };
    }
}

/* The transitive closure of who waits for whom, over all waits. */
static bool scene_deadlocks(const struct scene *scene)
{
    bool leads[OWNERS][OWNERS] = {0};
    const struct wait *added = &scene->waits[WAITS - 1];

    for (unsigned i = 0; i + 1 < WAITS; i++) {
        const struct range *wanted = &scene->waits[i].wanted;

        for (unsigned owner = 0; owner < OWNERS; owner++) {
            if (model_blocks(&scene->models[scene->table_of[i]], wanted, owner))
                leads[wanted->owner][owner] = true;
        }
    }
    for (unsigned via = 0; via < OWNERS; via++) {
        for (unsigned from = 0; from < OWNERS; from++) {
            for (unsigned to = 0; to < OWNERS; to++)
                leads[from][to] = leads[from][to] || (leads[from][via] && leads[via][to]);
        }
    }
    for (unsigned owner = 0; owner < OWNERS; owner++) {
        if (model_blocks(&scene->models[scene->table_of[WAITS - 1]], &added->wanted, owner) &&
            leads[owner][added->wanted.owner])
            return true;
    }
    return false;
}

static void deadlocks_are_those_of_the_closed_wait_graph(void **state)
{
    uint64_t random = random_seed(__func__);
    unsigned found = 0;
    unsigned rounds = 0;

    (void)state;
    for (; rounds < 5000; rounds++) {
        struct scene scene = {0};

        scene_fill(&scene, &random);
        const bool expected = scene_deadlocks(&scene);
        assert_int_equal(wait_deadlocks(&scene.waits[WAITS - 2], &scene.waits[WAITS - 1]),
                         expected);
        found += expected;
        deinit_all(scene.tables);
    }
    /* Both answers were put to the test. */
    assert_in_range(found, rounds / 50, rounds - rounds / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_behaves_as_a_byte_array_does),
        cmocka_unit_test(failed_allocation_leaves_the_table_as_it_was),
        cmocka_unit_test(neighbours_that_are_alike_become_one),
        cmocka_unit_test(neighbours_of_two_handles_stay_two),
        cmocka_unit_test(unlock_in_the_middle_leaves_both_sides),
        cmocka_unit_test(upgrade_in_the_middle_splits_in_three),
        cmocka_unit_test(unlock_that_splits_nothing_needs_no_memory),
        cmocka_unit_test(an_entry_of_the_table_can_be_set_again),
        cmocka_unit_test(copy_is_equal_and_stands_alone),
        cmocka_unit_test(failed_copy_leaves_the_copy_untouched),
        cmocka_unit_test(readers_do_not_conflict_and_an_owner_never_with_itself),
        cmocka_unit_test(two_owners_over_two_files_deadlock),
        cmocka_unit_test(three_owners_over_three_files_deadlock),
        cmocka_unit_test(two_readers_that_both_upgrade_deadlock),
        cmocka_unit_test(cycle_through_the_second_of_two_holders_is_found),
        cmocka_unit_test(waiting_for_a_holder_that_waits_for_nobody_is_no_deadlock),
        cmocka_unit_test(same_bytes_of_another_file_are_no_deadlock),
        cmocka_unit_test(cycle_of_others_neither_hangs_the_search_nor_counts),
        cmocka_unit_test(a_wait_is_judged_by_the_locks_of_now),
        cmocka_unit_test(out_of_memory_finds_no_deadlock),
        cmocka_unit_test(deadlocks_are_those_of_the_closed_wait_graph),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
