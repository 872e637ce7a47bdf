/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mixed DIRECTORY FILES THREADS SECONDS SEED [until-end]
 *
 * Threads do to their files what can be done to files, at random: reads and writes by calls,
 * O_DIRECT and mappings, truncates, renames, unlinks while open, locks of all kinds, hand-overs in
 * QEMU's order. Each knows what its files must contain. Files that all share are changed under
 * blocking locks, and signals come in between. With `until-end` the mount goes away meanwhile: the
 * first error of a call ends a thread, and is no failure; wrong data is.
 */
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_BLOCKS = 32,
    MOST_THREADS = 256,
    SHARED_FILES = 4,
    NAME_BYTES = 64,
};

struct file {
    unsigned number;
    char name[NAME_BYTES];
    int fd, direct_fd;
    unsigned blocks;                /* its length */
    uint32_t sequence[MOST_BLOCKS]; /* 0: zeros */
    bool linked;
};

struct thread {
    unsigned number;
    uint64_t random;
    pthread_t thread;
    struct file *files;
    unsigned file_count;
    uint32_t sequence;
    uint8_t *buffer; /* aligned, MOST_BLOCKS blocks */
    int shared_fd[SHARED_FILES];
    bool ended; /* a call failed, and that was to be expected */
};

static const char *directory;
static int directory_fd;
static bool until_end;
static atomic_bool ending;
static atomic_uint finished; /* threads, of their own accord or not */
static atomic_uint failures;
static atomic_ullong operations;
static atomic_uint inside[SHARED_FILES];
static atomic_ullong counters[SHARED_FILES];
static struct thread threads[MOST_THREADS];
static unsigned thread_count;

/* ---- failing ---- */

static void wrong(struct thread *thread, const struct file *file, const char *what, long detail)
{
    fprintf(stderr, "thread %u, %s: %s (%ld)\n", thread->number, file ? file->name : "-", what,
            detail);
    atomic_fetch_add(&failures, 1);
    thread->ended = true;
    atomic_store(&ending, true);
}

/* A call that has failed. */
static void failed(struct thread *thread, const struct file *file, const char *what)
{
    const int error = errno;

    thread->ended = true;
    if (until_end)
        return;
    fprintf(stderr, "thread %u, %s: %s: %s\n", thread->number, file ? file->name : "-", what,
            strerror(error));
    atomic_fetch_add(&failures, 1);
    atomic_store(&ending, true);
}

static unsigned below(struct thread *thread, unsigned limit)
{
    thread->random ^= thread->random << 13;
    thread->random ^= thread->random >> 7;
    thread->random ^= thread->random << 17;
    return (unsigned)((thread->random >> 24) % limit);
}

/* ---- opening ---- */

static void file_open(struct thread *thread, struct file *file, int flags)
{
    file->fd = openat(directory_fd, file->name, O_RDWR | O_CLOEXEC | flags, 0600);
    if (file->fd < 0) {
        failed(thread, file, "open");
        return;
    }
    file->direct_fd = openat(directory_fd, file->name, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (file->direct_fd < 0)
        failed(thread, file, "open O_DIRECT");
    file->linked = true;
}

static void file_close(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->direct_fd >= 0)
        close(file->direct_fd);
    file->fd = file->direct_fd = -1;
}

static void file_rename_to(struct thread *thread, const struct file *file, char *name)
{
    snprintf(name, NAME_BYTES, "t%u.f%u.%x", thread->number, file->number, ++thread->sequence);
}

static void file_create(struct thread *thread, struct file *file)
{
    file_rename_to(thread, file, file->name);
    memset(file->sequence, 0, sizeof(file->sequence));
    file->blocks = 0;
    file_open(thread, file, O_CREAT | O_EXCL);
}

/* ---- writing ---- */

static void write_range(struct thread *thread, struct file *file, int fd)
{
    const unsigned first = below(thread, MOST_BLOCKS);
    const unsigned count = 1 + below(thread, MOST_BLOCKS - first);
    const size_t bytes = (size_t)count * BLOCK_BYTES;
    const uint32_t sequence = ++thread->sequence;

    for (unsigned i = 0; i < count; i++)
        pattern_fill(thread->buffer + (size_t)i * BLOCK_BYTES, file->number, first + i, sequence);
    if (pwrite(fd, thread->buffer, bytes, (off_t)first * BLOCK_BYTES) != (ssize_t)bytes) {
        failed(thread, file, fd == file->fd ? "write" : "write O_DIRECT");
        return;
    }
    for (unsigned i = first; i < first + count; i++)
        file->sequence[i] = sequence;
    if (first + count > file->blocks)
        file->blocks = first + count;
}

