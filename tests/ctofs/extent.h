/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The write buffer of one inode: what was written here and has not reached the store yet. Ordered,
 * without overlap. No I/O, no lock: the inode's lock guards it.
 */
#ifndef CTOFS_EXTENT_H
#define CTOFS_EXTENT_H

#include <stddef.h>
#include <sys/types.h>

struct extent {
    off_t start;
    size_t length;
    size_t room; /* bytes allocated behind `data` */
    char *data;
};

struct extent_list {
    struct extent *items;
    size_t count;
    size_t room;
    size_t bytes;
};

/* Puts `length` bytes at `start`, over what was there. Returns 0 or ENOMEM, with nothing changed.
 */
int extent_write(struct extent_list *list, off_t start, const char *data, size_t length);

/* Lays the buffered bytes over a reply that begins at `start`; `valid` of its bytes came from the
 * store, the rest up to `length` is zeroed where needed. Returns how many bytes are valid now. */
size_t extent_overlay(const struct extent_list *list, off_t start, char *reply, size_t valid,
                      size_t length);

/* Where the last extent ends; 0 when there is none. */
off_t extent_end(const struct extent_list *list);

/* Forgets everything. */
void extent_clear(struct extent_list *list);

#endif
