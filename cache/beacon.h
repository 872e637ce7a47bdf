/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The beacon of one mount: a small file that says who serves the store, since when, by which
 * version and options, and when that was written by the host's own clock. Nothing is decided by
 * it: it is for people, who learn which hosts there are and whether they agree. This module
 * encodes, decodes and judges; its file is fs/beacon_file's to write.
 *
 * Layout, little-endian, offsets in bytes:
 *
 *     0  magic "MIGFSBCN"            8
 *     8  version                     4   1
 *    12  period, s                   4   between two writes; 1 … 3600
 *    16  checksum                    8   XXH3-64 of the file with these 8 zero
 *    24  time, ns                    8   since 1970, of writing, by the writer's clock
 *    32  time of the mount, ns       8   the same clock
 *    40  host: mount instance        8   these as in the record
 *    48  host: machine id           16
 *    64  host: boot id              16
 *    80  host name                  64   NUL-padded
 *   144  migfs's version            32   NUL-padded
 *   176  options                   256   migfs's own, as given; NUL-padded
 *   432  zero to the end
 */
#ifndef MIGFS_CACHE_BEACON_H
#define MIGFS_CACHE_BEACON_H

#include "record.h"

#define BEACON_BYTES 512
#define BEACON_VERSION_BYTES 32
#define BEACON_OPTIONS_BYTES 256
#define BEACON_PERIOD_MOST_S 3600
/* Seconds after which a beacon that was not removed says nothing any more. */
#define BEACON_KEPT_S (7 * 24 * 3600)

struct beacon {
    struct record_host host;
    uint32_t period_s;
    int64_t time_ns;
    int64_t mounted_ns;
    char version[BEACON_VERSION_BYTES]; /* always NUL-terminated, as all texts here */
    char options[BEACON_OPTIONS_BYTES];
};

enum beacon_verdict {
    BEACON_VALID,
    BEACON_DAMAGED,
    BEACON_FUTURE, /* whole, of a version that this code does not know */
};

/* `bytes` has BEACON_BYTES. Cannot fail; texts are cut to fit. */
void beacon_encode(const struct beacon *beacon, uint8_t *bytes);

/* Fills *beacon if the file of `size` bytes, any size, is BEACON_VALID. */
enum beacon_verdict beacon_decode(const uint8_t *file, size_t size, struct beacon *beacon);

/* The name of its file: machine id and instance. */
struct beacon_name {
    char text[50];
};
struct beacon_name beacon_name(const struct record_host *host);
/* Whether a file of that name is one. */
bool beacon_is_name(const char *name);

/* Whether its mount still serves, as far as its age since it was written tells. */
bool beacon_is_fresh(const struct beacon *beacon, int64_t age_ns);

/* Whether `other` may be removed by the mount of `own`: by its age, or as one of a mount of the
 * same machine that has ended. */
bool beacon_is_over(const struct record_host *own, const struct beacon *other, int64_t age_ns);

#endif
