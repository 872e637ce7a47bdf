/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a VMM says by the locks that it takes: the lock table of an inode is read as a claim. Each
 * kind of VMM has its profile; `auto` recognises QEMU's and leaves all other locks their POSIX
 * meaning. Knows bytes only; what follows from a claim is owner's and handoff's.
 */
#ifndef MIGFS_CACHE_PROFILE_H
#define MIGFS_CACHE_PROFILE_H

#include "range.h"

enum profile {
    PROFILE_AUTO,  /* QEMU's locks and the ioctl */
    PROFILE_QEMU,  /* the same, recognised or not */
    PROFILE_RANGE, /* a lock of the whole file, or of its length, from byte 0 */
    PROFILE_FLOCK, /* flock(2) */
    PROFILE_NONE,  /* the ioctl only */
};

/* QEMU, block/file-posix.c: byte 100 + p is a permission in use, 200 + p one not shared. */
enum {
    QEMU_BYTE_USES = 100,
    QEMU_BYTE_UNSHARED = 200,
    QEMU_PERM_CONSISTENT_READ = 0,
    QEMU_PERM_WRITE = 1,
    QEMU_PERM_WRITE_UNCHANGED = 2,
    QEMU_PERM_RESIZE = 3,
    QEMU_BYTE_USES_WRITE = QEMU_BYTE_USES + QEMU_PERM_WRITE,         /* 101 */
    QEMU_BYTE_UNSHARED_WRITE = QEMU_BYTE_UNSHARED + QEMU_PERM_WRITE, /* 201 */
};

/* In rising order: a greater claim believes or does more. */
enum claim {
    CLAIM_NONE,          /* no lock that means anything in this profile */
    CLAIM_READER,        /* reads, and minds no writer: 100 alone; a whole-file read lock */
    CLAIM_SHARED,        /* writes beside other writers: 101 without 201 */
    CLAIM_OWNER_READING, /* minds writers, writes nothing: 201 without 101 (a backing file) */
    CLAIM_OWNER_WRITING, /* 201 and 101; a whole-file write lock; LOCK_EX; the ioctl */
};

/* All the locks of one inode on this mount. */
struct profile_locks {
    const struct range_table *ranges; /* POSIX and OFD locks */
    const struct range_table *flocks; /* flock(2) ones, as ranges of all bytes */
    uint64_t length_bytes;            /* of the file, for PROFILE_RANGE */
};

/*
 * Reads the locks. `recognised` is memory between calls, false at first: with PROFILE_AUTO an
 * owner that held two of 100, 101, and one of 200–203, as read locks of those bytes alone (not as
 * part of a longer range) is QEMU, and stays so for as long as any of 100–103 or 200–203 is held.
 * With PROFILE_RANGE it remembers that a lock of the length was one of the whole file, which may
 * grow.
 */
enum claim profile_claim(enum profile profile, const struct profile_locks *locks, bool *recognised);

/* Whether the lock owner holds bytes that the profile counts as writing: 101, a write lock. */
bool profile_owner_writes(enum profile profile, const struct profile_locks *locks, bool recognised,
                          uint64_t owner);

/* "auto", "qemu", …; profile_parse: 0 and *profile, or -EINVAL with it untouched. */
const char *profile_name(enum profile profile);
int profile_parse(const char *name, enum profile *profile);

#endif
