/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/record: the layout byte by byte, every truncation, every single-byte corruption, and what
 * two slots that disagree are worth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/record.h"
#include "random.h"

#define OTHER_SLOT RECORD_SLOT_BYTES

static const struct record_identity identity = {
    .ino = 0x1122334455667788,
    .handle_hash = 0x99aabbccddeeff01,
    .birth_ns = 1700000000123456789,
};

/* Two of different generations differ in each sector of their slots. */
static struct record sample_record(uint64_t generation, uint64_t sequence)
{
    struct record record = {
        .sequence = sequence,
        .generation = generation,
        .state = RECORD_OWNED,
        .identity = identity,
        .host = {.instance = 0x0807060504030201, .name = "host-a.example"},
        .time_ns = 1800000000000000001,
        .trace = {.length_bytes = 0x0000000140000000,
                  .ctime_ns = -1,
                  .mtime_ns = 1700000000000000003},
        .flushed_bytes = 0x12345678,
        .duration_ns = 0x9abcdef0,
        .file_handle = {.type = -2, .length = 3, .bytes = {7, 8, 9}},
        .digest_count = DIGEST_EXTENTS,
    };

    for (uint32_t i = 0; i < DIGEST_EXTENTS; i++) {
        record.digests[i] = (struct digest_extent){
            .offset = (uint64_t)INT64_MAX - DIGEST_MOST_BYTES - i,
            .length = (uint32_t)DIGEST_MOST_BYTES - i,
        };
        memset(record.digests[i].digest, (uint8_t)(i + generation), DIGEST_BYTES);
    }

    memset(record.host.machine_id, 0xa5, sizeof(record.host.machine_id));
    memset(record.host.boot_id, 0x5a, sizeof(record.host.boot_id));
    return record;
}

static bool digests_are_equal(const struct record *a, const struct record *b)
{
    for (uint32_t i = 0; i < a->digest_count; i++) {
        const struct digest_extent *left = &a->digests[i], *right = &b->digests[i];

        if (left->offset != right->offset || left->length != right->length ||
            left->serial != right->serial || memcmp(left->digest, right->digest, DIGEST_BYTES) != 0)
            return false;
    }
    return a->digest_count == b->digest_count;
}

static bool records_are_equal(const struct record *a, const struct record *b)
{
    return a->trace.mtime_ns == b->trace.mtime_ns && a->flushed_bytes == b->flushed_bytes &&
           a->duration_ns == b->duration_ns && a->file_handle.type == b->file_handle.type &&
           a->file_handle.length == b->file_handle.length &&
           memcmp(a->file_handle.bytes, b->file_handle.bytes, RECORD_FILE_HANDLE_BYTES) == 0 &&
           digests_are_equal(a, b) && a->sequence == b->sequence &&
           a->generation == b->generation && a->state == b->state &&
           a->identity.ino == b->identity.ino &&
           a->identity.handle_hash == b->identity.handle_hash &&
           a->identity.birth_ns == b->identity.birth_ns && record_same_host(&a->host, &b->host) &&
           strcmp(a->host.name, b->host.name) == 0 && a->time_ns == b->time_ns &&
           a->trace.length_bytes == b->trace.length_bytes && a->trace.ctime_ns == b->trace.ctime_ns;
}

static uint64_t little_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    while (size > 0)
        value = value << 8 | bytes[--size];
    return value;
}

/* Writes a field and makes the checksum right again, as another writer would have. */
static void forge(uint8_t *slot, size_t offset, size_t size, uint64_t value)
{
    XXH128_canonical_t canonical;

    for (size_t i = 0; i < size; i++)
        slot[offset + i] = (uint8_t)(value >> (8 * i));
    memset(slot + 16, 0, 16);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(slot, RECORD_SLOT_BYTES));
    memcpy(slot + 16, canonical.digest, 16);
}

/* Decodes from a block of exactly `size` bytes, so that a sanitizer sees a read beyond it. */
static enum record_verdict decode(const uint8_t *file, size_t size, struct record *record,
                                  unsigned *slot)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    assert_non_null(exact);
    memcpy(exact, file, size);
    const enum record_verdict verdict = record_decode(exact, size, &identity, record, slot);
    free(exact);
    return verdict;
}

