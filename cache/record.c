/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record.h"

#include "little_endian.h"

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
    AT_RESERVED_2 = 212,
    AT_MTIME = 216,
    AT_FLUSHED = 224,
    AT_DURATION = 232,
    AT_HANDLE_TYPE = 240,
    AT_HANDLE_LENGTH = 244,
    AT_RESERVED_3 = 248,
    AT_DIGESTS = 256,
    AT_HANDLE = 3840,
    AT_END = 3968,
};

/* Of one digest. */
enum {
    DIGEST_AT_OFFSET = 0,
    DIGEST_AT_LENGTH = 8,
    DIGEST_AT_RESERVED = 12,
    DIGEST_AT_DIGEST = 16,
    DIGEST_ENTRY_BYTES = 32,
};

#define MAGIC_BYTES 8
#define CHECKSUM_BYTES 16

static const uint8_t magic[MAGIC_BYTES] = {'M', 'I', 'G', 'F', 'S', 'R', 'E', 'C'};

_Static_assert(sizeof(XXH128_canonical_t) == CHECKSUM_BYTES, "the checksum is 16 bytes");
_Static_assert(AT_NAME + RECORD_HOST_NAME_BYTES == AT_DIGEST_COUNT, "the name fills its field");
_Static_assert(AT_DIGESTS + DIGEST_EXTENTS * DIGEST_ENTRY_BYTES == AT_HANDLE &&
                   AT_HANDLE + RECORD_FILE_HANDLE_BYTES == AT_END && AT_END <= RECORD_SLOT_BYTES,
               "all that a ring keeps fits a slot");

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

