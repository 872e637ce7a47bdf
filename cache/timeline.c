/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "timeline.h"

#include "block.h"

#include <string.h>

/* The layout of timeline.h. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_SIDE = 12,
    AT_GENERATION = 24,
    AT_INO = 32,
    AT_HANDLE_HASH = 40,
    AT_BIRTH = 48,
    AT_BEGIN = 56,
    AT_DURATION = 64,
    AT_CLOCK_AHEAD = 72,
    AT_CLOCK_UNSURE = 80,
    AT_FLAGS = 88,
    AT_SPAN_COUNT = 92,
    AT_BOOT_ID = 96,
    AT_HOST = 112,
    AT_SPANS = 176,
    SPAN_BYTES = 12,
};

#define VERSION 1
#define FLAG_CUT 1u
/* Unlocks that are further apart have nothing to do with each other. */
#define GAP_MOST_NS INT64_C(1000000000)

_Static_assert(TIMELINE_ENTRY_BYTES <= BLOCK_MOST_BYTES, "a block");
_Static_assert(AT_SPANS + TIMELINE_SPANS * SPAN_BYTES <= TIMELINE_ENTRY_BYTES, "spans fit");

static const uint8_t magic[BLOCK_MAGIC_BYTES] = {'M', 'I', 'G', 'F', 'S', 'T', 'M', 'L'};

/* ---- making one ---- */

