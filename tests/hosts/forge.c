/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forge RECORD OFFSET SIZE VALUE: sets a little-endian field of each slot of a hand-over record
 * that is not empty, and makes the checksum right again.
 * forge RECORD version1: makes each slot what a writer of version 1 would have left.
 */
#include "cache/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define VERSION_AT 8
#define CHECKSUM_AT 16
#define CHECKSUM_BYTES 16
#define DIGEST_COUNT_AT 208

static void forge(unsigned char *slot, size_t offset, size_t size, unsigned long long value)
{
    XXH128_canonical_t checksum;

    for (size_t i = 0; i < size; i++)
        slot[offset + i] = (unsigned char)(value >> (8 * i));
    memset(slot + CHECKSUM_AT, 0, CHECKSUM_BYTES);
    XXH128_canonicalFromHash(&checksum, XXH3_128bits(slot, RECORD_SLOT_BYTES));
    memcpy(slot + CHECKSUM_AT, checksum.digest, CHECKSUM_BYTES);
}

static void make_version_1(unsigned char *slot)
{
    memset(slot + DIGEST_COUNT_AT, 0, RECORD_SLOT_BYTES - DIGEST_COUNT_AT);
    forge(slot, VERSION_AT, 4, 1);
}

int main(int argc, char **argv)
{
    static unsigned char file[RECORD_FILE_BYTES];
    const bool to_version_1 = argc == 3 && strcmp(argv[2], "version1") == 0;
    const int fd = argc == 5 || to_version_1 ? open(argv[1], O_RDWR) : -1;

    if (fd < 0 || pread(fd, file, sizeof(file), 0) != (ssize_t)sizeof(file)) {
        fprintf(stderr, "usage: forge RECORD OFFSET SIZE VALUE | version1\n");
        return 1;
    }
    for (size_t slot = 0; slot < RECORD_SLOTS; slot++) {
        unsigned char *bytes = file + slot * RECORD_SLOT_BYTES;

        if (bytes[0] != 0 && to_version_1)
            make_version_1(bytes);
        else if (bytes[0] != 0)
            forge(bytes, strtoul(argv[2], NULL, 0), strtoul(argv[3], NULL, 0),
                  strtoull(argv[4], NULL, 0));
    }
    return pwrite(fd, file, sizeof(file), 0) == (ssize_t)sizeof(file) ? 0 : 1;
}
