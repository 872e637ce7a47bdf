/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes timeline_decode: no bytes make it read beyond them, and what it tells encodes to the bytes
 * that it was told by. The first byte chooses whether the head is made right.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/timeline.h"
#include "seal.h"

static void mend(uint8_t *bytes)
{
    memcpy(bytes, "MIGFSTML\1\0\0", 11);
    memset(bytes + 13, 0, 3);
    bytes[12] &= 1;
    memset(bytes + 24, 0, 16);
    bytes[24] = 7;
    bytes[32] = 1;
    seal(bytes, TIMELINE_ENTRY_BYTES);
}

static void check(const uint8_t *bytes, size_t size, enum timeline_side side)
{
    static struct timeline_entry entry, again;
    uint8_t written[TIMELINE_ENTRY_BYTES];
    const struct record_identity identity = {.ino = 1};

    if (!timeline_decode(bytes, size, side, 7, &identity, &entry))
        return;
    if (entry.timeline.span_count > TIMELINE_SPANS || entry.generation != 7 || entry.side != side ||
        strnlen(entry.host, sizeof(entry.host)) == sizeof(entry.host))
        abort();
    timeline_encode(&entry, written);
    if (!timeline_decode(written, sizeof(written), side, 7, &identity, &again) ||
        again.timeline.ended_ns != entry.timeline.ended_ns ||
        memcmp(again.timeline.spans, entry.timeline.spans, sizeof(entry.timeline.spans)) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;

    if (size == 0 || (bytes = malloc(size)) == NULL)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    if ((data[0] & 1) != 0 && size - 1 >= TIMELINE_ENTRY_BYTES)
        mend(bytes);
    check(bytes, size - 1, TIMELINE_RELEASE);
    check(bytes, size - 1, TIMELINE_ACQUIRE);
    free(bytes);
    return 0;
}
