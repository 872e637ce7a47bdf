/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes history_decode: no bytes make it read beyond the file, and what it tells encodes to an
 * entry that it tells again. The first byte chooses which checksums are made right.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/history.h"
#include "seal.h"

static void entry_mend(uint8_t *entry)
{
    memcpy(entry, "MIGFSHIS\1\0\0\0", 12);
    entry[64] = 1; /* most of them of the file that is asked for */
    memset(entry + 65, 0, 7);
    seal(entry, HISTORY_ENTRY_BYTES);
}

static void check(const uint8_t *file, size_t size)
{
    static struct history_entry entries[HISTORY_ENTRIES], again[HISTORY_ENTRIES];
    static uint8_t written[HISTORY_FILE_BYTES];
    const struct record_identity identity = {.ino = 1};
    const size_t count = history_decode(file, size, &identity, entries);

    if (count > size / HISTORY_ENTRY_BYTES)
        abort();
    for (size_t i = 0; i < count; i++) {
        if (entries[i].verified > HISTORY_VERIFIED_MOST || entries[i].identity.ino != 1 ||
            strnlen(entries[i].from, RECORD_HOST_NAME_BYTES) == RECORD_HOST_NAME_BYTES ||
            (i > 0 && entries[i].time_ns > entries[i - 1].time_ns))
            abort();
        memset(written, 0, sizeof(written));
        history_encode(&entries[i], written + history_offset(entries[i].generation));
        if (history_decode(written, sizeof(written), &identity, again) != 1 ||
            again[0].time_ns != entries[i].time_ns || strcmp(again[0].to, entries[i].to) != 0)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;

    uint8_t *file = malloc(size);
    if (file == NULL)
        return 0;
    memcpy(file, data + 1, size - 1);
    for (size_t i = 0; (i + 1) * HISTORY_ENTRY_BYTES <= size - 1; i++) {
        if ((data[0] & (1u << (i % 8))) != 0)
            entry_mend(file + i * HISTORY_ENTRY_BYTES);
    }
    check(file, size - 1);
    free(file);
    return 0;
}
