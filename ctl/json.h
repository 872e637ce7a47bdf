/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files as JSON: the schema of migfsctl(1), version 1. Bytes of a name that are not UTF-8 become
 * lone surrogates, "\udc80" … "\udcff": valid JSON, and Python's surrogateescape turns them back.
 */
#ifndef MIGFS_CTL_JSON_H
#define MIGFS_CTL_JSON_H

#include "counters.h"
#include "fs/migfs.h"

#include <json-c/json_object.h>
#include <stdbool.h>

/* `path` is the user's; the caller puts the object. NULL: out of memory. */
struct json_object *json_file(const struct migfs_file *file, const char *path);

/* The same of its history. */
struct json_object *json_history(const struct migfs_history *history, const char *path);

/* The counters of a mount. */
struct json_object *json_mount_stats(const struct mount_stats *mount);

/* A finding of doctor, "" for no mend; and the findings of a subject, NULL: of the host. Takes
 * `findings` over. NULL: out of memory.
 */
struct json_object *json_finding(const char *check, const char *colour, const char *text,
                                 const char *mend);
struct json_object *json_subject(const char *path, const char *colour,
                                 struct json_object *findings);

/*
 * One document on standard output: {"version": 1, `key`: `value`}. Takes the value over. False:
 * could not be written, or no memory.
 */
bool json_print_document(const char *key, struct json_object *value);

/* The same of `files`, with what is said of the mounts that they are on. */
bool json_print_files(struct json_object *files, bool is_checked, bool is_fenced);

/* One line and a newline on standard output. False: could not be written, or no memory. */
bool json_print(struct json_object *object);

#endif
