/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cases of the POSIX suite: each prints what every call answered, and nothing that differs from run
 * to run (no inode number, no device, no path above the case's directory, no present time). The
 * same cases on the backing filesystem and on a mount of it must print the same lines.
 */
#ifndef MIGFS_TESTS_POSIX_H
#define MIGFS_TESTS_POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct test_case {
    const char *name;
    void (*run)(void);
};

extern const struct test_case open_cases[];
extern const struct test_case name_cases[];
extern const struct test_case attribute_cases[];
extern const struct test_case permission_cases[];
extern const struct test_case acl_cases[];
extern const struct test_case xattr_cases[];
extern const struct test_case data_cases[];
extern const struct test_case sparse_cases[];
extern const struct test_case directory_cases[];
extern const struct test_case concurrency_cases[];

/* Prints the call's text and its value or errno; returns the value, errno unchanged. */
#define CALL(expression) call_print(#expression, (errno = 0, (long long)(expression)))

/* As CALL for what returns a descriptor: prints that there is one, not its number. */
#define OPEN(expression) open_print(#expression, (errno = 0, (expression)))

long long call_print(const char *text, long long value);
int open_print(const char *text, int fd);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *errno_name(int error);

/* Type, mode, owner, links, size: what a stat says and stays the same from run to run. */
void stat_print(const char *path);
void fstat_print(int fd);
void stat_say(const char *label, const struct stat *status);

void file_make(const char *path, mode_t mode, const char *text);
void file_fill(int fd, off_t offset, size_t length, unsigned seed);
void file_print(const char *path);
/* A digest of the content; "errno" where reading fails. */
unsigned long long content_digest(int fd);

/* Runs in a child, as itself; as 1000 with the groups 1000, 1001, 1002; as 1003 with 1003 alone. */
void in_child(void (*function)(void));
void as_user(void (*function)(void));
void as_stranger(void (*function)(void));
int is_root(void);

/* Waits until the clock that stamps inodes has moved. */
void clock_tick(void);

#endif
