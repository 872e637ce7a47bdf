/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Content: read, write, append, truncate, direct I/O, mappings, limits, copies. */
#include "posix.h"

#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { BIG = 5 << 20, PAGE = 4096 };

static char big[BIG + PAGE];

static void read_write(void)
{
    static const size_t sizes[] = {0,      1,      511,     4095,    4096, 4097,
                                   131072, 131073, 1048576, 1048577, BIG};
    char text[16] = "";
    char *nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int reader = OPEN(open("file", O_RDONLY));
    int writer = OPEN(open("file", O_WRONLY));

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(big, 'a' + (int)i, sizes[i]);
        say("size %zu", sizes[i]);
        CALL(pwrite(fd, big, sizes[i], 1000));
        memset(big, 0, sizes[i]);
        CALL(pread(reader, big, sizes[i], 1000));
        say("right %d",
            sizes[i] == 0 || (big[0] == 'a' + (int)i && big[sizes[i] - 1] == 'a' + (int)i));
        CALL(pread(reader, big, BIG, 500));
        CALL(pread(reader, big, sizes[i] + 100, 1000));
    }
    file_print("file");
    CALL(read(writer, text, 1));
    CALL(write(reader, text, 1));
    CALL(write(reader, text, 0));
    CALL(pread(fd, text, 1, -1));
    CALL(pwrite(fd, text, 1, -1));
    CALL(pread(fd, text, 4, (off_t)1 << 40));
    CALL(read(fd, NULL, 0));
    CALL(pread(fd, nowhere, 10, 0));
    CALL(pwrite(fd, nowhere, 10, 0));
    CALL(lseek(fd, 0, SEEK_END));
    CALL(lseek(fd, -5, SEEK_END));
    CALL(lseek(fd, -5, SEEK_SET));
    CALL(lseek(fd, 10, SEEK_CUR));
    CALL(lseek(fd, 0, 77));
    CALL(read(fd, text, 10));
    CALL(fsync(fd));
    CALL(fdatasync(reader));
    CALL(syncfs(fd));
    CALL(close(fd));
    CALL(read(fd, text, 1));
    fd = OPEN(open(".", O_RDONLY));
    CALL(read(fd, text, 1));
    CALL(fsync(fd));
    CALL(fdatasync(fd));
    CALL(ftruncate(fd, 0));
}

static void vectors(void)
{
    struct iovec out[3] = {{big, 1000}, {big + 1000, 0}, {big + 1000, 9000}};
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    for (int i = 0; i < 10000; i++)
        big[i] = (char)(i % 251);
    CALL(writev(fd, out, 3));
    CALL(pwritev(fd, out, 3, 5000));
    CALL(preadv(fd, out, 3, 1));
    CALL(pwritev2(fd, out, 1, -1, RWF_APPEND));
    CALL(pwritev2(fd, out, 1, 0, RWF_DSYNC));
    CALL(pwritev2(fd, out, 1, 3, RWF_SYNC));
    CALL(pwritev2(fd, out, 1, 0, 0x4000));
    CALL(preadv2(fd, out, 1, 0, 0));
    file_print("file");
}

static void append(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT | O_APPEND, 0644));
    int plain = OPEN(open("file", O_RDWR));
    char text[8] = "";

    CALL(write(fd, "one", 3));
    CALL(lseek(fd, 0, SEEK_SET));
    CALL(write(fd, "two", 3));
    CALL(pwrite(fd, "xx", 2, 0));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(pwrite(plain, "PP", 2, 1));
    CALL(pwrite(plain, "end", 3, 20));
    CALL(write(fd, "three", 5));
    file_print("file");
    CALL(fcntl(fd, F_SETFL, 0));
    CALL(pwrite(fd, "Z", 1, 0));
    CALL(fcntl(plain, F_SETFL, O_APPEND));
    CALL(write(plain, "flag", 4));
    CALL(ftruncate(fd, 3));
    CALL(pread(fd, text, 8, 0));
    say("text %s", text);
    CALL(write(plain, "x", 1));
    stat_print("file");
    file_print("file");
}

