/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Holes: seeking data and holes, allocation in every mode, blocks. */
#include "posix.h"

#include <linux/falloc.h>

enum { BLOCK = 4096 };

static void map_say(int fd, off_t length)
{
    off_t at = 0;

    while (at < length) {
        off_t data = lseek(fd, at, SEEK_DATA);
        off_t hole;

        if (data < 0) {
            say("  from %lld: %s", (long long)at, errno_name(errno));
            break;
        }
        hole = lseek(fd, data, SEEK_HOLE);
        say("  data %lld to %lld", (long long)data, (long long)hole);
        if (hole <= data)
            break;
        at = hole;
    }
}

static void blocks_say(int fd)
{
    struct stat status;

    fsync(fd);
    if (fstat(fd, &status) == 0)
        say("  size %lld blocks %lld", (long long)status.st_size, (long long)status.st_blocks);
}

static void seek_holes(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    CALL(lseek(fd, 0, SEEK_DATA));
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(ftruncate(fd, 1 << 20));
    map_say(fd, 1 << 20);
    file_fill(fd, 256 << 10, 64 << 10, 1);
    file_fill(fd, 700 << 10, 4 << 10, 2);
    blocks_say(fd);
    map_say(fd, 1 << 20);
    CALL(lseek(fd, 1 << 20, SEEK_DATA));
    CALL(lseek(fd, 1 << 20, SEEK_HOLE));
    CALL(lseek(fd, (1 << 20) - 1, SEEK_HOLE));
    CALL(lseek(fd, -1, SEEK_DATA));
    CALL(lseek(fd, (256 << 10) + 5, SEEK_DATA));
    CALL(lseek(fd, (256 << 10) + 5, SEEK_HOLE));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(ftruncate(fd, 300 << 10));
    blocks_say(fd);
    map_say(fd, 300 << 10);
}

static void allocate(void)
{
    static const struct {
        const char *name;
        int mode;
        off_t offset;
        off_t length;
    } calls[] = {
        {"plain", 0, 0, 64 << 10},
        {"grow", 0, 60 << 10, 100 << 10},
        {"keep size", FALLOC_FL_KEEP_SIZE, 0, 1 << 20},
        {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 << 10, 8 << 10},
        {"punch unaligned", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 33000, 9000},
        {"punch past the end", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 150 << 10, 1 << 20},
        {"punch without keep", FALLOC_FL_PUNCH_HOLE, 0, 4096},
        {"zero", FALLOC_FL_ZERO_RANGE, 4096, 10000},
        {"zero grow", FALLOC_FL_ZERO_RANGE, 160 << 10, 100 << 10},
        {"zero keep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 250 << 10, 100 << 10},
        {"nothing", 0, 0, 0},
        {"negative offset", 0, -1, 10},
        {"negative length", 0, 0, -10},
        {"too large", 0, 1LL << 62, 1LL << 62},
        {"unknown", 0x400, 0, 4096},
    };
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int reader = OPEN(open("file", O_RDONLY));

    file_fill(fd, 0, 100 << 10, 1);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int result = fallocate(fd, calls[i].mode, calls[i].offset, calls[i].length);

        say("%s = %s", calls[i].name, result ? errno_name(errno) : "0");
        blocks_say(fd);
        map_say(fd, lseek(reader, 0, SEEK_END));
        file_print("file");
    }
    CALL(fallocate(reader, 0, 0, 4096));
    CALL(fallocate(open(".", O_RDONLY), 0, 0, 4096));
    CALL(mkfifo("fifo", 0600));
    CALL(fallocate(open("fifo", O_RDWR), 0, 0, 4096));
    CALL(posix_fallocate(fd, 1 << 20, 4096));
    fstat_print(fd);
}

static void collapse_insert(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    file_fill(fd, 0, 16 * BLOCK, 1);
    CALL(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK, BLOCK));
    CALL(fallocate(fd, FALLOC_FL_INSERT_RANGE, BLOCK, BLOCK));
    file_print("file");
}

static void unshare(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));

    file_fill(fd, 0, 16 * BLOCK, 1);
    CALL(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, BLOCK));
}

/* Data written through one descriptor is data for another's SEEK_DATA at once. */
static void seek_fresh(void)
{
    int fd = OPEN(open("file", O_RDWR | O_CREAT, 0644));
    int reader = OPEN(open("file", O_RDONLY));

    CALL(ftruncate(fd, 1 << 20));
    for (int i = 0; i < 5; i++) {
        file_fill(fd, (off_t)i * (128 << 10), BLOCK, 1);
        map_say(reader, 1 << 20);
    }
    CALL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 512 << 10));
    map_say(reader, 1 << 20);
    file_print("file");
}

const struct test_case sparse_cases[] = {
    {"seek_holes", seek_holes},           {"allocate", allocate}, {"seek_fresh", seek_fresh},
    {"collapse_insert", collapse_insert}, {"unshare", unshare},   {NULL, NULL},
};
