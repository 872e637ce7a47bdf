/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that is written as a whole: beside its name first, and then in its place, so that who
 * reads it has the one before or all of this one. A link to a file stays, and leads to it; what is
 * there and no regular file (a pipe, /dev/null) is written to as it is.
 */
#ifndef MIGFS_CTL_NEW_FILE_H
#define MIGFS_CTL_NEW_FILE_H

#include <stdbool.h>
#include <stdio.h>

struct new_file {
    char *path;   /* its place */
    char *draft;  /* where it is written; NULL: in its place */
    FILE *stream; /* to write to */
};

/*
 * False: with errno, and nothing to end. new_file_end puts it in its place if all went well so far
 * (`is_good`) and goes on so; else no file is left of it. False: not in its place, with errno where
 * `is_good`.
 */
bool new_file_begin(struct new_file *file, const char *path);
bool new_file_end(struct new_file *file, bool is_good);

#endif
