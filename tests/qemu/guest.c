/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest: the load inside the virtual machine.
 *
 * Writes sequence-numbered, checksummed 4 KiB blocks to each disk, syncs them, and reads everything
 * back past its own page cache. What each block must hold is remembered in memory, which migrates
 * with the machine: a disk that went back in time shows at the next pass. Reports on stdout, one
 * line a second:
 *
 *     guest ok N stale N wrong N error N seq N pass N
 *
 * ok: blocks read back right. stale: an older version of the block, or nothing where something was
 * written. wrong: anything else. error: failed requests. seq: blocks written and synced. pass:
 * complete passes of the check. A block is counted as stale or wrong once for each version that was
 * written.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 4096,
    BLOCK_WORDS = BLOCK_BYTES / 8,
    READ_BLOCKS = 16,  /* read back in 64 KiB requests */
    BATCH_BLOCKS = 8,  /* written between two syncs */
    CHECK_READS = 8,   /* read requests after each batch */
    HOT_BLOCKS = 2048, /* the first 8 MiB are overwritten again and again */
    MISMATCHES_SHOWN = 8,
};

#define BLOCK_MAGIC UINT64_C(0x6d69676673206f6b)

struct block {
    uint64_t magic;
    uint64_t disk;
    uint64_t number;
    uint64_t sequence;
    uint64_t payload[BLOCK_WORDS - 5];
    uint64_t checksum;
};
_Static_assert(sizeof(struct block) == BLOCK_BYTES, "a block is what is written at once");

struct expected {
    uint64_t sequence; /* 0: never written, reads as zeroes */
    bool reported;     /* this version was counted as a mismatch already */
};

struct disk {
    uint64_t index;
    int direct;   /* reads, and every second batch */
    int buffered; /* the other batches */
    size_t block_count;
    size_t hot_count;
    size_t next_hot;
    size_t next_cold;
    size_t next_check;
    struct expected *expected;
};

struct counts {
    uint64_t ok, stale, wrong, error, sequence, pass;
};

static struct counts counts;
static struct block *io_buffer; /* READ_BLOCKS blocks, aligned for O_DIRECT */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x9e3779b97f4a7c15);
    return x ^ (x >> 29);
}

static uint64_t block_checksum(const struct block *block)
{
    const uint64_t *word = (const uint64_t *)block;
    uint64_t sum = BLOCK_MAGIC;
    for (size_t i = 0; i < BLOCK_WORDS - 1; i++)
        sum = mix(sum + word[i]);
    return sum;
}

static void block_fill(struct block *block, uint64_t disk, uint64_t number, uint64_t sequence)
{
    block->magic = BLOCK_MAGIC;
    block->disk = disk;
    block->number = number;
    block->sequence = sequence;
    uint64_t value = mix(sequence * 1000003 + number);
    for (size_t i = 0; i < BLOCK_WORDS - 5; i++)
        block->payload[i] = value += UINT64_C(0x9e3779b97f4a7c15);
    block->checksum = block_checksum(block);
}

static bool block_is_zero(const struct block *block)
{
    const uint64_t *word = (const uint64_t *)block;
    for (size_t i = 0; i < BLOCK_WORDS; i++)
        if (word[i])
            return false;
    return true;
}

static bool block_is_intact(const struct block *block, uint64_t disk, uint64_t number)
{
    return block->magic == BLOCK_MAGIC && block->disk == disk && block->number == number &&
           block->checksum == block_checksum(block);
}

static void report_error(const struct disk *disk, const char *what, size_t number)
{
    if (counts.error++ < MISMATCHES_SHOWN)
        printf("guest error disk %" PRIu64 " %s block %zu: %s\n", disk->index, what, number,
               strerror(errno));
}

static void report_mismatch(const struct disk *disk, size_t number, const struct block *found)
{
    uint64_t expected = disk->expected[number].sequence;
    bool zero = block_is_zero(found);
    bool older = block_is_intact(found, disk->index, number) && found->sequence < expected;
    bool stale = expected > 0 && (zero || older);
    if (counts.stale + counts.wrong < MISMATCHES_SHOWN)
        printf("guest mismatch disk %" PRIu64 " block %zu expected %" PRIu64 " found %s %" PRIu64
               "\n",
               disk->index, number, expected,
               zero    ? "zeroes"
               : older ? "older"
                       : "other",
               found->sequence);
    if (stale)
        counts.stale++;
    else
        counts.wrong++;
}

