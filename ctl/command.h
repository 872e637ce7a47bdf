/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What main.c and the commands have in common: the options that a command line may hold, the exit
 * codes of migfsctl(1), and one function a command. Each says on standard error what went wrong
 * and returns an exit code.
 */
#ifndef MIGFS_CTL_COMMAND_H
#define MIGFS_CTL_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_FENCED = 3,
    EXIT_TIMED_OUT = 4,
    EXIT_NOT_MIGFS = 5,
    EXIT_WARNINGS = 6, /* of doctor */
    EXIT_UNSAFE = 7,
};

struct arguments {
    bool json;
    bool follows;
    bool has_uid, has_gid;
    unsigned group; /* a pid; 0: none */
    bool has_openmetrics;
    const char *openmetrics; /* FILE; NULL: standard output */
    const char *plot;        /* FILE; NULL: none */
    uint64_t generation;     /* 0: none */
    uid_t uid;
    gid_t gid;
    int path_count; /* at least 1; of doctor, 0 or 1; of stats any number */
    char **paths;
};

enum exit_code status_command(const struct arguments *arguments);
enum exit_code watch_command(const struct arguments *arguments);
enum exit_code acquire_command(const struct arguments *arguments);
enum exit_code release_command(const struct arguments *arguments);
enum exit_code forget_command(const struct arguments *arguments);
enum exit_code history_command(const struct arguments *arguments);
enum exit_code stats_command(const struct arguments *arguments);
enum exit_code doctor_command(const struct arguments *arguments);
enum exit_code init_command(const struct arguments *arguments);

/* "migfsctl: …" and a newline on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
