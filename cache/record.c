/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record.h"

#include <string.h>
#include <xxhash.h>

/* The layout of record.h. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_SLOT_LENGTH = 12,
    AT_CHECKSUM = 16,
    AT_SEQUENCE = 32,
    AT_GENERATION = 40,
    AT_STATE = 48,
    AT_RESERVED = 52,
    AT_INO = 56,
    AT_HANDLE_HASH = 64,
    AT_BIRTH = 72,
    AT_TIME = 80,
    AT_LENGTH = 88,
    AT_CTIME = 96,
    AT_MACHINE_ID = 104,
    AT_BOOT_ID = 120,
    AT_INSTANCE = 136,
    AT_NAME = 144,
    AT_DIGEST_COUNT = 208,
    AT_DIGESTS = 212,
};

#define MAGIC_BYTES 8
#define CHECKSUM_BYTES 16

static const uint8_t magic[MAGIC_BYTES] = {'M', 'I', 'G', 'F', 'S', 'R', 'E', 'C'};

_Static_assert(sizeof(XXH128_canonical_t) == CHECKSUM_BYTES, "the checksum is 16 bytes");
_Static_assert(AT_NAME + RECORD_HOST_NAME_BYTES == AT_DIGEST_COUNT, "the name fills its field");

static void put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void put_u64(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 4; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* The checksum of a slot whose checksum field is zero. */
static void slot_checksum(const uint8_t *slot, uint8_t *checksum)
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(slot, RECORD_SLOT_BYTES));
    memcpy(checksum, canonical.digest, CHECKSUM_BYTES);
}

static void host_encode(const struct record_host *host, uint8_t *slot)
{
    memcpy(slot + AT_MACHINE_ID, host->machine_id, sizeof(host->machine_id));
    memcpy(slot + AT_BOOT_ID, host->boot_id, sizeof(host->boot_id));
    put_u64(slot + AT_INSTANCE, host->instance);
    memcpy(slot + AT_NAME, host->name, strnlen(host->name, RECORD_HOST_NAME_BYTES - 1));
}

void record_encode(const struct record *record, uint8_t *slot)
{
    memset(slot, 0, RECORD_SLOT_BYTES);
    memcpy(slot + AT_MAGIC, magic, sizeof(magic));
    put_u32(slot + AT_VERSION, RECORD_VERSION);
    put_u32(slot + AT_SLOT_LENGTH, RECORD_SLOT_BYTES);
    put_u64(slot + AT_SEQUENCE, record->sequence);
    put_u64(slot + AT_GENERATION, record->generation);
    put_u32(slot + AT_STATE, (uint32_t)record->state);
    put_u64(slot + AT_INO, record->identity.ino);
    put_u64(slot + AT_HANDLE_HASH, record->identity.handle_hash);
    put_u64(slot + AT_BIRTH, (uint64_t)record->identity.birth_ns);
    put_u64(slot + AT_TIME, (uint64_t)record->time_ns);
    put_u64(slot + AT_LENGTH, record->length_bytes);
    put_u64(slot + AT_CTIME, (uint64_t)record->ctime_ns);
    host_encode(&record->host, slot);
    slot_checksum(slot, slot + AT_CHECKSUM);
}

static bool bytes_are_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static bool checksum_holds(const uint8_t *slot)
{
    uint8_t copy[RECORD_SLOT_BYTES];
    uint8_t checksum[CHECKSUM_BYTES];

    memcpy(copy, slot, sizeof(copy));
    memset(copy + AT_CHECKSUM, 0, CHECKSUM_BYTES);
    slot_checksum(copy, checksum);
    return memcmp(checksum, slot + AT_CHECKSUM, CHECKSUM_BYTES) == 0;
}

static bool fields_hold(const uint8_t *slot)
{
    const uint32_t state = get_u32(slot + AT_STATE);

    return (state == RECORD_OWNED || state == RECORD_RELEASED) &&
           get_u32(slot + AT_RESERVED) == 0 && slot[AT_NAME + RECORD_HOST_NAME_BYTES - 1] == 0 &&
           bytes_are_zero(slot + AT_DIGEST_COUNT, RECORD_SLOT_BYTES - AT_DIGEST_COUNT);
}

/* Two that are both known must be the same. */
static bool known_alike(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 || a == b;
}

static bool identity_matches(const uint8_t *slot, const struct record_identity *identity)
{
    return get_u64(slot + AT_INO) == identity->ino &&
           known_alike(get_u64(slot + AT_HANDLE_HASH), identity->handle_hash) &&
           known_alike(get_u64(slot + AT_BIRTH), (uint64_t)identity->birth_ns);
}