/* Decodes a whole file; what a verdict other than valid leaves must be untouched. */
static enum record_verdict judge(const uint8_t *file, size_t size)
{
    struct record record;
    struct record before;
    unsigned slot = 77;

    memset(&record, 0x3c, sizeof(record));
    memcpy(&before, &record, sizeof(record));
    const enum record_verdict verdict = decode(file, size, &record, &slot);
    if (verdict == RECORD_VALID) {
        assert_in_range(slot, 0, 1);
    } else {
        assert_memory_equal(&record, &before, sizeof(record));
        assert_int_equal(slot, 77);
    }
    return verdict;
}

/* Layout -------------------------------------------------------------------------------------- */

static void every_field_lies_where_the_layout_says(void **state)
{
    const struct record record = sample_record(42, 43);
    uint8_t slot[RECORD_SLOT_BYTES];

    (void)state;
    record_encode(&record, slot);
    assert_memory_equal(slot, "MIGFSREC", 8);
    assert_int_equal(little_endian(slot + 8, 4), 2);
    assert_int_equal(little_endian(slot + 12, 4), 4096);
    assert_int_equal(little_endian(slot + 32, 8), 43);
    assert_int_equal(little_endian(slot + 40, 8), 42);
    assert_int_equal(little_endian(slot + 48, 4), 1);
    assert_int_equal(little_endian(slot + 52, 4), 0);
    assert_int_equal(little_endian(slot + 56, 8), identity.ino);
    assert_int_equal(little_endian(slot + 64, 8), identity.handle_hash);
    assert_int_equal(little_endian(slot + 72, 8), (uint64_t)identity.birth_ns);
    assert_int_equal(little_endian(slot + 80, 8), (uint64_t)record.time_ns);
    assert_int_equal(little_endian(slot + 88, 8), record.trace.length_bytes);
    assert_int_equal(little_endian(slot + 96, 8), UINT64_MAX);
    assert_memory_equal(slot + 104, record.host.machine_id, 16);
    assert_memory_equal(slot + 120, record.host.boot_id, 16);
    assert_int_equal(little_endian(slot + 136, 8), record.host.instance);
    assert_string_equal((const char *)slot + 144, "host-a.example");
    for (size_t i = 144 + strlen(record.host.name); i < 208; i++)
        assert_int_equal(slot[i], 0);
    assert_int_equal(little_endian(slot + 208, 4), 112);
    assert_int_equal(little_endian(slot + 212, 4), 0);
    assert_int_equal(little_endian(slot + 216, 8), (uint64_t)record.trace.mtime_ns);
    assert_int_equal(little_endian(slot + 224, 8), 0x12345678);
    assert_int_equal(little_endian(slot + 232, 8), 0x9abcdef0);
    assert_int_equal(little_endian(slot + 240, 4), (uint32_t)-2);
    assert_int_equal(little_endian(slot + 244, 4), 3);
    assert_int_equal(little_endian(slot + 248, 8), 0);
    for (size_t i = 0; i < DIGEST_EXTENTS; i++) {
        const uint8_t *entry = slot + 256 + 32 * i;

        assert_int_equal(little_endian(entry, 8), record.digests[i].offset);
        assert_int_equal(little_endian(entry + 8, 4), record.digests[i].length);
        assert_int_equal(little_endian(entry + 12, 4), 0);
        assert_memory_equal(entry + 16, record.digests[i].digest, DIGEST_BYTES);
    }
    assert_memory_equal(slot + 3840, record.file_handle.bytes, RECORD_FILE_HANDLE_BYTES);
    for (size_t i = 3968; i < RECORD_SLOT_BYTES; i++)
        assert_int_equal(slot[i], 0);
}

static void checksum_is_xxh3_128_in_canonical_form(void **state)
{
    const struct record record = sample_record(1, 1);
    uint8_t slot[RECORD_SLOT_BYTES];
    uint8_t forged[RECORD_SLOT_BYTES];

    (void)state;
    record_encode(&record, slot);
    memcpy(forged, slot, sizeof(slot));
    forge(forged, 40, 8, 1);
    assert_memory_equal(slot, forged, sizeof(slot));
}

