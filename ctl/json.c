/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "json.h"

#include "reply.h"
#include "text.h"

#include <inttypes.h>
#include <json-c/printbuf.h>
#include <stdio.h>
#include <string.h>

/* json-c's own string output passes bytes through that are not UTF-8. */
static int print_name(struct json_object *object, struct printbuf *buffer, int level, int flags)
{
    const char *from = json_object_get_string(object);
    char escaped[8];

    (void)level;
    (void)flags;
    printbuf_memappend(buffer, "\"", 1);
    while (*from != '\0') {
        const size_t length = text_character_length(from);
        const unsigned char byte = (unsigned char)*from;

        if (length == 0) {
            (void)snprintf(escaped, sizeof(escaped), "\\udc%02x", byte); /* it always fits */
            printbuf_memappend(buffer, escaped, 6);
        } else if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f) {
            (void)snprintf(escaped, sizeof(escaped), "\\u%04x", byte); /* it always fits */
            printbuf_memappend(buffer, escaped, 6);
        } else {
            printbuf_memappend(buffer, from, (int)length);
        }
        from += length == 0 ? 1 : length;
    }
    return printbuf_memappend(buffer, "\"", 1);
}

static struct json_object *name_new(const char *name)
{
    struct json_object *object = json_object_new_string(name);

    if (object != NULL)
        json_object_set_serializer(object, print_name, NULL, NULL);
    return object;
}

/* value / unit with six decimals; json-c would print 17 digits of a double. */
static struct json_object *fraction_new(uint64_t value, uint64_t unit)
{
    char text[48];

    (void)snprintf(text, sizeof(text), "%" PRIu64 ".%06" PRIu64, value / unit,
                   value % unit * 1000000 / unit); /* it always fits */
    return json_object_new_double_s((double)value / (double)unit, text);
}

/* Takes `value` over; a NULL of json-c means out of memory here, and makes `*failed` true. */
static void add(struct json_object *object, const char *key, struct json_object *value,
                bool *failed)
{
    if (value == NULL || json_object_object_add(object, key, value) != 0)
        *failed = true;
}

static struct json_object *finish(struct json_object *object, bool failed)
{
    if (!failed)
        return object;
    json_object_put(object);
    return NULL;
}

static struct json_object *lock_new(const struct migfs_lock *lock)
{
    struct json_object *object = json_object_new_object();
    char command[sizeof(lock->command) + 1] = "";
    bool failed = object == NULL;

    if (failed)
        return NULL;
    memcpy(command, lock->command, sizeof(lock->command));
    add(object, "start", json_object_new_uint64(lock->start), &failed);
    add(object, "length", json_object_new_uint64(lock->length), &failed);
    add(object, "type", json_object_new_string(lock_type(lock)), &failed);
    add(object, "pid", json_object_new_uint64(lock->pid), &failed);
    add(object, "command", name_new(command), &failed);
    return finish(object, failed);
}

static struct json_object *locks_new(const struct migfs_file *file)
{
    const struct migfs_lock *locks = migfs_file_locks(file);
    struct json_object *array = json_object_new_array();
    bool failed = array == NULL;

    for (uint32_t i = 0; i < file->lock_count && !failed; i++) {
        struct json_object *lock = lock_new(&locks[i]);

        failed = lock == NULL || json_object_array_add(array, lock) != 0;
    }
    return finish(array, failed);
}

static struct json_object *handoff_new(const struct migfs_file *file)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed)
        return NULL;
    add(object, "time", fraction_new((uint64_t)file->handoff_time_ns, 1000000000), &failed);
    add(object, "direction", json_object_new_string(file_direction(file)), &failed);
    add(object, "duration_ms", fraction_new(file->handoff_duration_ns, 1000000), &failed);
    add(object, "bytes_flushed", json_object_new_uint64(file->handoff_bytes_flushed), &failed);
    add(object, "pages_dropped", json_object_new_uint64(file->handoff_pages_dropped), &failed);
    add(object, "bytes_prefetched", json_object_new_uint64(file->handoff_bytes_prefetched),
        &failed);
    add(object, "verified", json_object_new_string(file_verified(file->handoff_verified)), &failed);
    return finish(object, failed);
}

