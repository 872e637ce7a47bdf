/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void range_table_deinit(struct range_table *table)
{
    free(table->entries);
    *table = (struct range_table){0};
}

/* Makes room for `extra` entries, so that what follows cannot fail. 0 or -ENOMEM. */
static int table_reserve(struct range_table *table, size_t extra)
{
    const size_t limit = SIZE_MAX / sizeof(*table->entries) / 2;

    if (table->capacity - table->count >= extra)
        return 0;
    if (table->count >= limit - extra)
        return -ENOMEM;

    const size_t capacity = (table->count + extra) * 2;
    struct range *entries = realloc(table->entries, capacity * sizeof(*entries));
    if (entries == NULL)
        return -ENOMEM;
    table->entries = entries;
    table->capacity = capacity;
    return 0;
}

int range_table_copy(const struct range_table *table, struct range_table *copy)
{
    struct range_table made = {0};

    if (table->count > 0) {
        if (table_reserve(&made, table->count) < 0)
            return -ENOMEM;
        memcpy(made.entries, table->entries, table->count * sizeof(*made.entries));
        made.count = table->count;
    }
    *copy = made;
    return 0;
}

/* Moves the entries from `index` on up by one; the room is reserved. */
static void table_insert(struct range_table *table, size_t index, struct range entry)
{
    struct range *at = &table->entries[index];

    memmove(at + 1, at, (table->count - index) * sizeof(*at));
    *at = entry;
    table->count++;
}

static void table_remove(struct range_table *table, size_t index, size_t count)
{
    if (count == 0)
        return;

    struct range *at = &table->entries[index];
    memmove(at, at + count, (table->count - index - count) * sizeof(*at));
    table->count -= count;
}

/* Index of the owner's first entry that ends at `byte` or later, else of where it would stand. */
static size_t table_find(const struct range_table *table, uint64_t owner, uint64_t byte)
{
    size_t low = 0;
    size_t high = table->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct range *entry = &table->entries[middle];

        if (entry->owner < owner || (entry->owner == owner && entry->end < byte))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether `index` is an entry of that owner that starts at `byte` or before. */
static bool entry_starts_by(const struct range_table *table, size_t index, uint64_t owner,
                            uint64_t byte)
{
    return index < table->count && table->entries[index].owner == owner &&
           table->entries[index].start <= byte;
}

/* Whether taking `start` … `end` from the owner leaves both sides of one entry. */
static bool clear_splits(const struct range_table *table, uint64_t owner, uint64_t start,
                         uint64_t end)
{
    const size_t index = table_find(table, owner, start);

    return entry_starts_by(table, index, owner, end) && table->entries[index].start < start &&
           table->entries[index].end > end;
}

/* Takes `start` … `end` from the owner; room for one entry more is reserved where it splits. */
static void table_carve(struct range_table *table, uint64_t owner, uint64_t start, uint64_t end)
{
    size_t index = table_find(table, owner, start);

    if (clear_splits(table, owner, start, end)) {
        struct range upper = table->entries[index];

        upper.start = end + 1;
        table->entries[index].end = start - 1;
        table_insert(table, index + 1, upper);
        return;
    }
    if (entry_starts_by(table, index, owner, end) && table->entries[index].start < start)
        table->entries[index++].end = start - 1;

    size_t covered = 0;
    while (entry_starts_by(table, index + covered, owner, end) &&
           table->entries[index + covered].end <= end)
        covered++;
    table_remove(table, index, covered);

    if (entry_starts_by(table, index, owner, end))
        table->entries[index].start = end + 1;
}

static bool entries_join(const struct range *lower, const struct range *upper)
{
    return lower->owner == upper->owner && lower->end + 1 == upper->start &&
           lower->type == upper->type && lower->handle == upper->handle && lower->pid == upper->pid;
}

/* Makes one entry of `index` and the next one where they touch and are alike. */
static void table_join(struct range_table *table, size_t index)
{
    if (index + 1 >= table->count)
        return;
    if (!entries_join(&table->entries[index], &table->entries[index + 1]))
        return;
    table->entries[index].end = table->entries[index + 1].end;
    table_remove(table, index + 1, 1);
}

int range_set(struct range_table *table, const struct range *lock)
{
    /* `lock` may be an entry of this table, which moves. */
    const struct range added = *lock;

    /* One for the lock, one for the entry that it splits. */
    if (table_reserve(table, 2) < 0)
        return -ENOMEM;
    table_carve(table, added.owner, added.start, added.end);

    const size_t index = table_find(table, added.owner, added.start);
    table_insert(table, index, added);
    table_join(table, index);
    if (index > 0)
        table_join(table, index - 1);
    return 0;
}

int range_clear(struct range_table *table, uint64_t owner, uint64_t start, uint64_t end)
{
    if (clear_splits(table, owner, start, end) && table_reserve(table, 1) < 0)
        return -ENOMEM;
    table_carve(table, owner, start, end);
    return 0;
}

void range_clear_handle(struct range_table *table, uint64_t handle)
{
    size_t kept = 0;

    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].handle != handle)
            table->entries[kept++] = table->entries[i];
    }
    table->count = kept;
}

