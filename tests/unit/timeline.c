/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/timeline: what belongs together, which spans are kept, the layout byte by byte, and that a
 * bad entry is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cache/timeline.h"
#include "seal.h"

static const struct record_identity identity = {.ino = 77, .handle_hash = 88, .birth_ns = 99};

static uint64_t number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    while (size > 0)
        value = value << 8 | bytes[--size];
    return value;
}

static void a_span_begins_after_the_timeline_and_took_some_time(void **state)
{
    struct timeline timeline = {.started_ns = 1000000};

    (void)state;
    timeline_add(&timeline, HANDOFF_RELEASE, HANDOFF_STEP_SYNC, 1005000, 1005001);
    timeline_add(&timeline, HANDOFF_RELEASE, HANDOFF_STEP_UNLOCK, 1005001, 1009001);
    assert_int_equal(timeline.span_count, 2);
    assert_int_equal(timeline.spans[0].start_us, 5);
    assert_int_equal(timeline.spans[0].duration_us, 1);
    assert_int_equal(timeline.spans[1].start_us, 5);
    assert_int_equal(timeline.spans[1].duration_us, 4);
    assert_int_equal(timeline.spans[1].kind, HANDOFF_RELEASE);
    assert_int_equal(timeline.spans[1].step, HANDOFF_STEP_UNLOCK);
    assert_int_equal(timeline.ended_ns, 1009001);
    assert_false(timeline.is_cut);
}

static void of_too_many_the_last_ones_stay(void **state)
{
    struct timeline timeline = {.started_ns = 0};

    (void)state;
    for (int64_t i = 0; i < TIMELINE_SPANS + 3; i++)
        timeline_add(&timeline, HANDOFF_RELEASE, HANDOFF_STEP_SYNC, i * 1000, i * 1000 + 1);
    assert_int_equal(timeline.span_count, TIMELINE_SPANS);
    assert_int_equal(timeline.spans[0].start_us, 3);
    assert_int_equal(timeline.spans[TIMELINE_SPANS - 1].start_us, TIMELINE_SPANS + 2);
    assert_true(timeline.is_cut);
    assert_int_equal(timeline.started_ns, 0);
}

static void what_follows_soon_belongs_to_it(void **state)
{
    struct timeline first = {.started_ns = 1000000}, later = {.started_ns = 4000000};
    const struct timeline none = {.span_count = 0};

    (void)state;
    timeline_add(&first, HANDOFF_DEMOTE, HANDOFF_STEP_UNLOCK, 1000000, 2000000);
    timeline_add(&later, HANDOFF_RELEASE, HANDOFF_STEP_SYNC, 4500000, 5000000);
    assert_true(timeline_continues(&first, &later));
    timeline_append(&first, &later);
    assert_int_equal(first.started_ns, 1000000);
    assert_int_equal(first.ended_ns, 5000000);
    assert_int_equal(first.span_count, 2);
    assert_int_equal(first.spans[1].start_us, 3500);

    later.started_ns = 5000000 + INT64_C(999999999);
    assert_true(timeline_continues(&first, &later));
    later.started_ns++;
    assert_false(timeline_continues(&first, &later));
    assert_false(timeline_continues(&none, &later));
}

static struct timeline_entry sample(enum timeline_side side)
{
    struct timeline_entry entry = {
        .side = side,
        .generation = 5,
        .identity = identity,
        .clock_ahead_ns = -3,
        .clock_unsure_ns = 4,
        .boot_id = {1, 2, 3},
        .host = "host-a",
        .timeline = {.started_ns = 1000000, .ended_ns = 1000000},
    };

    timeline_add(&entry.timeline, HANDOFF_RELEASE, HANDOFF_STEP_SYNC, 1005000, 1007000);
    timeline_add(&entry.timeline, HANDOFF_RELEASE, HANDOFF_STEP_UNLOCK, 1007000, 1008000);
    return entry;
}

static void every_field_lies_where_the_layout_says(void **state)
{
    const struct timeline_entry entry = sample(TIMELINE_ACQUIRE);
    uint8_t bytes[TIMELINE_ENTRY_BYTES];

    (void)state;
    timeline_encode(&entry, bytes);
    assert_memory_equal(bytes, "MIGFSTML", 8);
    assert_int_equal(number(bytes + 8, 4), 1);
    assert_int_equal(number(bytes + 12, 4), 1);
    assert_int_equal(number(bytes + 24, 8), 5);
    assert_int_equal(number(bytes + 32, 8), 77);
    assert_int_equal(number(bytes + 40, 8), 88);
    assert_int_equal(number(bytes + 48, 8), 99);
    assert_int_equal(number(bytes + 56, 8), 1000000);
    assert_int_equal(number(bytes + 64, 8), 8000);
    assert_int_equal(number(bytes + 72, 8), (uint64_t)-3);
    assert_int_equal(number(bytes + 80, 8), 4);
    assert_int_equal(number(bytes + 88, 4), 0);
    assert_int_equal(number(bytes + 92, 4), 2);
    assert_memory_equal(bytes + 96, entry.boot_id, 16);
    assert_string_equal((const char *)bytes + 112, "host-a");
    assert_int_equal(number(bytes + 188, 4), 7);
    assert_int_equal(number(bytes + 192, 4), 1);
    assert_int_equal(number(bytes + 196, 2), HANDOFF_RELEASE);
    assert_int_equal(number(bytes + 198, 2), HANDOFF_STEP_UNLOCK);
    for (size_t i = 200; i < TIMELINE_ENTRY_BYTES; i++)
        assert_int_equal(bytes[i], 0);
}