struct json_object *json_file(const struct migfs_file *file, const char *path)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed)
        return NULL;
    add(object, "path", name_new(path), &failed);
    add(object, "ino", json_object_new_uint64(file->ino), &failed);
    add(object, "state", json_object_new_string(file_state(file)), &failed);
    add(object, "transition", json_object_new_string(file_transition(file)), &failed);
    add(object, "generation", json_object_new_uint64(file->generation), &failed);
    add(object, "open_generation", json_object_new_uint64(file->open_generation), &failed);
    add(object, "profile", json_object_new_string(file_profile(file)), &failed);
    add(object, "locks", locks_new(file), &failed);
    add(object, "bytes_read", json_object_new_uint64(file->bytes_read), &failed);
    add(object, "bytes_written", json_object_new_uint64(file->bytes_written), &failed);
    add(object, "foreign_writes", json_object_new_uint64(file->foreign_writes), &failed);
    add(object, "stale_acquires", json_object_new_uint64(file->stale_acquires), &failed);
    add(object, "prefetch_errors", json_object_new_uint64(file->prefetch_errors), &failed);
    add(object, "name", json_object_new_string(file_name_state(file)), &failed);
    add(object, "access", json_object_new_string(file_access(file)), &failed);
    if (file->handoff_direction != MIGFS_DIRECTION_NONE)
        add(object, "last_handoff", handoff_new(file), &failed);
    else if (json_object_object_add(object, "last_handoff", NULL) != 0) /* null */
        failed = true;
    return finish(object, failed);
}

static struct json_object *handover_new(const struct migfs_handover *handover)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed)
        return NULL;
    add(object, "generation", json_object_new_uint64(handover->generation), &failed);
    add(object, "time", fraction_new((uint64_t)handover->time_ns, 1000000000), &failed);
    add(object, "from", name_new(handover->from), &failed);
    add(object, "to", name_new(handover->to), &failed);
    add(object, "release_ms", fraction_new(handover->release_ns, 1000000), &failed);
    add(object, "acquire_ms", fraction_new(handover->acquire_ns, 1000000), &failed);
    add(object, "bytes_flushed", json_object_new_uint64(handover->bytes), &failed);
    add(object, "verified", json_object_new_string(file_verified(handover->verified)), &failed);
    return finish(object, failed);
}

struct json_object *json_history(const struct migfs_history *history, const char *path)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    bool failed = object == NULL || array == NULL;

    for (uint32_t i = 0; i < history->count && !failed; i++) {
        struct json_object *handover = handover_new(&history->handovers[i]);

        failed = handover == NULL || json_object_array_add(array, handover) != 0;
    }
    if (failed) {
        json_object_put(array);
        return finish(object, true);
    }
    add(object, "path", name_new(path), &failed);
    add(object, "handovers", array, &failed);
    return finish(object, failed);
}

/* {"64": how many took up to 64 µs and more than 32, …, "more": …}, those that have any. */
static struct json_object *buckets_new(const struct migfs_counter *counter)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;
    char end[24];

    for (size_t i = 0; i < MIGFS_COUNTER_BUCKETS && !failed; i++) {
        if (counter->buckets[i] == 0)
            continue;
        (void)snprintf(end, sizeof(end), "%" PRIu64, bucket_end_us(i)); /* it always fits */
        add(object, i + 1 < MIGFS_COUNTER_BUCKETS ? end : "more",
            json_object_new_uint64(counter->buckets[i]), &failed);
    }
    return finish(object, failed);
}

static struct json_object *counter_new(const struct migfs_counter *counter)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed)
        return NULL;
    add(object, "count", json_object_new_uint64(counter->begun), &failed);
    add(object, "failed", json_object_new_uint64(counter->failed), &failed);
    add(object, "ended", json_object_new_uint64(counter_ended(counter)), &failed);
    add(object, "seconds", fraction_new(counter->sum_ns, 1000000000), &failed);
    add(object, "up_to_us", buckets_new(counter), &failed);
    return finish(object, failed);
}

