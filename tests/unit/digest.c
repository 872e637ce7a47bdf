/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/digest: what is listed after writes that follow, overlap and fail, what the ring keeps and
 * what it loses; and changes at random, each of which reaches a file piece by piece at moments of
 * its own: whatever is listed must be what the file has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/digest.h"
#include "random.h"

static bool allocation_fails;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails ? NULL : __real_calloc(count, size);
}

static struct digest_ring ring;

static int ring_begin(void **state)
{
    (void)state;
    ring = (struct digest_ring){.under_way = NULL};
    return digest_ring_start(&ring, NULL, 0);
}

static int ring_end(void **state)
{
    (void)state;
    digest_ring_stop(&ring);
    return 0;
}

static struct digest_extent extent_of(uint64_t offset, uint32_t length, uint8_t byte)
{
    struct digest_extent extent = {.offset = offset, .length = length};

    memset(extent.digest, byte, sizeof(extent.digest));
    return extent;
}

static void begin(struct digest_change *change, uint64_t start, uint64_t length)
{
    digest_change_begin(&ring, change, start, start + length);
}

static void end(struct digest_change *change, uint8_t byte)
{
    const struct digest_extent written =
        extent_of(change->start, (uint32_t)(change->end - change->start), byte);

    digest_change_end(&ring, change, &written);
}

static void write_all(uint64_t start, uint64_t length, uint8_t byte)
{
    struct digest_change change;

    begin(&change, start, length);
    end(&change, byte);
}

static void change_unseen(uint64_t start, uint64_t to)
{
    struct digest_change change;

    digest_change_begin(&ring, &change, start, to);
    digest_change_end(&ring, &change, NULL);
}

/* What is listed, durable or not. */
static size_t listed(struct digest_extent extents[DIGEST_EXTENTS])
{
    digest_ring_synced(&ring, ring.serial);
    return digest_ring_copy(&ring, extents);
}

static bool lists(uint64_t offset, uint32_t length, uint8_t byte)
{
    struct digest_extent extents[DIGEST_EXTENTS];
    const size_t count = listed(extents);

    for (size_t i = 0; i < count; i++) {
        if (extents[i].offset == offset && extents[i].length == length &&
            extents[i].digest[0] == byte)
            return true;
    }
    return false;
}

static size_t count_listed(void)
{
    struct digest_extent extents[DIGEST_EXTENTS];

    return listed(extents);
}

/* One change after another --------------------------------------------------------------------- */

static void a_digest_is_xxh3_128_in_canonical_form(void **state)
{
    static const uint8_t of_nothing[] = {0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                         0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f};
    uint8_t digest[DIGEST_BYTES];

    (void)state;
    digest_of("", 0, digest);
    assert_memory_equal(digest, of_nothing, sizeof(digest));
}

static void a_write_is_listed(void **state)
{
    struct digest_extent extents[DIGEST_EXTENTS];

    (void)state;
    write_all(4096, 512, 'a');
    assert_int_equal(listed(extents), 1);
    assert_true(lists(4096, 512, 'a'));
}

static void a_change_takes_out_all_that_it_touches_and_nothing_else(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 5; at++)
        write_all(100 * at, 100, 'a');
    write_all(199, 102, 'b'); /* the last byte of one to the first of another */
    assert_true(lists(0, 100, 'a'));
    assert_false(lists(100, 100, 'a'));
    assert_false(lists(200, 100, 'a'));
    assert_false(lists(300, 100, 'a'));
    assert_true(lists(400, 100, 'a'));
    assert_true(lists(199, 102, 'b'));
}

static void neighbours_stay(void **state)
{
    (void)state;
    write_all(0, 100, 'a');
    write_all(200, 100, 'a');
    write_all(100, 100, 'b');
    assert_int_equal(count_listed(), 3);
}