void range_clear_owner(struct range_table *table, uint64_t owner)
{
    table_carve(table, owner, 0, RANGE_MAX);
}

static bool ranges_conflict(const struct range *held, const struct range *wanted)
{
    return held->owner != wanted->owner && held->start <= wanted->end &&
           wanted->start <= held->end && (held->type == RANGE_WRITE || wanted->type == RANGE_WRITE);
}

const struct range *range_conflict(const struct range_table *table, const struct range *wanted)
{
    const struct range *lowest = NULL;

    for (size_t i = 0; i < table->count; i++) {
        const struct range *held = &table->entries[i];

        if (ranges_conflict(held, wanted) && (lowest == NULL || held->start < lowest->start))
            lowest = held;
    }
    return lowest;
}

bool range_owner_holds_byte(const struct range_table *table, uint64_t owner, uint64_t byte)
{
    return entry_starts_by(table, table_find(table, owner, byte), owner, byte);
}

bool range_owner_holds(const struct range_table *table, uint64_t owner)
{
    return entry_starts_by(table, table_find(table, owner, 0), owner, RANGE_MAX);
}

bool range_handle_holds(const struct range_table *table, uint64_t handle, enum range_type type)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].handle == handle && table->entries[i].type >= type)
            return true;
    }
    return false;
}

/* The waits that `added` leads to, each once, in the order found. */
struct wait_trail {
    const struct wait **found;
    size_t count;
};

static bool trail_has(const struct wait_trail *trail, const struct wait *wait)
{
    for (size_t i = 0; i < trail->count; i++) {
        if (trail->found[i] == wait)
            return true;
    }
    return false;
}

/* Adds what the owner waits for. The trail has room for all waits. */
static void trail_follow(struct wait_trail *trail, const struct wait *waits, uint64_t owner)
{
    for (const struct wait *wait = waits; wait != NULL; wait = wait->next) {
        if (wait->wanted.owner == owner && !trail_has(trail, wait))
            trail->found[trail->count++] = wait;
    }
}

/* Whether `owner` stands in the way of the wait; adds to the trail what the others wait for. */
static bool wait_leads_to(struct wait_trail *trail, const struct wait *waits,
                          const struct wait *wait, uint64_t owner)
{
    for (size_t i = 0; i < wait->table->count; i++) {
        const struct range *held = &wait->table->entries[i];

        if (!ranges_conflict(held, &wait->wanted))
            continue;
        if (held->owner == owner)
            return true;
        trail_follow(trail, waits, held->owner);
    }
    return false;
}

bool wait_deadlocks(const struct wait *waits, const struct wait *added)
{
    size_t room = 1;

    for (const struct wait *wait = waits; wait != NULL; wait = wait->next)
        room++;

    struct wait_trail trail = {.found = calloc(room, sizeof(*trail.found))};
    if (trail.found == NULL)
        return false;

    bool cycle = false;
    trail.found[trail.count++] = added;
    for (size_t i = 0; i < trail.count && !cycle; i++)
        cycle = wait_leads_to(&trail, waits, trail.found[i], added->wanted.owner);
    free(trail.found);
    return cycle;
}
