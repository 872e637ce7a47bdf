/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "extent.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Extents grow by appending up to this, so that a sequential writer does not make one a write. */
#define EXTENT_MAX_BYTES ((size_t)1 << 20)

static off_t item_end(const struct extent *item)
{
    return item->start + (off_t)item->length;
}

/* The first extent that ends behind `offset`. */
static size_t find_first(const struct extent_list *list, off_t offset)
{
    size_t low = 0;
    size_t high = list->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (item_end(&list->items[middle]) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int reserve(struct extent_list *list, size_t more)
{
    if (list->count + more <= list->room)
        return 0;
    const size_t room = (list->room + more) * 2;
    struct extent *items = realloc(list->items, room * sizeof(*items));

    if (!items)
        return ENOMEM;
    list->items = items;
    list->room = room;
    return 0;
}

static void insert_at(struct extent_list *list, size_t index, struct extent item)
{
    memmove(&list->items[index + 1], &list->items[index],
            (list->count - index) * sizeof(list->items[0]));
    list->items[index] = item;
    list->count++;
    list->bytes += item.length;
}

static void remove_at(struct extent_list *list, size_t index)
{
    list->bytes -= list->items[index].length;
    free(list->items[index].data);
    list->count--;
    memmove(&list->items[index], &list->items[index + 1],
            (list->count - index) * sizeof(list->items[0]));
}

static void trim_front(struct extent_list *list, struct extent *item, off_t start)
{
    const size_t gone = (size_t)(start - item->start);

    memmove(item->data, item->data + gone, item->length - gone);
    item->start = start;
    item->length -= gone;
    list->bytes -= gone;
}

static void trim_back(struct extent_list *list, struct extent *item, off_t end)
{
    const size_t left = (size_t)(end - item->start);

    list->bytes -= item->length - left;
    item->length = left;
}

/* The extent that already holds all of it, or that ends just before it and has room. */
static struct extent *find_growable(struct extent_list *list, off_t start, size_t length)
{
    const size_t index = start > 0 ? find_first(list, start - 1) : 0;

    if (index >= list->count || list->items[index].start > start)
        return NULL;
    struct extent *item = &list->items[index];
    const off_t end = start + (off_t)length;

    if (end <= item_end(item))
        return item;
    if (item_end(item) != start || item->length + length > EXTENT_MAX_BYTES)
        return NULL;
    if (index + 1 < list->count && list->items[index + 1].start < end)
        return NULL;
    return item;
}

static int grow(struct extent *item, size_t needed)
{
    if (needed <= item->room)
        return 0;
    size_t room = item->room * 2 > needed ? item->room * 2 : needed;

    if (room > EXTENT_MAX_BYTES && needed <= EXTENT_MAX_BYTES)
        room = EXTENT_MAX_BYTES;
    char *data = realloc(item->data, room);

    if (!data)
        return ENOMEM;
    item->data = data;
    item->room = room;
    return 0;
}

/* Takes [start, end) out of the list; `tail` is the memory for a second half, if one is left. */
static bool cut(struct extent_list *list, off_t start, off_t end, char *tail)
{
    size_t index = find_first(list, start);

    if (index < list->count && list->items[index].start < start &&
        item_end(&list->items[index]) > end) {
        struct extent *item = &list->items[index];
        const size_t length = (size_t)(item_end(item) - end);

        memcpy(tail, item->data + (end - item->start), length);
        trim_back(list, item, start);
        insert_at(list, index + 1,
                  (struct extent){.start = end, .length = length, .room = length, .data = tail});
        return true;
    }
    if (index < list->count && list->items[index].start < start) {
        trim_back(list, &list->items[index], start);
        index++;
    }
    while (index < list->count && item_end(&list->items[index]) <= end)
        remove_at(list, index);
    if (index < list->count && list->items[index].start < end)
        trim_front(list, &list->items[index], end);
    return false;
}

/* How many bytes of one extent lie behind [start, end) when it lies within that extent. */
static size_t tail_bytes(const struct extent_list *list, off_t start, off_t end)
{
    const size_t index = find_first(list, start);

    if (index >= list->count || list->items[index].start >= start ||
        item_end(&list->items[index]) <= end)
        return 0;
    return (size_t)(item_end(&list->items[index]) - end);
}

int extent_write(struct extent_list *list, off_t start, const char *data, size_t length)
{
    const off_t end = start + (off_t)length;

    if (length == 0)
        return 0;
    struct extent *item = find_growable(list, start, length);

    if (item) {
        const size_t needed = (size_t)(end - item->start);

        if (grow(item, needed))
            return ENOMEM;
        memcpy(item->data + (start - item->start), data, length);
        if (needed > item->length) {
            list->bytes += needed - item->length;
            item->length = needed;
        }
        return 0;
    }

    const size_t tail_length = tail_bytes(list, start, end);
    char *tail = tail_length > 0 ? malloc(tail_length) : NULL;
    char *copy = malloc(length);

    if (!copy || (tail_length > 0 && !tail) || reserve(list, 2)) {
        free(copy);
        free(tail);
        return ENOMEM;
    }
    memcpy(copy, data, length);
    if (!cut(list, start, end, tail))
        free(tail);
    insert_at(list, find_first(list, start),
              (struct extent){.start = start, .length = length, .room = length, .data = copy});
    return 0;
}

size_t extent_overlay(const struct extent_list *list, off_t start, char *reply, size_t valid,
                      size_t length)
{
    const off_t end = start + (off_t)length;

    for (size_t i = find_first(list, start); i < list->count; i++) {
        const struct extent *item = &list->items[i];

        if (item->start >= end)
            break;
        const off_t from = item->start > start ? item->start : start;
        const off_t to = item_end(item) < end ? item_end(item) : end;
        const size_t at = (size_t)(from - start);

        if (at > valid)
            memset(reply + valid, 0, at - valid);
        memcpy(reply + at, item->data + (from - item->start), (size_t)(to - from));
        if ((size_t)(to - start) > valid)
            valid = (size_t)(to - start);
    }
    /* A hole between the end of the store's file and an extent beyond this reply reads as zeros. */
    const off_t last = extent_end(list);

    if (last > start + (off_t)valid && valid < length) {
        const size_t known = last < end ? (size_t)(last - start) : length;

        memset(reply + valid, 0, known - valid);
        valid = known;
    }
    return valid;
}

off_t extent_end(const struct extent_list *list)
{
    return list->count > 0 ? item_end(&list->items[list->count - 1]) : 0;
}

void extent_clear(struct extent_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].data);
    free(list->items);
    *list = (struct extent_list){0};
}