static struct json_object *group_new(const struct migfs_stats *stats,
                                     const struct counter_group *group)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    for (size_t kind = 0; kind < group->count && !failed; kind++)
        add(object, group->kinds[kind], counter_new(counter_of(stats, group, kind)), &failed);
    return finish(object, failed);
}

static struct json_object *open_files_new(const struct migfs_stats *stats)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    for (size_t state = 0; state < STATE_NAMES && !failed; state++)
        add(object, state_names[state], json_object_new_uint64(stats->open_files[state]), &failed);
    return finish(object, failed);
}

struct json_object *json_mount_stats(const struct mount_stats *mount)
{
    const struct migfs_stats *stats = &mount->stats;
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed)
        return NULL;
    add(object, "mountpoint", name_new(mount->mountpoint), &failed);
    add(object, "since", fraction_new((uint64_t)stats->mounted_ns, 1000000000), &failed);
    add(object, "open_files", open_files_new(stats), &failed);
    for (size_t i = 0; i < SINGLE_COUNTERS; i++)
        add(object, single_counters[i].name,
            json_object_new_uint64(single_value(stats, &single_counters[i])), &failed);
    for (size_t i = 0; i < GROUP_COUNT; i++)
        add(object, counter_groups[i].name, group_new(stats, &counter_groups[i]), &failed);
    return finish(object, failed);
}

/* null is a value, and no failure. */
static void add_name_or_null(struct json_object *object, const char *key, const char *name,
                             bool *failed)
{
    if (name != NULL)
        add(object, key, name_new(name), failed);
    else if (json_object_object_add(object, key, NULL) != 0)
        *failed = true;
}

struct json_object *json_finding(const char *check, const char *colour, const char *text,
                                 const char *mend)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed)
        return NULL;
    add(object, "check", json_object_new_string(check), &failed);
    add(object, "colour", json_object_new_string(colour), &failed);
    add(object, "text", name_new(text), &failed);
    add_name_or_null(object, "mend", mend[0] != '\0' ? mend : NULL, &failed);
    return finish(object, failed);
}

struct json_object *json_subject(const char *path, const char *colour, struct json_object *findings)
{
    struct json_object *object = json_object_new_object();
    bool failed = object == NULL;

    if (failed) {
        json_object_put(findings);
        return NULL;
    }
    add_name_or_null(object, "path", path, &failed);
    add(object, "colour", json_object_new_string(colour), &failed);
    add(object, "findings", findings, &failed);
    return finish(object, failed);
}

/* With its version; takes `value`. */
static struct json_object *document_new(const char *key, struct json_object *value, bool *failed)
{
    struct json_object *document = json_object_new_object();

    *failed = document == NULL;
    if (*failed) {
        json_object_put(value);
        return NULL;
    }
    add(document, "version", json_object_new_int(1), failed);
    add(document, key, value, failed);
    return document;
}

static bool document_print(struct json_object *document, bool failed)
{
    const bool printed = !failed && json_print(document);

    json_object_put(document);
    return printed;
}

bool json_print_document(const char *key, struct json_object *value)
{
    bool failed;
    struct json_object *document = document_new(key, value, &failed);

    return document_print(document, failed);
}

bool json_print_files(struct json_object *files, bool is_checked, bool is_fenced)
{
    bool failed;
    struct json_object *document = document_new("files", files, &failed);

    if (document != NULL) {
        add(document, "checked", json_object_new_boolean(is_checked), &failed);
        add(document, "fenced_by_store", json_object_new_boolean(is_fenced), &failed);
    }
    return document_print(document, failed);
}

bool json_print(struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                                  JSON_C_TO_STRING_NOSLASHESCAPE);

    return text != NULL && puts(text) >= 0;
}