static void encoding_hides_what_follows_a_names_end(void **state)
{
    struct record record = sample_record(1, 1);
    uint8_t slot[RECORD_SLOT_BYTES];

    (void)state;
    memset(record.host.name, 'x', sizeof(record.host.name));
    memcpy(record.host.name, "a", 2);
    record_encode(&record, slot);
    assert_int_equal(slot[144], 'a');
    assert_int_equal(slot[146], 0);
}

static void name_that_is_too_long_is_cut(void **state)
{
    struct record record = sample_record(1, 1);
    struct record decoded;
    uint8_t file[RECORD_FILE_BYTES] = {0};
    unsigned slot;

    (void)state;
    memset(record.host.name, 'x', sizeof(record.host.name));
    record_encode(&record, file);
    assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
    assert_int_equal(strlen(decoded.host.name), RECORD_HOST_NAME_BYTES - 1);
}

/* Round trip ---------------------------------------------------------------------------------- */

static void random_record_decodes_to_itself(void **state)
{
    uint64_t random = random_seed(__func__);

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t file[RECORD_FILE_BYTES] = {0};
        struct record record = sample_record(random_next(&random), random_next(&random));
        struct record decoded;
        unsigned slot;

        record.state = random_below(&random, 2) ? RECORD_OWNED : RECORD_RELEASED;
        record.time_ns = (int64_t)random_next(&random);
        record.trace.ctime_ns = (int64_t)random_next(&random);
        record.trace.length_bytes = random_next(&random);
        record.host.instance = random_next(&random);
        record.digest_count = random_below(&random, DIGEST_EXTENTS + 1);
        record.file_handle.length = random_below(&random, RECORD_FILE_HANDLE_BYTES + 1);
        memset(record.file_handle.bytes, 0, RECORD_FILE_HANDLE_BYTES);
        for (uint32_t j = 0; j < record.file_handle.length; j++)
            record.file_handle.bytes[j] = (uint8_t)random_next(&random);
        record_encode(&record, file + (i % 2) * RECORD_SLOT_BYTES);
        assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
        assert_true(records_are_equal(&record, &decoded));
        assert_int_equal(slot, i % 2);
    }
}

/* Versions ------------------------------------------------------------------------------------ */

/* As a writer of version 1 has it: nothing behind the name. */
static void encode_version_1(const struct record *record, uint8_t *slot)
{
    record_encode(record, slot);
    memset(slot + 208, 0, RECORD_SLOT_BYTES - 208);
    forge(slot, 8, 4, 1);
}

static struct record as_version_1(struct record record)
{
    record.trace.mtime_ns = 0;
    record.flushed_bytes = 0;
    record.duration_ns = 0;
    record.file_handle = (struct record_file_handle){.length = 0};
    record.digest_count = 0;
    return record;
}

static void version_1_is_read_as_what_it_has(void **state)
{
    const struct record record = sample_record(5, 9);
    const struct record expected = as_version_1(record);
    uint8_t file[RECORD_FILE_BYTES] = {0};
    struct record decoded;
    unsigned slot;

    (void)state;
    encode_version_1(&record, file + OTHER_SLOT);
    memset(&decoded, 0x3c, sizeof(decoded));
    assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
    assert_int_equal(slot, 1);
    assert_true(records_are_equal(&decoded, &expected));
    forge(file + OTHER_SLOT, 208, 4, 1);
    assert_int_equal(judge(file, sizeof(file)), RECORD_TORN);
}

static void slots_of_two_versions_count_by_their_generation(void **state)
{
    const struct record old = sample_record(5, 9);
    const struct record newer = sample_record(6, 10);
    uint8_t file[RECORD_FILE_BYTES] = {0};
    struct record decoded;
    unsigned slot;

    (void)state;
    encode_version_1(&old, file);
    record_encode(&newer, file + OTHER_SLOT);
    assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
    assert_int_equal(slot, 1);
    record_encode(&old, file + OTHER_SLOT);
    encode_version_1(&newer, file);
    assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
    assert_int_equal(slot, 0);
}

/* Two slots ----------------------------------------------------------------------------------- */

static void assert_slot_counts(const struct record *first, const struct record *second,
                               unsigned expected)
{
    uint8_t file[RECORD_FILE_BYTES];
    struct record decoded;
    unsigned slot;

    record_encode(first, file);
    record_encode(second, file + OTHER_SLOT);
    assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
    assert_int_equal(slot, expected);
    assert_true(records_are_equal(&decoded, expected == 0 ? first : second));
}