static void a_cut_takes_out_what_ends_behind_it(void **state)
{
    (void)state;
    write_all(0, 100, 'a');
    write_all(100, 100, 'a');
    write_all((uint64_t)1 << 40, 100, 'a');
    change_unseen(150, DIGEST_TO_THE_END);
    assert_int_equal(count_listed(), 1);
    assert_true(lists(0, 100, 'a'));
}

static void a_failed_write_takes_out_and_lists_nothing(void **state)
{
    (void)state;
    write_all(0, 100, 'a');
    change_unseen(50, 60);
    assert_int_equal(count_listed(), 0);
}

static void an_extent_goes_when_the_change_begins(void **state)
{
    struct digest_change change;

    (void)state;
    write_all(0, 100, 'a');
    begin(&change, 0, 10);
    assert_int_equal(count_listed(), 0);
    end(&change, 'b');
    assert_int_equal(count_listed(), 1);
}

/* Changes side by side --------------------------------------------------------------------------
 */

static void of_two_that_overlap_none_is_listed(void **state)
{
    (void)state;
    for (unsigned order = 0; order < 2; order++) {
        struct digest_change changes[2];

        begin(&changes[0], 0, 100);
        begin(&changes[1], 99, 100);
        end(&changes[order], 'a');
        end(&changes[!order], 'b');
        assert_int_equal(count_listed(), 0);
    }
}

static void one_that_began_and_ended_within_another_spoils_it(void **state)
{
    struct digest_change outer;

    (void)state;
    begin(&outer, 0, 100);
    write_all(10, 10, 'b');
    change_unseen(20, 30);
    end(&outer, 'a');
    assert_int_equal(count_listed(), 0);
}

static void a_chain_of_overlaps_spoils_all_of_it(void **state)
{
    struct digest_change changes[3];

    (void)state;
    begin(&changes[0], 0, 100);
    begin(&changes[1], 50, 100);
    end(&changes[0], 'a');
    begin(&changes[2], 100, 100); /* overlaps the second alone, which is still under way */
    end(&changes[1], 'b');
    end(&changes[2], 'c');
    assert_int_equal(count_listed(), 0);
}

