/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * acquires DIRECTORY DIRECTORY FILES BLOCKS ROUNDS
 *
 * Two mounts of one store hand all files over at once, to and fro, as so many QEMUs would: the
 * same moment for each, locks in QEMU's order, while readers keep read-ahead going on both sides
 * and some of the written pages are dirty in a mapping only. After each hand-over the new owner
 * must read what the old one wrote, by calls and in its mapping.
 */
#include "pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIDES = 2, MOST_FILES = 256, TRIES = 20 };

static unsigned file_count, block_count, round_count;
static pthread_barrier_t barrier;
static atomic_bool ending;
static atomic_uint failures, timeouts;

struct file {
    unsigned number;
    int fd[SIDES];
    int reader_fd[SIDES];
    uint8_t *map[SIDES];
    pthread_t driver, reader[SIDES];
};
static struct file files[MOST_FILES];

/* In a round of its own the file is written through the mapping, and not synced. */
static bool writes_mapped(const struct file *file, unsigned round)
{
    return (file->number + round / 2) % 3 == 0;
}

static void fail(const struct file *file, unsigned round, const char *what, int error)
{
    fprintf(stderr, "file %u, round %u: %s: %s\n", file->number, round, what,
            error ? strerror(error) : "wrong");
    atomic_fetch_add(&failures, 1);
}

/* A deadline that passes on a slow machine is an answer, too: the lock was not taken. */
static int lock_byte(int fd, off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    for (int i = 0; i < TRIES; i++) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return 0;
        if (errno != ETIMEDOUT)
            return errno;
        atomic_fetch_add(&timeouts, 1);
    }
    return errno;
}

static int lock_bytes(int fd, const off_t *bytes, size_t count, short type)
{
    for (size_t i = 0; i < count; i++) {
        const int error = lock_byte(fd, bytes[i], type);

        if (error != 0)
            return error;
    }
    return 0;
}

/* As qcow2 is locked; whoever takes 201 asks for 101 of others, and the other way round. */
static int acquire(int fd)
{
    static const off_t bytes[] = {100, 101, 103, 201, 203};
    int error = lock_bytes(fd, bytes, sizeof(bytes) / sizeof(bytes[0]), F_RDLCK);

    for (size_t i = 0; i < 2 && error == 0; i++) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = i ? 201 : 101, .l_len = 1};

        if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
            error = errno;
        else if (lock.l_type != F_UNLCK)
            error = EAGAIN;
    }
    return error;
}

static int release(int fd)
{
    static const off_t bytes[] = {100, 101, 103, 201, 203};

    return lock_bytes(fd, bytes, sizeof(bytes) / sizeof(bytes[0]), F_UNLCK);
}

static void write_blocks(const struct file *file, unsigned side, unsigned round)
{
    uint64_t block[BLOCK_WORDS];

    for (unsigned i = 0; i < block_count; i++) {
        if (writes_mapped(file, round)) {
            pattern_fill(file->map[side] + (size_t)i * BLOCK_BYTES, file->number, i, round);
            continue;
        }
        pattern_fill(block, file->number, i, round);
        if (pwrite(file->fd[side], block, sizeof(block), (off_t)i * BLOCK_BYTES) != BLOCK_BYTES)
            fail(file, round, "write", errno);
    }
}

static void check_blocks(const struct file *file, unsigned side, unsigned round)
{
    uint64_t block[BLOCK_WORDS];
    unsigned stale = 0, stale_mapped = 0;

    for (unsigned i = 0; i < block_count; i++) {
        if (pread(file->fd[side], block, sizeof(block), (off_t)i * BLOCK_BYTES) != BLOCK_BYTES)
            fail(file, round, "read", errno);
        else
            stale += !pattern_is(block, file->number, i, round);
        stale_mapped +=
            !pattern_is(file->map[side] + (size_t)i * BLOCK_BYTES, file->number, i, round);
    }
    if (stale > 0)
        fail(file, round, "stale blocks", 0);
    if (stale_mapped > 0)
        fail(file, round, "stale blocks of the mapping", 0);
}