static void higher_generation_counts_then_higher_sequence(void **state)
{
    const struct record old = sample_record(5, 9);
    const struct record newer = sample_record(5, 10);
    const struct record newest = sample_record(6, 2);

    (void)state;
    assert_slot_counts(&old, &newer, 1);
    assert_slot_counts(&newer, &old, 0);
    assert_slot_counts(&newest, &newer, 0);
    assert_slot_counts(&newer, &newest, 1);
}

/* What a writer does: the slot that does not count is overwritten. */
static unsigned write_next(uint8_t *file, const struct record *record)
{
    struct record present;
    unsigned slot = 1;

    (void)decode(file, RECORD_FILE_BYTES, &present, &slot); /* none: slot 0 is written */
    record_encode(record, file + (1 - slot) * RECORD_SLOT_BYTES);
    return 1 - slot;
}

static void slots_alternate_and_the_last_written_counts(void **state)
{
    uint8_t file[RECORD_FILE_BYTES] = {0};

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        const struct record record = sample_record(1 + i / 2, 1 + i);
        struct record decoded;
        unsigned slot;

        assert_int_equal(write_next(file, &record), i % 2);
        assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
        assert_true(records_are_equal(&record, &decoded));
    }
}

static void write_torn_at_any_byte_loses_the_newer_record_only(void **state)
{
    const struct record old = sample_record(7, 7);
    const struct record newer = sample_record(8, 8);
    uint8_t file[RECORD_FILE_BYTES];
    uint8_t slot[RECORD_SLOT_BYTES];
    unsigned index;

    (void)state;
    record_encode(&newer, slot);
    for (size_t torn = 0; torn <= RECORD_SLOT_BYTES; torn++) {
        const struct record older = sample_record(6, 6);
        struct record decoded;

        record_encode(&old, file);
        record_encode(&older, file + OTHER_SLOT);
        memcpy(file + OTHER_SLOT, slot, torn);
        assert_int_equal(decode(file, sizeof(file), &decoded, &index), RECORD_VALID);
        assert_true(records_are_equal(&decoded, &old) || records_are_equal(&decoded, &newer));
    }
    assert_int_equal(index, 1); /* untorn at last */
}

/* Power cuts ---------------------------------------------------------------------------------- */

/* A disk writes these whole; of several on their way any may be there after the power was cut. */
#define SECTOR_BYTES 512
#define SLOT_SECTORS (RECORD_SLOT_BYTES / SECTOR_BYTES)

/* What a file holds of a write to it, by the bits of `stored`. */
static void store_sectors(uint8_t *file, size_t offset, const uint8_t *bytes, size_t size,
                          unsigned stored)
{
    for (size_t i = 0; i < size / SECTOR_BYTES; i++) {
        if (stored & 1U << i)
            memcpy(file + offset + i * SECTOR_BYTES, bytes + i * SECTOR_BYTES, SECTOR_BYTES);
    }
}

/* Every file that a cut in the writing of `next` to a slot leaves, and `visit` with each. */
static void cut_in_slot(const uint8_t *before, unsigned slot, const struct record *next,
                        void (*visit)(const uint8_t *file, const struct record *next, void *data),
                        void *data)
{
    const size_t at = slot * (size_t)RECORD_SLOT_BYTES;
    uint8_t written[RECORD_SLOT_BYTES], file[RECORD_FILE_BYTES];

    record_encode(next, written);
    for (unsigned stored = 0; stored < 1U << SLOT_SECTORS; stored++) {
        memcpy(file, before, sizeof(file));
        store_sectors(file, at, written, sizeof(written), stored);
        visit(file, next, data);
    }
}

/* The same, to the slot that a writer takes. */
static void cut_in_write(const uint8_t *before, const struct record *next,
                         void (*visit)(const uint8_t *file, const struct record *next, void *data),
                         void *data)
{
    uint8_t after[RECORD_FILE_BYTES];

    memcpy(after, before, sizeof(after));
    cut_in_slot(before, write_next(after, next), next, visit, data);
}

