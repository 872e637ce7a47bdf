/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "record_slots.h"

#include "mount.h"
#include "mutant.h"

#include "cache/record.h"

#include <stdlib.h>
#include <string.h>

#define INO 42
#define TORN_AFTER 44 /* bytes: between the generation's and the rest */
#define CTIME_NOW 1000

static struct record_host host_of(unsigned h, unsigned boot)
{
    return (struct record_host){
        .machine_id = {(uint8_t)(h + 1)}, .boot_id = {(uint8_t)(boot + 1)}, .instance = 1};
}

static const struct record_identity identity = {.ino = INO};

static void slot_encode(const struct slot *slot, uint8_t *bytes)
{
    struct record record = {
        .sequence = slot->sequence,
        .generation = slot->generation,
        .state = (enum record_state)slot->state,
        .identity = identity,
        .host = host_of(slot->host, slot->boot),
        .trace = {.length_bytes = 1, .ctime_ns = CTIME_NOW - !slot->is_as_it},
        .digest_count = slot->digest != 0,
        .digests = {{.length = 1}},
    };

    if (slot->state == 0) {
        memset(bytes, 0, RECORD_SLOT_BYTES);
        return;
    }
    digest_of(&slot->digest, 1, record.digests[0].digest);
    record_encode(&record, bytes);
    if (slot->is_torn)
        memset(bytes + TORN_AFTER, 0, RECORD_SLOT_BYTES - TORN_AFTER);
}

/* Judgements that were passed already: a judgement costs more than all else. */
struct judgement {
    struct slot slots[2];
    bool is_known, is_valid;
    unsigned index;
};
static struct judgement judgements[1u << 14];

static struct judgement *judgement_of(const struct slot slots[2])
{
    uint64_t words[2];

    _Static_assert(sizeof(words) == 2 * sizeof(struct slot), "two slots are two words");
    memcpy(words, slots, sizeof(words));
    const uint64_t hash = (words[0] ^ (words[1] * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
    return &judgements[hash >> 50];
}

static void judge(const struct slot slots[2], struct judgement *judgement)
{
    uint8_t bytes[RECORD_FILE_BYTES];
    struct record record;
    unsigned index = 0;

    slot_encode(&slots[0], bytes);
    slot_encode(&slots[1], bytes + RECORD_SLOT_BYTES);
    const enum record_verdict verdict =
        record_decode(bytes, sizeof(bytes), &identity, &record, &index);
    *judgement =
        (struct judgement){.is_known = true, .is_valid = verdict == RECORD_VALID, .index = index};
    memcpy(judgement->slots, slots, sizeof(judgement->slots));
    if (judgement->is_valid && (record.generation != slots[index].generation ||
                                (uint8_t)record.state != slots[index].state))
        abort(); /* the codec gives something else than it was given */
}

struct slot record_slots_read(struct run *run, unsigned h)
{
    struct host *host = &run->world.hosts[h];
    struct slot slots[2];
    struct owner owner = mount_owner(host);

    memcpy(slots, run->world.server.slots, sizeof(slots));
    struct judgement *judgement = judgement_of(slots);
    if (!judgement->is_known || memcmp(judgement->slots, slots, sizeof(slots)) != 0)
        judge(slots, judgement);

    host->has_slot = judgement->is_valid;
    if (!judgement->is_valid) {
        (void)owner_record_seen(&owner, false, 0); /* who calls compares the states */
        mount_set_owner(host, &owner);
        return (struct slot){0};
    }
    const struct slot *slot = &slots[judgement->index];
    const struct record_host named = host_of(slot->host, slot->boot);
    const struct record_host here = host_of(h, host->boot);

    host->slot = (uint8_t)judgement->index;
    host->sequence = slot->sequence;
    (void)owner_record_seen(&owner, slot->state == RECORD_OWNED && !record_same_host(&named, &here),
                            slot->generation);
    mount_set_owner(host, &owner);
    return *slot;
}

void record_slots_write(struct run *run, unsigned h, enum record_state state, uint64_t generation,
                        bool is_torn)
{
    struct host *host = &run->world.hosts[h];
    struct slot *slots = run->world.server.slots;
    const bool in_place = mutated(run, MUTATION_ONE_SLOT);
    const unsigned index = host->has_slot ? (unsigned)(host->slot ^ !in_place) : 0;

    if (!host->has_slot)
        slots[1] = (struct slot){0};
    slots[index] = (struct slot){
        .state = (uint8_t)state,
        .is_torn = is_torn,
        .host = (uint8_t)h,
        .boot = host->boot,
        .generation = (uint8_t)generation,
        .sequence = (uint8_t)(host->sequence + 1),
        .digest = state == RECORD_RELEASED && host->digest_is_durable ? host->digest : 0,
        .is_as_it = 1,
    };
    host->has_slot = 1;
    host->slot = (uint8_t)index;
    host->sequence++;
}