static void those_that_do_not_overlap_are_all_listed(void **state)
{
    struct digest_change changes[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        begin(&changes[i], 100 * i, 100);
    end(&changes[1], 'b');
    end(&changes[0], 'a');
    end(&changes[2], 'c');
    assert_int_equal(count_listed(), 3);
}

/* The ring --------------------------------------------------------------------------------------
 */

static void the_last_ones_are_kept_and_those_of_the_first_mib_besides(void **state)
{
    const uint64_t far = (uint64_t)1 << 30;

    (void)state;
    for (uint64_t i = 0; i < 3 * (uint64_t)DIGEST_EARLY; i++)
        write_all(512 * i, 512, 'e');
    for (uint64_t i = 0; i < 3 * (uint64_t)DIGEST_RECENT; i++)
        write_all(far + 512 * i, 512, 'r');
    assert_int_equal(count_listed(), DIGEST_EXTENTS);
    assert_true(lists(512 * (3 * DIGEST_EARLY - 1), 512, 'e'));
    assert_true(lists(512 * 2 * DIGEST_EARLY, 512, 'e'));
    assert_false(lists(512 * (2 * DIGEST_EARLY - 1), 512, 'e'));
    assert_true(lists(far + 512 * 2 * DIGEST_RECENT, 512, 'r'));
    assert_false(lists(far + 512 * (2 * DIGEST_RECENT - 1), 512, 'r'));
}

static void one_block_written_again_and_again_takes_one_place(void **state)
{
    (void)state;
    write_all((uint64_t)1 << 30, 512, 'a');
    for (unsigned i = 0; i < 1000; i++)
        write_all(((uint64_t)1 << 30) + 512, 512, (uint8_t)i);
    assert_int_equal(count_listed(), 2);
}

static void the_newest_comes_first_and_what_is_not_in_the_store_not_at_all(void **state)
{
    struct digest_extent extents[DIGEST_EXTENTS];

    (void)state;
    write_all(0, 100, 'a');
    write_all((uint64_t)1 << 30, 100, 'b');
    const uint64_t serial = ring.serial;
    write_all(200, 100, 'c');
    assert_int_equal(digest_ring_copy(&ring, extents), 0);
    digest_ring_synced(&ring, serial);
    assert_int_equal(digest_ring_copy(&ring, extents), 2);
    assert_int_equal(extents[0].digest[0], 'b');
    assert_int_equal(extents[1].digest[0], 'a');
}

static void a_ring_goes_on_with_what_it_is_given(void **state)
{
    const struct digest_extent given[] = {extent_of(0, 100, 'n'), extent_of(100, 100, 'o')};
    struct digest_extent extents[DIGEST_EXTENTS];

    (void)state;
    write_all(1000, 100, 'a');
    assert_int_equal(digest_ring_start(&ring, given, 2), 0);
    assert_int_equal(digest_ring_copy(&ring, extents), 2);
    assert_int_equal(extents[0].digest[0], 'n');
    assert_int_equal(extents[1].digest[0], 'o');
}

static void what_a_change_under_way_touches_is_not_taken_over(void **state)
{
    const struct digest_extent given[] = {extent_of(0, 100, 'n'), extent_of(100, 100, 'o')};
    struct digest_change change;

    (void)state;
    digest_ring_stop(&ring);
    begin(&change, 150, 10);
    assert_int_equal(digest_ring_start(&ring, given, 2), 0);
    assert_int_equal(count_listed(), 1);
    end(&change, 'b');
    assert_true(lists(150, 10, 'b'));
    assert_true(lists(0, 100, 'n'));
    assert_int_equal(count_listed(), 2);
}

static void a_clear_is_for_what_is_under_way_too(void **state)
{
    struct digest_change change;

    (void)state;
    write_all(0, 100, 'a');
    begin(&change, 100, 100);
    digest_ring_clear(&ring);
    end(&change, 'b');
    assert_int_equal(count_listed(), 0);
    write_all(200, 100, 'c');
    assert_int_equal(count_listed(), 1);
}

static void one_that_keeps_none_still_minds_its_changes(void **state)
{
    struct digest_change outer, inner;

    (void)state;
    digest_ring_stop(&ring);
    begin(&outer, 0, 100);
    begin(&inner, 50, 10);
    end(&inner, 'b');
    assert_int_equal(digest_ring_start(&ring, NULL, 0), 0);
    end(&outer, 'a');
    assert_int_equal(count_listed(), 0);
    assert_null(ring.under_way);
}

static void an_entry_is_removed_once(void **state)
{
    struct digest_extent extents[DIGEST_EXTENTS];

    (void)state;
    write_all(0, 100, 'a');
    assert_int_equal(listed(extents), 1);
    write_all(0, 100, 'a'); /* the same bytes, but a write came between */
    assert_false(digest_ring_has(&ring, &extents[0]));
    assert_false(digest_ring_remove(&ring, &extents[0]));
    assert_int_equal(listed(extents), 1);
    assert_true(digest_ring_has(&ring, &extents[0]));
    assert_true(digest_ring_remove(&ring, &extents[0]));
    assert_false(digest_ring_remove(&ring, &extents[0]));
}

static void without_memory_none_are_kept(void **state)
{
    (void)state;
    allocation_fails = true;
    assert_int_equal(digest_ring_start(&ring, NULL, 0), -ENOMEM);
    allocation_fails = false;
    assert_false(digest_ring_keeps(&ring));
    write_all(0, 100, 'a');
    assert_int_equal(count_listed(), 0);
}

/* At random -------------------------------------------------------------------------------------
 */

enum {
    FILE_BYTES = 48,
    SIDE_BY_SIDE = 5,
};

/* A write that reaches the file byte by byte, in any order, between its begin and its end. */
struct writer {
    struct digest_change change;
    bool is_under_way;
    uint8_t bytes[FILE_BYTES];
    bool fails; /* it leaves some of them out */
};

static uint8_t file[FILE_BYTES];

static void writer_begin(struct writer *writer, uint64_t *random)
{
    const unsigned start = random_below(random, FILE_BYTES);
    const unsigned length = 1 + random_below(random, FILE_BYTES - start);

    writer->is_under_way = true;
    writer->fails = random_below(random, 4) == 0;
    for (size_t i = 0; i < FILE_BYTES; i++)
        writer->bytes[i] = (uint8_t)random_below(random, 256);
    begin(&writer->change, start, length);
}

static void writer_step(const struct writer *writer, uint64_t *random)
{
    const uint64_t length = writer->change.end - writer->change.start;
    const uint64_t at = writer->change.start + random_below(random, (unsigned)length);

    file[at] = writer->bytes[at];
}

static void writer_end(struct writer *writer)
{
    const uint64_t start = writer->change.start, length = writer->change.end - start;
    struct digest_extent written = {.offset = start, .length = (uint32_t)length};

    writer->is_under_way = false;
    if (writer->fails) {
        digest_change_end(&ring, &writer->change, NULL);
        return;
    }
    memcpy(file + start, writer->bytes + start, length); /* whatever had not come yet */
    digest_of(writer->bytes + start, length, written.digest);
    digest_change_end(&ring, &writer->change, &written);
}

static size_t assert_listed_is_in_the_file(void)
{
    struct digest_extent extents[DIGEST_EXTENTS];
    const size_t count = listed(extents);

    for (size_t i = 0; i < count; i++) {
        uint8_t digest[DIGEST_BYTES];

        digest_of(file + extents[i].offset, extents[i].length, digest);
        assert_memory_equal(digest, extents[i].digest, DIGEST_BYTES);
    }
    return count;
}

static void whatever_is_listed_is_what_the_file_has(void **state)
{
    uint64_t random = random_seed(__func__);
    struct writer writers[SIDE_BY_SIDE] = {0};
    size_t seen = 0;

    (void)state;
    for (unsigned step = 0; step < 200000; step++) {
        struct writer *writer = &writers[random_below(&random, SIDE_BY_SIDE)];

        if (!writer->is_under_way)
            writer_begin(writer, &random);
        else if (random_below(&random, 3) > 0)
            writer_step(writer, &random);
        else
            writer_end(writer);
        seen += assert_listed_is_in_the_file();
    }
    for (size_t i = 0; i < SIDE_BY_SIDE; i++) {
        if (writers[i].is_under_way)
            writer_end(&writers[i]);
    }
    assert_null(ring.under_way);
    assert_true(seen > 1000); /* or nothing was tested */
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, ring_begin, ring_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_digest_is_xxh3_128_in_canonical_form),
        TEST(a_write_is_listed),
        TEST(a_change_takes_out_all_that_it_touches_and_nothing_else),
        TEST(neighbours_stay),
        TEST(a_cut_takes_out_what_ends_behind_it),
        TEST(a_failed_write_takes_out_and_lists_nothing),
        TEST(an_extent_goes_when_the_change_begins),
        TEST(of_two_that_overlap_none_is_listed),
        TEST(one_that_began_and_ended_within_another_spoils_it),
        TEST(a_chain_of_overlaps_spoils_all_of_it),
        TEST(those_that_do_not_overlap_are_all_listed),
        TEST(the_last_ones_are_kept_and_those_of_the_first_mib_besides),
        TEST(one_block_written_again_and_again_takes_one_place),
        TEST(the_newest_comes_first_and_what_is_not_in_the_store_not_at_all),
        TEST(a_ring_goes_on_with_what_it_is_given),
        TEST(what_a_change_under_way_touches_is_not_taken_over),
        TEST(a_clear_is_for_what_is_under_way_too),
        TEST(one_that_keeps_none_still_minds_its_changes),
        TEST(an_entry_is_removed_once),
        TEST(without_memory_none_are_kept),
        TEST(whatever_is_listed_is_what_the_file_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
