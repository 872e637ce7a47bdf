/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache/qcow2: where the tables of an image lie, by headers as QEMU writes them and by bad ones.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/qcow2.h"

#define CLUSTER 65536

struct image {
    uint8_t bytes[QCOW2_HEAD_BYTES];
};

static void put_u32(struct image *image, size_t at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        image->bytes[at + i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put_u64(struct image *image, size_t at, uint64_t value)
{
    put_u32(image, at, (uint32_t)(value >> 32));
    put_u32(image, at + 4, (uint32_t)value);
}

/* As `qemu-img create -f qcow2 IMAGE 2T` makes it, of either version. */
static struct image image_new(uint32_t version)
{
    struct image image = {{0}};

    memcpy(image.bytes, "QFI\xfb", 4);
    put_u32(&image, 4, version);
    put_u32(&image, 20, 16);
    put_u64(&image, 24, UINT64_C(2) << 40);
    put_u32(&image, 36, 4096);
    put_u64(&image, 40, 3 * CLUSTER);
    put_u64(&image, 48, CLUSTER);
    put_u32(&image, 56, 1);
    if (version == 3) {
        put_u32(&image, 96, 4);
        put_u32(&image, 100, 112);
    }
    return image;
}

/* Returns where the next extension goes. */
static size_t put_extension(struct image *image, size_t at, uint32_t type, uint32_t length)
{
    put_u32(image, at, type);
    put_u32(image, at + 4, length);
    return at + 8 + (length + 7) / 8 * 8;
}

static size_t put_bitmaps(struct image *image, size_t at, uint64_t offset, uint64_t length)
{
    const size_t next = put_extension(image, at, 0x23852875, 24);

    put_u32(image, at + 8, 1);
    put_u64(image, at + 16, length);
    put_u64(image, at + 24, offset);
    return next;
}

static void assert_table(const struct qcow2_table *table, uint64_t offset, uint64_t length)
{
    assert_true(table->offset == offset);
    assert_true(table->length_bytes == length);
}

static void assert_refused(const struct image *image)
{
    struct qcow2_tables tables = {.count = 77};

    assert_int_equal(qcow2_parse(image->bytes, sizeof(image->bytes), &tables), -EINVAL);
    assert_int_equal(tables.count, 77);
}

/* ---- what is found ---- */

static void both_versions_have_two_tables(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        const struct image image = image_new(version);
        struct qcow2_tables tables;

        assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
        assert_int_equal(tables.count, 2);
        assert_table(&tables.entries[0], 3 * CLUSTER, 32768);
        assert_table(&tables.entries[1], CLUSTER, CLUSTER);
    }
}

static void an_image_of_nothing_has_no_l1(void **state)
{
    struct image image = image_new(3);
    struct qcow2_tables tables;

    (void)state;
    put_u32(&image, 36, 0);
    assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
    assert_int_equal(tables.count, 1);
}

static void snapshots_bitmaps_and_encryption_are_found(void **state)
{
    struct image image = image_new(3);
    struct qcow2_tables tables;
    size_t at = 112;

    (void)state;
    put_u32(&image, 60, 2);
    put_u64(&image, 64, 7 * CLUSTER);
    at = put_extension(&image, at, 0xe2792aca, 5); /* a name, padded to 8 */
    at = put_extension(&image, at, 0x6803f857, 384);
    at = put_bitmaps(&image, at, 5 * CLUSTER, 40);
    put_u64(&image, at + 8, 9 * CLUSTER);
    put_u64(&image, at + 16, 2068480);
    put_extension(&image, at, 0x0537be77, 16);
    assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
    assert_int_equal(tables.count, 5);
    assert_table(&tables.entries[2], 7 * CLUSTER, 80);
    assert_table(&tables.entries[3], 5 * CLUSTER, 40);
    assert_table(&tables.entries[4], 9 * CLUSTER, 2068480);
}

static void limits_are_those_of_qemu(void **state)
{
    struct image image = image_new(3);
    struct qcow2_tables tables;

    (void)state;
    put_u32(&image, 36, (32 << 20) / 8);
    put_u32(&image, 56, 128);
    put_u32(&image, 20, 16);
    assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
    put_u32(&image, 36, (32 << 20) / 8 + 1);
    assert_refused(&image);
    put_u32(&image, 36, 1);
    put_u32(&image, 56, 129);
    assert_refused(&image);
    put_u32(&image, 56, 0);
    assert_refused(&image);
    put_u32(&image, 56, 1);
    put_u32(&image, 60, 65536);
    put_u64(&image, 64, CLUSTER);
    assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
    put_u32(&image, 60, 65537);
    assert_refused(&image);
}

/* ---- what is not ---- */

static void what_is_cut_off_is_no_image(void **state)
{
    const struct image two = image_new(2), three = image_new(3);
    struct qcow2_tables tables;

    (void)state;
    for (size_t size = 0; size < 200; size++) {
        /* Of its own size, so that a sanitizer sees what is read behind it. */
        uint8_t *bytes = malloc(size > 0 ? size : 1);

        assert_non_null(bytes);
        memcpy(bytes, two.bytes, size);
        assert_int_equal(qcow2_parse(bytes, size, &tables), size < 72 ? -EINVAL : 0);
        memcpy(bytes, three.bytes, size);
        assert_int_equal(qcow2_parse(bytes, size, &tables), size < 104 ? -EINVAL : 0);
        free(bytes);
    }
}

static void other_files_are_none(void **state)
{
    struct image image = image_new(3);

    (void)state;
    image.bytes[3] = 0;
    assert_refused(&image);
    for (uint32_t version = 0; version < 6; version++) {
        image = image_new(3);
        put_u32(&image, 4, version);
        if (version != 2 && version != 3)
            assert_refused(&image);
    }
}

static void places_that_no_table_has_are_refused(void **state)
{
    static const uint64_t places[] = {0,
                                      1,
                                      CLUSTER - 1,
                                      CLUSTER + 512,
                                      UINT64_MAX,
                                      INT64_MAX,
                                      UINT64_C(1) << 63,
                                      0x7fffffffffff0000,
                                      ~UINT64_C(0xffff)};

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct image image = image_new(3);

        put_u64(&image, 40, places[i]);
        put_u32(&image, 36, 8193); /* the last place but one has room for 64 KiB - 1 */
        assert_refused(&image);
        image = image_new(3);
        put_u64(&image, 48, places[i]);
        assert_refused(&image);
    }
}