static void write_mapped(struct thread *thread, struct file *file)
{
    const size_t bytes = (size_t)file->blocks * BLOCK_BYTES;
    uint8_t *map;

    if (file->blocks == 0)
        return;
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
    if (map == MAP_FAILED) {
        failed(thread, file, "mmap");
        return;
    }
    const uint32_t sequence = ++thread->sequence;
    for (unsigned i = below(thread, file->blocks); i < file->blocks; i += 1 + below(thread, 3)) {
        pattern_fill(map + (size_t)i * BLOCK_BYTES, file->number, i, sequence);
        file->sequence[i] = sequence;
    }
    /* What is in the mapping alone is lost with the mount. */
    if ((below(thread, 2) || until_end) && msync(map, bytes, MS_SYNC) != 0)
        failed(thread, file, "msync");
    munmap(map, bytes);
}

static void set_length(struct thread *thread, struct file *file)
{
    const unsigned blocks = below(thread, MOST_BLOCKS + 1);
    const off_t length = (off_t)blocks * BLOCK_BYTES;
    char path[4096];
    int result;

    snprintf(path, sizeof(path), "%s/%s", directory, file->name);
    result =
        file->linked && below(thread, 2) ? truncate(path, length) : ftruncate(file->fd, length);
    if (result != 0) {
        failed(thread, file, "truncate");
        return;
    }
    for (unsigned i = blocks; i < MOST_BLOCKS; i++)
        file->sequence[i] = 0;
    file->blocks = blocks;
}

static void punch(struct thread *thread, struct file *file)
{
    const unsigned first = below(thread, MOST_BLOCKS);
    const unsigned count = 1 + below(thread, MOST_BLOCKS - first);

    if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first * BLOCK_BYTES,
                  (off_t)count * BLOCK_BYTES) != 0) {
        failed(thread, file, "punch a hole");
        return;
    }
    for (unsigned i = first; i < first + count; i++)
        file->sequence[i] = 0;
}

/* ---- checking ---- */

static bool is_zero(const uint8_t *bytes)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, BLOCK_BYTES - 1) == 0;
}

static void check_block(struct thread *thread, const struct file *file, unsigned block,
                        const uint8_t *bytes, const char *how)
{
    const uint32_t sequence = file->sequence[block];
    uint64_t first;

    if (sequence == 0 ? is_zero(bytes) : pattern_is(bytes, file->number, block, sequence))
        return;
    memcpy(&first, bytes, sizeof(first));
    fprintf(stderr, "file %s, block %u of %u by %s: sequence %x wanted, %llx there\n", file->name,
            block, file->blocks, how, sequence, (unsigned long long)first);
    wrong(thread, file, "data", block);
}

static void check_read(struct thread *thread, struct file *file, int fd)
{
    const char *how = fd == file->fd ? "read" : "read O_DIRECT";
    const size_t bytes = (size_t)MOST_BLOCKS * BLOCK_BYTES;
    const ssize_t count = pread(fd, thread->buffer, bytes, 0);

    if (count < 0) {
        failed(thread, file, how);
        return;
    }
    if (count != (ssize_t)file->blocks * BLOCK_BYTES) {
        if (!until_end)
            wrong(thread, file, "length read", count);
        return;
    }
    for (unsigned i = 0; i < file->blocks && !thread->ended; i++)
        check_block(thread, file, i, thread->buffer + (size_t)i * BLOCK_BYTES, how);
}

static void check_mapped(struct thread *thread, struct file *file)
{
    const size_t bytes = (size_t)file->blocks * BLOCK_BYTES;
    uint8_t *map;

    if (file->blocks == 0)
        return;
    map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file->fd, 0);
    if (map == MAP_FAILED) {
        failed(thread, file, "mmap");
        return;
    }
    for (unsigned i = 0; i < file->blocks && !thread->ended; i++)
        check_block(thread, file, i, map + (size_t)i * BLOCK_BYTES, "mapping");
    munmap(map, bytes);
}

