/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counters.h"

static const char *const requests[MIGFS_REQUEST_KINDS] = {
    [MIGFS_REQUEST_OTHER] = "other",
    [MIGFS_REQUEST_LOOKUP] = "lookup",
    [MIGFS_REQUEST_FORGET] = "forget",
    [MIGFS_REQUEST_GETATTR] = "getattr",
    [MIGFS_REQUEST_SETATTR] = "setattr",
    [MIGFS_REQUEST_ACCESS] = "access",
    [MIGFS_REQUEST_READLINK] = "readlink",
    [MIGFS_REQUEST_MAKE] = "make",
    [MIGFS_REQUEST_REMOVE] = "remove",
    [MIGFS_REQUEST_RENAME] = "rename",
    [MIGFS_REQUEST_STATFS] = "statfs",
    [MIGFS_REQUEST_XATTR] = "xattr",
    [MIGFS_REQUEST_OPENDIR] = "opendir",
    [MIGFS_REQUEST_READDIR] = "readdir",
    [MIGFS_REQUEST_RELEASEDIR] = "releasedir",
    [MIGFS_REQUEST_OPEN] = "open",
    [MIGFS_REQUEST_READ] = "read",
    [MIGFS_REQUEST_WRITE] = "write",
    [MIGFS_REQUEST_FLUSH] = "flush",
    [MIGFS_REQUEST_RELEASE] = "release",
    [MIGFS_REQUEST_FSYNC] = "fsync",
    [MIGFS_REQUEST_FALLOCATE] = "fallocate",
    [MIGFS_REQUEST_LSEEK] = "lseek",
    [MIGFS_REQUEST_COPY] = "copy",
    [MIGFS_REQUEST_GETLK] = "getlk",
    [MIGFS_REQUEST_SETLK] = "setlk",
    [MIGFS_REQUEST_SETLKW] = "setlkw",
    [MIGFS_REQUEST_IOCTL] = "ioctl",
    [MIGFS_REQUEST_INTERRUPT] = "interrupt",
};

const char *const handoff_names[MIGFS_HANDOFF_KINDS] = {
    [MIGFS_HANDOFF_ACQUIRE] = "acquire",     [MIGFS_HANDOFF_SHARE] = "share",
    [MIGFS_HANDOFF_LOCK] = "lock",           [MIGFS_HANDOFF_MORE_LOCK] = "more lock",
    [MIGFS_HANDOFF_FORGET] = "forget",       [MIGFS_HANDOFF_RELEASE] = "release",
    [MIGFS_HANDOFF_DOWNGRADE] = "downgrade", [MIGFS_HANDOFF_DEMOTE] = "demote",
    [MIGFS_HANDOFF_UNLOCK] = "unlock",       [MIGFS_HANDOFF_MORE_UNLOCK] = "more unlock",
};

const char *const step_names[MIGFS_STEPS] = {
    [MIGFS_STEP_LOCK] = "lock",
    [MIGFS_STEP_TEST] = "test",
    [MIGFS_STEP_DROP] = "drop",
    [MIGFS_STEP_READ_RECORD] = "read record",
    [MIGFS_STEP_INVALIDATE] = "invalidate",
    [MIGFS_STEP_VERIFY] = "verify",
    [MIGFS_STEP_WRITE_RECORD] = "write record",
    [MIGFS_STEP_FLUSH] = "flush",
    [MIGFS_STEP_DRAIN] = "drain",
    [MIGFS_STEP_SYNC] = "sync",
    [MIGFS_STEP_UNLOCK] = "unlock",
};

const char *const state_names[STATE_NAMES] = {
    [MIGFS_STATE_PLAIN] = "plain",       [MIGFS_STATE_STANDBY] = "standby",
    [MIGFS_STATE_SHARED] = "shared",     [MIGFS_STATE_OWNER] = "owner",
    [MIGFS_STATE_RELEASED] = "released", [MIGFS_STATE_FENCED] = "fenced",
};

#define AT(field) offsetof(struct migfs_counters, field)

const struct counter_group counter_groups[GROUP_COUNT] = {
    [GROUP_REQUESTS] = {"requests", requests, MIGFS_REQUEST_KINDS, AT(requests)},
    [GROUP_HANDOFFS] = {"handoffs", handoff_names, MIGFS_HANDOFF_KINDS, AT(handoffs)},
    [GROUP_STEPS] = {"steps", step_names, MIGFS_STEPS, AT(steps)},
};

const struct single_counter single_counters[SINGLE_COUNTERS] = {
    {"bytes_read", "bytes read", "migfs_read_bytes", "Bytes that programs read through the daemon.",
     "bytes", AT(bytes_read)},
    {"bytes_written", "bytes written", "migfs_written_bytes",
     "Bytes that programs wrote through the daemon.", "bytes", AT(bytes_written)},
    {"fences", "files fenced", "migfs_fences",
     "Files whose locks were lost while this host was owner or shared.", NULL, AT(fences)},
    {"stale_acquires", "acquires refused, since the data was stale", "migfs_stale_acquires",
     "Acquires refused, since the store gave other data than what was written.", NULL,
     AT(stale_acquires)},
    {"foreign_writes", "writes by somebody who had not acquired", "migfs_foreign_writes",
     "Times that somebody wrote a file who had not acquired it.", NULL, AT(foreign_writes)},
    {"conflicts", "locks beside another host that writes", "migfs_conflicts",
     "Locks that made no owner, since another host was writing.", NULL, AT(conflicts)},
};

const struct migfs_counter *counter_of(const struct migfs_stats *stats,
                                       const struct counter_group *group, size_t kind)
{
    const char *counters = (const char *)&stats->counters;

    return (const struct migfs_counter *)(const void *)(counters + group->offset) + kind;
}

uint64_t single_value(const struct migfs_stats *stats, const struct single_counter *counter)
{
    const char *counters = (const char *)&stats->counters;

    return *(const __u64 *)(const void *)(counters + counter->offset);
}

uint64_t counter_ended(const struct migfs_counter *counter)
{
    uint64_t ended = 0;

    for (size_t i = 0; i < MIGFS_COUNTER_BUCKETS; i++)
        ended += counter->buckets[i];
    return ended;
}

uint64_t bucket_end_us(size_t bucket)
{
    return UINT64_C(1) << bucket;
}

size_t counter_quantile(const struct migfs_counter *counter, double part)
{
    const double wanted = part * (double)counter_ended(counter);
    uint64_t ended = 0;
    size_t bucket = 0;

    for (; bucket + 1 < MIGFS_COUNTER_BUCKETS; bucket++) {
        ended += counter->buckets[bucket];
        if (ended > 0 && (double)ended >= wanted)
            break;
    }
    return bucket;
}
