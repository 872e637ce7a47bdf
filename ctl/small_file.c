/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "small_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MOST ((size_t)16 << 20)

bool small_file_line(const char *path, char *line, size_t size)
{
    FILE *file = fopen(path, "re");
    const bool read = file != NULL && fgets(line, (int)size, file) != NULL;

    if (file != NULL)
        (void)fclose(file); /* read only */
    if (read)
        line[strcspn(line, "\n")] = '\0';
    return read;
}

static char *read_all(FILE *file)
{
    char *text = NULL;
    size_t length = 0, room = 0;

    do {
        room = room == 0 ? 4096 : 2 * room;
        char *grown = room <= SIZE_MOST ? realloc(text, room) : NULL;

        if (grown == NULL) {
            free(text);
            errno = room > SIZE_MOST ? EFBIG : ENOMEM;
            return NULL;
        }
        text = grown;
        length += fread(text + length, 1, room - 1 - length, file);
    } while (length == room - 1);
    text[length] = '\0';
    return text;
}

char *small_file_read(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text;

    if (file == NULL)
        return NULL;
    text = read_all(file);
    (void)fclose(file); /* read only */
    return text;
}
