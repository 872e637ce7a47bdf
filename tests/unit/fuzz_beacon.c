/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes beacon_decode: no bytes make it read beyond the file, and what it tells encodes to a
 * beacon that it tells again. The first byte chooses whether magic and checksum are made right.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/beacon.h"
#include "seal.h"

static void mend(uint8_t *file)
{
    memcpy(file, "MIGFSBCN\1\0\0\0", 12);
    seal(file, BEACON_BYTES);
}

static void check(const uint8_t *file, size_t size)
{
    uint8_t written[BEACON_BYTES];
    struct beacon beacon, again;

    if (beacon_decode(file, size, &beacon) != BEACON_VALID)
        return;
    if (size != BEACON_BYTES || beacon.period_s == 0 ||
        strnlen(beacon.options, BEACON_OPTIONS_BYTES) == BEACON_OPTIONS_BYTES)
        abort();
    beacon_encode(&beacon, written);
    if (beacon_decode(written, sizeof(written), &again) != BEACON_VALID ||
        again.time_ns != beacon.time_ns || strcmp(again.host.name, beacon.host.name) != 0)
        abort();
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
    if ((data[0] & 1) != 0 && size - 1 == BEACON_BYTES)
        mend(file);
    check(file, size - 1);
    free(file);
    return 0;
}