/* The record before, or the next one; never less, never a mixture. */
static void assert_one_of(const uint8_t *file, const struct record *next, void *data)
{
    const struct record *before = data;
    struct record decoded;
    unsigned slot;

    assert_int_equal(decode(file, RECORD_FILE_BYTES, &decoded, &slot), RECORD_VALID);
    assert_true(records_are_equal(&decoded, before) || records_are_equal(&decoded, next));
}

/* Whoever finds it so writes the record after it, and has the power cut, too. */
static void cut_again(const uint8_t *file, const struct record *next, void *data)
{
    const struct record after = sample_record(next->generation + 1, next->sequence + 1);
    struct record present;
    unsigned slot;

    assert_one_of(file, next, data);
    assert_int_equal(decode(file, RECORD_FILE_BYTES, &present, &slot), RECORD_VALID);
    cut_in_write(file, &after, assert_one_of, &present);
}

static void power_cut_leaves_the_record_before_or_the_next_one(void **state)
{
    struct record before = sample_record(7, 7), next = sample_record(8, 8);
    const struct record older = sample_record(6, 6);
    uint8_t file[RECORD_FILE_BYTES];

    (void)state;
    record_encode(&older, file);
    record_encode(&before, file + OTHER_SLOT);
    cut_in_write(file, &next, cut_again, &before);
}

struct cut_counts {
    const struct record *before;
    unsigned before_or_next, neither;
};

static void count_what_is_left(const uint8_t *file, const struct record *next, void *data)
{
    struct cut_counts *counts = data;
    struct record decoded;
    unsigned slot;

    if (decode(file, RECORD_FILE_BYTES, &decoded, &slot) == RECORD_VALID &&
        (records_are_equal(&decoded, counts->before) || records_are_equal(&decoded, next)))
        counts->before_or_next++;
    else
        counts->neither++;
}

/* What the other slot is for: the negative twin of the test above. */
static void power_cut_in_the_newest_slot_leaves_neither(void **state)
{
    const struct record older = sample_record(6, 6), before = sample_record(7, 7),
                        next = sample_record(8, 8);
    struct cut_counts counts = {.before = &before};
    uint8_t file[RECORD_FILE_BYTES];

    (void)state;
    record_encode(&older, file);
    record_encode(&before, file + OTHER_SLOT);
    cut_in_slot(file, 1, &next, count_what_is_left, &counts);
    assert_true(counts.before_or_next >= 2); /* none of it stored, and all */
    assert_true(counts.neither > 0);
}

/*
 * The first write is of both slots, the second of which is zeroes, into a file that may have its
 * length later than its bytes: the record is there when all of it is, and else nothing.
 */
static void power_cut_in_the_first_write_leaves_it_or_nothing(void **state)
{
    const struct record first = sample_record(1, 1);
    uint8_t whole[RECORD_FILE_BYTES] = {0};

    (void)state;
    record_encode(&first, whole);
    for (size_t size = 0; size <= RECORD_FILE_BYTES; size += SECTOR_BYTES) {
        for (unsigned stored = 0; stored < 1U << SLOT_SECTORS; stored++) {
            uint8_t file[RECORD_FILE_BYTES] = {0};
            struct record decoded;
            unsigned slot;

            store_sectors(file, 0, whole, RECORD_SLOT_BYTES, stored);
            const bool is_whole = size == RECORD_FILE_BYTES && stored == (1U << SLOT_SECTORS) - 1;
            const enum record_verdict verdict = decode(file, size, &decoded, &slot);
            assert_int_equal(verdict == RECORD_VALID, is_whole);
            if (is_whole)
                assert_true(records_are_equal(&decoded, &first));
        }
    }
}

/* Bad files ----------------------------------------------------------------------------------- */

static void sample_file(uint8_t *file, struct record *older, struct record *newer)
{
    *older = sample_record(3, 30);
    *newer = sample_record(4, 31);
    record_encode(older, file);
    record_encode(newer, file + OTHER_SLOT);
}

static void every_truncation_is_torn_or_missing(void **state)
{
    struct record older;
    struct record newer;
    uint8_t file[RECORD_FILE_BYTES];

    (void)state;
    sample_file(file, &older, &newer);
    assert_int_equal(judge(file, 0), RECORD_MISSING);
    for (size_t size = 1; size < RECORD_FILE_BYTES; size++)
        assert_int_equal(judge(file, size), RECORD_TORN);
    assert_int_equal(judge(file, RECORD_FILE_BYTES), RECORD_VALID);
}