static void truncation(void)
{
    char text[64];
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int reader = OPEN(open("file", O_RDONLY));
    static const off_t sizes[] = {0, 1, 4095, 4096, 4097, 10000, 100000, 5, 3000, 1 << 20, 0, 50};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        say("to %lld", (long long)sizes[i]);
        CALL(i % 2 ? ftruncate(fd, sizes[i]) : truncate("file", sizes[i]));
        fstat_print(reader);
        file_print("file");
        file_fill(fd, sizes[i] / 2, 3000, (unsigned)i);
        file_print("file");
        CALL(lseek(reader, 0, SEEK_END));
    }
    /* what was cut off reads as zeros when the file grows again */
    file_fill(fd, 0, 9000, 3);
    CALL(pread(reader, text, sizeof text, 8000));
    CALL(ftruncate(fd, 8010));
    CALL(ftruncate(fd, 9000));
    CALL(pread(reader, text, sizeof text, 8005));
    say("zeros %d", text[5] == 0 && text[63] == 0);
    file_print("file");
    CALL(ftruncate(reader, 0));
    CALL(ftruncate(fd, -1));
    CALL(truncate("absent", 0));
    CALL(truncate(".", 0));
    CALL(ftruncate(fd, LLONG_MAX));
    CALL(ftruncate(fd, 1LL << 43));
    CALL(ftruncate(fd, (1LL << 44) + PAGE));
    CALL(ftruncate(fd, 0));
}

static void direct_transfer(int fd, char *memory, size_t length_over, size_t offset_over)
{
    off_t offset = (off_t)(8192 + offset_over);
    size_t length = 8192 + length_over;
    ssize_t got = pread(fd, memory, length, offset);
    int read_errno = got < 0 ? errno : 0;
    ssize_t put = pwrite(fd, memory, length, offset);
    int write_errno = put < 0 ? errno : 0;

    say("offset %lld length %zu: read %zd %s write %zd %s", (long long)offset, length, got,
        errno_name(read_errno), put, errno_name(write_errno));
}

/* Requests that the backing file refuses as unaligned must be refused here, too. */
static void direct(void)
{
    static const size_t alignments[] = {0, 1, 256, 512, 1024, 2048, 4096};
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int direct_fd;
    char *memory;

    file_fill(fd, 0, 64 << 10, 1);
    CALL(fsync(fd));
    if (posix_memalign((void **)&memory, 65536, 3 * 65536))
        return;
    memset(memory, 'd', 3 * 65536);
    direct_fd = OPEN(open("file", O_RDWR | O_DIRECT));
    for (size_t o = 0; o < 7; o++) {
        for (size_t l = 0; l < 7; l++)
            direct_transfer(direct_fd, memory, alignments[l], alignments[o]);
    }
    file_print("file");
    CALL(pread(direct_fd, memory, 4096, 65536));
    CALL(pread(direct_fd, memory, 8192, 61440));
    CALL(pread(direct_fd, memory, 4096, 1 << 20));
    CALL(pread(direct_fd, memory, 0, 0));
    CALL(pwrite(direct_fd, memory, 0, 0));
    CALL(pread(direct_fd, memory, 1, 0));
    CALL(pwrite(direct_fd, memory, 1, 0));
    memset(memory, 'D', 65536);
    CALL(pwrite(direct_fd, memory, 65536, 4096));
    CALL(pread(fd, memory, 100, 4096));
    say("buffered sees %c", memory[0]);
    file_fill(fd, 4096, 100, 9);
    CALL(pread(direct_fd, memory, 4096, 4096));
    say("direct sees %d", (unsigned char)memory[1]);
    CALL(ftruncate(direct_fd, 5000));
    CALL(pread(direct_fd, memory, 4096, 4096));
    CALL(fcntl(direct_fd, F_SETFL, 0));
    CALL(pwrite(direct_fd, memory, 10, 1));
    CALL(fcntl(fd, F_SETFL, O_DIRECT));
    CALL(pwrite(fd, memory, 10, 1));
    CALL(pread(fd, memory, 10, 1));
    close(direct_fd);
    memset(memory, 'N', 3 * 65536); /* behind a short read it is anything */
    direct_fd = OPEN(open("new", O_RDWR | O_CREAT | O_DIRECT | O_EXCL, 0600));
    CALL(pwrite(direct_fd, memory, 8192, 8192));
    CALL(pwrite(direct_fd, memory, 100, 0));
    stat_print("new");
    direct_fd = OPEN(open("new", O_WRONLY | O_DIRECT | O_APPEND));
    CALL(write(direct_fd, memory, 4096));
    CALL(write(direct_fd, memory, 100));
    stat_print("new");
    free(memory);
}

