/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl status: the open files of each PATH, as a table or as one JSON document; once, or over
 * and over until one of them cannot be asked any more.
 */
#include "command.h"
#include "json.h"
#include "reply.h"
#include "table.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What all paths together come to. */
struct report {
    bool as_json;
    struct json_object *files; /* as_json */
    struct table table;        /* otherwise */
    bool has_fenced;
    bool has_hidden_pids;
    bool has_unknown_pids;
    bool is_unchecked; /* a store did not answer in time, or not so as to tell */
    bool is_unfenced;  /* a store does not stop a host that has lost a file */
};

static bool add_lock(struct table *table, const struct migfs_lock *lock)
{
    char command[sizeof(lock->command) + 1] = "";
    char range[64];
    char *name;
    char *line;
    bool added;

    memcpy(command, lock->command, sizeof(lock->command));
    name = text_printable(command);
    if (name == NULL)
        return false;
    if (lock->length == 0)
        (void)snprintf(range, sizeof(range), "bytes %" PRIu64 " to the end", (uint64_t)lock->start);
    else if (lock->length == 1)
        (void)snprintf(range, sizeof(range), "byte %" PRIu64, (uint64_t)lock->start);
    else
        (void)snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64, (uint64_t)lock->start,
                       (uint64_t)(lock->start + lock->length - 1)); /* all three always fit */
    added = asprintf(&line, "  %s lock of %s by pid %u%s%s", lock_type(lock), range, lock->pid,
                     name[0] != '\0' ? " " : "", name) >= 0;
    free(name);
    if (!added)
        return false;
    added = table_add_line(table, line);
    free(line);
    return added;
}

static bool add_locks(struct report *report, const struct migfs_file *file)
{
    const struct migfs_lock *locks = migfs_file_locks(file);
    const bool hidden = (file->flags & MIGFS_FILE_PIDS_HIDDEN) != 0;

    for (uint32_t i = 0; i < file->lock_count; i++) {
        if (!add_lock(&report->table, &locks[i]))
            return false;
        report->has_hidden_pids |= hidden;
        report->has_unknown_pids |= !hidden && locks[i].pid == 0;
    }
    if ((file->flags & MIGFS_FILE_LOCKS_CUT) != 0)
        return table_add_line(&report->table, "  and more locks, which did not fit in the answer");
    return true;
}

static bool add_count(struct table *table, uint64_t count, const char *what)
{
    char *line;
    bool added;

    if (count == 0)
        return true;
    if (asprintf(&line, "  %s: %" PRIu64 " times", what, count) < 0)
        return false;
    added = table_add_line(table, line);
    free(line);
    return added;
}

static bool add_if(struct table *table, bool is_so, const char *line)
{
    return !is_so || table_add_line(table, line);
}

/* What others did to its owner, mode and name. */
static bool add_protection(struct table *table, const struct migfs_file *file)
{
    return add_if(table, (file->flags & MIGFS_FILE_KEPT) != 0,
                  "  removed, and kept reachable until no guest holds it") &&
           add_if(table, (file->flags & MIGFS_FILE_UNLINKED) != 0,
                  "  removed, and there as long as its server keeps it") &&
           add_if(table, (file->flags & MIGFS_FILE_REOPENED) != 0,
                  "  owner or mode were changed: opened again as its owner") &&
           add_if(table, (file->flags & MIGFS_FILE_REFUSED) != 0,
                  "  owner or mode were changed: refused; give it back by chown or chmod");
}

/* What was noticed of others than the owners. */
static bool add_oddities(struct table *table, const struct migfs_file *file)
{
    return add_protection(table, file) &&
           add_count(table, file->foreign_writes, "written by somebody who had not acquired it") &&
           add_count(table, file->stale_acquires, "not acquired, since its data was stale");
}

static void handoff_format(const struct migfs_file *file, char *text, size_t size)
{
    const struct text_time time = text_time(file->handoff_time_ns);

    if (file->handoff_direction == MIGFS_DIRECTION_NONE)
        (void)snprintf(text, size, "-");
    else
        (void)snprintf(text, size, "%s %s, %.1f ms", file_direction(file), time.text,
                       (double)file->handoff_duration_ns / 1e6); /* both always fit */
}

static bool add_row(struct table *table, const struct migfs_file *file, const char *path)
{
    const struct text_size bytes_read = text_size(file->bytes_read);
    const struct text_size bytes_written = text_size(file->bytes_written);
    const char *transition = file_transition(file);
    const bool unlinked = (file->flags & (MIGFS_FILE_UNLINKED | MIGFS_FILE_KEPT)) != 0;
    char *name = text_printable(path);
    char *shown = NULL;
    char generation[64];
    char handoff[128];
    bool added = false;

    if (file->generation == file->open_generation)
        (void)snprintf(generation, sizeof(generation), "%" PRIu64, (uint64_t)file->generation);
    else
        (void)snprintf(generation, sizeof(generation), "%" PRIu64 " (open: %" PRIu64 ")",
                       (uint64_t)file->generation,
                       (uint64_t)file->open_generation); /* both always fit */
    handoff_format(file, handoff, sizeof(handoff));
    if (name != NULL && asprintf(&shown, "%s%s", name, unlinked ? " (removed)" : "") >= 0) {
        const char *const cells[TABLE_COLUMNS] = {
            file_state(file), transition[0] != '\0' ? transition : "-",
            generation,       file_profile(file),
            bytes_read.text,  bytes_written.text,
            handoff,          shown};

        added = table_add(table, cells);
        free(shown);
    }
    free(name);
    return added;
}

