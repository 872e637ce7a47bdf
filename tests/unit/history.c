/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/history: the layout byte by byte, which entries of a file are told and in which order, and
 * that a bad one spoils itself alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cache/history.h"
#include "random.h"

static const struct record_identity identity = {.ino = 77, .handle_hash = 88, .birth_ns = 99};

static struct history_entry sample(uint64_t generation)
{
    return (struct history_entry){
        .generation = generation,
        .verified = (uint32_t)(generation % 4),
        .time_ns = 1000 * (int64_t)generation,
        .release_ns = 11,
        .acquire_ns = 12,
        .flushed_bytes = 13,
        .identity = identity,
        .from = "host-a",
        .to = "host-b",
    };
}

static void put(uint8_t *file, const struct history_entry *entry)
{
    history_encode(entry, file + history_offset(entry->generation));
}

/* From a block of exactly `size` bytes, so that a sanitizer sees a read beyond it. */
static size_t decode(const uint8_t *file, size_t size, struct history_entry *entries)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    assert_non_null(exact);
    memcpy(exact, file, size);
    const size_t count = history_decode(exact, size, &identity, entries);
    free(exact);
    return count;
}

static uint64_t number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    while (size > 0)
        value = value << 8 | bytes[--size];
    return value;
}

static void every_field_lies_where_the_layout_says(void **state)
{
    const struct history_entry entry = sample(5);
    uint8_t bytes[HISTORY_ENTRY_BYTES];

    (void)state;
    history_encode(&entry, bytes);
    assert_memory_equal(bytes, "MIGFSHIS", 8);
    assert_int_equal(number(bytes + 8, 4), 1);
    assert_int_equal(number(bytes + 12, 4), 1);
    assert_int_equal(number(bytes + 24, 8), 5);
    assert_int_equal(number(bytes + 32, 8), 5000);
    assert_int_equal(number(bytes + 40, 8), 11);
    assert_int_equal(number(bytes + 48, 8), 12);
    assert_int_equal(number(bytes + 56, 8), 13);
    assert_int_equal(number(bytes + 64, 8), 77);
    assert_int_equal(number(bytes + 72, 8), 88);
    assert_int_equal(number(bytes + 80, 8), 99);
    assert_int_equal(number(bytes + 88, 8), 0);
    assert_string_equal((const char *)bytes + 96, "host-a");
    assert_string_equal((const char *)bytes + 160, "host-b");
    for (size_t i = 224; i < HISTORY_ENTRY_BYTES; i++)
        assert_int_equal(bytes[i], 0);
}

static void the_last_ones_are_told_newest_first(void **state)
{
    uint8_t file[HISTORY_FILE_BYTES] = {0};
    struct history_entry entries[HISTORY_ENTRIES];

    (void)state;
    for (uint64_t generation = 1; generation <= 3 * HISTORY_ENTRIES / 2; generation++) {
        const struct history_entry entry = sample(generation);

        put(file, &entry);
        const size_t count = decode(file, sizeof(file), entries);
        assert_int_equal(count, generation < HISTORY_ENTRIES ? generation : HISTORY_ENTRIES);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(entries[i].generation, generation - i);
            assert_int_equal(entries[i].verified, (generation - i) % 4);
            assert_int_equal(entries[i].time_ns, 1000 * (generation - i));
            assert_string_equal(entries[i].from, "host-a");
            assert_string_equal(entries[i].to, "host-b");
        }
    }
}

static void a_generation_that_counts_anew_is_newer_by_its_time(void **state)
{
    struct history_entry old = sample(9), anew = sample(1);
    uint8_t file[HISTORY_FILE_BYTES] = {0};
    struct history_entry entries[HISTORY_ENTRIES];

    (void)state;
    anew.time_ns = old.time_ns + 1;
    put(file, &old);
    put(file, &anew);
    assert_int_equal(decode(file, sizeof(file), entries), 2);
    assert_int_equal(entries[0].generation, 1);
}

static void entries_of_another_file_are_not_told(void **state)
{
    struct history_entry entry = sample(3);
    uint8_t file[HISTORY_FILE_BYTES] = {0};
    struct history_entry entries[HISTORY_ENTRIES];

    (void)state;
    put(file, &entry);
    entry.generation = 4;
    entry.identity.birth_ns++;
    put(file, &entry);
    assert_int_equal(decode(file, sizeof(file), entries), 1);
    assert_int_equal(entries[0].generation, 3);
}

static void a_bad_byte_spoils_its_entry_alone(void **state)
{
    const struct history_entry entries[] = {sample(1), sample(2), sample(3)};
    uint8_t file[HISTORY_FILE_BYTES] = {0};
    struct history_entry decoded[HISTORY_ENTRIES];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        put(file, &entries[i]);
    for (size_t at = 0; at < HISTORY_ENTRY_BYTES; at++) {
        uint8_t *byte = file + history_offset(2) + at;

        *byte ^= 0x10;
        assert_int_equal(decode(file, sizeof(file), decoded), 2);
        assert_int_equal(decoded[0].generation, 3);
        assert_int_equal(decoded[1].generation, 1);
        *byte ^= 0x10;
    }
    assert_int_equal(decode(file, sizeof(file), decoded), 3);
}

static void a_file_of_any_size_is_read_as_far_as_it_goes(void **state)
{
    const struct history_entry entries[] = {sample(0), sample(1), sample(2)};
    uint8_t file[HISTORY_FILE_BYTES] = {0};
    struct history_entry decoded[HISTORY_ENTRIES];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        put(file, &entries[i]);
    for (size_t size = 0; size < 4 * HISTORY_ENTRY_BYTES; size++) {
        const size_t whole = size / HISTORY_ENTRY_BYTES;

        assert_int_equal(decode(file, size, decoded), whole < 3 ? whole : 3);
    }
}

static void noise_is_told_as_nothing(void **state)
{
    uint64_t random = random_seed(__func__);
    uint8_t file[HISTORY_FILE_BYTES];
    struct history_entry decoded[HISTORY_ENTRIES];

    (void)state;
    for (size_t i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)random_next(&random);
    assert_int_equal(decode(file, sizeof(file), decoded), 0);
}

static void names_that_are_too_long_are_cut(void **state)
{
    struct history_entry entry = sample(1);
    uint8_t file[HISTORY_FILE_BYTES] = {0};
    struct history_entry decoded[HISTORY_ENTRIES];

    (void)state;
    memset(entry.from, 'x', sizeof(entry.from));
    memset(entry.to, 'y', sizeof(entry.to));
    put(file, &entry);
    assert_int_equal(decode(file, sizeof(file), decoded), 1);
    assert_int_equal(strlen(decoded[0].from), RECORD_HOST_NAME_BYTES - 1);
    assert_int_equal(strlen(decoded[0].to), RECORD_HOST_NAME_BYTES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_lies_where_the_layout_says),
        cmocka_unit_test(the_last_ones_are_told_newest_first),
        cmocka_unit_test(a_generation_that_counts_anew_is_newer_by_its_time),
        cmocka_unit_test(entries_of_another_file_are_not_told),
        cmocka_unit_test(a_bad_byte_spoils_its_entry_alone),
        cmocka_unit_test(a_file_of_any_size_is_read_as_far_as_it_goes),
        cmocka_unit_test(noise_is_told_as_nothing),
        cmocka_unit_test(names_that_are_too_long_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
