/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl watch: each transition as it ends, one line each, until a signal or the mount's end. A
 * thread a PATH, since each waits in an ioctl of its own.
 */
#include "command.h"
#include "json.h"
#include "reply.h"
#include "text.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct watcher {
    struct target target;
    bool as_json;
    __u64 cursor;
    pthread_t thread;
    enum exit_code code;
};

static pthread_mutex_t output_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool print_line(const struct migfs_file *file, const char *path)
{
    const struct text_time time = text_time(file->handoff_time_ns);
    const struct text_size flushed = text_size(file->handoff_bytes_flushed);
    char *name = text_printable(path);
    const bool has_handoff = file->handoff_direction != MIGFS_DIRECTION_NONE;

    if (name == NULL)
        return false;
    printf("%-23s  %-8s  %-9s  %-8s  %8.1f ms  %10s  %8llu  %s\n", has_handoff ? time.text : "-",
           file_state(file), file_transition(file)[0] != '\0' ? file_transition(file) : "-",
           has_handoff ? file_direction(file) : "-", (double)file->handoff_duration_ns / 1e6,
           flushed.text, (unsigned long long)file->handoff_pages_dropped, name);
    free(name);
    return true;
}

static void print_heads(void)
{
    printf("%-23s  %-8s  %-9s  %-8s  %11s  %10s  %8s  %s\n", "TIME", "STATE", "TRANSIT.",
           "HAND-OVER", "DURATION", "FLUSHED", "DROPPED", "PATH");
    (void)fflush(stdout); /* main looks at the end */
}

static bool print_json(const struct migfs_file *file, const char *path)
{
    struct json_object *object = json_file(file, path);
    const bool printed = object != NULL && json_print(object);

    json_object_put(object);
    return printed;
}

/* 0 or a positive errno. */
static int print_file(const struct watcher *watcher, const struct migfs_file *file)
{
    char *path = target_show(&watcher->target, migfs_file_path(file));
    bool printed;

    if (path == NULL)
        return ENOMEM;
    errno = ENOMEM;
    pthread_mutex_lock(&output_mutex);
    printed = watcher->as_json ? print_json(file, path) : print_line(file, path);
    printed = printed && fflush(stdout) == 0;
    pthread_mutex_unlock(&output_mutex);
    free(path);
    return printed ? 0 : errno;
}

/* One answer of the mount, printed. 0 or a positive errno. */
static int watch_once(struct watcher *watcher)
{
    struct reply reply;
    const struct migfs_file *file;
    int error = reply_ask(&reply, &watcher->target, MIGFS_IOC_EVENTS, watcher->cursor);

    if (error != 0)
        return error;
    watcher->cursor = reply.files.cursor;
    if ((reply.files.flags & MIGFS_FILES_LOST) != 0)
        complain("%s: too slow: some transitions are not shown; migfsctl history has hand-overs",
                 watcher->target.path);
    while (error == 0 && (file = reply_next(&reply)) != NULL)
        error = print_file(watcher, file);
    return error;
}

static void *watch(void *data)
{
    struct watcher *watcher = data;
    int error;

    do {
        error = watch_once(watcher);
    } while (error == 0 || error == EINTR);
    if (error == ENODEV || error == ENOTCONN || error == ECONNABORTED) {
        complain("%s: the mount has ended; watch it again when it is mounted",
                 watcher->target.path);
        watcher->code = EXIT_FAILED;
    } else {
        watcher->code = target_fail(&watcher->target, NULL, error);
    }
    return NULL;
}

/* From here on nothing is missed: the mount has given the cursor to begin with. */
static enum exit_code watcher_open(struct watcher *watcher, const char *path, bool as_json)
{
    struct reply reply;
    enum exit_code code = target_open(&watcher->target, path, TARGET_QUERY);
    int error;

    if (code != EXIT_DONE)
        return code;
    error = reply_ask(&reply, &watcher->target, MIGFS_IOC_EVENTS, 0);
    if (error != 0) {
        code = target_fail(&watcher->target, NULL, error);
        target_close(&watcher->target);
        return code;
    }
    watcher->as_json = as_json;
    watcher->cursor = reply.files.cursor;
    return EXIT_DONE;
}

static enum exit_code watch_all(struct watcher *watchers, int count)
{
    enum exit_code code = EXIT_DONE;
    int started = 0;

    while (started < count &&
           pthread_create(&watchers[started].thread, NULL, watch, &watchers[started]) == 0)
        started++;
    if (started < count) {
        complain("no thread to watch %s with; raise the limit of processes (ulimit -u)",
                 watchers[started].target.path);
        exit(EXIT_FAILED); /* ends those that were started */
    }
    for (int i = 0; i < count; i++) {
        pthread_join(watchers[i].thread, NULL);
        code = code == EXIT_DONE ? watchers[i].code : code;
    }
    return code;
}

enum exit_code watch_command(const struct arguments *arguments)
{
    struct watcher *watchers = calloc((size_t)arguments->path_count, sizeof(*watchers));
    enum exit_code code = EXIT_DONE;
    int opened = 0;

    if (watchers == NULL) {
        complain("out of memory; free some, and run it again");
        return EXIT_FAILED;
    }
    while (opened < arguments->path_count && code == EXIT_DONE) {
        code = watcher_open(&watchers[opened], arguments->paths[opened], arguments->json);
        opened += code == EXIT_DONE;
    }
    if (code == EXIT_DONE) {
        if (!arguments->json)
            print_heads();
        code = watch_all(watchers, opened);
    }
    for (int i = 0; i < opened; i++)
        target_close(&watchers[i].target);
    free(watchers);
    return code;
}