static enum record_verdict slot_judge(const uint8_t *slot, const struct record_identity *identity)
{
    if (bytes_are_zero(slot, RECORD_SLOT_BYTES))
        return RECORD_MISSING;
    if (memcmp(slot + AT_MAGIC, magic, sizeof(magic)) != 0 ||
        get_u32(slot + AT_SLOT_LENGTH) != RECORD_SLOT_BYTES || !checksum_holds(slot))
        return RECORD_TORN;
    if (get_u32(slot + AT_VERSION) > RECORD_VERSION)
        return RECORD_FUTURE;
    if (get_u32(slot + AT_VERSION) != RECORD_VERSION || !fields_hold(slot))
        return RECORD_TORN;
    return identity_matches(slot, identity) ? RECORD_VALID : RECORD_ALIEN;
}

static void host_decode(const uint8_t *slot, struct record_host *host)
{
    memcpy(host->machine_id, slot + AT_MACHINE_ID, sizeof(host->machine_id));
    memcpy(host->boot_id, slot + AT_BOOT_ID, sizeof(host->boot_id));
    host->instance = get_u64(slot + AT_INSTANCE);
    memcpy(host->name, slot + AT_NAME, RECORD_HOST_NAME_BYTES);
}

/* Of a slot that was judged valid. */
static void slot_decode(const uint8_t *slot, struct record *record)
{
    record->sequence = get_u64(slot + AT_SEQUENCE);
    record->generation = get_u64(slot + AT_GENERATION);
    record->state = (enum record_state)get_u32(slot + AT_STATE);
    record->identity.ino = get_u64(slot + AT_INO);
    record->identity.handle_hash = get_u64(slot + AT_HANDLE_HASH);
    record->identity.birth_ns = (int64_t)get_u64(slot + AT_BIRTH);
    record->time_ns = (int64_t)get_u64(slot + AT_TIME);
    record->length_bytes = get_u64(slot + AT_LENGTH);
    record->ctime_ns = (int64_t)get_u64(slot + AT_CTIME);
    host_decode(slot, &record->host);
}

static bool slot_is_newer(const uint8_t *slot, const uint8_t *other)
{
    const uint64_t generation = get_u64(slot + AT_GENERATION);
    const uint64_t other_generation = get_u64(other + AT_GENERATION);

    if (generation != other_generation)
        return generation > other_generation;
    return get_u64(slot + AT_SEQUENCE) > get_u64(other + AT_SEQUENCE);
}

/*
 * What the file is worth, none of whose slots is valid. A slot of another file is told before a
 * torn one: it says why there is nothing for this file.
 */
static enum record_verdict verdict_without_valid(const enum record_verdict *verdicts)
{
    if (verdicts[0] == RECORD_ALIEN || verdicts[1] == RECORD_ALIEN)
        return RECORD_ALIEN;
    if (verdicts[0] == RECORD_TORN || verdicts[1] == RECORD_TORN)
        return RECORD_TORN;
    return RECORD_MISSING;
}

enum record_verdict record_decode(const uint8_t *file, size_t size,
                                  const struct record_identity *identity, struct record *record,
                                  unsigned *slot_index)
{
    if (size == 0 || bytes_are_zero(file, size))
        return RECORD_MISSING;
    if (size != RECORD_FILE_BYTES)
        return RECORD_TORN;

    const uint8_t *const slots[RECORD_SLOTS] = {file, file + RECORD_SLOT_BYTES};
    const enum record_verdict verdicts[RECORD_SLOTS] = {
        slot_judge(slots[0], identity),
        slot_judge(slots[1], identity),
    };
    const bool valid[RECORD_SLOTS] = {verdicts[0] == RECORD_VALID, verdicts[1] == RECORD_VALID};

    if (verdicts[0] == RECORD_FUTURE || verdicts[1] == RECORD_FUTURE)
        return RECORD_FUTURE;
    if (!valid[0] && !valid[1])
        return verdict_without_valid(verdicts);

    /* An alien slot never counts, however new: a reused inode number starts its own count. */
    const unsigned newest = valid[1] && (!valid[0] || slot_is_newer(slots[1], slots[0])) ? 1 : 0;
    slot_decode(slots[newest], record);
    *slot_index = newest;
    return RECORD_VALID;
}

bool record_same_host(const struct record_host *a, const struct record_host *b)
{
    return memcmp(a->machine_id, b->machine_id, sizeof(a->machine_id)) == 0 &&
           memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id)) == 0 && a->instance == b->instance;
}

const char *record_verdict_name(enum record_verdict verdict)
{
    static const char *const names[] = {
        [RECORD_VALID] = "valid",   [RECORD_MISSING] = "missing", [RECORD_TORN] = "torn",
        [RECORD_FUTURE] = "future", [RECORD_ALIEN] = "alien",
    };
    return names[verdict];
}

uint64_t record_handle_hash(int32_t type, const void *bytes, size_t size)
{
    const uint64_t hash = XXH3_64bits_withSeed(bytes, size, (uint32_t)type);

    return hash != 0 ? hash : 1;
}
