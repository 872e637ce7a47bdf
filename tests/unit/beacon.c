/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/beacon: the layout byte by byte, that nothing but a whole beacon is believed, and when one
 * is fresh or over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "cache/beacon.h"
#include "random.h"
#include "seal.h"

#define SECOND_NS INT64_C(1000000000)

static struct beacon sample(void)
{
    return (struct beacon){
        .host = {.machine_id = {1, 2, 3}, .boot_id = {4, 5, 6}, .instance = 77, .name = "host-a"},
        .period_s = 60,
        .time_ns = 1000,
        .mounted_ns = 900,
        .version = "0.1.0",
        .options = "deadline=5000",
    };
}

/* From a block of exactly `size` bytes, so that a sanitizer sees a read beyond it. */
static enum beacon_verdict decode(const uint8_t *bytes, size_t size, struct beacon *beacon)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    const enum beacon_verdict verdict = beacon_decode(exact, size, beacon);
    free(exact);
    return verdict;
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
    const struct beacon beacon = sample();
    uint8_t bytes[BEACON_BYTES];

    (void)state;
    beacon_encode(&beacon, bytes);
    assert_memory_equal(bytes, "MIGFSBCN", 8);
    assert_int_equal(number(bytes + 8, 4), 1);
    assert_int_equal(number(bytes + 12, 4), 60);
    assert_int_equal(number(bytes + 24, 8), 1000);
    assert_int_equal(number(bytes + 32, 8), 900);
    assert_int_equal(number(bytes + 40, 8), 77);
    assert_memory_equal(bytes + 48, "\1\2\3", 4);
    assert_memory_equal(bytes + 64, "\4\5\6", 4);
    assert_string_equal((const char *)bytes + 80, "host-a");
    assert_string_equal((const char *)bytes + 144, "0.1.0");
    assert_string_equal((const char *)bytes + 176, "deadline=5000");
    for (size_t i = 432; i < BEACON_BYTES; i++)
        assert_int_equal(bytes[i], 0);
}

static void what_was_encoded_is_decoded(void **state)
{
    const struct beacon beacon = sample();
    uint8_t bytes[BEACON_BYTES];
    struct beacon decoded;

    (void)state;
    beacon_encode(&beacon, bytes);
    assert_int_equal(decode(bytes, sizeof(bytes), &decoded), BEACON_VALID);
    assert_true(record_same_host(&decoded.host, &beacon.host));
    assert_string_equal(decoded.host.name, "host-a");
    assert_int_equal(decoded.period_s, 60);
    assert_int_equal(decoded.time_ns, 1000);
    assert_int_equal(decoded.mounted_ns, 900);
    assert_string_equal(decoded.version, "0.1.0");
    assert_string_equal(decoded.options, "deadline=5000");
}

static void texts_that_are_too_long_are_cut(void **state)
{
    struct beacon beacon = sample(), decoded;
    uint8_t bytes[BEACON_BYTES];

    (void)state;
    memset(beacon.host.name, 'n', sizeof(beacon.host.name));
    memset(beacon.version, 'v', sizeof(beacon.version));
    memset(beacon.options, 'o', sizeof(beacon.options));
    beacon_encode(&beacon, bytes);
    assert_int_equal(decode(bytes, sizeof(bytes), &decoded), BEACON_VALID);
    assert_int_equal(strlen(decoded.host.name), RECORD_HOST_NAME_BYTES - 1);
    assert_int_equal(strlen(decoded.version), BEACON_VERSION_BYTES - 1);
    assert_int_equal(strlen(decoded.options), BEACON_OPTIONS_BYTES - 1);
}

static void a_bad_byte_or_size_is_not_believed(void **state)
{
    const struct beacon beacon = sample();
    struct beacon untouched = {.period_s = 99};
    uint8_t bytes[2 * BEACON_BYTES] = {0};

    (void)state;
    beacon_encode(&beacon, bytes);
    for (size_t size = 0; size < sizeof(bytes); size++) {
        if (size != BEACON_BYTES)
            assert_int_equal(decode(bytes, size, &untouched), BEACON_DAMAGED);
    }
    for (size_t at = 0; at < BEACON_BYTES; at++) {
        bytes[at] ^= 0x10;
        assert_int_equal(decode(bytes, BEACON_BYTES, &untouched), BEACON_DAMAGED);
        bytes[at] ^= 0x10;
    }
    assert_int_equal(untouched.period_s, 99);
}