/* Where the caller's memory is never reaches a daemon: FUSE takes it from anywhere. */
static void direct_memory(void)
{
    static const size_t alignments[] = {1, 256, 512, 1024, 2048, 4096};
    int fd = OPEN(open("file", O_RDWR | O_CREAT | O_DIRECT, 0644));
    char *memory;

    CALL(ftruncate(fd, 64 << 10));
    if (posix_memalign((void **)&memory, 65536, 65536))
        return;
    memset(memory, 'm', 65536);
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        say("memory at %zu", alignments[i]);
        CALL(pread(fd, memory + alignments[i], 8192, 4096));
        CALL(pwrite(fd, memory + alignments[i], 8192, 4096));
    }
    free(memory);
}

static void mapping(void)
{
    struct stat before, after;
    char text[16] = "";
    char *map, *second;
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int reader = OPEN(open("file", O_RDONLY));

    file_fill(fd, 0, 3 * PAGE + 100, 1);
    map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("shared %d", map != MAP_FAILED);
    second = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
    say("second %d", second != MAP_FAILED);
    if (map == MAP_FAILED || second == MAP_FAILED)
        return;
    stat("file", &before);
    clock_tick();
    memcpy(map + PAGE, "mapped", 6);
    CALL(msync(map, 4 * PAGE, MS_SYNC));
    CALL(pread(reader, text, 6, PAGE));
    say("read sees %s", text);
    say("second sees %.6s", second + PAGE);
    CALL(pwrite(fd, "written", 7, 2 * PAGE));
    say("map sees %.7s", map + 2 * PAGE);
    stat("file", &after);
    say("mtime moved %d", after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
                              after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
    say("tail %d", map[3 * PAGE + 200]);
    map[3 * PAGE + 200] = 'T';
    CALL(msync(map, 4 * PAGE, MS_SYNC));
    CALL(ftruncate(fd, 4 * PAGE));
    file_print("file");
    memcpy(map, "kept", 4);
    CALL(munmap(map, 4 * PAGE));
    CALL(close(fd));
    file_print("file");
    CALL(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0) == MAP_FAILED ? -1 : 0);
    map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
    say("private %d", map != MAP_FAILED);
    memcpy(map, "lost", 4);
    CALL(pread(reader, text, 4, 0));
    say("file has %.4s", text);
    CALL(unlink("file"));
    say("after unlink %.4s", second);
    fd = OPEN(open("dirless", O_RDWR | O_CREAT, 0600));
    CALL(ftruncate(fd, PAGE));
    map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CALL(unlink("dirless"));
    memcpy(map, "x", 1);
    CALL(msync(map, PAGE, MS_SYNC));
}

static void past_end(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    volatile char *map;

    file_fill(fd, 0, PAGE, 1);
    map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return;
    say("byte %d", map[PAGE - 1]);
    ftruncate(fd, 3 * PAGE);
    say("grown %d", map[2 * PAGE]);
    ftruncate(fd, PAGE);
    signal(SIGBUS, SIG_DFL);
    map[2 * PAGE] = 1; /* the child dies: SIGBUS */
    say("no signal");
}

static void mapping_past_end(void)
{
    in_child(past_end);
}

static void direct_beside_mapping(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT | O_DIRECT, 0644));
    char *memory = aligned_alloc(PAGE, 4 * PAGE);
    char *map;

    memset(memory, 'a', 4 * PAGE);
    CALL(pwrite(fd, memory, 4 * PAGE, 0));
    map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("mapped %d", map != MAP_FAILED);
    if (map == MAP_FAILED)
        return;
    memset(map, 'b', PAGE);
    CALL(pread(fd, memory, PAGE, 0));
    say("direct read sees %c", memory[0]);
    memset(memory, 'c', PAGE);
    CALL(pwrite(fd, memory, PAGE, PAGE));
    say("map sees %c", map[PAGE]);
    file_print("file");
    free(memory);
}

static volatile sig_atomic_t exceeded;

static void on_exceeded(int number)
{
    (void)number;
    exceeded = exceeded + 1;
}

