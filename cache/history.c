/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "history.h"

#include "block.h"

#include <stdlib.h>
#include <string.h>

/* The layout of history.h. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_VERIFIED = 12,
    AT_GENERATION = 24,
    AT_TIME = 32,
    AT_RELEASE = 40,
    AT_ACQUIRE = 48,
    AT_BYTES = 56,
    AT_INO = 64,
    AT_HANDLE_HASH = 72,
    AT_BIRTH = 80,
    AT_RESERVED = 88,
    AT_FROM = 96,
    AT_TO = 160,
    AT_END = 224,
};

#define VERSION 1

_Static_assert(HISTORY_ENTRY_BYTES <= BLOCK_MOST_BYTES, "a block");

static const uint8_t magic[BLOCK_MAGIC_BYTES] = {'M', 'I', 'G', 'F', 'S', 'H', 'I', 'S'};

size_t history_offset(uint64_t generation)
{
    return (size_t)(generation % HISTORY_ENTRIES) * HISTORY_ENTRY_BYTES;
}

void history_encode(const struct history_entry *entry, uint8_t *bytes)
{
    memset(bytes, 0, HISTORY_ENTRY_BYTES);
    memcpy(bytes + AT_MAGIC, magic, sizeof(magic));
    put_u32(bytes + AT_VERSION, VERSION);
    put_u32(bytes + AT_VERIFIED, entry->verified);
    put_u64(bytes + AT_GENERATION, entry->generation);
    put_u64(bytes + AT_TIME, (uint64_t)entry->time_ns);
    put_u64(bytes + AT_RELEASE, entry->release_ns);
    put_u64(bytes + AT_ACQUIRE, entry->acquire_ns);
    put_u64(bytes + AT_BYTES, entry->flushed_bytes);
    put_u64(bytes + AT_INO, entry->identity.ino);
    put_u64(bytes + AT_HANDLE_HASH, entry->identity.handle_hash);
    put_u64(bytes + AT_BIRTH, (uint64_t)entry->identity.birth_ns);
    block_put_text(bytes + AT_FROM, entry->from, sizeof(entry->from));
    block_put_text(bytes + AT_TO, entry->to, sizeof(entry->to));
    block_seal(bytes, HISTORY_ENTRY_BYTES);
}

static bool entry_holds(const uint8_t *bytes)
{
    return memcmp(bytes + AT_MAGIC, magic, sizeof(magic)) == 0 &&
           get_u32(bytes + AT_VERSION) == VERSION && block_is_sealed(bytes, HISTORY_ENTRY_BYTES) &&
           get_u32(bytes + AT_VERIFIED) <= HISTORY_VERIFIED_MOST &&
           bytes[AT_FROM + RECORD_HOST_NAME_BYTES - 1] == 0 &&
           bytes[AT_TO + RECORD_HOST_NAME_BYTES - 1] == 0;
}

static void entry_decode(const uint8_t *bytes, struct history_entry *entry)
{
    *entry = (struct history_entry){
        .generation = get_u64(bytes + AT_GENERATION),
        .verified = get_u32(bytes + AT_VERIFIED),
        .time_ns = (int64_t)get_u64(bytes + AT_TIME),
        .release_ns = get_u64(bytes + AT_RELEASE),
        .acquire_ns = get_u64(bytes + AT_ACQUIRE),
        .flushed_bytes = get_u64(bytes + AT_BYTES),
        .identity = {.ino = get_u64(bytes + AT_INO),
                     .handle_hash = get_u64(bytes + AT_HANDLE_HASH),
                     .birth_ns = (int64_t)get_u64(bytes + AT_BIRTH)},
    };
    memcpy(entry->from, bytes + AT_FROM, RECORD_HOST_NAME_BYTES);
    memcpy(entry->to, bytes + AT_TO, RECORD_HOST_NAME_BYTES);
}

/* A generation counts anew when its record was removed: the clock is the better order. */
static int compare_newest_first(const void *a, const void *b)
{
    const struct history_entry *left = a, *right = b;

    if (left->time_ns != right->time_ns)
        return left->time_ns < right->time_ns ? 1 : -1;
    return (left->generation < right->generation) - (left->generation > right->generation);
}

size_t history_decode(const uint8_t *file, size_t size, const struct record_identity *identity,
                      struct history_entry entries[HISTORY_ENTRIES])
{
    size_t count = 0;

    for (size_t i = 0; i < HISTORY_ENTRIES && (i + 1) * HISTORY_ENTRY_BYTES <= size; i++) {
        const uint8_t *bytes = file + i * HISTORY_ENTRY_BYTES;

        if (!entry_holds(bytes))
            continue;
        entry_decode(bytes, &entries[count]);
        count += record_identity_matches(&entries[count].identity, identity);
    }
    if (count > 1)
        qsort(entries, count, sizeof(*entries), compare_newest_first);
    return count;
}
