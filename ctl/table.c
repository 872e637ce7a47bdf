/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "table.h"

#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct table_row *row_new(struct table *table)
{
    if (table->count == table->capacity) {
        const size_t capacity = table->capacity == 0 ? 16 : 2 * table->capacity;
        struct table_row *rows = reallocarray(table->rows, capacity, sizeof(*rows));

        if (rows == NULL)
            return NULL;
        table->rows = rows;
        table->capacity = capacity;
    }
    table->rows[table->count] = (struct table_row){.is_line = false};
    return &table->rows[table->count++];
}

bool table_add(struct table *table, const char *const cells[TABLE_COLUMNS])
{
    struct table_row *row = row_new(table);

    if (row == NULL)
        return false;
    for (size_t i = 0; i < TABLE_COLUMNS; i++) {
        row->cells[i] = strdup(cells[i]);
        if (row->cells[i] == NULL)
            return false; /* table_deinit frees what is there */
    }
    return true;
}

bool table_add_line(struct table *table, const char *line)
{
    struct table_row *row = row_new(table);

    if (row == NULL)
        return false;
    row->is_line = true;
    row->cells[0] = strdup(line);
    return row->cells[0] != NULL;
}

static void row_print(const struct table_row *row, const size_t widths[TABLE_COLUMNS])
{
    for (size_t i = 0; i < TABLE_COLUMNS; i++) {
        const bool is_last = i + 1 == TABLE_COLUMNS;
        const size_t gap = is_last ? 0 : widths[i] - text_width(row->cells[i]) + 2;

        printf("%s%*s", row->cells[i], (int)gap, "");
    }
    putchar('\n');
}

void table_print(const struct table *table)
{
    size_t widths[TABLE_COLUMNS] = {0};

    for (size_t i = 0; i < table->count; i++) {
        for (size_t j = 0; j < TABLE_COLUMNS && !table->rows[i].is_line; j++) {
            const size_t width = text_width(table->rows[i].cells[j]);

            widths[j] = width > widths[j] ? width : widths[j];
        }
    }
    for (size_t i = 0; i < table->count; i++) {
        if (table->rows[i].is_line)
            puts(table->rows[i].cells[0]);
        else
            row_print(&table->rows[i], widths);
    }
}

void table_deinit(struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        for (size_t j = 0; j < TABLE_COLUMNS; j++)
            free(table->rows[i].cells[j]);
    }
    free(table->rows);
    *table = (struct table){.rows = NULL};
}