/* Rounded up: what ran took some time. */
static uint32_t to_us(int64_t ns)
{
    const int64_t us = ns > 0 ? (ns + 999) / 1000 : 0;

    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static void add_span(struct timeline *timeline, const struct timeline_span *span)
{
    if (timeline->span_count == TIMELINE_SPANS) {
        timeline->is_cut = true;
        timeline->span_count--;
        memmove(timeline->spans, timeline->spans + 1,
                timeline->span_count * sizeof(timeline->spans[0]));
    }
    timeline->spans[timeline->span_count++] = *span;
}

void timeline_add(struct timeline *timeline, enum handoff_kind kind, enum handoff_step step,
                  int64_t began_ns, int64_t ended_ns)
{
    const int64_t start_us = (began_ns - timeline->started_ns) / 1000;
    const struct timeline_span span = {
        .start_us = start_us < UINT32_MAX ? (uint32_t)start_us : UINT32_MAX,
        .duration_us = to_us(ended_ns - began_ns),
        .kind = (uint16_t)kind,
        .step = (uint16_t)step,
    };

    add_span(timeline, &span);
    timeline->ended_ns = ended_ns;
}

bool timeline_continues(const struct timeline *timeline, const struct timeline *next)
{
    return timeline->span_count > 0 && next->started_ns - timeline->ended_ns < GAP_MOST_NS;
}

void timeline_append(struct timeline *timeline, const struct timeline *next)
{
    const int64_t later_us = (next->started_ns - timeline->started_ns) / 1000;

    for (uint32_t i = 0; i < next->span_count; i++) {
        struct timeline_span span = next->spans[i];
        const int64_t start_us = span.start_us + later_us;

        span.start_us = start_us < UINT32_MAX ? (uint32_t)start_us : UINT32_MAX;
        add_span(timeline, &span);
    }
    timeline->is_cut = timeline->is_cut || next->is_cut;
    timeline->ended_ns = next->ended_ns;
}

/* ---- as bytes ---- */

size_t timeline_offset(enum timeline_side side, uint64_t generation)
{
    const size_t entry = (size_t)(generation % HISTORY_ENTRIES);

    return HISTORY_FILE_BYTES +
           ((size_t)side * HISTORY_ENTRIES + entry) * (size_t)TIMELINE_ENTRY_BYTES;
}

void timeline_encode(const struct timeline_entry *entry, uint8_t *bytes)
{
    const struct timeline *timeline = &entry->timeline;

    memset(bytes, 0, TIMELINE_ENTRY_BYTES);
    memcpy(bytes + AT_MAGIC, magic, sizeof(magic));
    put_u32(bytes + AT_VERSION, VERSION);
    put_u32(bytes + AT_SIDE, (uint32_t)entry->side);
    put_u64(bytes + AT_GENERATION, entry->generation);
    put_u64(bytes + AT_INO, entry->identity.ino);
    put_u64(bytes + AT_HANDLE_HASH, entry->identity.handle_hash);
    put_u64(bytes + AT_BIRTH, (uint64_t)entry->identity.birth_ns);
    put_u64(bytes + AT_BEGIN, (uint64_t)timeline->started_ns);
    put_u64(bytes + AT_DURATION, (uint64_t)timeline->ended_ns - (uint64_t)timeline->started_ns);
    put_u64(bytes + AT_CLOCK_AHEAD, (uint64_t)entry->clock_ahead_ns);
    put_u64(bytes + AT_CLOCK_UNSURE, entry->clock_unsure_ns);
    put_u32(bytes + AT_FLAGS, timeline->is_cut ? FLAG_CUT : 0);
    put_u32(bytes + AT_SPAN_COUNT, timeline->span_count);
    memcpy(bytes + AT_BOOT_ID, entry->boot_id, sizeof(entry->boot_id));
    block_put_text(bytes + AT_HOST, entry->host, sizeof(entry->host));
    for (uint32_t i = 0; i < timeline->span_count; i++) {
        const struct timeline_span *span = &timeline->spans[i];
        uint8_t *at = bytes + AT_SPANS + (size_t)i * SPAN_BYTES;

        put_u32(at, span->start_us);
        put_u32(at + 4, span->duration_us);
        put_u32(at + 8, span->kind | (uint32_t)span->step << 16);
    }
    block_seal(bytes, TIMELINE_ENTRY_BYTES);
}

static bool holds(const uint8_t *bytes, enum timeline_side side, uint64_t generation)
{
    return memcmp(bytes + AT_MAGIC, magic, sizeof(magic)) == 0 &&
           get_u32(bytes + AT_VERSION) == VERSION && block_is_sealed(bytes, TIMELINE_ENTRY_BYTES) &&
           get_u32(bytes + AT_SIDE) == (uint32_t)side &&
           get_u64(bytes + AT_GENERATION) == generation &&
           get_u32(bytes + AT_SPAN_COUNT) <= TIMELINE_SPANS &&
           bytes[AT_HOST + RECORD_HOST_NAME_BYTES - 1] == 0;
}

static struct timeline_span decode_span(const uint8_t *at)
{
    const uint32_t names = get_u32(at + 8);

    return (struct timeline_span){
        .start_us = get_u32(at),
        .duration_us = get_u32(at + 4),
        .kind = (uint16_t)(names & 0xffff),
        .step = (uint16_t)(names >> 16),
    };
}

bool timeline_decode(const uint8_t *bytes, size_t size, enum timeline_side side,
                     uint64_t generation, const struct record_identity *identity,
                     struct timeline_entry *entry)
{
    if (size < TIMELINE_ENTRY_BYTES || !holds(bytes, side, generation))
        return false;
    const struct record_identity found = {
        .ino = get_u64(bytes + AT_INO),
        .handle_hash = get_u64(bytes + AT_HANDLE_HASH),
        .birth_ns = (int64_t)get_u64(bytes + AT_BIRTH),
    };
    if (!record_identity_matches(&found, identity))
        return false;

    *entry = (struct timeline_entry){
        .side = side,
        .generation = generation,
        .identity = found,
        .clock_ahead_ns = (int64_t)get_u64(bytes + AT_CLOCK_AHEAD),
        .clock_unsure_ns = get_u64(bytes + AT_CLOCK_UNSURE),
        .timeline =
            {
                .started_ns = (int64_t)get_u64(bytes + AT_BEGIN),
                .ended_ns = (int64_t)(get_u64(bytes + AT_BEGIN) + get_u64(bytes + AT_DURATION)),
                .is_cut = (get_u32(bytes + AT_FLAGS) & FLAG_CUT) != 0,
                .span_count = get_u32(bytes + AT_SPAN_COUNT),
            },
    };
    memcpy(entry->boot_id, bytes + AT_BOOT_ID, sizeof(entry->boot_id));
    memcpy(entry->host, bytes + AT_HOST, sizeof(entry->host));
    for (uint32_t i = 0; i < entry->timeline.span_count; i++)
        entry->timeline.spans[i] = decode_span(bytes + AT_SPANS + (size_t)i * SPAN_BYTES);
    return true;
}
