/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the daemon, or one that would be started from here, has the descriptors and the memory
 * for its files.
 */
#include "doctor.h"
#include "small_file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* An open image takes up to eight descriptors. */
enum {
    FILES_FEW = 4096,
    PERCENT_YELLOW = 80,
    PERCENT_RED = 95,
};
/* Its threads' stacks, and a request of 1 MiB for each of them. */
#define MEMORY_FEW (UINT64_C(1) << 30)
#define CGROUP_FEW (UINT64_C(256) << 20)

struct limits {
    uint64_t files, address_space, data; /* UINT64_MAX: none */
};

static uint64_t number_of(const char *text)
{
    text += strspn(text, " ");
    return strncmp(text, "unlimited", 9) == 0 || strncmp(text, "max", 3) == 0
               ? UINT64_MAX
               : strtoull(text, NULL, 10);
}

/* The soft one, which a daemon of migfs has raised as far as it may. */
static uint64_t limit_of(const char *limits, const char *name)
{
    const char *line = strstr(limits, name);

    return line != NULL ? number_of(line + strlen(name)) : UINT64_MAX;
}

static bool limits_read(unsigned pid, struct limits *limits)
{
    char path[64];
    char *text;

    (void)snprintf(path, sizeof(path), "/proc/%u/limits", pid); /* it always fits */
    text = small_file_read(path);
    if (text == NULL)
        return false;
    *limits = (struct limits){.files = limit_of(text, "Max open files"),
                              .address_space = limit_of(text, "Max address space"),
                              .data = limit_of(text, "Max data size")};
    free(text);
    return true;
}

/* -1: not to be seen. */
static long count_open(unsigned pid)
{
    char path[64];
    DIR *listing;
    long count = 0;

    (void)snprintf(path, sizeof(path), "/proc/%u/fd", pid); /* it always fits */
    listing = opendir(path);
    if (listing == NULL)
        return -1;
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing))
        count += entry->d_name[0] != '.';
    (void)closedir(listing); /* read only */
    return count;
}

/* The smallest limit of the control groups (version 2) that a process is in. */
static uint64_t cgroup_limit(unsigned pid)
{
    char path[64], line[2048], *name = NULL;
    uint64_t least = UINT64_MAX;

    (void)snprintf(path, sizeof(path), "/proc/%u/cgroup", pid); /* it always fits */
    if (!small_file_line(path, line, sizeof(line)) || strncmp(line, "0::", 3) != 0)
        return least;
    for (char *group = line + 3; group[0] == '/' && group[1] != '\0';) {
        char limit[32];

        if (asprintf(&name, "/sys/fs/cgroup%s/memory.max", group) < 0)
            return least;
        if (small_file_line(name, limit, sizeof(limit)) && number_of(limit) < least)
            least = number_of(limit);
        free(name);
        *strrchr(group, '/') = '\0';
    }
    return least;
}

/* Of another pid namespace the number is somebody else's, or nobody's. */
static bool is_migfs(unsigned pid)
{
    char path[64], command[32];

    (void)snprintf(path, sizeof(path), "/proc/%u/comm", pid); /* it always fits */
    return small_file_line(path, command, sizeof(command)) && strncmp(command, "migfs", 5) == 0;
}

static bool say_files(struct doctor *doctor, uint64_t limit, long open)
{
    static const char mend[] = "raise LimitNOFILE= of the unit, or the hard limit (ulimit -Hn) of "
                               "who mounts, and mount anew";
    const uint64_t percent = open > 0 && limit > 0 ? 100 * (uint64_t)open / limit : 0;

    if (percent >= PERCENT_YELLOW)
        doctor_say(doctor, percent >= PERCENT_RED ? COLOUR_RED : COLOUR_YELLOW, mend,
                   "the daemon has %ld of %ju descriptors in use: an image may not open", open,
                   (uintmax_t)limit);
    else if (limit < FILES_FEW)
        doctor_say(doctor, COLOUR_YELLOW, mend,
                   "%ju descriptors are few: an open image takes up to eight", (uintmax_t)limit);
    return percent >= PERCENT_YELLOW || limit < FILES_FEW;
}

static bool say_memory(struct doctor *doctor, const struct limits *limits, uint64_t cgroup)
{
    const uint64_t memory =
        limits->address_space < limits->data ? limits->address_space : limits->data;

    if (memory >= MEMORY_FEW && cgroup >= CGROUP_FEW)
        return false;
    doctor_say(doctor, COLOUR_YELLOW,
               memory < MEMORY_FEW ? "raise LimitAS= and LimitDATA= of the unit, or ulimit -v and "
                                     "-d of who mounts, and mount anew"
                                   : "raise MemoryMax= of the unit",
               "the daemon may have %ju MiB of memory only: requests may fail",
               (uintmax_t)((memory < MEMORY_FEW ? memory : cgroup) >> 20));
    return true;
}

static void say_daemon(struct doctor *doctor, unsigned pid)
{
    struct limits limits;
    const long open = count_open(pid);

    if (open < 0 || !is_migfs(pid) || !limits_read(pid, &limits)) {
        doctor_say(doctor, COLOUR_YELLOW,
                   "run migfsctl doctor as root, in the daemon's pid namespace",
                   "the limits of the daemon, process %u, cannot be seen", pid);
        return;
    }
    const bool said = say_files(doctor, limits.files, open);

    if (!say_memory(doctor, &limits, cgroup_limit(pid)) && !said)
        doctor_say(doctor, COLOUR_GREEN, NULL, "%ld of %ju descriptors in use, memory enough", open,
                   (uintmax_t)limits.files);
}

void doctor_limits(struct doctor *doctor, const struct subject *subject)
{
    struct rlimit files, space, data;

    if (subject->mountpoint != NULL) {
        if (subject->has_mount)
            say_daemon(doctor, subject->mount.pid);
        return;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_AS, &space) != 0 ||
        getrlimit(RLIMIT_DATA, &data) != 0)
        return; /* of oneself: cannot fail */
    const struct limits limits = {
        .files = files.rlim_max, .address_space = space.rlim_max, .data = data.rlim_max};
    const bool said = say_files(doctor, limits.files, 0);

    if (!say_memory(doctor, &limits, UINT64_MAX) && !said)
        doctor_say(doctor, COLOUR_GREEN, NULL,
                   "a daemon that is started from here may open %ju descriptors",
                   (uintmax_t)limits.files);
}