static void fields_out_of_range_are_not_believed(void **state)
{
    static const struct {
        size_t at, length;
        uint8_t byte;
    } changes[] = {
        {12, 4, 0x00},                 /* no period */
        {12, 4, 0xff},                 /* one of years */
        {24, 8, 0xff},                 /* before 1970 */
        {32, 8, 0xff},  {80, 64, 'x'}, /* a text without an end */
        {144, 32, 'x'}, {176, 256, 'x'},
    };
    const struct beacon beacon = sample();
    struct beacon decoded;
    uint8_t bytes[BEACON_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        beacon_encode(&beacon, bytes);
        memset(bytes + changes[i].at, changes[i].byte, changes[i].length);
        seal(bytes, sizeof(bytes));
        assert_int_equal(decode(bytes, sizeof(bytes), &decoded), BEACON_DAMAGED);
    }
}

static void a_newer_version_is_told_from_damage(void **state)
{
    const struct beacon beacon = sample();
    struct beacon decoded;
    uint8_t bytes[BEACON_BYTES];

    (void)state;
    beacon_encode(&beacon, bytes);
    bytes[8] = 2;
    seal(bytes, sizeof(bytes));
    assert_int_equal(decode(bytes, sizeof(bytes), &decoded), BEACON_FUTURE);
}

static void noise_with_a_right_checksum_does_no_harm(void **state)
{
    uint64_t random = random_seed(__func__);
    struct beacon beacon;
    uint8_t bytes[BEACON_BYTES], again[BEACON_BYTES];

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = random_below(&random, 4) == 0 ? (uint8_t)random_next(&random) : 0;
        memcpy(bytes, "MIGFSBCN\1\0\0\0\1\0\0\0", 16);
        seal(bytes, sizeof(bytes));
        if (decode(bytes, sizeof(bytes), &beacon) != BEACON_VALID)
            continue;
        assert_true(strlen(beacon.host.name) < RECORD_HOST_NAME_BYTES);
        beacon_encode(&beacon, again);
        assert_int_equal(decode(again, sizeof(again), &beacon), BEACON_VALID);
    }
}

static void a_name_is_of_one_mount(void **state)
{
    struct beacon beacon = sample();
    struct beacon_name name = beacon_name(&beacon.host);

    (void)state;
    assert_string_equal(name.text, "01020300000000000000000000000000-000000000000004d");
    assert_true(beacon_is_name(name.text));
    name.text[3] = 'A';
    assert_false(beacon_is_name(name.text));
    assert_false(beacon_is_name(""));
    assert_false(beacon_is_name("4d"));
    assert_false(beacon_is_name("01020300000000000000000000000000-000000000000004d0"));
    assert_false(beacon_is_name("01020300000000000000000000000000-000000000000004"));
}

static void fresh_is_what_missed_two_writes_at_most(void **state)
{
    const struct beacon beacon = sample();

    (void)state;
    assert_true(beacon_is_fresh(&beacon, -SECOND_NS)); /* a server's clock may be coarse */
    assert_true(beacon_is_fresh(&beacon, 180 * SECOND_NS));
    assert_false(beacon_is_fresh(&beacon, 181 * SECOND_NS));
}

static void over_is_what_is_old_or_an_ended_mount_of_this_machine(void **state)
{
    const struct beacon own = sample();
    struct beacon other = sample();
    const int64_t week_ns = BEACON_KEPT_S * SECOND_NS;

    (void)state;
    assert_false(beacon_is_over(&own.host, &other, 181 * SECOND_NS)); /* itself */
    other.host.instance++;
    assert_true(beacon_is_over(&own.host, &other, 181 * SECOND_NS));
    assert_false(beacon_is_over(&own.host, &other, 60 * SECOND_NS)); /* it serves */
    other.host.machine_id[0]++;
    assert_false(beacon_is_over(&own.host, &other, 181 * SECOND_NS));
    assert_false(beacon_is_over(&own.host, &other, week_ns));
    assert_true(beacon_is_over(&own.host, &other, week_ns + 1));
}

static void machines_without_an_id_are_not_the_same(void **state)
{
    struct beacon own = sample(), other = sample();

    (void)state;
    memset(own.host.machine_id, 0, sizeof(own.host.machine_id));
    other.host = own.host;
    other.host.instance++;
    assert_false(beacon_is_over(&own.host, &other, 181 * SECOND_NS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_lies_where_the_layout_says),
        cmocka_unit_test(what_was_encoded_is_decoded),
        cmocka_unit_test(texts_that_are_too_long_are_cut),
        cmocka_unit_test(a_bad_byte_or_size_is_not_believed),
        cmocka_unit_test(fields_out_of_range_are_not_believed),
        cmocka_unit_test(a_newer_version_is_told_from_damage),
        cmocka_unit_test(noise_with_a_right_checksum_does_no_harm),
        cmocka_unit_test(a_name_is_of_one_mount),
        cmocka_unit_test(fresh_is_what_missed_two_writes_at_most),
        cmocka_unit_test(over_is_what_is_old_or_an_ended_mount_of_this_machine),
        cmocka_unit_test(machines_without_an_id_are_not_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