/* From a block of exactly `size` bytes, so that a sanitizer sees a read beyond it. */
static bool decode(const uint8_t *bytes, size_t size, enum timeline_side side, uint64_t generation,
                   const struct record_identity *of, struct timeline_entry *entry)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    const bool decoded = timeline_decode(exact, size, side, generation, of, entry);
    free(exact);
    return decoded;
}

static void what_is_written_is_read(void **state)
{
    struct timeline_entry entry = sample(TIMELINE_RELEASE), read;
    uint8_t bytes[TIMELINE_ENTRY_BYTES];

    (void)state;
    entry.timeline.is_cut = true;
    timeline_encode(&entry, bytes);
    assert_true(decode(bytes, sizeof(bytes), TIMELINE_RELEASE, 5, &identity, &read));
    assert_int_equal(read.clock_ahead_ns, -3);
    assert_int_equal(read.clock_unsure_ns, 4);
    assert_int_equal(read.timeline.started_ns, 1000000);
    assert_int_equal(read.timeline.ended_ns, 1008000);
    assert_true(read.timeline.is_cut);
    assert_int_equal(read.timeline.span_count, 2);
    assert_memory_equal(read.timeline.spans, entry.timeline.spans, sizeof(entry.timeline.spans));
    assert_string_equal(read.host, "host-a");
}

static void another_side_generation_or_file_is_not_meant(void **state)
{
    const struct record_identity other = {.ino = 77, .handle_hash = 89, .birth_ns = 99};
    const struct timeline_entry entry = sample(TIMELINE_RELEASE);
    struct timeline_entry read = {.generation = 1};
    uint8_t bytes[TIMELINE_ENTRY_BYTES];

    (void)state;
    timeline_encode(&entry, bytes);
    assert_false(decode(bytes, sizeof(bytes), TIMELINE_ACQUIRE, 5, &identity, &read));
    assert_false(decode(bytes, sizeof(bytes), TIMELINE_RELEASE, 5 + 64, &identity, &read));
    assert_false(decode(bytes, sizeof(bytes), TIMELINE_RELEASE, 5, &other, &read));
    assert_int_equal(read.generation, 1);
}

static void a_bad_one_is_none(void **state)
{
    const struct timeline_entry entry = sample(TIMELINE_RELEASE);
    struct timeline_entry read;
    uint8_t bytes[TIMELINE_ENTRY_BYTES];

    (void)state;
    for (size_t size = 0; size < sizeof(bytes); size += 73) {
        timeline_encode(&entry, bytes);
        assert_false(decode(bytes, size, TIMELINE_RELEASE, 5, &identity, &read));
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        timeline_encode(&entry, bytes);
        bytes[i] ^= 0x10;
        assert_false(decode(bytes, sizeof(bytes), TIMELINE_RELEASE, 5, &identity, &read));
    }
    timeline_encode(&entry, bytes);
    bytes[92] = TIMELINE_SPANS + 1; /* sealed all the same */
    seal(bytes, sizeof(bytes));
    assert_false(decode(bytes, sizeof(bytes), TIMELINE_RELEASE, 5, &identity, &read));
    timeline_encode(&entry, bytes);
    memset(bytes + 112, 'h', 64);
    seal(bytes, sizeof(bytes));
    assert_false(decode(bytes, sizeof(bytes), TIMELINE_RELEASE, 5, &identity, &read));
}

static void the_two_hosts_write_into_pages_of_their_own(void **state)
{
    (void)state;
    for (uint64_t generation = 0; generation < 2 * HISTORY_ENTRIES; generation++) {
        const size_t release = timeline_offset(TIMELINE_RELEASE, generation);
        const size_t acquire = timeline_offset(TIMELINE_ACQUIRE, generation);

        assert_true(release >= HISTORY_FILE_BYTES);
        assert_true(release / 4096 != acquire / 4096);
        assert_true(acquire + TIMELINE_ENTRY_BYTES <=
                    HISTORY_FILE_BYTES + 2 * HISTORY_ENTRIES * TIMELINE_ENTRY_BYTES);
        assert_int_equal(timeline_offset(TIMELINE_RELEASE, generation + HISTORY_ENTRIES), release);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_span_begins_after_the_timeline_and_took_some_time),
        cmocka_unit_test(of_too_many_the_last_ones_stay),
        cmocka_unit_test(what_follows_soon_belongs_to_it),
        cmocka_unit_test(every_field_lies_where_the_layout_says),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(another_side_generation_or_file_is_not_meant),
        cmocka_unit_test(a_bad_one_is_none),
        cmocka_unit_test(the_two_hosts_write_into_pages_of_their_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
