/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which programs of this host have files of SOURCE open past migfs. Nothing is opened for it: the
 * kernel tells names.
 */
#include "doctor.h"
#include "small_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* So many are named. */
#define NAMED_MOST 8

struct openers {
    struct doctor *doctor;
    const struct subject *subject;
    dev_t device; /* SOURCE's */
    unsigned found;
    bool is_hidden; /* some process does not show what it has open */
};

/* By its name. What is mounted below SOURCE, as a migfs may be, is on another device. */
static bool is_below_source(const struct subject *subject, const char *path)
{
    const size_t length = strlen(subject->source);

    return strncmp(path, subject->source, length) == 0 && path[length] == '/' &&
           strncmp(path + length, "/.migfs/", strlen("/.migfs/")) != 0;
}

/* proc_pid_fdinfo(5): "flags:" in octal. */
static bool is_open_for_writing(unsigned long pid, const char *fd)
{
    char path[128];
    char *text;
    bool writes = false;

    (void)snprintf(path, sizeof(path), "/proc/%lu/fdinfo/%.16s", pid, fd); /* it always fits */
    text = small_file_read(path);
    const char *flags = text != NULL ? strstr(text, "flags:") : NULL;

    if (flags != NULL)
        writes = (strtoul(flags + strlen("flags:"), NULL, 8) & O_ACCMODE) != O_RDONLY;
    free(text);
    return writes;
}

static void say_opener(struct openers *openers, unsigned long pid, const char *path, bool writes)
{
    char name[64], command[32] = "?";

    (void)snprintf(name, sizeof(name), "/proc/%lu/comm", pid); /* it always fits */
    (void)small_file_line(name, command, sizeof(command));     /* gone by now: "?" */
    if (openers->found++ >= NAMED_MOST)
        return;
    doctor_say(openers->doctor, writes ? COLOUR_RED : COLOUR_YELLOW,
               "end it, and let it use the path below the mountpoint of migfs",
               "%s (process %lu) has %s open past migfs%s", command, pid, path,
               writes ? ", for writing" : ": it may read stale data");
}

static void look_at_descriptors(struct openers *openers, unsigned long pid)
{
    char directory[64], path[4096];
    DIR *listing;

    (void)snprintf(directory, sizeof(directory), "/proc/%lu/fd", pid); /* it always fits */
    listing = opendir(directory);
    openers->is_hidden |= listing == NULL && access(directory, F_OK) == 0;
    for (const struct dirent *entry = listing != NULL ? readdir(listing) : NULL; entry != NULL;
         entry = readdir(listing)) {
        struct stat file;
        const ssize_t length = entry->d_name[0] == '.' ? -1
                                                       : readlinkat(dirfd(listing), entry->d_name,
                                                                    path, sizeof(path) - 1);

        if (length <= 0)
            continue;
        path[length] = '\0';
        if (is_below_source(openers->subject, path) &&
            fstatat(dirfd(listing), entry->d_name, &file, 0) == 0 && S_ISREG(file.st_mode) &&
            file.st_dev == openers->device)
            say_opener(openers, pid, path, is_open_for_writing(pid, entry->d_name));
    }
    if (listing != NULL)
        (void)closedir(listing); /* read only */
}

/* Daemons of migfs have the files open for others. */
static bool is_migfs(unsigned long pid)
{
    char path[64], command[32];

    (void)snprintf(path, sizeof(path), "/proc/%lu/comm", pid); /* it always fits */
    return small_file_line(path, command, sizeof(command)) && strncmp(command, "migfs", 5) == 0;
}

void doctor_openers(struct doctor *doctor, const struct subject *subject)
{
    struct openers openers = {.doctor = doctor, .subject = subject};
    struct statx source = {.stx_mask = 0};
    DIR *processes;

    /* As it is known here already: it cannot fail, nor wait for a server. */
    (void)statx(subject->source_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &source);
    openers.device = makedev(source.stx_dev_major, source.stx_dev_minor);
    processes = opendir("/proc");
    if (processes == NULL)
        return; /* not without /proc */
    for (const struct dirent *entry = readdir(processes); entry != NULL;
         entry = readdir(processes)) {
        const unsigned long pid = strtoul(entry->d_name, NULL, 10);

        if (pid != 0 && !is_migfs(pid))
            look_at_descriptors(&openers, pid);
    }
    (void)closedir(processes); /* read only */
    if (openers.is_hidden)
        doctor_say(doctor, COLOUR_YELLOW, "run migfsctl doctor as root",
                   "what other users' programs have open cannot be seen");
    else if (openers.found > NAMED_MOST)
        doctor_say(doctor, COLOUR_RED, "see them by lsof +D SOURCE", "and %u more of them",
                   openers.found - NAMED_MOST);
    else if (openers.found == 0)
        doctor_say(doctor, COLOUR_GREEN, NULL, "no program here has files of %s open past migfs",
                   subject->source);
}