static void a_file_that_is_too_long_is_torn(void **state)
{
    struct record older;
    struct record newer;
    uint8_t file[RECORD_FILE_BYTES + 1] = {0};

    (void)state;
    sample_file(file, &older, &newer);
    assert_int_equal(judge(file, sizeof(file)), RECORD_TORN);
}

static void assert_corruption_shows(uint8_t *file, size_t at, uint8_t flip,
                                    const struct record *intact)
{
    struct record decoded;
    unsigned slot;

    file[at] ^= flip;
    const enum record_verdict verdict = decode(file, RECORD_FILE_BYTES, &decoded, &slot);
    file[at] ^= flip;
    assert_int_equal(verdict, RECORD_VALID); /* the other slot is whole */
    assert_true(records_are_equal(&decoded, intact));
}

static void corruption_of_any_byte_leaves_the_other_slot(void **state)
{
    struct record older;
    struct record newer;
    uint8_t file[RECORD_FILE_BYTES];

    (void)state;
    sample_file(file, &older, &newer);
    for (size_t at = 0; at < RECORD_FILE_BYTES; at++) {
        const struct record *intact = at < OTHER_SLOT ? &newer : &older;

        assert_corruption_shows(file, at, 0xff, intact);
        assert_corruption_shows(file, at, (uint8_t)(1u << (at % 8)), intact);
    }
}

static void corruption_of_any_byte_of_a_lone_slot_is_torn(void **state)
{
    const struct record record = sample_record(3, 30);
    uint8_t file[RECORD_FILE_BYTES] = {0};

    (void)state;
    record_encode(&record, file);
    for (size_t at = 0; at < RECORD_SLOT_BYTES; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            file[at] ^= (uint8_t)(1u << bit);
            assert_int_equal(judge(file, sizeof(file)), RECORD_TORN);
            file[at] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(judge(file, sizeof(file)), RECORD_VALID);
}

static void zeroes_are_missing_and_noise_is_torn(void **state)
{
    uint8_t file[RECORD_FILE_BYTES] = {0};
    uint64_t random = random_seed(__func__);

    (void)state;
    assert_int_equal(judge(file, sizeof(file)), RECORD_MISSING);
    assert_int_equal(judge(file, 100), RECORD_MISSING);
    for (size_t i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)random_next(&random);
    assert_int_equal(judge(file, sizeof(file)), RECORD_TORN);
}

static void future_version_is_told_even_beside_a_valid_slot(void **state)
{
    struct record older;
    struct record newer;
    uint8_t file[RECORD_FILE_BYTES];

    (void)state;
    sample_file(file, &older, &newer);
    forge(file, 8, 4, 3);
    assert_int_equal(judge(file, sizeof(file)), RECORD_FUTURE);
    sample_file(file, &older, &newer);
    forge(file + OTHER_SLOT, 8, 4, UINT32_MAX);
    assert_int_equal(judge(file, sizeof(file)), RECORD_FUTURE);
}

static void torn_slot_of_a_future_version_is_only_torn(void **state)
{
    struct record older;
    struct record newer;
    uint8_t file[RECORD_FILE_BYTES];

    (void)state;
    sample_file(file, &older, &newer);
    file[8] = 3; /* the checksum does not know */
    assert_int_equal(judge(file, sizeof(file)), RECORD_VALID);
    memset(file + OTHER_SLOT, 0, RECORD_SLOT_BYTES);
    assert_int_equal(judge(file, sizeof(file)), RECORD_TORN);
}

static void bad_field_under_a_good_checksum_is_torn(void **state)
{
    static const struct {
        size_t offset;
        size_t size;
        uint64_t value;
    } bad[] = {
        {8, 4, 0},
        {12, 4, 4095},
        {48, 4, 0},
        {48, 4, 3},
        {48, 4, 0xffff},
        {52, 4, 1},
        {207, 1, 1},
        {208, 4, 113},
        {208, 4, 111},
        {208, 4, UINT32_MAX},
        {212, 4, 1},
        {244, 4, 129},
        {244, 4, 2},
        {244, 4, UINT32_MAX},
        {248, 8, 1},
        {256, 8, INT64_MAX},
        {256, 8, UINT64_MAX},
        {264, 4, 0},
        {264, 4, DIGEST_MOST_BYTES + 1},
        {268, 4, 1},
        {3967, 1, 1},
        {3968, 1, 1},
        {4095, 1, 1},
    };
    const struct record record = sample_record(3, 30);

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t file[RECORD_FILE_BYTES] = {0};

        record_encode(&record, file);
        forge(file, bad[i].offset, bad[i].size, bad[i].value);
        assert_int_equal(judge(file, sizeof(file)), RECORD_TORN);
    }
}

