/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The traces that a change leaves in a file's attributes: its length and times (user space cannot
 * read NFS's change attribute). What this module says of them is no proof either way: a clock that
 * is too coarse for two changes hides the second. No I/O, no lock.
 */
#ifndef MIGFS_CACHE_TRACE_H
#define MIGFS_CACHE_TRACE_H

#include <stdbool.h>
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

/*
 * A file that nobody but this host should change. It is told of each change made here, and says at
 * a look whether another one came between: by times where nothing was changed here since the look
 * before, else by the length that the file must have. All zeroes watches nothing.
 */
struct trace_watch {
    bool is_on;
    unsigned under_way;       /* changes made here that have begun and not ended */
    uint64_t changes;         /* ended ones, ever */
    uint64_t changes_at_last; /* at the last look */
    struct trace last;
    uint64_t length_bytes;
    bool length_is_known;
};

/* What a change made here does to the length. */
enum trace_effect {
    TRACE_KEEPS,
    TRACE_GROWS, /* to `length_bytes` at least */
    TRACE_CUTS,  /* to that, or grows to it */
    TRACE_UNSURE,
};

void trace_change_begin(struct trace_watch *watch);
void trace_change_end(struct trace_watch *watch, enum trace_effect effect, uint64_t length_bytes);

/*
 * Before the attributes are asked for, and when they are there: what was seen counts only where no
 * change made here was under way at any time between. A look that counts is the one to compare the
 * next with; the first one after trace_watch_on compares with nothing.
 */
struct trace_look {
    bool is_quiet;
    uint64_t changes;
};
void trace_watch_on(struct trace_watch *watch);
void trace_watch_off(struct trace_watch *watch);
struct trace_look trace_look_begin(const struct trace_watch *watch);
enum trace_verdict trace_look_end(struct trace_watch *watch, const struct trace_look *look,
                                  const struct trace *now);

/* A look whose answer is kept: it serves again for as long as nothing is changed here. */
struct trace_sight {
    bool is_there;
    struct trace_look look;
    struct trace trace;
};
bool trace_sight_serves(const struct trace_watch *watch, const struct trace_sight *sight);

#endif
