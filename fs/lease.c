/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lease.h"

#include "identity.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A line's word of the form "PREFIX…", or NULL. */
static const char *word_after(const char *line, const char *prefix)
{
    const char *found = strstr(line, prefix);

    return found ? found + strlen(prefix) : NULL;
}

static bool is_below(const char *path, const char *directory, size_t length)
{
    return strncmp(path, directory, length) == 0 &&
           (path[length] == '/' || path[length] == '\0' || length == 1);
}

/* The length of the mountpoint in a `device …` line if `path` lies below it, or 0. */
static size_t mount_match(const char *line, const char *path)
{
    const char *mountpoint = word_after(line, " mounted on ");
    const char *end = mountpoint ? strstr(mountpoint, " with fstype ") : NULL;

    if (!end || !is_below(path, mountpoint, (size_t)(end - mountpoint)))
        return 0;
    return (size_t)(end - mountpoint);
}

unsigned lease_ms(int source_fd)
{
    char path[PATH_MAX], *line = NULL;
    FILE *statistics = fopen("/proc/self/mountstats", "re");
    const ssize_t length = readlink(proc_path(source_fd).text, path, sizeof(path) - 1);
    size_t room = 0, best = 0;
    unsigned long seconds = 0;
    bool is_ours = false;

    path[length > 0 ? length : 0] = '\0';
    while (statistics && getline(&line, &room, statistics) >= 0) {
        if (strncmp(line, "device ", 7) == 0) {
            const size_t match = mount_match(line, path);

            is_ours = match > 0 && match >= best;
            if (is_ours) {
                best = match;
                seconds = 0;
            }
            continue;
        }
        const char *lease = is_ours ? word_after(line, "lease_time=") : NULL;
        if (lease)
            seconds = strtoul(lease, NULL, 10);
    }
    free(line);
    if (statistics)
        fclose(statistics);
    return seconds < UINT_MAX / 1000 ? (unsigned)seconds * 1000 : 0;
}
