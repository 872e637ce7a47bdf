/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that is written as a whole: beside its name first, and then in its place, so that who
 * reads it has the one before or all of this one.
 */
#ifndef MIGFS_CTL_NEW_FILE_H
#define MIGFS_CTL_NEW_FILE_H

#include <stdbool.h>
#include <stdio.h>

struct new_file {
    const char *path; /* the caller's */
    char *draft;      /* where it is written */
    FILE *stream;     /* to write to */
};

/*
 * False: with errno, and nothing to end. new_file_end puts it in its place if all went well so far
 * (`is_good`) and goes on so; else nothing is left of it. False: not in its place, with errno where
 * `is_good`.
 */
bool new_file_begin(struct new_file *file, const char *path);
bool new_file_end(struct new_file *file, bool is_good);

#endif
