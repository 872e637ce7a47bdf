/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "beacon.h"

#include "block.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The layout of beacon.h. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_PERIOD = 12,
    AT_TIME = 24,
    AT_MOUNTED = 32,
    AT_INSTANCE = 40,
    AT_MACHINE_ID = 48,
    AT_BOOT_ID = 64,
    AT_HOST_NAME = 80,
    AT_RELEASE = 144,
    AT_OPTIONS = 176,
};

#define VERSION 1
#define SECOND_NS INT64_C(1000000000)
/* A host that is late with two of its writes may be busy. */
#define FRESH_PERIODS 3

_Static_assert(BEACON_BYTES <= BLOCK_MOST_BYTES, "a block");

static const uint8_t magic[BLOCK_MAGIC_BYTES] = {'M', 'I', 'G', 'F', 'S', 'B', 'C', 'N'};

void beacon_encode(const struct beacon *beacon, uint8_t *bytes)
{
    memset(bytes, 0, BEACON_BYTES);
    memcpy(bytes + AT_MAGIC, magic, sizeof(magic));
    put_u32(bytes + AT_VERSION, VERSION);
    put_u32(bytes + AT_PERIOD, beacon->period_s);
    put_u64(bytes + AT_TIME, (uint64_t)beacon->time_ns);
    put_u64(bytes + AT_MOUNTED, (uint64_t)beacon->mounted_ns);
    put_u64(bytes + AT_INSTANCE, beacon->host.instance);
    memcpy(bytes + AT_MACHINE_ID, beacon->host.machine_id, sizeof(beacon->host.machine_id));
    memcpy(bytes + AT_BOOT_ID, beacon->host.boot_id, sizeof(beacon->host.boot_id));
    block_put_text(bytes + AT_HOST_NAME, beacon->host.name, sizeof(beacon->host.name));
    block_put_text(bytes + AT_RELEASE, beacon->version, sizeof(beacon->version));
    block_put_text(bytes + AT_OPTIONS, beacon->options, sizeof(beacon->options));
    block_seal(bytes, BEACON_BYTES);
}

static bool fields_hold(const uint8_t *bytes)
{
    const uint32_t period_s = get_u32(bytes + AT_PERIOD);

    return period_s >= 1 && period_s <= BEACON_PERIOD_MOST_S &&
           (int64_t)get_u64(bytes + AT_TIME) >= 0 && (int64_t)get_u64(bytes + AT_MOUNTED) >= 0 &&
           bytes[AT_HOST_NAME + RECORD_HOST_NAME_BYTES - 1] == 0 &&
           bytes[AT_RELEASE + BEACON_VERSION_BYTES - 1] == 0 &&
           bytes[AT_OPTIONS + BEACON_OPTIONS_BYTES - 1] == 0;
}

enum beacon_verdict beacon_decode(const uint8_t *file, size_t size, struct beacon *beacon)
{
    if (size != BEACON_BYTES || memcmp(file + AT_MAGIC, magic, sizeof(magic)) != 0 ||
        !block_is_sealed(file, BEACON_BYTES))
        return BEACON_DAMAGED;
    if (get_u32(file + AT_VERSION) != VERSION)
        return BEACON_FUTURE;
    if (!fields_hold(file))
        return BEACON_DAMAGED;
    *beacon = (struct beacon){
        .host = {.instance = get_u64(file + AT_INSTANCE)},
        .period_s = get_u32(file + AT_PERIOD),
        .time_ns = (int64_t)get_u64(file + AT_TIME),
        .mounted_ns = (int64_t)get_u64(file + AT_MOUNTED),
    };
    memcpy(beacon->host.machine_id, file + AT_MACHINE_ID, sizeof(beacon->host.machine_id));
    memcpy(beacon->host.boot_id, file + AT_BOOT_ID, sizeof(beacon->host.boot_id));
    memcpy(beacon->host.name, file + AT_HOST_NAME, sizeof(beacon->host.name));
    memcpy(beacon->version, file + AT_RELEASE, sizeof(beacon->version));
    memcpy(beacon->options, file + AT_OPTIONS, sizeof(beacon->options));
    return BEACON_VALID;
}

#define MACHINE_DIGITS (2 * sizeof(((struct record_host *)NULL)->machine_id))
#define INSTANCE_DIGITS 16

struct beacon_name beacon_name(const struct record_host *host)
{
    struct beacon_name name;
    size_t at = 0;

    for (size_t i = 0; i < sizeof(host->machine_id); i++, at += 2)
        snprintf(name.text + at, sizeof(name.text) - at, "%02x", host->machine_id[i]);
    snprintf(name.text + at, sizeof(name.text) - at, "-%016" PRIx64, host->instance);
    return name;
}

bool beacon_is_name(const char *name)
{
    static const char digits[] = "0123456789abcdef";

    return strspn(name, digits) == MACHINE_DIGITS && name[MACHINE_DIGITS] == '-' &&
           strspn(name + MACHINE_DIGITS + 1, digits) == INSTANCE_DIGITS &&
           name[MACHINE_DIGITS + 1 + INSTANCE_DIGITS] == '\0';
}

bool beacon_is_fresh(const struct beacon *beacon, int64_t age_ns)
{
    return age_ns <= FRESH_PERIODS * SECOND_NS * beacon->period_s;
}

bool beacon_is_over(const struct record_host *own, const struct beacon *other, int64_t age_ns)
{
    static const uint8_t unknown[sizeof(own->machine_id)] = {0};
    const bool is_known = memcmp(own->machine_id, unknown, sizeof(unknown)) != 0;

    if (age_ns > BEACON_KEPT_S * SECOND_NS)
        return true;
    return is_known && memcmp(own->machine_id, other->host.machine_id, sizeof(unknown)) == 0 &&
           own->instance != other->host.instance && !beacon_is_fresh(other, age_ns);
}
