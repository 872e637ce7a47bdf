/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool continues(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Length by the first byte, and the range of the second one that goes with it. */
struct utf8_row {
    unsigned char first, last;
    unsigned char second_first, second_last;
    unsigned char length;
};

size_t text_character_length(const char *text)
{
    static const struct utf8_row rows[] = {
        {0x01, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const unsigned char *bytes = (const unsigned char *)text;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct utf8_row *row = &rows[i];
        size_t length = 2;

        if (bytes[0] < row->first || bytes[0] > row->last)
            continue;
        if (row->length == 1)
            return 1;
        if (bytes[1] < row->second_first || bytes[1] > row->second_last)
            return 0;
        while (length < row->length && continues(bytes[length]))
            length++;
        return length == row->length ? length : 0;
    }
    return 0;
}

char *text_printable(const char *name)
{
    char *printable = malloc(4 * strlen(name) + 1);
    char *to = printable;

    if (printable == NULL)
        return NULL;
    while (*name != '\0') {
        const size_t length = text_character_length(name);
        const unsigned char byte = (unsigned char)*name;
        /* C1 controls, U+0080 … U+009F: a terminal may obey them. */
        const bool is_c1 = byte == 0xc2 && length == 2 && (unsigned char)name[1] < 0xa0;

        if (length == 0 || byte < 0x20 || byte == 0x7f || is_c1) {
            to += sprintf(to, "\\%03o", byte);
            name++;
        } else {
            memcpy(to, name, length);
            to += length;
            name += length;
        }
    }
    *to = '\0';
    return printable;
}

size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++)
        width += !continues((unsigned char)*text);
    return width;
}

struct text_size text_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct text_size size;
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(size.text, sizeof(size.text), "%.*f %s", unit > 0, value,
                   units[unit]); /* it always fits */
    return size;
}

struct text_time text_time(int64_t time_ns)
{
    const time_t seconds = (time_t)(time_ns / 1000000000);
    struct text_time time = {.text = "-"};
    struct tm local;
    size_t length;

    if (localtime_r(&seconds, &local) == NULL)
        return time;
    length = strftime(time.text, sizeof(time.text), "%Y-%m-%d %H:%M:%S", &local);
    (void)snprintf(time.text + length, sizeof(time.text) - length, ".%03d",
                   (int)(time_ns / 1000000 % 1000)); /* it always fits */
    return time;
}

struct text_duration text_duration(double us)
{
    static const char *const units[] = {"µs", "ms", "s"};
    struct text_duration duration;
    size_t unit = 0;

    while (us >= 999.5 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        us /= 1000;
        unit++;
    }
    if (us >= 999.5)
        (void)snprintf(duration.text, sizeof(duration.text), "%.0f %s", us, units[unit]);
    else
        (void)snprintf(duration.text, sizeof(duration.text), "%.3g %s", us, units[unit]);
    return duration; /* both always fit */
}