static enum record_verdict judge_for(const struct record *record,
                                     const struct record_identity *wanted)
{
    uint8_t file[RECORD_FILE_BYTES] = {0};
    struct record decoded;
    unsigned slot;

    record_encode(record, file);
    return record_decode(file, sizeof(file), wanted, &decoded, &slot);
}

static void record_of_another_file_is_alien(void **state)
{
    const struct record record = sample_record(3, 30);
    struct record_identity other = identity;

    (void)state;
    other.ino++;
    assert_int_equal(judge_for(&record, &other), RECORD_ALIEN);
    other = identity;
    other.handle_hash++;
    assert_int_equal(judge_for(&record, &other), RECORD_ALIEN);
    other = identity;
    other.birth_ns++;
    assert_int_equal(judge_for(&record, &other), RECORD_ALIEN);
}

static void what_a_store_does_not_tell_matches_but_never_the_inode_number(void **state)
{
    struct record record = sample_record(3, 30);
    const struct record_identity bare = {.ino = identity.ino};
    const struct record_identity numberless = {.handle_hash = identity.handle_hash,
                                               .birth_ns = identity.birth_ns};

    (void)state;
    assert_int_equal(judge_for(&record, &bare), RECORD_VALID);
    assert_int_equal(judge_for(&record, &numberless), RECORD_ALIEN);
    record.identity = bare;
    assert_int_equal(judge_for(&record, &identity), RECORD_VALID);
    record.identity = numberless;
    assert_int_equal(judge_for(&record, &identity), RECORD_ALIEN);
}

static void alien_slot_never_outranks_ones_own(void **state)
{
    struct record alien = sample_record(1000, 1000);
    const struct record own = sample_record(1, 1);
    uint8_t file[RECORD_FILE_BYTES];
    struct record decoded;
    unsigned slot;

    (void)state;
    alien.identity.handle_hash++;
    record_encode(&alien, file);
    record_encode(&own, file + OTHER_SLOT);
    assert_int_equal(decode(file, sizeof(file), &decoded, &slot), RECORD_VALID);
    assert_int_equal(slot, 1);
    assert_true(records_are_equal(&decoded, &own));
}

static void alien_slot_is_told_before_a_torn_one(void **state)
{
    struct record alien = sample_record(1, 1);
    uint8_t file[RECORD_FILE_BYTES] = {0};

    (void)state;
    alien.identity.ino++;
    record_encode(&alien, file + OTHER_SLOT);
    assert_int_equal(judge(file, sizeof(file)), RECORD_ALIEN);
    file[5] = 1;
    assert_int_equal(judge(file, sizeof(file)), RECORD_ALIEN);
}

/* Hosts and handles --------------------------------------------------------------------------- */

static void hosts_differ_by_machine_boot_and_mount_but_not_by_name(void **state)
{
    const struct record_host host = sample_record(1, 1).host;
    struct record_host other = host;

    (void)state;
    memcpy(other.name, "renamed", sizeof("renamed"));
    assert_true(record_same_host(&host, &other));
    other.instance++;
    assert_false(record_same_host(&host, &other));
    other = host;
    other.machine_id[15] ^= 1;
    assert_false(record_same_host(&host, &other));
    other = host;
    other.boot_id[0] ^= 1;
    assert_false(record_same_host(&host, &other));
}

