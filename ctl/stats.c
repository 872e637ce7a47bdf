/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migfsctl stats: what mounts have done so far, counted and timed; as tables, as one JSON document,
 * or in OpenMetrics.
 */
#include "command.h"
#include "counters.h"
#include "json.h"
#include "mount_table.h"
#include "new_file.h"
#include "open_metrics.h"
#include "table.h"
#include "target.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MOUNT_TYPE "fuse.migfs"

/* The mounts that answered, each once. */
struct report {
    struct mount_stats *mounts;
    size_t count;
};

/* ---- asking ---- */

/* 0 or a positive errno. */
static int ask(const struct target *target, struct migfs_stats *stats)
{
    *stats = (struct migfs_stats){.version = MIGFS_IOC_VERSION};
    if (ioctl(target->fd, MIGFS_IOC_STATS, stats) < 0)
        return errno;
    return stats->version == MIGFS_IOC_VERSION ? 0 : ENOTTY;
}

static bool is_known(const struct report *report, uint64_t instance)
{
    for (size_t i = 0; i < report->count; i++) {
        if (report->mounts[i].stats.instance == instance)
            return true;
    }
    return false;
}

static void mount_stats_deinit(struct mount_stats *mount)
{
    free(mount->mountpoint);
    free(mount->printable);
}

/* Takes the answer, unless that mount has given one by another path. False: out of memory. */
static bool add(struct report *report, const struct target *target, const struct migfs_stats *stats)
{
    const char *mountpoint = target->mountpoint;
    struct mount_stats *mounts;

    if (is_known(report, stats->instance))
        return true;
    mounts = reallocarray(report->mounts, report->count + 1, sizeof(*mounts));
    if (mounts == NULL)
        return false;
    report->mounts = mounts;
    if (mountpoint == NULL)
        mountpoint = target->path;
    if (mountpoint[0] == '\0')
        mountpoint = "/";

    struct mount_stats *mount = &mounts[report->count];

    *mount = (struct mount_stats){
        .mountpoint = strdup(mountpoint), .printable = text_printable(mountpoint), .stats = *stats};
    if (mount->mountpoint != NULL && mount->printable != NULL) {
        report->count++;
        return true;
    }
    mount_stats_deinit(mount);
    return false;
}

static enum exit_code add_path(struct report *report, const char *path)
{
    struct migfs_stats stats;
    struct target target;
    enum exit_code code = target_open(&target, path, TARGET_QUERY);
    int error;

    if (code != EXIT_DONE)
        return code;
    error = ask(&target, &stats);
    if (error == 0 && !add(report, &target, &stats))
        error = ENOMEM;
    if (error != 0)
        code = target_fail(&target, NULL, error);
    target_close(&target);
    return code;
}

static enum exit_code add_all(struct report *report)
{
    struct mount_entry entry;
    enum exit_code code = EXIT_DONE;
    size_t position = 0;
    bool has_any = false;

    while (mount_table_next(MOUNT_TYPE, &position, &entry)) {
        const enum exit_code mount_code = add_path(report, entry.mountpoint);

        code = code == EXIT_DONE ? mount_code : code;
        has_any = true;
        mount_entry_deinit(&entry);
    }
    if (has_any)
        return code;
    complain("no migfs is mounted here; name a file or directory on one");
    return EXIT_NOT_MIGFS;
}

static enum exit_code add_paths(struct report *report, const struct arguments *arguments)
{
    enum exit_code code = EXIT_DONE;

    if (arguments->path_count == 0)
        return add_all(report);
    for (int i = 0; i < arguments->path_count; i++) {
        const enum exit_code path_code = add_path(report, arguments->paths[i]);

        code = code == EXIT_DONE ? path_code : code;
    }
    return code;
}

static void report_deinit(struct report *report)
{
    for (size_t i = 0; i < report->count; i++)
        mount_stats_deinit(&report->mounts[i]);
    free(report->mounts);
}

/* ---- tables ---- */

/* "< 64 µs": a histogram knows no more. */
static struct text_duration quantile_of(const struct migfs_counter *counter, double part)
{
    const size_t bucket = counter_quantile(counter, part);
    const bool is_last = bucket + 1 == MIGFS_COUNTER_BUCKETS;
    struct text_duration end, shown;

    end = text_duration((double)bucket_end_us(is_last ? bucket - 1 : bucket));
    (void)snprintf(shown.text, sizeof(shown.text), "%s %.20s", is_last ? ">" : "<",
                   end.text); /* it fits */
    return shown;
}

