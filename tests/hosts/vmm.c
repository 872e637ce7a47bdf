/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VMM does to its image, one system call a line of standard input, and nothing in between:
 * no advice, no second open, no sync that would hide a step that is missing below.
 *
 *     open SLOT FLAGS PATH              FLAGS: r, w or rw, then + and any of d(irect) t(runcate)
 *                                       c(reate) s(ync) a(ppend)
 *     direct SLOT                       O_DIRECT from now on, by fcntl(F_SETFL)
 *     close SLOT
 *     lock|wait SLOT r|w START LENGTH   open file description locks; `wait` blocks
 *     unlock SLOT START LENGTH
 *     getlk SLOT r|w START LENGTH       "free", or the type, start and length of what is in the way
 *     posix SLOT r|w|u START LENGTH     a lock of the process
 *     flock SLOT ex|sh|un
 *     read SLOT OFFSET LENGTH           what is there: "BYTE*COUNT ...", and "end" when short
 *     write SLOT OFFSET LENGTH BYTE
 *     size SLOT, end SLOT               fstat, lseek(SEEK_END)
 *     map SLOT LENGTH                   shared and writable, at offset 0
 *     load SLOT OFFSET LENGTH           as read, of the mapping
 *     store SLOT OFFSET LENGTH BYTE
 *     msync SLOT, unmap SLOT
 *     writeback SLOT                    begins to write dirty pages back, and does not wait
 *     fsync SLOT
 *     resize SLOT LENGTH, allocate SLOT OFFSET LENGTH, discard SLOT OFFSET LENGTH
 *     copy SLOT TO OFFSET TO_OFFSET LENGTH
 *     truncate LENGTH PATH
 *     cached SLOT                       pages of it in the page cache
 *     acquire SLOT, release SLOT        the ioctls of migfs.h
 *     state SLOT                        "STATE GENERATION PROFILE" by the ioctl
 *
 * Each is answered by "ok [RESULT]" or "error NUMBER". Ends with its input.
 */
#include "fs/migfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS 16
#define MOST_WORDS 8
#define MOST_RUNS 64
#define ALIGNMENT 4096

struct slot {
    int fd; /* -1: none */
    unsigned char *map;
    size_t map_length;
};

struct command {
    const char *words[MOST_WORDS]; /* missing ones are "" */
    struct slot *slot;
    char answer[4096];
};

static struct slot slots[SLOTS];

static long long number(const struct command *command, size_t word)
{
    return strtoll(command->words[word], NULL, 0);
}

static int failed(long result)
{
    return result < 0 ? errno : 0;
}

/* ---- files ---- */

