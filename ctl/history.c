/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl history: the last hand-overs of each PATH, as a table or as one JSON document; or one
 * of them as a picture.
 */
#include "command.h"
#include "json.h"
#include "new_file.h"
#include "plot.h"
#include "reply.h"
#include "table.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* What all paths together come to. */
struct report {
    bool as_json;
    bool has_many;             /* paths: each has its name above */
    struct json_object *files; /* as_json */
    struct table table;        /* otherwise */
};

/* A mount gave it, or what says that it is one. */
static bool is_whole(struct migfs_history *history)
{
    if (history->version != MIGFS_IOC_VERSION || history->count > MIGFS_HISTORY_HANDOVERS)
        return false;
    for (__u32 i = 0; i < history->count; i++) {
        history->handovers[i].from[MIGFS_HOST_NAME_SIZE - 1] = '\0';
        history->handovers[i].to[MIGFS_HOST_NAME_SIZE - 1] = '\0';
    }
    return true;
}

/* 0 or a positive errno. */
static int ask(const struct target *target, struct migfs_history *history)
{
    *history = (struct migfs_history){.version = MIGFS_IOC_VERSION};
    if (ioctl(target->fd, MIGFS_IOC_HISTORY, history) < 0)
        return errno;
    return is_whole(history) ? 0 : ENOTTY;
}

static bool add_row(struct table *table, const struct migfs_handover *handover)
{
    const struct text_size bytes = text_size(handover->bytes);
    const struct text_time time = text_time(handover->time_ns);
    char generation[24], release[32], acquire[32];
    char *from = text_printable(handover->from[0] != '\0' ? handover->from : "-");
    char *to = text_printable(handover->to);
    bool added = false;

    (void)snprintf(generation, sizeof(generation), "%" PRIu64, (uint64_t)handover->generation);
    (void)snprintf(acquire, sizeof(acquire), "%.1f ms", (double)handover->acquire_ns / 1e6);
    if (handover->release_ns != 0)
        (void)snprintf(release, sizeof(release), "%.1f ms", (double)handover->release_ns / 1e6);
    else
        (void)snprintf(release, sizeof(release), "-"); /* all four always fit */
    if (from != NULL && to != NULL) {
        const char *const cells[TABLE_COLUMNS] = {
            generation, time.text, from,       to,
            release,    acquire,   bytes.text, file_verified(handover->verified)};

        added = table_add(table, cells);
    }
    free(from);
    free(to);
    return added;
}

static bool add_rows(struct report *report, const struct migfs_history *history, const char *path)
{
    char *name = text_printable(path);
    bool added = name != NULL && (!report->has_many || table_add_line(&report->table, name));

    if (added && history->count == 0)
        added = table_add_line(&report->table, "No hand-over is known.");
    for (__u32 i = 0; i < history->count && added; i++)
        added = add_row(&report->table, &history->handovers[i]);
    free(name);
    return added;
}

static bool add_history(struct report *report, const struct migfs_history *history,
                        const char *path)
{
    struct json_object *object;

    if (!report->as_json)
        return add_rows(report, history, path);
    object = json_history(history, path);
    return object != NULL && json_object_array_add(report->files, object) == 0;
}

static enum exit_code add_path(struct report *report, const char *path)
{
    struct migfs_history *history = malloc(sizeof(*history));
    struct target target;
    enum exit_code code;
    int error;

    if (history == NULL) {
        complain("out of memory; free some, and run it again");
        return EXIT_FAILED;
    }
    code = target_open(&target, path, TARGET_FILE);
    if (code == EXIT_DONE) {
        error = ask(&target, history);
        if (error == 0 && !add_history(report, history, path))
            error = ENOMEM;
        if (error != 0)
            code = target_fail(&target, NULL, error);
        target_close(&target);
    }
    free(history);
    return code;
}

static bool report_init(struct report *report, const struct arguments *arguments)
{
    static const char *const heads[TABLE_COLUMNS] = {
        "GENERATION", "TIME", "FROM", "TO", "RELEASE", "ACQUIRE", "FLUSHED", "VERIFIED"};

    *report = (struct report){.as_json = arguments->json, .has_many = arguments->path_count > 1};
    if (!arguments->json)
        return table_add(&report->table, heads);
    report->files = json_object_new_array();
    return report->files != NULL;
}

static bool report_print(struct report *report)
{
    if (report->as_json) {
        struct json_object *files = report->files;

        report->files = NULL;
        return json_print_document("files", files);
    }
    table_print(&report->table);
    return true;
}

static void report_deinit(struct report *report)
{
    json_object_put(report->files);
    table_deinit(&report->table);
}

/* ---- one as a picture ---- */

static bool is_whole_side(struct migfs_side *side)
{
    side->host[MIGFS_HOST_NAME_SIZE - 1] = '\0';
    return side->span_count <= MIGFS_TIMELINE_SPANS;
}

/* 0 or a positive errno. */
static int ask_timeline(const struct target *target, uint64_t generation,
                        struct migfs_timeline *timeline)
{
    *timeline = (struct migfs_timeline){.version = MIGFS_IOC_VERSION, .generation = generation};
    if (ioctl(target->fd, MIGFS_IOC_TIMELINE, timeline) < 0)
        return errno;
    return timeline->version == MIGFS_IOC_VERSION && is_whole_side(&timeline->release) &&
                   is_whole_side(&timeline->acquire)
               ? 0
               : ENOTTY;
}

static enum exit_code draw(const struct migfs_timeline *timeline, const char *path,
                           const char *picture)
{
    struct new_file file;
    char *name = text_printable(path);
    bool drawn = false;

    errno = ENOMEM;
    if (name != NULL && new_file_begin(&file, picture)) {
        drawn = plot_write(file.stream, timeline, name);
        drawn = new_file_end(&file, drawn);
    }
    if (!drawn)
        complain("%s: cannot be written: %s; see its directory and the room there", picture,
                 strerror(errno));
    free(name);
    return drawn ? EXIT_DONE : EXIT_FAILED;
}

static enum exit_code plot_path(const struct arguments *arguments, const char *path)
{
    struct migfs_timeline timeline;
    struct target target;
    enum exit_code code = target_open(&target, path, TARGET_FILE);
    int error;

    if (code != EXIT_DONE)
        return code;
    error = ask_timeline(&target, arguments->generation, &timeline);
    if (error == ENODATA) {
        complain("%s: no steps are known of %s; `migfsctl history` shows which there were", path,
                 arguments->generation != 0 ? "that hand-over" : "any hand-over");
        code = EXIT_FAILED;
    } else if (error != 0) {
        code = target_fail(&target, NULL, error);
    } else {
        code = draw(&timeline, path, arguments->plot);
    }
    target_close(&target);
    return code;
}

enum exit_code history_command(const struct arguments *arguments)
{
    if (arguments->plot != NULL)
        return plot_path(arguments, arguments->paths[0]);

    struct report report;
    enum exit_code code = EXIT_DONE;
    bool printed = report_init(&report, arguments);

    for (int i = 0; i < arguments->path_count && printed; i++) {
        const enum exit_code path_code = add_path(&report, arguments->paths[i]);

        code = code == EXIT_DONE ? path_code : code;
    }
    if (printed && (code == EXIT_DONE || arguments->path_count > 1 || arguments->json))
        printed = report_print(&report);
    if (!printed) {
        complain("out of memory, or standard output is closed; run it again");
        code = EXIT_FAILED;
    }
    report_deinit(&report);
    return code;
}