static void check_attributes(struct thread *thread, struct file *file)
{
    struct stat attributes;

    if (fstat(file->fd, &attributes) != 0)
        failed(thread, file, "fstat");
    else if (attributes.st_size != (off_t)file->blocks * BLOCK_BYTES)
        wrong(thread, file, "length", attributes.st_size);
    else if (attributes.st_nlink != (file->linked ? 1u : 0u))
        wrong(thread, file, "links", (long)attributes.st_nlink);
}

/* ---- names ---- */

static void move(struct thread *thread, struct file *file)
{
    char name[NAME_BYTES];

    if (!file->linked)
        return;
    file_rename_to(thread, file, name);
    if (renameat(directory_fd, file->name, directory_fd, name) != 0)
        failed(thread, file, "rename");
    else
        memcpy(file->name, name, sizeof(name));
}

/* The open file stays as it was; later it is begun anew. */
static void remove_name(struct thread *thread, struct file *file)
{
    if (file->linked) {
        if (unlinkat(directory_fd, file->name, 0) != 0)
            failed(thread, file, "unlink");
        file->linked = false;
        return;
    }
    file_close(file);
    file_create(thread, file);
}

static void reopen(struct thread *thread, struct file *file)
{
    if (!file->linked)
        return;
    file_close(file);
    file_open(thread, file, 0);
}

/* What the thread does not touch meanwhile is there once, whatever others do. */
static void list(struct thread *thread, struct file *file)
{
    const int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    unsigned found = 0;

    if (!listing) {
        failed(thread, file, "opendir");
        return;
    }
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(listing));)
        found += strcmp(entry->d_name, file->name) == 0;
    if (errno != 0)
        failed(thread, file, "readdir");
    else if (found != (file->linked ? 1u : 0u))
        wrong(thread, file, "times in its directory", (long)found);
    closedir(listing);
}

/* ---- locks ---- */

static int set_lock(int fd, int command, off_t start, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};

    return fcntl(fd, command, &lock);
}

/* Bytes that no profile knows, taken and given by whoever is alone with the file. */
static void lock_own(struct thread *thread, struct file *file)
{
    const int kind = (int)below(thread, 3);
    const off_t start = (kind == 0 ? 1000 : 2000) + below(thread, 50);
    const int command = kind == 0 ? F_SETLK : F_OFD_SETLK;
    const short type = below(thread, 2) ? F_WRLCK : F_RDLCK;
    int result;

    result =
        kind == 2 ? flock(file->fd, LOCK_EX | LOCK_NB) : set_lock(file->fd, command, start, type);
    if (result != 0)
        failed(thread, file, "lock");
    if (below(thread, 3) == 0)
        return; /* stays, until a close or the next one */
    result = kind == 2 ? flock(file->fd, LOCK_UN) : set_lock(file->fd, command, start, F_UNLCK);
    if (result != 0)
        failed(thread, file, "unlock");
}

static void check_refused(struct thread *thread, struct file *file)
{
    errno = 0;
    if (pwrite(file->fd, thread->buffer, BLOCK_BYTES, 0) >= 0)
        wrong(thread, file, "a released file takes writes", 0);
    else if (errno != EIO)
        failed(thread, file, "write after a release");
}

static void wait_unlocked(struct thread *thread, struct file *file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_start = 201, .l_len = 1};

    do {
        lock.l_type = F_WRLCK;
        if (fcntl(file->fd, F_OFD_GETLK, &lock) != 0)
            failed(thread, file, "question about a lock");
    } while (!thread->ended && lock.l_type != F_UNLCK);
}

/* The kernel tells of the last close later than close(2) returns; until then it stays released. */
static void open_released(struct thread *thread, struct file *file)
{
    int error = EIO;

    file_open(thread, file, 0);
    wait_unlocked(thread, file);
    for (int i = 0; i < 5000 && error == EIO && !thread->ended; i++) {
        error = ftruncate(file->fd, (off_t)file->blocks * BLOCK_BYTES) == 0 ? 0 : errno;
        if (error == EIO)
            usleep(1000);
    }
    errno = error;
    if (error != 0 && !thread->ended)
        failed(thread, file, "truncate of a file that nobody has open any more");
}

