/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The traces that a change leaves in a file's attributes: its length and times (user space cannot
 * read NFS's change attribute). What this module says of them is no proof either way: a clock that
 * is too coarse for two changes hides the second. No I/O, no lock.
 */
#ifndef MIGFS_CACHE_TRACE_H
#define MIGFS_CACHE_TRACE_H

#include <stdint.h>

struct trace {
    uint64_t length_bytes;
    int64_t ctime_ns;
    int64_t mtime_ns; /* 0: not known */
};

enum trace_verdict {
    TRACE_SAME,
    TRACE_TOUCHED, /* ctime alone moved: owner, mode, a name; or it was written, and mtime put back
                    */
    TRACE_WRITTEN,
};

/* What came between the two looks at one file. Where mtime is not known a new ctime is a write. */
enum trace_verdict trace_compare(const struct trace *before, const struct trace *now);

#endif