static bool add_counter(struct table *table, const char *kind, const struct migfs_counter *counter)
{
    const uint64_t ended = counter_ended(counter);
    const struct text_duration none = {"-"};
    const bool has = ended > 0;
    const struct text_duration mean =
        has ? text_duration((double)counter->sum_ns / 1e3 / (double)ended) : none;
    const struct text_duration half = has ? quantile_of(counter, 0.5) : none;
    const struct text_duration most = has ? quantile_of(counter, 0.9) : none;
    const struct text_duration nearly_all = has ? quantile_of(counter, 0.99) : none;
    const struct text_duration longest = has ? quantile_of(counter, 1) : none;
    char begun[24], failed[24];

    (void)snprintf(begun, sizeof(begun), "%" PRIu64, (uint64_t)counter->begun);
    (void)snprintf(failed, sizeof(failed), "%" PRIu64, (uint64_t)counter->failed); /* both fit */

    const char *const cells[TABLE_COLUMNS] = {kind,      begun,     failed,          mean.text,
                                              half.text, most.text, nearly_all.text, longest.text};

    return table_add(table, cells);
}

/* What never happened is left out. */
static bool add_group(struct table *table, const struct migfs_stats *stats,
                      enum counter_group_index index)
{
    static const char *const heads[GROUP_COUNT] = {"REQUEST", "TRANSITION", "STEP"};
    const struct counter_group *group = &counter_groups[index];
    const char *const cells[TABLE_COLUMNS] = {heads[index], "COUNT", "FAILED", "MEAN",
                                              "50 %",       "90 %",  "99 %",   "LONGEST"};
    bool has_any = false, added = true;

    for (size_t kind = 0; kind < group->count && added; kind++) {
        const struct migfs_counter *counter = counter_of(stats, group, kind);

        if (counter->begun == 0)
            continue;
        added = (has_any || (table_add_line(table, "") && table_add(table, cells))) &&
                add_counter(table, group->kinds[kind], counter);
        has_any = true;
    }
    return added;
}

static void print_singles(const struct migfs_stats *stats)
{
    for (size_t i = 0; i < SINGLE_COUNTERS; i++) {
        const uint64_t value = single_value(stats, &single_counters[i]);

        if (single_counters[i].unit != NULL)
            printf("  %s: %s\n", single_counters[i].text, text_size(value).text);
        else
            printf("  %s: %" PRIu64 "\n", single_counters[i].text, value);
    }
}

static void print_open_files(const struct migfs_stats *stats)
{
    const char *before = "  open files: ";

    for (size_t state = 0; state < STATE_NAMES; state++) {
        if (stats->open_files[state] == 0)
            continue;
        printf("%s%u %s", before, stats->open_files[state], state_names[state]);
        before = ", ";
    }
    puts(before[0] == ' ' ? "  open files: none" : "");
}

static bool print_mount(const struct mount_stats *mount)
{
    struct table table = {.rows = NULL};
    bool added = true;

    for (enum counter_group_index i = 0; i < GROUP_COUNT && added; i++)
        added = add_group(&table, &mount->stats, i);
    if (added) {
        printf("%s, since %s\n", mount->printable, text_time(mount->stats.mounted_ns).text);
        print_open_files(&mount->stats);
        print_singles(&mount->stats);
        table_print(&table);
    }
    table_deinit(&table);
    return added;
}

static bool print_tables(const struct report *report)
{
    bool printed = true;

    for (size_t i = 0; i < report->count && printed; i++) {
        if (i > 0)
            putchar('\n');
        printed = print_mount(&report->mounts[i]);
    }
    return printed;
}

/* ---- the others ---- */

static bool print_json(const struct report *report)
{
    struct json_object *mounts = json_object_new_array();
    bool made = mounts != NULL;

    for (size_t i = 0; i < report->count && made; i++) {
        struct json_object *mount = json_mount_stats(&report->mounts[i]);

        made = mount != NULL && json_object_array_add(mounts, mount) == 0;
    }
    if (made)
        return json_print_document("mounts", mounts);
    json_object_put(mounts);
    return false;
}

/* Into FILE where one is named. */
static enum exit_code write_metrics(const struct report *report, const char *path)
{
    struct new_file file;

    if (path == NULL) {
        open_metrics_write(stdout, report->mounts, report->count); /* main() looks */
        return EXIT_DONE;
    }
    if (new_file_begin(&file, path)) {
        open_metrics_write(file.stream, report->mounts, report->count);
        if (new_file_end(&file, true))
            return EXIT_DONE;
    }
    complain("%s: cannot be written: %s; see its directory and the room there", path,
             strerror(errno));
    return EXIT_FAILED;
}

enum exit_code stats_command(const struct arguments *arguments)
{
    struct report report = {.count = 0};
    enum exit_code code = add_paths(&report, arguments), written = EXIT_DONE;

    if (arguments->has_openmetrics)
        written = write_metrics(&report, arguments->openmetrics);
    else if (!(arguments->json ? print_json(&report) : print_tables(&report)))
        written = EXIT_FAILED;
    if (written != EXIT_DONE && !arguments->has_openmetrics)
        complain("out of memory, or standard output is closed; run it again");
    report_deinit(&report);
    return code == EXIT_DONE ? written : code;
}