static void block_check(struct disk *disk, size_t number, const struct block *found)
{
    struct expected *expected = &disk->expected[number];
    bool right = expected->sequence == 0 ? block_is_zero(found)
                                         : block_is_intact(found, disk->index, number) &&
                                               found->sequence == expected->sequence;
    if (right) {
        counts.ok++;
    } else if (!expected->reported) {
        expected->reported = true;
        report_mismatch(disk, number, found);
    }
}

static void check_next(struct disk *disk)
{
    size_t first = disk->next_check;
    ssize_t got =
        pread(disk->direct, io_buffer, READ_BLOCKS * BLOCK_BYTES, (off_t)(first * BLOCK_BYTES));
    if (got != READ_BLOCKS * BLOCK_BYTES)
        report_error(disk, "read", first);
    else
        for (size_t i = 0; i < READ_BLOCKS; i++)
            block_check(disk, first + i, &io_buffer[i]);
    disk->next_check = first + READ_BLOCKS;
    if (disk->next_check < disk->block_count)
        return;
    disk->next_check = 0;
    if (disk->index == 0)
        counts.pass++;
}

/* A failed write leaves either version: the block is written again until it succeeds. */
static void write_block(struct disk *disk, int fd, size_t number)
{
    uint64_t sequence = ++counts.sequence;
    block_fill(io_buffer, disk->index, number, sequence);
    while (pwrite(fd, io_buffer, BLOCK_BYTES, (off_t)(number * BLOCK_BYTES)) != BLOCK_BYTES) {
        report_error(disk, "write", number);
        sleep(1);
    }
    disk->expected[number] = (struct expected){.sequence = sequence};
}

static void write_batch(struct disk *disk, bool buffered)
{
    int fd = buffered ? disk->buffered : disk->direct;
    for (size_t i = 0; i < BATCH_BLOCKS; i++) {
        write_block(disk, fd, disk->next_hot);
        disk->next_hot = (disk->next_hot + 1) % disk->hot_count;
    }
    if (fsync(fd) < 0)
        report_error(disk, "sync", disk->next_hot);
}

/* One block in a cluster that was never written before: image metadata has to grow. */
static void write_cold(struct disk *disk)
{
    if (disk->next_cold >= disk->block_count)
        return;
    write_block(disk, disk->direct, disk->next_cold);
    disk->next_cold += READ_BLOCKS;
    if (fsync(disk->direct) < 0)
        report_error(disk, "sync", disk->next_cold);
}

static bool disk_open(struct disk *disk, size_t index)
{
    char path[] = "/dev/vda";
    path[sizeof(path) - 2] = (char)('a' + index);
    *disk = (struct disk){.index = index};
    disk->direct = open(path, O_RDWR | O_DIRECT);
    disk->buffered = open(path, O_RDWR);
    if (disk->direct < 0 || disk->buffered < 0)
        return false;
    off_t length = lseek(disk->direct, 0, SEEK_END);
    disk->block_count = (size_t)(length / (READ_BLOCKS * BLOCK_BYTES)) * READ_BLOCKS;
    disk->hot_count = disk->block_count < HOT_BLOCKS ? disk->block_count : HOT_BLOCKS;
    disk->next_cold = disk->hot_count;
    disk->expected = calloc(disk->block_count, sizeof(*disk->expected));
    return disk->expected && disk->block_count > 0;
}

static void report_counts(void)
{
    printf("guest ok %" PRIu64 " stale %" PRIu64 " wrong %" PRIu64 " error %" PRIu64 " seq %" PRIu64
           " pass %" PRIu64 "\n",
           counts.ok, counts.stale, counts.wrong, counts.error, counts.sequence, counts.pass);
}

static void work(struct disk *disk, bool buffered)
{
    write_batch(disk, buffered);
    for (int i = 0; i < CHECK_READS; i++)
        check_next(disk);
}

int main(void)
{
    static struct disk disks[8];
    size_t disk_count = 0;
    io_buffer = aligned_alloc(BLOCK_BYTES, READ_BLOCKS * BLOCK_BYTES);
    if (!io_buffer)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (disk_count < sizeof(disks) / sizeof(disks[0]) &&
           disk_open(&disks[disk_count], disk_count))
        disk_count++;
    printf("guest disks %zu\n", disk_count);
    if (disk_count == 0)
        return 1;

    time_t reported = 0;
    for (uint64_t round = 0;; round++) {
        for (size_t i = 0; i < disk_count; i++)
            work(&disks[i], round % 2);
        time_t now = time(NULL);
        if (now == reported)
            continue;
        reported = now;
        for (size_t i = 0; i < disk_count; i++)
            write_cold(&disks[i]);
        report_counts();
    }
}
