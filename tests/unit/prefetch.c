/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/prefetch: which parts of a file are read, and that none is served that may have changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/prefetch.h"

#define UNIT PREFETCH_UNIT_BYTES

static const struct digest_ring quiet = {.under_way = NULL};

static void plan(struct prefetch *prefetch, const struct qcow2_tables *tables)
{
    prefetch_plan(prefetch, tables, &quiet);
}

/* Reads part `index`: each byte is the number of its unit. */
static void read_part(struct prefetch *prefetch, size_t index, size_t size)
{
    struct prefetch_part *part = &prefetch->parts[index];

    part->bytes = malloc(size);
    assert_non_null(part->bytes);
    for (size_t i = 0; i < size; i++)
        part->bytes[i] = (uint8_t)((part->offset + i) / UNIT);
    part->size = size;
}

/* The head's part, and one of two units at 8. */
static void read_two(struct prefetch *prefetch)
{
    const struct qcow2_tables tables = {{{8 * UNIT, UNIT + 1}}, 1};

    plan(prefetch, &tables);
    assert_int_equal(prefetch->count, 2);
    read_part(prefetch, 0, UNIT);
    read_part(prefetch, 1, 2 * UNIT);
}

static void assert_part(const struct prefetch_part *part, uint64_t offset, uint64_t bytes)
{
    assert_true(part->offset == offset);
    assert_true(part->wanted_bytes == bytes);
}

/* ---- planning ---- */

static void the_head_is_always_among_them(void **state)
{
    const struct qcow2_tables none = {.count = 0};
    struct prefetch prefetch;

    (void)state;
    plan(&prefetch, &none);
    assert_int_equal(prefetch.count, 1);
    assert_part(&prefetch.parts[0], 0, UNIT);
}

static void tables_are_widened_and_those_that_meet_are_one(void **state)
{
    const struct qcow2_tables tables = {
        {{9 * UNIT - 1, 2}, {UNIT, 1}, {4 * UNIT, UNIT}, {6 * UNIT, 1}}, 4};
    struct prefetch prefetch;

    (void)state;
    plan(&prefetch, &tables);
    assert_int_equal(prefetch.count, 4);
    assert_part(&prefetch.parts[0], 0, 2 * UNIT);
    assert_part(&prefetch.parts[1], 4 * UNIT, UNIT);
    assert_part(&prefetch.parts[2], 6 * UNIT, UNIT);
    assert_part(&prefetch.parts[3], 8 * UNIT, 2 * UNIT);
}

static void all_together_are_bounded(void **state)
{
    const struct qcow2_tables tables = {{{UNIT, UINT64_C(32) << 20},
                                         {UINT64_C(1) << 40, INT64_MAX / 2},
                                         {UINT64_C(1) << 41, 1},
                                         {INT64_MAX - INT64_MAX % 65536, 65535},
                                         {0x7fffffff00000000, 0xffffffff}},
                                        5};
    struct prefetch prefetch;
    uint64_t bytes = 0;

    (void)state;
    plan(&prefetch, &tables);
    assert_in_range(prefetch.count, 1, PREFETCH_MOST_PARTS);
    for (size_t i = 0; i < prefetch.count; i++)
        bytes += prefetch.parts[i].wanted_bytes;
    assert_int_equal(bytes, PREFETCH_MOST_BYTES);
}

/* ---- serving ---- */

static void what_was_read_is_found_where_it_was(void **state)
{
    struct prefetch prefetch;

    (void)state;
    read_two(&prefetch);
    assert_int_equal(prefetch_bytes(&prefetch), 3 * UNIT);
    assert_int_equal(*prefetch_find(&prefetch, 0, UNIT), 0);
    assert_int_equal(*prefetch_find(&prefetch, 8 * UNIT, 2 * UNIT), 8);
    assert_int_equal(*prefetch_find(&prefetch, 9 * UNIT, 512), 9);
    assert_int_equal(*prefetch_find(&prefetch, 10 * UNIT - 1, 1), 9);
    prefetch_clear(&prefetch);
    assert_null(prefetch_find(&prefetch, 0, 1));
}

/* What is behind the end is the store's to say, which may have grown. */
static void what_was_not_read_is_not_found(void **state)
{
    struct prefetch prefetch;

    (void)state;
    read_two(&prefetch);
    assert_null(prefetch_find(&prefetch, UNIT, 1));
    assert_null(prefetch_find(&prefetch, UNIT - 1, 2));
    assert_null(prefetch_find(&prefetch, 8 * UNIT - 1, 2));
    assert_null(prefetch_find(&prefetch, 10 * UNIT - 1, 2));
    assert_null(prefetch_find(&prefetch, UINT64_MAX, 1));
    assert_null(prefetch_find(&prefetch, UINT64_MAX, SIZE_MAX));
    prefetch.parts[1].size = 512;
    assert_non_null(prefetch_find(&prefetch, 8 * UNIT, 512));
    assert_null(prefetch_find(&prefetch, 8 * UNIT, 513));
    assert_null(prefetch_find(&prefetch, 8 * UNIT + 4096, 1));
    prefetch_clear(&prefetch);
}

static void what_changes_is_not_served_any_more(void **state)
{
    static const struct {
        uint64_t start, end;
        bool head, table;
    } changes[] = {
        {0, 1, false, true},
        {UNIT - 1, UNIT, false, true},
        {UNIT, 8 * UNIT, true, true},
        {8 * UNIT - 1, 8 * UNIT + 1, true, false},
        {10 * UNIT - 1, 10 * UNIT, true, false},
        {10 * UNIT, DIGEST_TO_THE_END, true, true},
        {9 * UNIT, DIGEST_TO_THE_END, true, false},
        {0, DIGEST_TO_THE_END, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct prefetch prefetch;

        read_two(&prefetch);
        prefetch_touch(&prefetch, changes[i].start, changes[i].end);
        assert_int_equal(prefetch_find(&prefetch, 0, 1) != NULL, changes[i].head);
        assert_int_equal(prefetch_find(&prefetch, 8 * UNIT, 1) != NULL, changes[i].table);
        prefetch_clear(&prefetch);
    }
}

static void what_changes_while_it_is_read_is_not_served(void **state)
{
    const struct qcow2_tables tables = {{{8 * UNIT, 1}}, 1};
    struct digest_ring ring = {.under_way = NULL};
    struct digest_change before;
    struct prefetch prefetch;

    (void)state;
    digest_change_begin(&ring, &before, 100, 200);
    prefetch_plan(&prefetch, &tables, &ring);
    digest_change_end(&ring, &before, NULL);
    prefetch_touch(&prefetch, 8 * UNIT, 8 * UNIT + 1);
    read_part(&prefetch, 0, UNIT);
    read_part(&prefetch, 1, UNIT);
    assert_null(prefetch_find(&prefetch, 0, 1));
    assert_null(prefetch_find(&prefetch, 8 * UNIT, 1));
    assert_int_equal(prefetch_bytes(&prefetch), 0);
    prefetch_clear(&prefetch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_head_is_always_among_them),
        cmocka_unit_test(tables_are_widened_and_those_that_meet_are_one),
        cmocka_unit_test(all_together_are_bounded),
        cmocka_unit_test(what_was_read_is_found_where_it_was),
        cmocka_unit_test(what_was_not_read_is_not_found),
        cmocka_unit_test(what_changes_is_not_served_any_more),
        cmocka_unit_test(what_changes_while_it_is_read_is_not_served),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
