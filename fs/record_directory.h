/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `.migfs/` at the root of SOURCE: which files have a record, as its listing says, and the way to a
 * record's file. All of it as the directory's owner (DESIGN §6). Callable from any thread.
 */
#ifndef MIGFS_FS_RECORD_DIRECTORY_H
#define MIGFS_FS_RECORD_DIRECTORY_H

#include "caller.h"
#include "context.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Its name at the root; the mount hides it (DESIGN §6). */
#define RECORD_DIRECTORY ".migfs"

struct record_directory;

/*
 * Opens `.migfs/`, made where this process may; without one (after a line in the log) there are no
 * records, unless the options require them. 0 or a negative errno.
 */
int record_directory_open(struct context *context, struct record_directory **directory);
void record_directory_close(struct record_directory *directory);

/*
 * Asks the server whether the directory moved, and lists it then; or waits for somebody else's look
 * that began since the call. As the daemon: not while a caller's ids are assumed. True: the list is
 * new, and nobody else was told. Where the store does not answer the old one stays, and what is
 * asked of it next says so.
 */
bool record_directory_look(struct record_directory *directory);

/* Whether the list has a record of that inode number. */
bool record_directory_lists(struct record_directory *directory, ino_t ino);

/*
 * Opens the record of an inode number for reading and stable writing, with `flags` of open(2) more.
 * A descriptor, the caller's to close, or a negative errno.
 */
int record_directory_open_file(const struct record_directory *directory, ino_t ino, int flags);

/*
 * The same of the file of that name in its `history/`, which O_CREAT makes too; nothing is stable
 * by itself there.
 */
int record_directory_open_history(const struct record_directory *directory, ino_t ino, int flags);

/*
 * The beacons of the mounts, in its `hosts/`: a file of that name with `flags` of open(2), which
 * O_CREAT makes; their listing, to be closed by the caller, or NULL; and one's removal.
 */
int record_directory_open_beacon(const struct record_directory *directory, const char *name,
                                 int flags);
DIR *record_directory_list_beacons(const struct record_directory *directory);
int record_directory_remove_beacon(const struct record_directory *directory, const char *name);

/*
 * Its `removed/`, where the files are that lost their last name while a guest held them; `makes`:
 * made where there is none. A descriptor of the directory, the caller's to close, or a negative
 * errno. What is done in it is done as this caller.
 */
int record_directory_open_removed(const struct record_directory *directory, bool makes);
struct caller record_directory_caller(const struct record_directory *directory);

/* A record's name, and that of a removed file: the inode number. */
struct record_name {
    char text[20];
};
struct record_name record_directory_name(ino_t ino);
bool record_directory_parse(const char *name, ino_t *ino);

/* Removes the record of an inode number, and its history. 0 or a negative errno. */
int record_directory_remove(const struct record_directory *directory, ino_t ino);

/*
 * Who goes through all records bit by bit: whether `pause_ns` have passed since this was true the
 * last time, and the number of the next one. False behind the last one, and then anew.
 */
bool record_directory_is_due(struct record_directory *directory, int64_t pause_ns);
bool record_directory_next(struct record_directory *directory, ino_t *ino);

/* A new name in it lasts from now on. 0 or a negative errno. */
int record_directory_sync(const struct record_directory *directory);

#endif