static bool add_json(struct json_object *files, const struct migfs_file *file, const char *path)
{
    struct json_object *object = json_file(file, path);

    return object != NULL && json_object_array_add(files, object) == 0;
}

static bool add_file(struct report *report, const struct target *target,
                     const struct migfs_file *file)
{
    char *path = target_show(target, migfs_file_path(file));
    bool added;

    if (path == NULL)
        return false;
    report->has_fenced |= file->state == MIGFS_STATE_FENCED;
    if (report->as_json)
        added = add_json(report->files, file, path);
    else
        added = add_row(&report->table, file, path) && add_locks(report, file) &&
                add_oddities(&report->table, file);
    free(path);
    return added;
}

/* All answers of one path; 0 or a positive errno. */
static int add_target(struct report *report, const struct target *target)
{
    struct reply reply;
    __u64 cursor = 0;

    do {
        const struct migfs_file *file;
        const int error = reply_ask(&reply, target, MIGFS_IOC_STATUS, cursor);

        if (error != 0)
            return error;
        report->is_unchecked |= (reply.files.flags & MIGFS_FILES_UNCHECKED) != 0;
        report->is_unfenced |= (reply.files.flags & MIGFS_FILES_UNFENCED) != 0;
        while ((file = reply_next(&reply)) != NULL) {
            if (!add_file(report, target, file))
                return ENOMEM;
        }
        /* A cursor that does not move on would have no end. */
        if (reply.files.cursor != 0 && reply.files.cursor <= cursor)
            return ENOTTY;
        cursor = reply.files.cursor;
    } while (cursor != 0);
    return 0;
}

static enum exit_code add_path(struct report *report, const char *path)
{
    struct target target;
    enum exit_code code = target_open(&target, path, TARGET_QUERY);
    int error;

    if (code != EXIT_DONE)
        return code;
    error = add_target(report, &target);
    if (error != 0)
        code = target_fail(&target, NULL, error);
    target_close(&target);
    return code;
}

static bool report_init(struct report *report, bool as_json)
{
    static const char *const heads[TABLE_COLUMNS] = {"STATE",          "TRANSITION", "GENERATION",
                                                     "PROFILE",        "READ",       "WRITTEN",
                                                     "LAST HAND-OVER", "PATH"};

    *report = (struct report){.as_json = as_json};
    if (!as_json)
        return table_add(&report->table, heads);
    report->files = json_object_new_array();
    return report->files != NULL;
}

/* Between two looks of --follow. */
#define REFRESH_S 1

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static const char unchecked[] =
    "the store does not answer, or not so as to tell: whether the "
    "locks are held still, and whether others changed a file, is unknown";

/* Hands the files over to the document. */
static bool report_print_json(struct report *report)
{
    struct json_object *files = report->files;

    if (report->is_unchecked)
        complain("%s", unchecked);
    report->files = NULL;
    return json_print_files(files, !report->is_unchecked, !report->is_unfenced);
}

static bool report_print(struct report *report)
{
    if (report->as_json)
        return report_print_json(report);
    if (report->table.count > 1)
        table_print(&report->table);
    else
        puts("No file is open.");
    if (report->has_hidden_pids)
        puts("pid 0: shown to root and to the file's owner only.");
    if (report->has_unknown_pids)
        puts("pid 0: the holder is in another pid namespace, or the lock is the mount's own.");
    if (report->is_unchecked)
        puts(unchecked);
    if (report->is_unfenced)
        puts("A host that has lost a file can still write to it here: NFS before version 4, or "
             "io=passthrough.");
    return true;
}

static void report_deinit(struct report *report)
{
    json_object_put(report->files);
    table_deinit(&report->table);
}

/* Where a terminal is, over what it shows; else an empty line between two. */
static bool screen_begin(void)
{
    const struct text_time time = text_time(now_ns());

    return printf("%s%s\n\n", isatty(STDOUT_FILENO) == 1 ? "\033[H\033[2J" : "\n", time.text) > 0;
}

/* Once, as all is now. */
static enum exit_code show(const struct arguments *arguments)
{
    struct report report;
    enum exit_code code = EXIT_DONE;
    bool printed = report_init(&report, arguments->json);

    for (int i = 0; i < arguments->path_count && printed; i++) {
        const enum exit_code path_code = add_path(&report, arguments->paths[i]);

        code = code == EXIT_DONE ? path_code : code;
    }
    if (printed && arguments->follows && !arguments->json)
        printed = screen_begin();
    if (printed && (code == EXIT_DONE || arguments->path_count > 1 || arguments->json))
        printed = report_print(&report);
    if (code == EXIT_DONE && report.has_fenced)
        code = EXIT_FENCED;
    if (!printed) {
        complain("out of memory, or standard output is closed; run it again");
        code = EXIT_FAILED;
    }
    report_deinit(&report);
    return code;
}

enum exit_code status_command(const struct arguments *arguments)
{
    const struct timespec pause = {.tv_sec = REFRESH_S};
    enum exit_code code = show(arguments);

    /* Nothing of the mount is held open in between: it can be unmounted, and that ends it. */
    while (arguments->follows && (code == EXIT_DONE || code == EXIT_FENCED)) {
        if (fflush(stdout) != 0) {
            complain("standard output cannot be written: %s; see where it leads", strerror(errno));
            return EXIT_FAILED;
        }
        nanosleep(&pause, NULL); /* cut short by a stop: no harm */
        code = show(arguments);
    }
    return code;
}
