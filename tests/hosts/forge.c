/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forge RECORD OFFSET SIZE VALUE: sets a little-endian field of each slot of a hand-over record
 * that is not empty, and makes the checksum right again.
 */
#include "cache/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define CHECKSUM_AT 16
#define CHECKSUM_BYTES 16

static void forge(unsigned char *slot, size_t offset, size_t size, unsigned long long value)
{
    XXH128_canonical_t checksum;

    for (size_t i = 0; i < size; i++)
        slot[offset + i] = (unsigned char)(value >> (8 * i));
    memset(slot + CHECKSUM_AT, 0, CHECKSUM_BYTES);
    XXH128_canonicalFromHash(&checksum, XXH3_128bits(slot, RECORD_SLOT_BYTES));
    memcpy(slot + CHECKSUM_AT, checksum.digest, CHECKSUM_BYTES);
}

int main(int argc, char **argv)
{
    static unsigned char file[RECORD_FILE_BYTES];
    const int fd = argc == 5 ? open(argv[1], O_RDWR) : -1;

    if (fd < 0 || pread(fd, file, sizeof(file), 0) != (ssize_t)sizeof(file)) {
        fprintf(stderr, "usage: forge RECORD OFFSET SIZE VALUE\n");
        return 1;
    }
    for (size_t slot = 0; slot < RECORD_SLOTS; slot++) {
        unsigned char *bytes = file + slot * RECORD_SLOT_BYTES;

        if (bytes[0] != 0)
            forge(bytes, strtoul(argv[2], NULL, 0), strtoul(argv[3], NULL, 0),
                  strtoull(argv[4], NULL, 0));
    }
    return pwrite(fd, file, sizeof(file), 0) == (ssize_t)sizeof(file) ? 0 : 1;
}