static void digests_encode(const struct record *record, uint8_t *slot)
{
    put_u32(slot + AT_DIGEST_COUNT, record->digest_count);
    for (uint32_t i = 0; i < record->digest_count; i++) {
        const struct digest_extent *extent = &record->digests[i];
        uint8_t *to = slot + AT_DIGESTS + (size_t)i * DIGEST_ENTRY_BYTES;

        put_u64(to + DIGEST_AT_OFFSET, extent->offset);
        put_u32(to + DIGEST_AT_LENGTH, extent->length);
        memcpy(to + DIGEST_AT_DIGEST, extent->digest, DIGEST_BYTES);
    }
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
    put_u64(slot + AT_LENGTH, record->trace.length_bytes);
    put_u64(slot + AT_CTIME, (uint64_t)record->trace.ctime_ns);
    put_u64(slot + AT_MTIME, (uint64_t)record->trace.mtime_ns);
    put_u64(slot + AT_FLUSHED, record->flushed_bytes);
    put_u64(slot + AT_DURATION, record->duration_ns);
    put_u32(slot + AT_HANDLE_TYPE, (uint32_t)record->file_handle.type);
    put_u32(slot + AT_HANDLE_LENGTH, record->file_handle.length);
    memcpy(slot + AT_HANDLE, record->file_handle.bytes, record->file_handle.length);
    digests_encode(record, slot);
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

/* Of a version 2 slot. A file has no more than INT64_MAX bytes. */
static bool digest_holds(const uint8_t *entry)
{
    const uint64_t offset = get_u64(entry + DIGEST_AT_OFFSET);
    const uint32_t length = get_u32(entry + DIGEST_AT_LENGTH);

    return length > 0 && length <= DIGEST_MOST_BYTES && offset <= (uint64_t)INT64_MAX - length &&
           get_u32(entry + DIGEST_AT_RESERVED) == 0;
}

static bool digests_hold(const uint8_t *slot)
{
    const uint32_t count = get_u32(slot + AT_DIGEST_COUNT);

    if (count > DIGEST_EXTENTS)
        return false;
    const uint8_t *end = slot + AT_DIGESTS + (size_t)count * DIGEST_ENTRY_BYTES;
    for (const uint8_t *entry = slot + AT_DIGESTS; entry < end; entry += DIGEST_ENTRY_BYTES) {
        if (!digest_holds(entry))
            return false;
    }
    return bytes_are_zero(end, (size_t)(slot + AT_HANDLE - end));
}

static bool file_handle_holds(const uint8_t *slot)
{
    const uint32_t length = get_u32(slot + AT_HANDLE_LENGTH);

    return length <= RECORD_FILE_HANDLE_BYTES &&
           bytes_are_zero(slot + AT_HANDLE + length, RECORD_FILE_HANDLE_BYTES - length);
}

static bool fields_hold(const uint8_t *slot)
{
    const uint32_t state = get_u32(slot + AT_STATE);

    if ((state != RECORD_OWNED && state != RECORD_RELEASED) || get_u32(slot + AT_RESERVED) != 0 ||
        slot[AT_NAME + RECORD_HOST_NAME_BYTES - 1] != 0)
        return false;
    if (get_u32(slot + AT_VERSION) == 1)
        return bytes_are_zero(slot + AT_DIGEST_COUNT, RECORD_SLOT_BYTES - AT_DIGEST_COUNT);
    return get_u32(slot + AT_RESERVED_2) == 0 && get_u64(slot + AT_RESERVED_3) == 0 &&
           digests_hold(slot) && file_handle_holds(slot) &&
           bytes_are_zero(slot + AT_END, RECORD_SLOT_BYTES - AT_END);
}

/* Two that are both known must be the same. */
static bool known_alike(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 || a == b;
}

bool record_identity_matches(const struct record_identity *a, const struct record_identity *b)
{
    return a->ino == b->ino && known_alike(a->handle_hash, b->handle_hash) &&
           known_alike((uint64_t)a->birth_ns, (uint64_t)b->birth_ns);
}

static struct record_identity identity_decode(const uint8_t *slot)
{
    return (struct record_identity){
        .ino = get_u64(slot + AT_INO),
        .handle_hash = get_u64(slot + AT_HANDLE_HASH),
        .birth_ns = (int64_t)get_u64(slot + AT_BIRTH),
    };
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
    if (get_u32(slot + AT_VERSION) == 0 || !fields_hold(slot))
        return RECORD_TORN;
    const struct record_identity own = identity_decode(slot);
    return record_identity_matches(&own, identity) ? RECORD_VALID : RECORD_ALIEN;
}

static void host_decode(const uint8_t *slot, struct record_host *host)
{
    memcpy(host->machine_id, slot + AT_MACHINE_ID, sizeof(host->machine_id));
    memcpy(host->boot_id, slot + AT_BOOT_ID, sizeof(host->boot_id));
    host->instance = get_u64(slot + AT_INSTANCE);
    memcpy(host->name, slot + AT_NAME, RECORD_HOST_NAME_BYTES);
}

static void digests_decode(const uint8_t *slot, struct record *record)
{
    record->digest_count = get_u32(slot + AT_DIGEST_COUNT);
    for (uint32_t i = 0; i < record->digest_count; i++) {
        const uint8_t *from = slot + AT_DIGESTS + (size_t)i * DIGEST_ENTRY_BYTES;
        struct digest_extent *extent = &record->digests[i];

        *extent = (struct digest_extent){
            .offset = get_u64(from + DIGEST_AT_OFFSET),
            .length = get_u32(from + DIGEST_AT_LENGTH),
        };
        memcpy(extent->digest, from + DIGEST_AT_DIGEST, DIGEST_BYTES);
    }
}

/* Of a slot that was judged valid. What version 1 has not is zero there. */
static void slot_decode(const uint8_t *slot, struct record *record)
{
    record->sequence = get_u64(slot + AT_SEQUENCE);
    record->generation = get_u64(slot + AT_GENERATION);
    record->state = (enum record_state)get_u32(slot + AT_STATE);
    record->identity = identity_decode(slot);
    record->time_ns = (int64_t)get_u64(slot + AT_TIME);
    record->trace.length_bytes = get_u64(slot + AT_LENGTH);
    record->trace.ctime_ns = (int64_t)get_u64(slot + AT_CTIME);
    record->trace.mtime_ns = (int64_t)get_u64(slot + AT_MTIME);
    record->flushed_bytes = get_u64(slot + AT_FLUSHED);
    record->duration_ns = get_u64(slot + AT_DURATION);
    record->file_handle = (struct record_file_handle){
        .type = (int32_t)get_u32(slot + AT_HANDLE_TYPE),
        .length = get_u32(slot + AT_HANDLE_LENGTH),
    };
    memcpy(record->file_handle.bytes, slot + AT_HANDLE, RECORD_FILE_HANDLE_BYTES);
    digests_decode(slot, record);
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

/* What this machine wrote before its last boot is older than that. */
static bool is_cloned(const struct record *record, const struct record_host *here,
                      int64_t booted_ns)
{
    const struct record_host *host = &record->host;

    return !bytes_are_zero(host->machine_id, sizeof(host->machine_id)) &&
           memcmp(host->machine_id, here->machine_id, sizeof(host->machine_id)) == 0 &&
           memcmp(host->boot_id, here->boot_id, sizeof(host->boot_id)) != 0 &&
           record->time_ns - RECORD_CLOCK_GRACE_NS > booted_ns;
}

enum record_oddity record_host_oddity(const struct record *record, const struct record_host *here,
                                      int64_t now_ns, int64_t booted_ns)
{
    if (record->time_ns < RECORD_CLOCK_GRACE_NS)
        return RECORD_HOST_FINE;
    if (is_cloned(record, here, booted_ns))
        return RECORD_HOST_CLONED;
    return record->time_ns - RECORD_CLOCK_GRACE_NS > now_ns ? RECORD_HOST_AHEAD : RECORD_HOST_FINE;
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