static void sizes_that_no_header_has_are_refused(void **state)
{
    static const uint32_t clusters[] = {0, 8, 22, 31, 32, 63, 64, UINT32_MAX};
    static const uint32_t headers[] = {0, 72, 103, 105, CLUSTER + 8, UINT32_MAX, UINT32_MAX - 7};

    (void)state;
    for (size_t i = 0; i < sizeof(clusters) / sizeof(clusters[0]); i++) {
        struct image image = image_new(3);

        put_u32(&image, 20, clusters[i]);
        assert_refused(&image);
    }
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        struct image image = image_new(3);

        put_u32(&image, 100, headers[i]);
        assert_refused(&image);
    }
}

/* They are worth nothing, and the rest is what it was. */
static void extensions_without_sense_are_passed_over(void **state)
{
    static const struct {
        uint32_t type, length;
        uint64_t offset, bytes;
    } bad[] = {
        {0x23852875, 23, 5 * CLUSTER, 40},
        {0x23852875, 24, 5 * CLUSTER + 1, 40},
        {0x23852875, 24, 5 * CLUSTER, UINT64_MAX},
        {0x23852875, 24, 0, 40},
        {0x23852875, 24, 5 * CLUSTER, 0},
        {0x23852875, UINT32_MAX, 5 * CLUSTER, 40},
        {0x23852875, UINT32_MAX - 7, 5 * CLUSTER, 40},
        {0x23852875, QCOW2_HEAD_BYTES - 112 - 8 + 1, 5 * CLUSTER, 40},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct image image = image_new(3);
        struct qcow2_tables tables;

        put_bitmaps(&image, 112, bad[i].offset, bad[i].bytes);
        put_u32(&image, 112, bad[i].type);
        put_u32(&image, 116, bad[i].length);
        assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
        assert_int_equal(tables.count, 2);
    }
}

static void many_extensions_are_no_more_tables(void **state)
{
    struct image image = image_new(3);
    struct qcow2_tables tables;

    (void)state;
    put_u32(&image, 60, 1);
    put_u64(&image, 64, 7 * CLUSTER);
    for (size_t at = 112; at + 64 < sizeof(image.bytes);)
        at = put_bitmaps(&image, at, 5 * CLUSTER, 40);
    assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
    assert_int_equal(tables.count, 4);
}

/* With clusters of 512 bytes the tables begin where extensions end. */
static void extensions_end_with_the_first_cluster(void **state)
{
    struct image image = image_new(3);
    struct qcow2_tables tables;

    (void)state;
    put_u32(&image, 20, 9);
    put_u32(&image, 36, 1);
    put_extension(&image, 112, 0x6803f857, 512 - 112 - 8);
    put_bitmaps(&image, 512, 5 * CLUSTER, 40);
    assert_int_equal(qcow2_parse(image.bytes, sizeof(image.bytes), &tables), 0);
    assert_int_equal(tables.count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_have_two_tables),
        cmocka_unit_test(an_image_of_nothing_has_no_l1),
        cmocka_unit_test(snapshots_bitmaps_and_encryption_are_found),
        cmocka_unit_test(limits_are_those_of_qemu),
        cmocka_unit_test(what_is_cut_off_is_no_image),
        cmocka_unit_test(other_files_are_none),
        cmocka_unit_test(places_that_no_table_has_are_refused),
        cmocka_unit_test(sizes_that_no_header_has_are_refused),
        cmocka_unit_test(extensions_without_sense_are_passed_over),
        cmocka_unit_test(many_extensions_are_no_more_tables),
        cmocka_unit_test(extensions_end_with_the_first_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
