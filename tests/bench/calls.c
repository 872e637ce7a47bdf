/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * calls KIND PATH MILLISECONDS
 *     makes calls of one kind below the directory PATH, and prints how many and the nanoseconds
 *     that they took. KIND: fstat, open (and close), create (and unlink), lookup (of three
 *     components), lock (and unlock, one byte that means nothing).
 * calls wake MILLISECONDS
 *     wakes another process, which wakes this one, again and again, and prints how many times and
 *     the nanoseconds.
 * calls handover FILE CACHED DIRTY
 *     locks FILE as QEMU does, reads CACHED bytes, writes DIRTY bytes, unlocks it, and prints the
 *     nanoseconds of the locks and of the unlocks.
 * calls hot FILE MILLISECONDS
 *     opens FILE, locks it as QEMU does, hands it over and takes it back, reads it once, and then
 *     blocks of 4 KiB of it again and again by that descriptor; prints how many and the
 *     nanoseconds.
 * calls latency FILE LEAST
 *     reads blocks of 4 KiB of FILE past every cache, one after another, LEAST of them and until
 *     its input ends, and prints the nanoseconds within which half of the reads were answered, and
 *     99 of 100.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define LONE_BYTE 4096

static const off_t qemu_bytes[] = {100, 101, 201};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void lock_byte(int fd, off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        err(1, "lock of byte %jd", (intmax_t)byte);
}

/* ---- calls of one kind ---- */

static void call_fstat(int fd)
{
    struct stat attributes;

    if (fstat(fd, &attributes) != 0)
        err(1, "fstat");
}

static void call_open(int fd)
{
    const int opened = openat(fd, "file", O_RDWR);

    if (opened < 0)
        err(1, "open");
    close(opened);
}

static void call_create(int fd)
{
    const int made = openat(fd, "new", O_RDWR | O_CREAT | O_EXCL, 0600);

    if (made < 0)
        err(1, "create");
    close(made); /* first: some stacks rename what is unlinked while it is open */
    if (unlinkat(fd, "new", 0) != 0)
        err(1, "unlink");
}

static void call_lookup(int fd)
{
    struct stat attributes;

    if (fstatat(fd, "a/b/c", &attributes, 0) != 0)
        err(1, "stat of a/b/c");
}

static void call_lock(int fd)
{
    lock_byte(fd, LONE_BYTE, F_WRLCK);
    lock_byte(fd, LONE_BYTE, F_UNLCK);
}

static const struct kind {
    const char *name;
    void (*call)(int fd);
    bool is_of_file;
} kinds[] = {
    {"fstat", call_fstat, true},    {"open", call_open, false}, {"create", call_create, false},
    {"lookup", call_lookup, false}, {"lock", call_lock, true},
};

static const struct kind *kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    }
    errx(1, "%s is no kind of call", name);
}

static int prepare(const struct kind *kind, const char *path)
{
    const int directory = open(path, O_RDONLY | O_DIRECTORY);
    int file;

    if (directory < 0)
        err(1, "%s", path);
    file = openat(directory, "file", O_RDWR | O_CREAT, 0600);
    if (file < 0)
        err(1, "%s/file", path);
    (void)mkdirat(directory, "a", 0700); /* there from the round before */
    (void)mkdirat(directory, "a/b", 0700);
    (void)mkdirat(directory, "a/b/c", 0700);
    if (kind->is_of_file)
        return file;
    close(file);
    return directory;
}

static int run_calls(const char *name, const char *path, int64_t most_ns)
{
    const struct kind *kind = kind_of(name);
    const int fd = prepare(kind, path);
    const int64_t start = now_ns();
    int64_t count = 0;

    while (now_ns() - start < most_ns) {
        for (int i = 0; i < 16; i++, count++)
            kind->call(fd);
    }
    printf("%jd %jd\n", (intmax_t)count, (intmax_t)(now_ns() - start));
    return 0;
}

/* ---- what any daemon costs ---- */

static void wake(int fd)
{
    if (eventfd_write(fd, 1) != 0)
        err(1, "eventfd_write");
}

static void sleep_until_woken(int fd)
{
    eventfd_t value;

    if (eventfd_read(fd, &value) != 0)
        err(1, "eventfd_read");
}

static int wake_each_other(int64_t most_ns)
{
    const int there = eventfd(0, 0), back = eventfd(0, 0);
    const pid_t parent = getpid(), child = there < 0 || back < 0 ? -1 : fork();
    int64_t start, count;

    if (child < 0)
        err(1, "two processes");
    if (child == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
            err(1, "prctl");
        if (getppid() != parent)
            errx(1, "who is to be woken has ended");
        for (;;) {
            sleep_until_woken(there);
            wake(back);
        }
    }
    start = now_ns();
    for (count = 0; now_ns() - start < most_ns; count++) {
        wake(there);
        sleep_until_woken(back);
    }
    printf("%jd %jd\n", (intmax_t)count, (intmax_t)(now_ns() - start));
    return 0;
}