static void a_clone_and_a_clock_that_is_ahead_show(void **state)
{
    const int64_t second = 1000000000, now = 1800000000 * second, booted = now - 3600 * second;
    struct record record = sample_record(1, 1);
    struct record_host here = record.host;

    (void)state;
    record.time_ns = now;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_FINE);
    here.boot_id[3] ^= 1;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_CLONED);
    record.time_ns = booted + 61 * second;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_CLONED);
    record.time_ns = booted + 60 * second; /* its own, before it booted last */
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_FINE);
    here.machine_id[3] ^= 1;
    record.time_ns = now + 60 * second;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_FINE);
    record.time_ns = now + 61 * second;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_AHEAD);
    record.time_ns = INT64_MIN;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_FINE);
    record.time_ns = INT64_MAX;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_AHEAD);
    here = record.host;
    memset(record.host.machine_id, 0, sizeof(record.host.machine_id)); /* it has none */
    memset(here.machine_id, 0, sizeof(here.machine_id));
    here.boot_id[3] ^= 1;
    record.time_ns = now;
    assert_int_equal(record_host_oddity(&record, &here, now, booted), RECORD_HOST_FINE);
}

static void handle_hash_tells_types_bytes_and_sizes_apart(void **state)
{
    static const uint8_t bytes[] = {1, 2, 3, 4, 0};

    (void)state;
    assert_int_equal(record_handle_hash(1, bytes, 4), record_handle_hash(1, bytes, 4));
    assert_int_not_equal(record_handle_hash(1, bytes, 4), record_handle_hash(2, bytes, 4));
    assert_int_not_equal(record_handle_hash(1, bytes, 4), record_handle_hash(1, bytes, 5));
    assert_int_not_equal(record_handle_hash(1, bytes, 4), record_handle_hash(1, bytes + 1, 4));
    assert_int_not_equal(record_handle_hash(-1, bytes, 0), 0);
}

static void every_verdict_has_a_name(void **state)
{
    (void)state;
    for (enum record_verdict verdict = RECORD_VALID; verdict <= RECORD_ALIEN; verdict++)
        assert_true(strlen(record_verdict_name(verdict)) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_lies_where_the_layout_says),
        cmocka_unit_test(checksum_is_xxh3_128_in_canonical_form),
        cmocka_unit_test(encoding_hides_what_follows_a_names_end),
        cmocka_unit_test(name_that_is_too_long_is_cut),
        cmocka_unit_test(random_record_decodes_to_itself),
        cmocka_unit_test(version_1_is_read_as_what_it_has),
        cmocka_unit_test(slots_of_two_versions_count_by_their_generation),
        cmocka_unit_test(higher_generation_counts_then_higher_sequence),
        cmocka_unit_test(slots_alternate_and_the_last_written_counts),
        cmocka_unit_test(write_torn_at_any_byte_loses_the_newer_record_only),
        cmocka_unit_test(power_cut_leaves_the_record_before_or_the_next_one),
        cmocka_unit_test(power_cut_in_the_newest_slot_leaves_neither),
        cmocka_unit_test(power_cut_in_the_first_write_leaves_it_or_nothing),
        cmocka_unit_test(every_truncation_is_torn_or_missing),
        cmocka_unit_test(a_file_that_is_too_long_is_torn),
        cmocka_unit_test(corruption_of_any_byte_leaves_the_other_slot),
        cmocka_unit_test(corruption_of_any_byte_of_a_lone_slot_is_torn),
        cmocka_unit_test(zeroes_are_missing_and_noise_is_torn),
        cmocka_unit_test(future_version_is_told_even_beside_a_valid_slot),
        cmocka_unit_test(torn_slot_of_a_future_version_is_only_torn),
        cmocka_unit_test(bad_field_under_a_good_checksum_is_torn),
        cmocka_unit_test(record_of_another_file_is_alien),
        cmocka_unit_test(what_a_store_does_not_tell_matches_but_never_the_inode_number),
        cmocka_unit_test(alien_slot_never_outranks_ones_own),
        cmocka_unit_test(alien_slot_is_told_before_a_torn_one),
        cmocka_unit_test(hosts_differ_by_machine_boot_and_mount_but_not_by_name),
        cmocka_unit_test(a_clone_and_a_clock_that_is_ahead_show),
        cmocka_unit_test(handle_hash_tells_types_bytes_and_sizes_apart),
        cmocka_unit_test(every_verdict_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
