/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzes options_parse: no command line makes it read beyond its arguments or lose what it made,
 * and what it accepts is within the limits of options.h. The input is the command line, an argument
 * a line. Lines of the log are made, and thrown away.
 */
#include "fs/log.h"
#include "fs/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ARGUMENTS 16

/* Bytes of a log line that cannot be read are found by the sanitizer here. */
static void throw_away(const char *format, va_list arguments)
{
    char line[1024];

    if (vsnprintf(line, sizeof(line), format, arguments) < 0)
        abort();
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    throw_away(format, arguments);
    va_end(arguments);
}

static void check(const struct options *options)
{
    if (options->show_help || options->show_version)
        return;
    if (!options->source || !options->mountpoint || !options->kernel_options || !*options->source ||
        !*options->mountpoint)
        abort();
    if (options->deadline_ms < 100 || options->deadline_ms > 600000 || options->workers < 2 ||
        options->workers > 256)
        abort();
    if (options->io > IO_PASSTHROUGH || options->standby > STANDBY_CACHED ||
        options->record > RECORD_OFF || options->fence > FENCE_OFF ||
        options->profile > PROFILE_NONE)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char program[] = "migfs";
    char *arguments[MOST_ARGUMENTS + 2] = {program};
    struct options options;
    char *line, *rest;
    int count = 1, error;

    /* Each on its own, so that a sanitizer sees what is read behind its end. */
    line = malloc(size + 1);
    if (!line)
        return 0;
    memcpy(line, data, size);
    line[size] = '\0';
    rest = line;
    while (rest && count <= MOST_ARGUMENTS)
        arguments[count++] = strdup(strsep(&rest, "\n"));
    free(line);

    error = options_parse(count, arguments, &options);
    if (error != 0 && error != -EINVAL && error != -ENOMEM)
        abort();
    if (error == 0)
        check(&options);
    options_deinit(&options);
    while (count > 1)
        free(arguments[--count]);
    return 0;
}
