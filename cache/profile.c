/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile.h"

#include <errno.h>
#include <string.h>

/* Whether the range is a read lock of bytes `base` … `base` + 3 and of no other. */
static bool range_within(const struct range *range, uint64_t base)
{
    return range->type == RANGE_READ && range->start >= base &&
           range->end <= base + QEMU_PERM_RESIZE;
}

static bool range_is_qemu(const struct range *range)
{
    return range_within(range, QEMU_BYTE_USES) || range_within(range, QEMU_BYTE_UNSHARED);
}

static bool range_is_qemu_byte(const struct range *range, uint64_t byte)
{
    return range_is_qemu(range) && range->start <= byte && byte <= range->end;
}

static bool qemu_holds_any(const struct range_table *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        if (range_is_qemu(&ranges->entries[i]))
            return true;
    }
    return false;
}

static bool qemu_holds_byte(const struct range_table *ranges, uint64_t byte)
{
    for (size_t i = 0; i < ranges->count; i++) {
        if (range_is_qemu_byte(&ranges->entries[i], byte))
            return true;
    }
    return false;
}

static bool qemu_owner_holds_byte(const struct range_table *ranges, uint64_t owner, uint64_t byte)
{
    for (size_t i = 0; i < ranges->count; i++) {
        if (ranges->entries[i].owner == owner && range_is_qemu_byte(&ranges->entries[i], byte))
            return true;
    }
    return false;
}

/*
 * Whether one owner holds two of byte 100, 101, and one of 200–203: no other program does that by
 * chance. A raw image with share-rw=on shares all that can be shared: no byte of 200–203 follows.
 * The image that an overlay is committed into is written without being read: 101 and 203 alone; one
 * whose header is being made shares all, too: 101 and 103.
 */
static bool qemu_recognise(const struct range_table *ranges)
{
    for (size_t i = 0; i < ranges->count; i++) {
        const uint64_t owner = ranges->entries[i].owner;
        const bool unshared = range_within(&ranges->entries[i], QEMU_BYTE_UNSHARED);
        const bool writes = range_is_qemu_byte(&ranges->entries[i], QEMU_BYTE_USES_WRITE);
        const bool resizes =
            range_is_qemu_byte(&ranges->entries[i], QEMU_BYTE_USES + QEMU_PERM_RESIZE);

        if ((unshared || writes) &&
            qemu_owner_holds_byte(ranges, owner, QEMU_BYTE_USES + QEMU_PERM_CONSISTENT_READ))
            return true;
        if ((unshared || resizes) && qemu_owner_holds_byte(ranges, owner, QEMU_BYTE_USES_WRITE))
            return true;
    }
    return false;
}

static enum claim qemu_claim(const struct range_table *ranges)
{
    const bool writes = qemu_holds_byte(ranges, QEMU_BYTE_USES_WRITE);
    const bool minds_writers = qemu_holds_byte(ranges, QEMU_BYTE_UNSHARED_WRITE);

    if (writes)
        return minds_writers ? CLAIM_OWNER_WRITING : CLAIM_SHARED;
    if (minds_writers)
        return CLAIM_OWNER_READING;
    return qemu_holds_any(ranges) ? CLAIM_READER : CLAIM_NONE;
}

static enum claim auto_claim(const struct range_table *ranges, bool *recognised)
{
    *recognised = qemu_recognise(ranges) || (*recognised && qemu_holds_any(ranges));
    return *recognised ? qemu_claim(ranges) : CLAIM_NONE;
}

/*
 * Whether the range is of the whole file. A file that grows leaves its length's lock behind: once
 * recognised it stays so.
 */
static bool range_is_whole(const struct range *range, uint64_t length_bytes, bool recognised)
{
    if (range->start != 0)
        return false;
    if (recognised || range->end == RANGE_MAX)
        return true;
    return length_bytes > 0 && range->end >= length_bytes - 1;
}

static enum claim range_claim(const struct profile_locks *locks, bool *recognised)
{
    enum claim claim = CLAIM_NONE;

    for (size_t i = 0; i < locks->ranges->count; i++) {
        const struct range *range = &locks->ranges->entries[i];

        if (!range_is_whole(range, locks->length_bytes, *recognised))
            continue;
        if (range->type == RANGE_WRITE)
            claim = CLAIM_OWNER_WRITING;
        else if (claim < CLAIM_READER)
            claim = CLAIM_READER;
    }
    *recognised = claim != CLAIM_NONE;
    return claim;
}

static enum claim flock_claim(const struct range_table *flocks)
{
    for (size_t i = 0; i < flocks->count; i++) {
        if (flocks->entries[i].type == RANGE_WRITE)
            return CLAIM_OWNER_WRITING;
    }
    return flocks->count > 0 ? CLAIM_READER : CLAIM_NONE;
}

enum claim profile_claim(enum profile profile, const struct profile_locks *locks, bool *recognised)
{
    switch (profile) {
    case PROFILE_AUTO:
        return auto_claim(locks->ranges, recognised);
    case PROFILE_QEMU:
        return qemu_claim(locks->ranges);
    case PROFILE_RANGE:
        return range_claim(locks, recognised);
    case PROFILE_FLOCK:
        return flock_claim(locks->flocks);
    case PROFILE_NONE:
        break;
    }
    return CLAIM_NONE;
}

static bool range_owner_writes(const struct profile_locks *locks, bool recognised, uint64_t owner)
{
    for (size_t i = 0; i < locks->ranges->count; i++) {
        const struct range *range = &locks->ranges->entries[i];

        if (range->owner == owner && range->type == RANGE_WRITE &&
            range_is_whole(range, locks->length_bytes, recognised))
            return true;
    }
    return false;
}

static bool flock_owner_writes(const struct range_table *flocks, uint64_t owner)
{
    for (size_t i = 0; i < flocks->count; i++) {
        if (flocks->entries[i].owner == owner && flocks->entries[i].type == RANGE_WRITE)
            return true;
    }
    return false;
}

bool profile_owner_writes(enum profile profile, const struct profile_locks *locks, bool recognised,
                          uint64_t owner)
{
    switch (profile) {
    case PROFILE_AUTO:
        return recognised && qemu_owner_holds_byte(locks->ranges, owner, QEMU_BYTE_USES_WRITE);
    case PROFILE_QEMU:
        return qemu_owner_holds_byte(locks->ranges, owner, QEMU_BYTE_USES_WRITE);
    case PROFILE_RANGE:
        return range_owner_writes(locks, recognised, owner);
    case PROFILE_FLOCK:
        return flock_owner_writes(locks->flocks, owner);
    case PROFILE_NONE:
        break;
    }
    return false;
}

static const char *const profile_names[] = {
    [PROFILE_AUTO] = "auto",   [PROFILE_QEMU] = "qemu", [PROFILE_RANGE] = "range",
    [PROFILE_FLOCK] = "flock", [PROFILE_NONE] = "none",
};

const char *profile_name(enum profile profile)
{
    return profile_names[profile];
}

int profile_parse(const char *name, enum profile *profile)
{
    for (size_t i = 0; i < sizeof(profile_names) / sizeof(profile_names[0]); i++) {
        if (strcmp(name, profile_names[i]) == 0) {
            *profile = (enum profile)i;
            return 0;
        }
    }
    return -EINVAL;
}
