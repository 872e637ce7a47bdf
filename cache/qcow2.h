/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the tables of a qcow2 image lie that a VMM reads when it opens or activates it: from the
 * image's header, which anybody may have written (QEMU's docs/interop/qcow2.rst; versions 2 and 3).
 * Says where, not what is in them, and leaves it to others how much of it is worth reading. No I/O,
 * no lock.
 */
#ifndef MIGFS_CACHE_QCOW2_H
#define MIGFS_CACHE_QCOW2_H

#include <stddef.h>
#include <stdint.h>

/*
 * As much of the image's beginning as is looked at: the header is 72 to some 120 bytes, and what
 * QEMU writes behind it, extensions and their feature names, another 500.
 */
#define QCOW2_HEAD_BYTES ((size_t)4096)

struct qcow2_table {
    uint64_t offset;
    uint64_t length_bytes; /* not 0; the last byte is one that a file can have */
};

/* L1, refcounts, snapshots, directory of bitmaps, header of the encryption. */
#define QCOW2_MOST_TABLES 5

struct qcow2_tables {
    struct qcow2_table entries[QCOW2_MOST_TABLES];
    size_t count;
};

/*
 * Reads the first `size` bytes of an image, QCOW2_HEAD_BYTES of them or the whole of a shorter one.
 * 0, or -EINVAL: no qcow2 image, or one that QEMU would not open; *tables is untouched then. An
 * extension that is cut off or makes no sense is passed over.
 */
int qcow2_parse(const uint8_t *bytes, size_t size, struct qcow2_tables *tables);

#endif
