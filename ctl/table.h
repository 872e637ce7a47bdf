/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows of text in columns as wide as they need to be, with lines in between that have no columns.
 */
#ifndef MIGFS_CTL_TABLE_H
#define MIGFS_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum {
    TABLE_COLUMNS = 8,
};

struct table_row {
    char *cells[TABLE_COLUMNS]; /* owned; a line has one only */
    bool is_line;
};

/* All zeroes is an empty table. */
struct table {
    struct table_row *rows;
    size_t count, capacity;
};

/* Copies the cells. False: out of memory. */
bool table_add(struct table *table, const char *const cells[TABLE_COLUMNS]);
bool table_add_line(struct table *table, const char *line);

void table_print(const struct table *table);
void table_deinit(struct table *table);

#endif