static void hand_over(struct thread *thread, struct file *file)
{
    static const off_t bytes[] = {100, 101, 201};

    for (int again = (int)below(thread, 3); again >= 0 && !thread->ended; again--) {
        for (size_t i = 0; i < 3; i++) {
            if (set_lock(file->fd, F_OFD_SETLK, bytes[i], F_RDLCK) != 0)
                failed(thread, file, "lock of an image");
        }
        write_range(thread, file, below(thread, 2) ? file->fd : file->direct_fd);
        write_mapped(thread, file);
        check_read(thread, file, file->fd);
        if (thread->ended || (again == 0 && below(thread, 4) == 0))
            break; /* released by the close */
        for (size_t i = 0; i < 3; i++) {
            if (set_lock(file->fd, F_OFD_SETLK, bytes[i], F_UNLCK) != 0)
                failed(thread, file, "unlock of an image");
        }
        if (!thread->ended)
            check_refused(thread, file);
        check_read(thread, file, below(thread, 2) ? file->fd : file->direct_fd);
    }
    file_close(file);
    if (!file->linked)
        file_create(thread, file);
    else if (!thread->ended)
        open_released(thread, file);
}

static int lock_shared(int fd, unsigned kind, short type)
{
    int result;

    do {
        if (kind % 2)
            result = flock(fd, type == F_UNLCK ? LOCK_UN : LOCK_EX);
        else
            result = set_lock(fd, type == F_UNLCK ? F_OFD_SETLK : F_OFD_SETLKW, 0, type);
    } while (result != 0 && errno == EINTR && !atomic_load(&ending));
    return result;
}

/* One at a time, and each sees what the one before wrote. */
static void change_shared(struct thread *thread)
{
    const unsigned kind = below(thread, SHARED_FILES);
    const int fd = thread->shared_fd[kind];
    uint64_t value = 0;

    if (lock_shared(fd, kind, F_WRLCK) != 0) {
        if (errno != EINTR)
            failed(thread, NULL, "blocking lock");
        return;
    }
    if (atomic_fetch_add(&inside[kind], 1) != 0)
        wrong(thread, NULL, "two hold one lock", (long)kind);
    if (pread(fd, &value, sizeof(value), 0) != (ssize_t)sizeof(value))
        failed(thread, NULL, "read of a shared file");
    else if (value != atomic_load(&counters[kind]))
        wrong(thread, NULL, "stale counter", (long)value);
    value++;
    if (!thread->ended && pwrite(fd, &value, sizeof(value), 0) != (ssize_t)sizeof(value))
        failed(thread, NULL, "write of a shared file");
    if (!thread->ended)
        atomic_store(&counters[kind], value);
    atomic_fetch_sub(&inside[kind], 1);
    if (lock_shared(fd, kind, F_UNLCK) != 0 && errno != EINTR)
        failed(thread, NULL, "unlock of a shared file");
}

/* ---- the threads ---- */

static void operate(struct thread *thread)
{
    struct file *file = &thread->files[below(thread, thread->file_count)];

    switch (below(thread, 24)) {
    case 0:
    case 1:
    case 2:
        write_range(thread, file, file->fd);
        break;
    case 3:
    case 4:
        write_range(thread, file, file->direct_fd);
        break;
    case 5:
    case 6:
        write_mapped(thread, file);
        break;
    case 7:
    case 8:
    case 9:
        check_read(thread, file, file->fd);
        break;
    case 10:
    case 11:
        check_read(thread, file, file->direct_fd);
        break;
    case 12:
        check_mapped(thread, file);
        break;
    case 13:
        set_length(thread, file);
        break;
    case 14:
        punch(thread, file);
        break;
    case 15:
        move(thread, file);
        break;
    case 16:
        remove_name(thread, file);
        break;
    case 17:
        reopen(thread, file);
        break;
    case 18:
        list(thread, file);
        break;
    case 19:
        lock_own(thread, file);
        break;
    case 20:
        hand_over(thread, file);
        break;
    case 21:
    case 22:
        change_shared(thread);
        break;
    case 23:
        check_attributes(thread, file);
        if (fsync(file->fd) != 0)
            failed(thread, file, "fsync");
        break;
    }
    atomic_fetch_add(&operations, 1);
}

