/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes record_decode: no bytes make it read beyond the file, and what it calls valid encodes to
 * the slot that it was read from. The first byte chooses the checksums that are made right, or
 * nothing would get past them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache/record.h"

/* A record with legal fields out of any bytes. */
static void record_from(const uint8_t *bytes, uint8_t choice, struct record *record)
{
    memset(record, 0, sizeof(*record));
    memcpy(record, bytes,
           sizeof(*record) < RECORD_SLOT_BYTES ? sizeof(*record) : RECORD_SLOT_BYTES);
    record->state = (choice & 16) != 0 ? RECORD_OWNED : RECORD_RELEASED;
    record->identity.ino = 1;
    record->digest_count %= DIGEST_EXTENTS + 1;
    record->file_handle.length %= RECORD_FILE_HANDLE_BYTES + 1;
    for (uint32_t i = 0; i < record->digest_count; i++) {
        record->digests[i].offset >>= 2;
        record->digests[i].length = record->digests[i].length % DIGEST_MOST_BYTES + 1;
    }
}

/* Makes the checksum right, of a slot as it is or of one with legal fields. */
static void slot_mend(uint8_t *slot, uint8_t choice)
{
    XXH128_canonical_t canonical;

    if ((choice & 8) != 0) {
        struct record record;

        record_from(slot, choice, &record);
        record_encode(&record, slot);
        if ((choice & 32) == 0)
            return;
        slot[8] = 1; /* an older writer's */
        memset(slot + 208, 0, RECORD_SLOT_BYTES - 208);
    }
    memcpy(slot, "MIGFSREC", 8);
    memset(slot + 16, 0, 16);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(slot, RECORD_SLOT_BYTES));
    memcpy(slot + 16, canonical.digest, sizeof(canonical.digest));
}

/* What must hold of the fields of a valid record, whoever uses them next. */
static void check_fields(const struct record *record)
{
    if (record->identity.ino != 1)
        abort();
    if (record->state != RECORD_OWNED && record->state != RECORD_RELEASED)
        abort();
    if (record->digest_count > DIGEST_EXTENTS ||
        record->file_handle.length > RECORD_FILE_HANDLE_BYTES)
        abort();
    for (uint32_t i = 0; i < record->digest_count; i++) {
        const struct digest_extent *extent = &record->digests[i];

        if (extent->length == 0 || extent->length > DIGEST_MOST_BYTES ||
            extent->offset + extent->length > INT64_MAX || extent->serial != 0)
            abort();
    }
}

static void check(const uint8_t *file, size_t size)
{
    const struct record_identity identity = {.ino = 1};
    uint8_t slot[RECORD_SLOT_BYTES];
    struct record record;
    unsigned index = 2;

    if (record_decode(file, size, &identity, &record, &index) != RECORD_VALID) {
        if (index != 2)
            abort();
        return;
    }
    if (size != RECORD_FILE_BYTES || index > 1)
        abort();
    check_fields(&record);
    record_encode(&record, slot);

    /* Version, what follows the end of a name, and so the checksum, may differ; nothing else. */
    const uint8_t *from = file + index * RECORD_SLOT_BYTES;
    if (memcmp(slot, from, 8) != 0 || memcmp(slot + 32, from + 32, 144 - 32) != 0 ||
        memcmp(slot + 208, from + 208, RECORD_SLOT_BYTES - 208) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;

    const uint8_t choice = data[0];
    const size_t file_size = (choice & 4) != 0 ? RECORD_FILE_BYTES : size - 1;
    const size_t given = size - 1 < file_size ? size - 1 : file_size;
    uint8_t *file = calloc(1, file_size > 0 ? file_size : 1);
    if (file == NULL)
        return 0;

    memcpy(file, data + 1, given);
    for (unsigned i = 0; file_size == RECORD_FILE_BYTES && i < RECORD_SLOTS; i++) {
        uint8_t *slot = file + i * RECORD_SLOT_BYTES;

        if ((choice & (1u << i)) != 0)
            slot_mend(slot, choice);
    }
    check(file, file_size);
    free(file);
    return 0;
}