static int do_open(struct command *command)
{
    const char *flags = command->words[2];
    int mode = strncmp(flags, "rw", 2) == 0 ? O_RDWR : flags[0] == 'w' ? O_WRONLY : O_RDONLY;
    const char *more = strchr(flags, '+');

    for (; more && *more; more++)
        mode |= *more == 'd'   ? O_DIRECT
                : *more == 't' ? O_TRUNC
                : *more == 'c' ? O_CREAT
                : *more == 's' ? O_SYNC
                : *more == 'a' ? O_APPEND
                               : 0;
    const int fd = open(command->words[3], mode | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    command->slot->fd = fd;
    return 0;
}

static int do_close(struct command *command)
{
    const int fd = command->slot->fd;

    command->slot->fd = -1;
    return failed(close(fd));
}

static int do_direct(struct command *command)
{
    const int flags = fcntl(command->slot->fd, F_GETFL);

    return failed(flags < 0 ? flags : fcntl(command->slot->fd, F_SETFL, flags | O_DIRECT));
}

/* "41*4096 00*512": each byte in hex, and how often it comes in a row. */
static void print_runs(struct command *command, const unsigned char *bytes, size_t length)
{
    size_t used = strlen(command->answer), runs = 0;

    for (size_t at = 0; at < length && runs < MOST_RUNS; runs++) {
        size_t end = at;

        while (end < length && bytes[end] == bytes[at])
            end++;
        used += (size_t)snprintf(command->answer + used, sizeof(command->answer) - used,
                                 "%s%02x*%zu", used ? " " : "", bytes[at], end - at);
        at = end;
    }
}

static int do_read(struct command *command)
{
    const size_t length = (size_t)number(command, 3);
    const off_t offset = (off_t)number(command, 2);
    unsigned char *bytes =
        aligned_alloc(ALIGNMENT, (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    size_t done = 0;
    int error = bytes ? 0 : ENOMEM;

    while (error == 0 && done < length) {
        const ssize_t count =
            pread(command->slot->fd, bytes + done, length - done, offset + (off_t)done);

        if (count == 0)
            break;
        if (count < 0)
            error = errno;
        else
            done += (size_t)count;
    }
    if (error == 0) {
        print_runs(command, bytes, done);
        if (done < length)
            strcat(command->answer, done ? " end" : "end");
    }
    free(bytes);
    return error;
}

static int do_write(struct command *command)
{
    const size_t length = (size_t)number(command, 3);
    unsigned char *bytes =
        aligned_alloc(ALIGNMENT, (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    int error = bytes ? 0 : ENOMEM;

    if (error == 0) {
        memset(bytes, command->words[4][0], length);
        const ssize_t count = pwrite(command->slot->fd, bytes, length, (off_t)number(command, 2));

        error = count < 0 ? errno : (size_t)count < length ? ENOSPC : 0;
    }
    free(bytes);
    return error;
}

static int do_size(struct command *command)
{
    struct stat attributes;

    if (fstat(command->slot->fd, &attributes) != 0)
        return errno;
    snprintf(command->answer, sizeof(command->answer), "%jd", (intmax_t)attributes.st_size);
    return 0;
}

static int do_end(struct command *command)
{
    const off_t end = lseek(command->slot->fd, 0, SEEK_END);

    snprintf(command->answer, sizeof(command->answer), "%jd", (intmax_t)end);
    return failed(end);
}

static int do_fsync(struct command *command)
{
    return failed(fsync(command->slot->fd));
}

static int do_resize(struct command *command)
{
    return failed(ftruncate(command->slot->fd, (off_t)number(command, 2)));
}

static int do_truncate(struct command *command)
{
    return failed(truncate(command->words[2], (off_t)number(command, 1)));
}

static int do_allocate(struct command *command)
{
    return failed(
        fallocate(command->slot->fd, 0, (off_t)number(command, 2), (off_t)number(command, 3)));
}

static int do_discard(struct command *command)
{
    return failed(fallocate(command->slot->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)number(command, 2), (off_t)number(command, 3)));
}

static int do_copy(struct command *command)
{
    loff_t from = number(command, 3), to = number(command, 4);

    return failed(copy_file_range(command->slot->fd, &from, slots[number(command, 2) % SLOTS].fd,
                                  &to, (size_t)number(command, 5), 0));
}

/* ---- mappings ---- */

static int do_map(struct command *command)
{
    const size_t length = (size_t)number(command, 2);
    void *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, command->slot->fd, 0);

    if (map == MAP_FAILED)
        return errno;
    command->slot->map = map;
    command->slot->map_length = length;
    return 0;
}

static int do_unmap(struct command *command)
{
    unsigned char *map = command->slot->map;

    command->slot->map = NULL;
    return failed(munmap(map, command->slot->map_length));
}

static int do_msync(struct command *command)
{
    return failed(msync(command->slot->map, command->slot->map_length, MS_SYNC));
}

/* As the kernel does by itself, now and then: begun, and not waited for. */
static int do_writeback(struct command *command)
{
    return failed(sync_file_range(command->slot->fd, 0, 0, SYNC_FILE_RANGE_WRITE));
}

static int do_load(struct command *command)
{
    print_runs(command, command->slot->map + number(command, 2), (size_t)number(command, 3));
    return 0;
}

static int do_store(struct command *command)
{
    memset(command->slot->map + number(command, 2), command->words[4][0],
           (size_t)number(command, 3));
    return 0;
}

/* cachestat(2), or before Linux 6.5 what mincore(2) says of a mapping. */
static int do_cached(struct command *command)
{
    const uint64_t all[2] = {0, 0};
    uint64_t counts[5] = {0};
    struct stat attributes;

    if (syscall(451, command->slot->fd, all, counts, 0) == 0) {
        snprintf(command->answer, sizeof(command->answer), "%ju", (uintmax_t)counts[0]);
        return 0;
    }
    if (errno != ENOSYS || fstat(command->slot->fd, &attributes) != 0)
        return errno;
    const size_t pages = ((size_t)attributes.st_size + ALIGNMENT - 1) / ALIGNMENT;
    void *map =
        mmap(NULL, (size_t)attributes.st_size, PROT_READ, MAP_PRIVATE, command->slot->fd, 0);
    unsigned char *present = calloc(pages, 1);
    int error =
        map == MAP_FAILED || !present ? ENOMEM : failed(mincore(map, pages * ALIGNMENT, present));

    for (size_t i = 0; i < pages && error == 0; i++)
        counts[0] += present[i] & 1;
    snprintf(command->answer, sizeof(command->answer), "%ju", (uintmax_t)counts[0]);
    free(present);
    return error;
}

/* ---- locks ---- */

static struct flock flock_of(const struct command *command)
{
    const char *type = command->words[2];
    const size_t at = type[0] == 'r' || type[0] == 'w' || type[0] == 'u' ? 3 : 2;

    return (struct flock){
        .l_type = at == 2 || type[0] == 'u' ? F_UNLCK
                  : type[0] == 'w'          ? F_WRLCK
                                            : F_RDLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)number(command, at),
        .l_len = (off_t)number(command, at + 1),
    };
}

static int set_lock(const struct command *command, int how)
{
    struct flock lock = flock_of(command);

    return failed(fcntl(command->slot->fd, how, &lock));
}

static int do_lock(struct command *command)
{
    return set_lock(command, F_OFD_SETLK);
}

static int do_wait(struct command *command)
{
    return set_lock(command, F_OFD_SETLKW);
}

static int do_posix(struct command *command)
{
    return set_lock(command, F_SETLK);
}

static int do_getlk(struct command *command)
{
    struct flock lock = flock_of(command);

    if (fcntl(command->slot->fd, F_OFD_GETLK, &lock) != 0)
        return errno;
    if (lock.l_type == F_UNLCK)
        strcpy(command->answer, "free");
    else
        snprintf(command->answer, sizeof(command->answer), "%c %jd %jd",
                 lock.l_type == F_WRLCK ? 'w' : 'r', (intmax_t)lock.l_start, (intmax_t)lock.l_len);
    return 0;
}

static int do_flock(struct command *command)
{
    const char *how = command->words[2];
    const int operation = strcmp(how, "ex") == 0   ? LOCK_EX
                          : strcmp(how, "sh") == 0 ? LOCK_SH
                                                   : LOCK_UN;

    return failed(flock(command->slot->fd, operation | LOCK_NB));
}

/* ---- migfs.h ---- */

static int handoff(struct command *command, unsigned long request)
{
    struct migfs_handoff argument = {.version = MIGFS_IOC_VERSION};
    const int error = failed(ioctl(command->slot->fd, request, &argument));

    snprintf(command->answer, sizeof(command->answer), "%u", argument.files_done);
    return error;
}

static int do_acquire(struct command *command)
{
    return handoff(command, MIGFS_IOC_ACQUIRE);
}

static int do_release(struct command *command)
{
    return handoff(command, MIGFS_IOC_RELEASE);
}

static int do_state(struct command *command)
{
    static const char *const states[] = {"plain", "standby",  "shared",
                                         "owner", "released", "fenced"};
    static const char *const profiles[] = {"auto", "qemu", "range", "flock", "none", "ioctl"};
    static struct migfs_files files;
    const struct migfs_file *file = (const struct migfs_file *)(const void *)files.buffer;

    memset(&files, 0, sizeof(files));
    files.version = MIGFS_IOC_VERSION;
    if (ioctl(command->slot->fd, MIGFS_IOC_STATUS, &files) != 0)
        return errno;
    snprintf(command->answer, sizeof(command->answer), "%s %ju %s", states[file->state % 6],
             (uintmax_t)file->generation, profiles[file->profile % 6]);
    return 0;
}

/* ---- the loop ---- */

static const struct {
    const char *name;
    int (*run)(struct command *command);
} commands[] = {
    {"open", do_open},       {"close", do_close},       {"read", do_read},
    {"write", do_write},     {"size", do_size},         {"end", do_end},
    {"fsync", do_fsync},     {"resize", do_resize},     {"truncate", do_truncate},
    {"copy", do_copy},       {"allocate", do_allocate}, {"map", do_map},
    {"unmap", do_unmap},     {"msync", do_msync},       {"load", do_load},
    {"store", do_store},     {"cached", do_cached},     {"lock", do_lock},
    {"wait", do_wait},       {"unlock", do_lock},       {"posix", do_posix},
    {"getlk", do_getlk},     {"flock", do_flock},       {"acquire", do_acquire},
    {"release", do_release}, {"state", do_state},       {"writeback", do_writeback},
    {"discard", do_discard}, {"direct", do_direct},
};

static int run(struct command *command)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(command->words[0], commands[i].name) == 0)
            return commands[i].run(command);
    }
    return ENOSYS;
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;

    for (size_t i = 0; i < SLOTS; i++)
        slots[i].fd = -1;
    while (getline(&line, &room, stdin) > 0) {
        struct command command = {.answer = ""};
        char *rest = line;

        for (size_t i = 0; i < MOST_WORDS; i++) {
            command.words[i] = strsep(&rest, " \n");
            command.words[i] = command.words[i] ? command.words[i] : "";
        }
        command.slot = &slots[number(&command, 1) % SLOTS];
        const int error = run(&command);
        if (error != 0)
            printf("error %d\n", error);
        else
            printf("ok %s\n", command.answer);
        fflush(stdout);
    }
    free(line);
    return 0;
}