static void *work(void *data)
{
    struct thread *thread = data;

    while (!atomic_load(&ending) && !thread->ended)
        operate(thread);
    for (unsigned i = 0; i < thread->file_count; i++) {
        if (!thread->ended)
            check_read(thread, &thread->files[i], thread->files[i].fd);
        file_close(&thread->files[i]);
    }
    /* Where a mount is taken away each ends by itself, and nobody is left to load it. */
    if (atomic_fetch_add(&finished, 1) + 1 == thread_count)
        atomic_store(&ending, true);
    return NULL;
}

static void on_signal(int number)
{
    (void)number;
}

static void on_bus_error(int number)
{
    (void)number;
    _exit(atomic_load(&failures) == 0 ? 0 : 1); /* a mapping of a mount that is gone */
}

static void *send_signals(void *data)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    (void)data;
    for (unsigned i = 0; !atomic_load(&ending); i++) {
        pthread_kill(threads[(i * 7) % thread_count].thread, SIGUSR1);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void open_shared(struct thread *thread)
{
    char name[NAME_BYTES];
    const uint64_t zero = 0;

    for (unsigned i = 0; i < SHARED_FILES; i++) {
        snprintf(name, sizeof(name), "shared.%u", i);
        thread->shared_fd[i] = openat(directory_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (thread->shared_fd[i] < 0)
            failed(thread, NULL, "open of a shared file");
        else if (thread->number == 0 &&
                 pwrite(thread->shared_fd[i], &zero, sizeof(zero), 0) != (ssize_t)sizeof(zero))
            failed(thread, NULL, "write of a shared file");
    }
}

static void thread_init(struct thread *thread, unsigned number, unsigned file_count, uint64_t seed)
{
    thread->number = number;
    thread->random = (seed + number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    thread->file_count = file_count;
    thread->files = calloc(file_count, sizeof(*thread->files));
    thread->buffer = aligned_alloc(BLOCK_BYTES, (size_t)MOST_BLOCKS * BLOCK_BYTES);
    if (!thread->files || !thread->buffer)
        exit(2);
    open_shared(thread);
    for (unsigned i = 0; i < file_count && !thread->ended; i++) {
        thread->files[i].number = i;
        thread->files[i].fd = thread->files[i].direct_fd = -1;
        file_create(thread, &thread->files[i]);
        if (!thread->ended)
            write_range(thread, &thread->files[i], thread->files[i].fd);
    }
}

static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int load(unsigned file_count, unsigned seconds, uint64_t seed)
{
    pthread_t signaller;

    for (unsigned i = 0; i < thread_count; i++)
        thread_init(&threads[i], i, file_count / thread_count, seed);
    printf("serving\n");
    fflush(stdout);
    for (unsigned i = 0; i < thread_count; i++) {
        if (pthread_create(&threads[i].thread, NULL, work, &threads[i]) != 0)
            return 2;
    }
    if (pthread_create(&signaller, NULL, send_signals, NULL) != 0)
        return 2;
    for (unsigned i = 0; i < seconds * 10 && !atomic_load(&ending); i++)
        usleep(100000);
    atomic_store(&ending, true);
    pthread_join(signaller, NULL);
    for (unsigned i = 0; i < thread_count; i++)
        pthread_join(threads[i].thread, NULL);
    return atomic_load(&failures) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct sigaction interrupt = {.sa_handler = on_signal}; /* without SA_RESTART */
    const struct sigaction bus_error = {.sa_handler = on_bus_error};
    int status;

    thread_count = argc >= 6 ? (unsigned)atoi(argv[3]) : 0;
    until_end = argc == 7 && strcmp(argv[6], "until-end") == 0;
    if (thread_count == 0 || thread_count > MOST_THREADS ||
        (unsigned)atoi(argv[2]) < thread_count) {
        fprintf(stderr, "usage: mixed DIRECTORY FILES THREADS SECONDS SEED [until-end]\n");
        return 2;
    }
    raise_limit();
    sigaction(SIGUSR1, &interrupt, NULL);
    if (until_end)
        sigaction(SIGBUS, &bus_error, NULL);
    directory = argv[1];
    directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory_fd < 0) {
        perror(directory);
        return 2;
    }
    status = load((unsigned)atoi(argv[2]), (unsigned)atoi(argv[4]), strtoull(argv[5], NULL, 0));
    printf("%llu operations, %u failures\n", (unsigned long long)atomic_load(&operations),
           atomic_load(&failures));
    return status;
}