/* ---- a hand-over ---- */

static void lock_all(int fd, short type)
{
    for (size_t i = 0; i < sizeof(qemu_bytes) / sizeof(qemu_bytes[0]); i++)
        lock_byte(fd, qemu_bytes[i], type);
}

static void touch(int fd, char *buffer, off_t length, bool writes)
{
    for (off_t at = 0; at < length; at += (off_t)CHUNK) {
        const ssize_t count = writes ? pwrite(fd, buffer, CHUNK, at) : pread(fd, buffer, CHUNK, at);

        if (count != (ssize_t)CHUNK)
            err(1, "%zd bytes at %jd", count, (intmax_t)at);
    }
}

static int hand_over(const char *path, off_t cached, off_t dirty)
{
    char *buffer = malloc(CHUNK);
    const int fd = open(path, O_RDWR);

    if (!buffer || fd < 0)
        err(1, "%s", path);
    const int64_t begun = now_ns();
    lock_all(fd, F_RDLCK);
    const int64_t owned = now_ns();
    memset(buffer, (int)(begun & 0xff), CHUNK);
    touch(fd, buffer, cached, false);
    touch(fd, buffer, dirty, true);
    const int64_t ending = now_ns();
    lock_all(fd, F_UNLCK);
    printf("%jd %jd\n", (intmax_t)(owned - begun), (intmax_t)(now_ns() - ending));
    close(fd);
    free(buffer);
    return 0;
}

/* ---- reads ---- */

#define BLOCK ((size_t)4096)
#define MOST_READS ((size_t)1 << 22)

static void read_block(int fd, char *buffer, off_t blocks)
{
    if (pread(fd, buffer, BLOCK, random() % blocks * (off_t)BLOCK) != (ssize_t)BLOCK)
        err(1, "a block");
}

static int read_hot(const char *path, int64_t most_ns)
{
    char *buffer = malloc(CHUNK);
    const int fd = open(path, O_RDWR);
    const off_t length = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    int64_t start, count = 0;

    if (!buffer || length < (off_t)CHUNK)
        err(1, "%s", path);
    lock_all(fd, F_RDLCK);
    lock_all(fd, F_UNLCK);
    lock_all(fd, F_RDLCK);
    touch(fd, buffer, length / (off_t)CHUNK * (off_t)CHUNK, false);
    for (start = now_ns(); now_ns() - start < most_ns; count += 16) {
        for (int i = 0; i < 16; i++)
            read_block(fd, buffer, length / (off_t)BLOCK);
    }
    printf("%jd %jd\n", (intmax_t)count, (intmax_t)(now_ns() - start));
    lock_all(fd, F_UNLCK);
    close(fd);
    free(buffer);
    return 0;
}

static bool input_has_ended(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

    return poll(&input, 1, 0) > 0;
}

static int compare_times(const void *left, const void *right)
{
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    return (a > b) - (a < b);
}

/* `least`: 1 and more. */
static int measure_latency(const char *path, size_t least)
{
    int64_t *took = malloc(MOST_READS * sizeof(*took));
    char *buffer = aligned_alloc(BLOCK, BLOCK);
    const int fd = open(path, O_RDONLY | O_DIRECT);
    const off_t blocks = fd < 0 ? 0 : lseek(fd, 0, SEEK_END) / (off_t)BLOCK;
    size_t count = 0;

    if (!took || !buffer || blocks == 0)
        err(1, "%s", path);
    while (count < MOST_READS && (count < least || !input_has_ended())) {
        const int64_t start = now_ns();

        read_block(fd, buffer, blocks);
        took[count++] = now_ns() - start;
    }
    qsort(took, count, sizeof(*took), compare_times);
    printf("%jd %jd\n", (intmax_t)took[count / 2], (intmax_t)took[count * 99 / 100]);
    close(fd);
    free(buffer);
    free(took);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "handover") == 0)
        return hand_over(argv[2], atoll(argv[3]), atoll(argv[4]));
    if (argc == 4 && strcmp(argv[1], "latency") == 0 && atoll(argv[3]) > 0)
        return measure_latency(argv[2], (size_t)atoll(argv[3]));
    if (argc == 4 && strcmp(argv[1], "hot") == 0)
        return read_hot(argv[2], atoll(argv[3]) * 1000000);
    if (argc == 3 && strcmp(argv[1], "wake") == 0)
        return wake_each_other(atoll(argv[2]) * 1000000);
    if (argc != 4)
        errx(1, "usage: calls KIND PATH MILLISECONDS | calls wake MILLISECONDS | "
                "calls handover FILE CACHED DIRTY | calls hot FILE MILLISECONDS | "
                "calls latency FILE LEAST");
    return run_calls(argv[1], argv[2], atoll(argv[3]) * 1000000);
}