static void limit_run(void)
{
    struct rlimit limit = {.rlim_cur = 10000, .rlim_max = 10000};
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    struct sigaction action = {.sa_handler = on_exceeded};

    sigaction(SIGXFSZ, &action, NULL);
    setrlimit(RLIMIT_FSIZE, &limit);
    CALL(pwrite(fd, big, 9000, 0));
    CALL(pwrite(fd, big, 2000, 9000));
    say("signals %d", (int)exceeded);
    CALL(pwrite(fd, big, 1, 10000));
    say("signals %d", (int)exceeded);
    CALL(ftruncate(fd, 20000));
    say("signals %d", (int)exceeded);
    CALL(truncate("file", 10000));
    CALL(fallocate(fd, 0, 0, 20000));
    CALL(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
    say("signals %d", (int)exceeded);
    fstat_print(fd);
}

static void size_limit(void)
{
    in_child(limit_run);
}

static void offsets_huge(void)
{
    static const off_t offsets[] = {1LL << 31, 1LL << 32, 1LL << 40, (1LL << 43) - 10};
    char text[4];
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        say("offset %lld", (long long)offsets[i]);
        CALL(pwrite(fd, "end", 3, offsets[i]));
        CALL(pread(fd, text, 4, offsets[i]));
        fstat_print(fd);
    }
    CALL(pwrite(fd, "x", 1, LLONG_MAX - 10));
    CALL(pwrite(fd, "x", 1, 1LL << 60));
    CALL(pread(fd, text, 1, 1LL << 60));
    CALL(ftruncate(fd, 0));
}

/* The largest offset: each filesystem has its own, and FUSE does not tell it to the kernel. */
static void offset_largest(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    CALL(lseek(fd, 1LL << 60, SEEK_SET));
    CALL(lseek(fd, LLONG_MAX, SEEK_SET));
}

static void copies(void)
{
    off_t in = 0;
    off_t out = 0;
    int from = OPEN(open("from", O_RDWR | O_CREAT, 0644));
    int to = OPEN(open("to", O_RDWR | O_CREAT, 0644));
    int append_fd = OPEN(open("to", O_WRONLY | O_APPEND));
    int reader = OPEN(open("from", O_RDONLY));

    file_fill(from, 0, 300000, 5);
    CALL(copy_file_range(from, &in, to, &out, 300000, 0));
    say("offsets %lld %lld", (long long)in, (long long)out);
    file_print("to");
    in = 1000;
    out = 500000;
    CALL(copy_file_range(from, &in, to, &out, 1234, 0));
    file_print("to");
    in = 299990;
    CALL(copy_file_range(from, &in, to, NULL, 100, 0));
    CALL(copy_file_range(from, &in, to, NULL, 100, 0));
    CALL(lseek(to, 0, SEEK_CUR));
    in = 0;
    out = 100;
    CALL(copy_file_range(from, &in, from, &out, 200, 0));
    in = 0;
    out = 200000;
    CALL(copy_file_range(from, &in, from, &out, 1000, 0));
    file_print("from");
    CALL(copy_file_range(from, NULL, reader, NULL, 10, 0));
    CALL(copy_file_range(from, NULL, append_fd, NULL, 10, 0));
    CALL(copy_file_range(from, NULL, to, NULL, 10, 1));
    CALL(copy_file_range(from, NULL, to, NULL, 0, 0));
    CALL(copy_file_range(open(".", O_RDONLY), NULL, to, NULL, 10, 0));
    in = 0;
    CALL(sendfile(to, reader, &in, 5000));
    CALL(lseek(to, 0, SEEK_CUR));
    file_print("to");
}

static void splices(void)
{
    char text[8] = "";
    int ends[2];
    off_t offset = 3;
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    CALL(write(fd, "0123456789", 10));
    CALL(pipe(ends));
    CALL(splice(fd, &offset, ends[1], NULL, 4, 0));
    CALL(read(ends[0], text, 8));
    say("text %s", text);
    CALL(write(ends[1], "pipe", 4));
    offset = 8;
    CALL(splice(ends[0], NULL, fd, &offset, 4, 0));
    file_print("file");
}

static void advice(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    file_fill(fd, 0, 100000, 1);
    CALL(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    CALL(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    CALL(readahead(fd, 0, 100000));
    CALL(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    file_print("file");
}

const struct test_case data_cases[] = {
    {"read_write", read_write},
    {"vectors", vectors},
    {"append", append},
    {"truncation", truncation},
    {"direct", direct},
    {"direct_memory", direct_memory},
    {"mapping", mapping},
    {"mapping_past_end", mapping_past_end},
    {"direct_beside_mapping", direct_beside_mapping},
    {"size_limit", size_limit},
    {"offsets_huge", offsets_huge},
    {"offset_largest", offset_largest},
    {"copies", copies},
    {"splices", splices},
    {"advice", advice},
    {NULL, NULL},
};
