/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "open_metrics.h"

#include <inttypes.h>
#include <stdbool.h>

/* All that is written of one set of mounts. */
struct metrics {
    FILE *stream;
    const struct mount_stats *mounts;
    size_t count;
};

static void write_family(const struct metrics *metrics, const char *name, const char *type,
                         const char *unit, const char *help)
{
    fprintf(metrics->stream, "# TYPE %s %s\n", name, type);
    if (unit != NULL)
        fprintf(metrics->stream, "# UNIT %s %s\n", name, unit);
    fprintf(metrics->stream, "# HELP %s %s\n", name, help);
}

/* Its label; a mountpoint may have any character, all of them printable by now. */
static void write_mountpoint(const struct metrics *metrics, const struct mount_stats *mount)
{
    fputs("mountpoint=\"", metrics->stream);
    for (const char *c = mount->printable; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            fputc('\\', metrics->stream);
        fputc(*c, metrics->stream);
    }
    fputc('"', metrics->stream);
}

/* NAME{mountpoint="…",LABEL="VALUE" without the closing brace; `label` NULL: none. */
static void write_sample(const struct metrics *metrics, const char *name, const char *suffix,
                         const struct mount_stats *mount, const char *label, const char *value)
{
    fprintf(metrics->stream, "%s%s{", name, suffix);
    write_mountpoint(metrics, mount);
    if (label == NULL)
        return;
    fprintf(metrics->stream, ",%s=\"", label);
    for (const char *c = value; *c != '\0'; c++)
        fputc(*c == ' ' ? '_' : *c, metrics->stream);
    fputc('"', metrics->stream);
}

static void write_number(const struct metrics *metrics, uint64_t value)
{
    fprintf(metrics->stream, "} %" PRIu64 "\n", value);
}

static void write_seconds(const struct metrics *metrics, uint64_t ns)
{
    fprintf(metrics->stream, "} %" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static void write_histogram(const struct metrics *metrics, const char *name,
                            const struct mount_stats *mount, const char *label, const char *value,
                            const struct migfs_counter *counter)
{
    uint64_t ended = 0;

    for (size_t i = 0; i < MIGFS_COUNTER_BUCKETS; i++) {
        ended += counter->buckets[i];
        write_sample(metrics, name, "_bucket", mount, label, value);
        if (i + 1 < MIGFS_COUNTER_BUCKETS)
            fprintf(metrics->stream, ",le=\"%.8g\"", (double)bucket_end_us(i) / 1e6);
        else
            fputs(",le=\"+Inf\"", metrics->stream);
        write_number(metrics, ended);
    }
    write_sample(metrics, name, "_count", mount, label, value);
    write_number(metrics, ended);
    write_sample(metrics, name, "_sum", mount, label, value);
    write_seconds(metrics, counter->sum_ns);
}

/* ---- families ---- */

/* A group's: what was begun, what failed, how long it took. */
struct group_metrics {
    enum counter_group_index group;
    const char *label;
    const char *begun; /* NULL: the histogram says it */
    const char *begun_help;
    const char *failed;
    const char *failed_help;
    const char *duration;
    const char *duration_help;
};

static const struct group_metrics groups[] = {
    {GROUP_REQUESTS, "kind", "migfs_requests", "Requests of the kernel.", "migfs_request_errors",
     "Requests answered with an error, whoever made it.", "migfs_request_duration_seconds",
     "Time from a request of the kernel to its answer."},
    {GROUP_HANDOFFS, "kind", NULL, NULL, "migfs_handoff_errors",
     "Transitions of files that failed.", "migfs_handoff_duration_seconds",
     "Time that a transition of a file took: a lock, an unlock or a call."},
    {GROUP_STEPS, "step", NULL, NULL, "migfs_step_errors", "Steps of transitions that failed.",
     "migfs_step_duration_seconds", "Time that a step of a transition took."},
};

static void write_group_counter(const struct metrics *metrics, const struct group_metrics *names,
                                const char *name, const char *help, bool of_failed)
{
    const struct counter_group *group = &counter_groups[names->group];

    write_family(metrics, name, "counter", NULL, help);
    for (size_t i = 0; i < metrics->count; i++) {
        for (size_t kind = 0; kind < group->count; kind++) {
            const struct migfs_counter *counter =
                counter_of(&metrics->mounts[i].stats, group, kind);

            write_sample(metrics, name, "_total", &metrics->mounts[i], names->label,
                         group->kinds[kind]);
            write_number(metrics, of_failed ? counter->failed : counter->begun);
        }
    }
}

/* Those that have something to tell: there are many lines to each. */
static void write_group_histogram(const struct metrics *metrics, const struct group_metrics *names)
{
    const struct counter_group *group = &counter_groups[names->group];

    write_family(metrics, names->duration, "histogram", "seconds", names->duration_help);
    for (size_t i = 0; i < metrics->count; i++) {
        for (size_t kind = 0; kind < group->count; kind++) {
            const struct migfs_counter *counter =
                counter_of(&metrics->mounts[i].stats, group, kind);

            if (counter_ended(counter) > 0)
                write_histogram(metrics, names->duration, &metrics->mounts[i], names->label,
                                group->kinds[kind], counter);
        }
    }
}

static void write_single(const struct metrics *metrics, const struct single_counter *counter)
{
    write_family(metrics, counter->metric, "counter", counter->unit, counter->help);
    for (size_t i = 0; i < metrics->count; i++) {
        write_sample(metrics, counter->metric, "_total", &metrics->mounts[i], NULL, NULL);
        write_number(metrics, single_value(&metrics->mounts[i].stats, counter));
    }
}

static void write_start(const struct metrics *metrics)
{
    static const char name[] = "migfs_start_time_seconds";

    write_family(metrics, name, "gauge", "seconds",
                 "When it was mounted, and all counters were 0, since 1970.");
    for (size_t i = 0; i < metrics->count; i++) {
        write_sample(metrics, name, "", &metrics->mounts[i], NULL, NULL);
        write_seconds(metrics, (uint64_t)metrics->mounts[i].stats.mounted_ns);
    }
}

static void write_open_files(const struct metrics *metrics)
{
    static const char name[] = "migfs_open_files";

    write_family(metrics, name, "gauge", NULL, "Files that are open now, by their state.");
    for (size_t i = 0; i < metrics->count; i++) {
        for (size_t state = 0; state < STATE_NAMES; state++) {
            write_sample(metrics, name, "", &metrics->mounts[i], "state", state_names[state]);
            write_number(metrics, metrics->mounts[i].stats.open_files[state]);
        }
    }
}

void open_metrics_write(FILE *stream, const struct mount_stats *mounts, size_t count)
{
    const struct metrics metrics = {.stream = stream, .mounts = mounts, .count = count};

    write_start(&metrics);
    write_open_files(&metrics);
    for (size_t i = 0; i < SINGLE_COUNTERS; i++)
        write_single(&metrics, &single_counters[i]);
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        const struct group_metrics *names = &groups[i];

        if (names->begun != NULL)
            write_group_counter(&metrics, names, names->begun, names->begun_help, false);
        write_group_counter(&metrics, names, names->failed, names->failed_help, true);
        write_group_histogram(&metrics, names);
    }
    fputs("# EOF\n", stream);
}