static void *drive(void *data)
{
    struct file *file = data;

    for (unsigned round = 1; round <= round_count; round++) {
        const unsigned side = round % SIDES;
        int error;

        pthread_barrier_wait(&barrier);
        error = acquire(file->fd[side]);
        if (error != 0)
            fail(file, round, "acquire", error);
        else if (round > 1)
            check_blocks(file, side, round - 1);
        write_blocks(file, side, round);
        pthread_barrier_wait(&barrier);
        error = release(file->fd[side]);
        if (error != 0)
            fail(file, round, "release", error);
    }
    return NULL;
}

/* Sequential, so that the kernel reads ahead; what it sees of the other side's writing is legal. */
static void *read_on(void *data)
{
    const int fd = *(int *)data;
    const size_t bytes = 16 * BLOCK_BYTES;
    void *buffer = malloc(bytes);
    off_t offset = 0;

    while (buffer && !atomic_load(&ending)) {
        const ssize_t count = pread(fd, buffer, bytes, offset);

        if (count < 0) {
            fprintf(stderr, "a reader: %s\n", strerror(errno));
            atomic_fetch_add(&failures, 1);
            break;
        }
        offset = count == 0 ? 0 : offset + count;
        usleep(4000); /* the processors are for the hand-overs, too */
    }
    free(buffer);
    return NULL;
}

static int open_or_exit(const char *directory, unsigned number, int flags)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/image.%u", directory, number);
    const int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

static void file_open(struct file *file, char **directories)
{
    const size_t bytes = (size_t)block_count * BLOCK_BYTES;

    for (unsigned side = 0; side < SIDES; side++) {
        /* The readers' are writable too: read-only ones would not be cached in standby. */
        file->fd[side] = open_or_exit(directories[side], file->number, O_RDWR | O_CREAT);
        file->reader_fd[side] = open_or_exit(directories[side], file->number, O_RDWR);
        if (side == 0 && ftruncate(file->fd[side], (off_t)bytes) != 0) {
            perror("ftruncate");
            exit(1);
        }
    }
    for (unsigned side = 0; side < SIDES; side++) {
        file->map[side] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd[side], 0);
        if (file->map[side] == MAP_FAILED) {
            perror("mmap");
            exit(1);
        }
    }
}

static void start_threads(struct file *file)
{
    int error = pthread_create(&file->driver, NULL, drive, file);

    for (unsigned side = 0; side < SIDES && error == 0; side++)
        error = pthread_create(&file->reader[side], NULL, read_on, &file->reader_fd[side]);
    if (error != 0) {
        fprintf(stderr, "a thread: %s\n", strerror(error));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    file_count = argc == 6 ? (unsigned)atoi(argv[3]) : 0;
    block_count = argc == 6 ? (unsigned)atoi(argv[4]) : 0;
    round_count = argc == 6 ? (unsigned)atoi(argv[5]) : 0;
    if (file_count == 0 || file_count > MOST_FILES || block_count == 0) {
        fprintf(stderr, "usage: acquires DIRECTORY DIRECTORY FILES BLOCKS ROUNDS\n");
        return 2;
    }
    pthread_barrier_init(&barrier, NULL, file_count);
    for (unsigned i = 0; i < file_count; i++) {
        files[i].number = i;
        file_open(&files[i], argv + 1);
    }
    for (unsigned i = 0; i < file_count; i++)
        start_threads(&files[i]);
    for (unsigned i = 0; i < file_count; i++)
        pthread_join(files[i].driver, NULL);
    atomic_store(&ending, true);
    for (unsigned i = 0; i < file_count * SIDES; i++)
        pthread_join(files[i / SIDES].reader[i % SIDES], NULL);
    printf("%u files, %u rounds, %u deadlines passed, %u failures\n", file_count, round_count,
           atomic_load(&timeouts), atomic_load(&failures));
    return atomic_load(&failures) == 0 ? 0 : 1;
}
