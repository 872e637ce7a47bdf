/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line and the mount options: parsed once, by one function, into plain data. Knows
 * nothing of what the options do. migfs(8) is the reference.
 */
#ifndef MIGFS_FS_OPTIONS_H
#define MIGFS_FS_OPTIONS_H

#include "cache/owner.h"
#include "cache/profile.h"

#include <stdbool.h>

enum io_mode {
    IO_DAEMON,
    IO_PASSTHROUGH,
};

enum standby_mode {
    STANDBY_DIRECT, /* reads of a standby inode leave no page in the kernel */
    STANDBY_DELAY,  /* and it is opened below when it is first needed */
    STANDBY_CACHED, /* they may; one drop an inode follows at the acquire */
};

enum record_mode {
    RECORD_ON,
    RECORD_REQUIRE,
    RECORD_OFF,
};

struct options {
    char *source;         /* as given; owned */
    char *mountpoint;     /* as given; owned */
    char *kernel_options; /* for fuse_session_new's -o: fsname=, subtype=, ro, …; owned */
    char *own_words;      /* migfs's own, as given, with commas; NULL: none; owned */
    bool foreground;      /* -f, or -d */
    bool debug;           /* -d: libfuse prints every request */
    bool show_help;
    bool show_version;
    bool read_only;
    enum io_mode io;
    enum profile profile;
    enum fence fence;
    enum standby_mode standby;
    enum record_mode record;
    bool protect;         /* a guest keeps its disk when others change owner, mode or name */
    unsigned deadline_ms; /* 100 … 600000 */
    unsigned workers;     /* threads that serve requests, 2 … 256 */
    bool io_uring;        /* requests under way need no thread each */
    bool coherence;
};

/*
 * Fills *options from the command line. 0, or after one line on standard error: -EINVAL (it names
 * the argument and the mend) or -ENOMEM. What was filled is to be freed by options_deinit either
 * way. With show_help or show_version the rest of the line was not looked at.
 */
int options_parse(int argc, char **argv, struct options *options);
void options_deinit(struct options *options);

void options_print_help(void);
void options_print_version(void);

#endif
